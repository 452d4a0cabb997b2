"""A drawing as shapes with positions in inches, drawn by matplotlib, and its files."""

import functools
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib

from keras_preact.files import save_error, suffix_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Colour and label of each kind of box: distinct for colour-blind readers and in greyscale.
COLORS = {
    "weights": ("#74abdd", "weights"),
    "normalization": ("#fbf3c8", "normalisation"),
    "activation": ("#f5ba85", "activation"),
    "scaling": ("#dccbea", "scaling, dropout, gate"),
    "resampling": ("#dcdcdc", "change of size or channels"),
    "other": ("#ffffff", "other layer"),
}
INK, GREY = "#1a1a1a", "#a6a6a6"

#: File formats of a drawing.
SUFFIXES = (".svg", ".png")

#: Sizes in inches and, of text, in points.
BOX, GAP, RADIUS, HEAD = 0.25, 0.17, 0.1, 0.075
TEXT, TITLE = 8, 9.5

#: The font that boxes are sized for, which matplotlib includes, and its substitutes in other
#: programs, none of which is wider.
_FONTS = ["DejaVu Sans", "Verdana", "Helvetica", "Arial"]


class Box(NamedTuple):
    """A rounded rectangle around `(x, y)` with a text in it; `kind` is a key of `COLORS`."""

    x: float
    y: float
    width: float
    text: str
    kind: str
    height: float = BOX


class Circle(NamedTuple):
    """A circle around `(x, y)` with `"+"` or `"×"` in it."""

    x: float
    y: float
    sign: str


class Arrow(NamedTuple):
    """A line through points; `bold` for the grey line of a shortcut, `head` for its arrowhead."""

    points: tuple[tuple[float, float], ...]
    bold: bool = False
    head: bool = True


class Frame(NamedTuple):
    """An empty rounded rectangle around `(x, y)`, behind everything else."""

    x: float
    y: float
    width: float
    height: float


class Label(NamedTuple):
    """A text at `(x, y)`, vertically centred."""

    x: float
    y: float
    text: str
    align: str = "center"
    size: float = TEXT
    weight: str = "normal"
    style: str = "normal"


class Sheet(NamedTuple):
    """Shapes, and the size of their sheet in inches; y grows downwards."""

    width: float
    height: float
    shapes: tuple[Any, ...]


def moved(shapes: Sequence[Any], x: float, y: float) -> list[Any]:
    """The shapes, moved right by `x` and down by `y`."""
    return [_moved(shape, x, y) for shape in shapes]


def _moved(shape, x, y):
    if isinstance(shape, Arrow):
        return shape._replace(points=tuple((px + x, py + y) for px, py in shape.points))
    return shape._replace(x=shape.x + x, y=shape.y + y)


@functools.cache
def text_width(text: str, size: float = TEXT, weight: str = "normal") -> float:
    """The width of a text in inches, rounded up so that it is the same on every machine."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    if not text.strip():
        return 0.0
    font = FontProperties(family=_FONTS[:1], size=size, weight=weight)
    width = TextPath((0, 0), text.replace("$", r"\$"), prop=font).get_extents().x1 / 72
    return math.ceil(round(width * 20, 3)) / 20


def box_width(*texts: str) -> float:
    """The width of a box that holds any of the texts."""
    return max((text_width(text) for text in texts), default=0.0) + 0.15


def extent(shapes: Sequence[Any]) -> tuple[float, float]:
    """The smallest and the largest x of the shapes."""
    lows, highs = zip(*map(_extent, shapes), strict=True)
    return min(lows), max(highs)


def _extent(shape):
    if isinstance(shape, Arrow):
        xs = [x for x, _ in shape.points]
        return min(xs), max(xs)
    if isinstance(shape, Circle):
        return shape.x - RADIUS, shape.x + RADIUS
    if isinstance(shape, Label):
        width = text_width(shape.text, shape.size, shape.weight)
        left = {"center": width / 2, "left": 0, "right": width}[shape.align]
        return shape.x - left, shape.x - left + width
    return shape.x - shape.width / 2, shape.x + shape.width / 2


def legend(shapes: Sequence[Any]) -> list[Any]:
    """The legend of the colours used by the shapes, as a row of shapes that begins at (0, 0)."""
    kinds = {shape.kind for shape in shapes if isinstance(shape, Box)}
    row, x = [], 0.0
    for kind, (_, words) in COLORS.items():
        if kind in kinds:
            row += [Box(x + 0.11, 0, 0.22, "", kind, 0.15), Label(x + 0.29, 0, words, "left")]
            x += 0.29 + text_width(words) + 0.25
    if any(isinstance(shape, Arrow) and shape.bold for shape in shapes):
        row += [Arrow(((x, 0), (x + 0.3, 0)), bold=True), Label(x + 0.38, 0, "shortcut", "left")]
    return row


def paint(sheet: Sheet) -> "Figure":
    """A sheet as a `matplotlib.figure.Figure`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(sheet.width, sheet.height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, sheet.width), ylim=(sheet.height, 0))
    axes.axis("off")
    for shape in sheet.shapes:
        _PAINTERS[type(shape)](axes, shape)
    for artist in axes.get_children():
        artist.set_clip_on(False)
    return figure


def _paint_box(axes, box):
    from matplotlib.patches import FancyBboxPatch

    color, _ = COLORS[box.kind]
    corner = (box.x - box.width / 2, box.y - box.height / 2)
    style = "round,pad=0,rounding_size=0.04"
    axes.add_patch(
        FancyBboxPatch(
            corner, box.width, box.height, style, fc=color, ec=INK, lw=0.8, zorder=3, gid="box"
        )
    )
    if box.text:
        _paint_text(axes, box.x, box.y, box.text)


def _paint_frame(axes, frame):
    from matplotlib.patches import FancyBboxPatch

    corner = (frame.x - frame.width / 2, frame.y - frame.height / 2)
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(
        FancyBboxPatch(corner, frame.width, frame.height, style, fc="white", ec=GREY, lw=0.9)
    )


def _paint_circle(axes, circle):
    from matplotlib.patches import Circle as Patch

    axes.add_patch(
        Patch((circle.x, circle.y), RADIUS, fc="white", ec=INK, lw=0.9, zorder=3, gid="circle")
    )
    arm = 0.6 * RADIUS if circle.sign == "+" else 0.6 * RADIUS / math.sqrt(2)
    ends = [(arm, 0), (0, arm)] if circle.sign == "+" else [(arm, arm), (arm, -arm)]
    for dx, dy in ends:
        xs, ys = (circle.x - dx, circle.x + dx), (circle.y - dy, circle.y + dy)
        axes.plot(xs, ys, color=INK, lw=0.9, zorder=4, solid_capstyle="butt")


def _paint_arrow(axes, arrow):
    from matplotlib.patches import Polygon

    color, width, order = (GREY, 3.2, 1) if arrow.bold else (INK, 0.9, 2)
    *points, (x, y) = arrow.points
    if arrow.head:
        before = points[-1]
        length = math.hypot(x - before[0], y - before[1])
        dx, dy = (x - before[0]) / length, (y - before[1]) / length
        head, half = (1.25 * HEAD, 0.85 * HEAD) if arrow.bold else (HEAD, 0.42 * HEAD)
        x0, y0 = x - head * dx, y - head * dy
        tip = [(x, y), (x0 - half * dy, y0 + half * dx), (x0 + half * dy, y0 - half * dx)]
        axes.add_patch(Polygon(tip, fc=color, lw=0, zorder=order))
        x, y = x - 0.9 * head * dx, y - 0.9 * head * dy
    xs, ys = zip(*points, (x, y), strict=True)
    axes.plot(
        xs, ys, color=color, lw=width, zorder=order, solid_capstyle="butt", solid_joinstyle="round"
    )


def _paint_label(axes, label):
    font = {"size": label.size, "weight": label.weight, "style": label.style}
    _paint_text(axes, label.x, label.y, label.text, ha=label.align, **font)


def _paint_text(axes, x, y, text, ha="center", size=TEXT, **font):
    place = {"ha": ha, "va": "center_baseline", "zorder": 5}
    axes.text(
        x, y, text, color=INK, parse_math=False, family="sans-serif", size=size, **place, **font
    )


_PAINTERS = {
    Box: _paint_box,
    Frame: _paint_frame,
    Circle: _paint_circle,
    Arrow: _paint_arrow,
    Label: _paint_label,
}


def save_drawing(figure: "Figure", path: str | os.PathLike) -> None:
    """Writes a drawing as `.svg` or `.png`.

    SVG files keep their text as text; the same drawing always gives the same file.

    Args:
        figure: A figure of one of the `draw_...` functions.
        path: File to write; its suffix, `.svg` or `.png`, chooses the format.

    Raises:
        ConfigError: If the suffix is another one.
        SaveError: If the file cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> from keras_preact.drawing import draw_unit, save_drawing
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "unit.svg"
        >>> save_drawing(draw_unit(shortcut="dropout"), path)
        >>> "dropout 0.5" in path.read_text()
        True
    """
    suffix = suffix_of(path, SUFFIXES, "path")
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "keras_preact",
        "font.sans-serif": _FONTS,
    }
    nothing = {"Date": None, "Creator": None} if suffix == ".svg" else {"Software": None}
    try:
        with matplotlib.rc_context(settings):
            figure.savefig(path, format=suffix[1:], dpi=150, metadata=nothing)
    except OSError as error:
        raise save_error(error, "The drawing", path) from error
