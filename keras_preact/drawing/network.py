"""`draw_network`: a whole network as its stem, its stages and its head."""

import itertools
import math
import re
from typing import TYPE_CHECKING, Any

from keras_preact.config import ResNetConfig
from keras_preact.drawing.sheet import (
    BOX,
    GAP,
    TITLE,
    Arrow,
    Box,
    Frame,
    Label,
    Sheet,
    box_width,
    extent,
    moved,
    paint,
)
from keras_preact.drawing.stages import Stage, read_network
from keras_preact.drawing.variants import config_of
from keras_preact.residual import build_network, count_multiply_adds

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_network(
    network: ResNetConfig | str | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    classes: int | None = None,
    *,
    title: str | None = None,
    **fields: Any,
) -> "Figure":
    """Draws a network as its stem, its stages and its head, from the built model.

    The drawing shows what Table 1 of Deep Residual Learning (2015) lists: beside each part its
    output size, beside each stage the number of its units.

    Args:
        network: A `ResNetConfig`, or the name of a network (`"resnet110v2"`) or of a variant;
            `None` for the default config.
        input_shape: Shape of one image, `(height, width, channels)`; by default that of the
            network, or 32x32x3.
        classes: Number of classes; by default that of the network, or 10.
        title: Title above the drawing; by default the name of the network.
        **fields: Fields of the config to change, such as `units` or `shortcut`.

    Returns:
        A `matplotlib.figure.Figure`; `save_drawing` writes it.

    Raises:
        ConfigError: If a name, field or size is not allowed, or they do not go together.

    Example:
        >>> from keras_preact.drawing import draw_network
        >>> figure = draw_network("resnet20v2")
        >>> any("269,722 parameters" in text.get_text() for text in figure.axes[0].texts)
        True
    """
    config, _, defaults = config_of(network)
    config = config.replace(**fields)
    shape, count = defaults or ((32, 32, 3), 10)
    model = build_network(
        config,
        input_shape=input_shape or shape,
        classes=count if classes is None else classes,
        data_format="channels_last",
        dtype="float32",
        packaging="repeated",
    )
    if title is None:
        title = network if isinstance(network, str) else "residual network"
    return paint(_sheet(model, config, title))


def _sheet(model, config, title):
    parts = read_network(model)
    middle, y = [], 0.1
    sizes = [Label(0, y, "images", weight="bold")]
    texts: list[tuple[float, str, Any]] = [(y, _size(model.input_shape[1:]), "")]
    y += 0.1
    stages = [part for part in parts if isinstance(part, Stage)]
    width = box_width(*(step.text for stage in stages for step in stage.steps))
    for part in parts:
        middle.append(Arrow(((0, y), (0, y + GAP))))
        if isinstance(part, Stage):
            shapes, height = _place_stage(part, y + GAP, width, config.shortcut != "none")
        else:
            shapes, height = _place_row(part, y + GAP)
        middle += shapes
        y += GAP + height
        texts.append((y - height / 2, _size(part.size), part))
    low, high = extent(middle)
    shapes = [*sizes, *middle]
    for where, size, part in texts:
        shapes.append(Label(low - 0.25, where, size, "right"))
        if isinstance(part, Stage):
            shapes += _beside(part, high + 0.2, where)
    head = [Label(0, 0, title, size=TITLE, weight="bold")]
    foot = [Label(0, 0.2 * k, line) for k, line in enumerate(_facts(model, config))]
    return _framed(shapes, head, foot, y)


def _framed(shapes, head, foot, bottom):
    """Title, network and facts, each centred on the sheet."""
    margin = 0.15
    spans = [extent(part) for part in (shapes, head, foot)]
    width = max(high - low for low, high in spans) + 2 * margin
    placed = moved(head, width / 2, margin + 0.1)
    low, high = spans[0]
    placed += moved(shapes, width / 2 - (low + high) / 2, margin + 0.35)
    below = margin + 0.35 + bottom + 0.25
    placed += moved(foot, width / 2, below)
    return Sheet(width, below + 0.2 * len(foot) - 0.1 + margin, tuple(placed))


def _place_row(row, y):
    """Boxes side by side, and their height."""
    widths = [box_width(step.text) for step in row.steps]
    x = -sum(widths) / 2
    shapes = []
    for step, width in zip(row.steps, widths, strict=True):
        shapes.append(Box(x + width / 2, y + BOX / 2, width, step.text, step.kind))
        x += width
    return shapes, BOX


def _place_stage(stage, y, width, has_shortcut):
    """The convolutions of a unit in a frame, with more frames behind it for more units."""
    inner, gap = 0.16, 0.12
    side = 0.28 if has_shortcut else 0.0
    outer = width + 2 * (0.15 + side)
    height = 2 * inner + len(stage.steps) * BOX + (len(stage.steps) - 1) * gap
    cards = min(stage.units, 3) - 1
    shapes: list[Any] = [
        Frame(0.06 * k, y + height / 2 + 0.06 * k, outer, height) for k in range(cards, -1, -1)
    ]
    top, bottom = y + 0.07, y + height - 0.07
    if has_shortcut:
        x = -width / 2 - 0.18
        points = ((0, top), (x, top), (x, bottom), (0, bottom))
        shapes.append(Arrow(points, bold=True, head=False))
    before = y
    for k, step in enumerate(stage.steps):
        middle = y + inner + BOX / 2 + k * (BOX + gap)
        shapes.append(Arrow(((0, before), (0, middle - BOX / 2)), head=k > 0))
        shapes.append(Box(0, middle, width, step.text, step.kind))
        before = middle + BOX / 2
    shapes.append(Arrow(((0, before), (0, y + height)), head=False))
    return shapes, height + 0.06 * cards


def _beside(stage, x, y):
    """The text to the right of a stage: its number of units and which of them have a stride."""
    name = re.sub(r"(?<=[a-z])(?=\d)", " ", stage.name)
    words = "unit" if stage.units == 1 else "units"
    lines = [f"{name}: {stage.units} {words}"]
    if stage.strided:
        lines.append(f"unit {', '.join(map(str, stage.strided))} with stride 2")
    first = y - 0.1 * (len(lines) - 1)
    weights = itertools.chain(["bold"], itertools.repeat("normal"))
    return [
        Label(x, first + 0.2 * k, line, "left", weight=weight)
        for k, (line, weight) in enumerate(zip(lines, weights, strict=False))
    ]


def _size(shape):
    return " × ".join("any" if size is None else str(size) for size in shape)


def _facts(model, config):
    """The kind of units, and the size of the network."""
    parameters = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    sizes = f"{config.depth:,} layers, {parameters:,} parameters"
    if None not in model.input_shape[1:]:
        sizes += f", {count_multiply_adds(model):,} multiply-adds"
    return [_unit_words(config), sizes]


def _unit_words(config: ResNetConfig) -> str:
    words = [f"{config.block} units", f"placement {config.placement}"]
    if config.shortcut == "none":
        words.append("no shortcuts")
    else:
        words += [f"shortcut {config.shortcut}", f"option {config.projection}"]
    return ", ".join(words).replace("_", " ").replace("preact", "pre-act")
