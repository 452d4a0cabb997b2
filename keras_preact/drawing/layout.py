"""The shapes of units: the paths side by side, each from the top down."""

from collections.abc import Sequence
from typing import Any

from keras_preact.drawing.paths import UnitPaths
from keras_preact.drawing.sheet import (
    BOX,
    GAP,
    RADIUS,
    TEXT,
    Arrow,
    Box,
    Circle,
    Frame,
    Label,
    box_width,
    extent,
)

PITCH = BOX + GAP
_SPACE = 0.17
_LABEL = 0.2
_MARGIN = 0.06


def bottom(shapes: Sequence[Any]) -> float:
    """The y at which a unit ends, below the name of its output."""
    return max(shape.y for shape in shapes if isinstance(shape, Label)) + _LABEL / 2


def layout_units(*units: UnitPaths) -> list[Any]:
    """The shapes of one unit, or of several in a chain.

    They begin with the input at the top; the shortcut is at x = 0.
    """
    y = _LABEL
    shapes = _tensor(y / 2, "l", units[0].channels and units[0].channels[0])
    for k, paths in enumerate(units, 1):
        y = _unit(shapes, paths, y) + GAP
        shapes += _tensor(y + _LABEL / 2, f"l+{k}", paths.channels and paths.channels[1])
        y += _LABEL
    return shapes


def framed(shapes: Sequence[Any], start: int, end: int) -> list[Any]:
    """The shapes, with a frame around the boxes and circles `[start:end]`, from the top."""
    nodes = [shape for shape in shapes if isinstance(shape, Box | Circle)]
    left, right = extent(nodes)
    ys = sorted(node.y for node in nodes)[start:end]
    top, low = ys[0] - BOX / 2 - _MARGIN, ys[-1] + BOX / 2 + _MARGIN
    width = right - left + 2 * _MARGIN
    return [Frame((left + right) / 2, (top + low) / 2, width, low - top), *shapes]


def _unit(shapes, paths, y):
    """A unit below `y`, with the arrow to its output; returns the y at which it ends."""
    is_plain = paths.shortcut is None
    y = _run(shapes, 0, y, paths.entry, bold=not is_plain)
    if is_plain:
        y = _run(shapes, 0, y, paths.branch, bold=False)
    else:
        y = _two_paths(shapes, paths, y, *_columns(paths))
    y = _run(shapes, 0, y, paths.exit, bold=not is_plain)
    shapes.append(Arrow(((0, y), (0, y + GAP)), bold=not is_plain))
    return y


def _tensor(y, index, channels):
    """The name of the unit's input or output, at x = 0."""
    small, left = 0.75 * TEXT, 0.045
    labels = [
        Label(0, y, "x", weight="bold"),
        Label(left, y + 0.025, index, "left", small, style="italic"),
    ]
    if channels is not None:
        labels.append(Label(left + 0.055 * len(index), y, f", {channels}-d", "left"))
    return labels


def _columns(paths):
    """x of the gate and of the branch, as close to the shortcut as their boxes allow."""
    on_shortcut = [step.text for step in paths.shortcut or () if step.kind != "multiply"]
    right = box_width(*on_shortcut) / 2 if on_shortcut else 0.0
    x_gate = 0.0
    if paths.gate:
        half = box_width(*(step.text for step in paths.gate)) / 2
        carried = RADIUS + _SPACE + box_width(*(step.text for step in paths.carry)) + _SPACE
        x_gate = max(right + _SPACE + half, carried)
        right = x_gate + half
    half = box_width(*(step.text for step in paths.branch if step.kind != "multiply")) / 2
    return x_gate, right + _SPACE + half


def _run(shapes, x, y, steps, bold):
    """Boxes in a column, each with the arrow that leads to it; returns the y at which they end."""
    width = box_width(*(step.text for step in steps))
    for step in steps:
        shapes.append(Arrow(((x, y), (x, y + GAP)), bold=bold))
        shapes.append(Box(x, y + GAP + BOX / 2, width, step.text, step.kind))
        y += PITCH
    return y


def _two_paths(shapes, paths, y, x_gate, x_branch):
    """From the split of the paths to their addition; returns the y at which its circle ends."""
    lengths = [len(paths.branch), len(paths.shortcut), len(paths.gate) + bool(paths.gate)]
    rows = max(lengths)
    split = y + 0.12
    first = split + GAP + BOX / 2  # middle of the first row
    plus = first + rows * PITCH
    join = plus - PITCH
    end = plus - RADIUS

    _column(shapes, 0, y, end, first, rows, paths.shortcut, bold=True)
    shapes.append(Circle(0, plus, "+"))
    shapes.append(Arrow(((0, split), (x_branch, split)), head=False))
    _column(shapes, x_branch, split, plus, first, rows, paths.branch, head=False)
    shapes.append(Arrow(((x_branch, plus), (RADIUS, plus))))
    if paths.gate:
        _column(shapes, x_gate, split, join, first, rows - 1, paths.gate, head=False)
        _gate(shapes, paths, x_gate, x_branch, join)
    return plus + RADIUS


def _column(shapes, x, y, end, first, rows, steps, bold=False, head=True):
    """Steps in the middle rows, a product in the last one, and the arrows from `y` to `end`."""
    multiplies = bool(steps) and steps[-1].kind == "multiply"
    boxes = steps[: len(steps) - multiplies]
    width = box_width(*(step.text for step in boxes))
    row = (rows - multiplies - len(boxes)) / 2
    for k, step in enumerate(boxes):
        middle = first + (row + k) * PITCH
        shapes.append(Arrow(((x, y), (x, middle - BOX / 2)), bold=bold))
        shapes.append(Box(x, middle, width, step.text, step.kind))
        y = middle + BOX / 2
    if multiplies:
        middle = first + (rows - 1) * PITCH
        shapes.append(Arrow(((x, y), (x, middle - RADIUS)), bold=bold))
        shapes.append(Circle(x, middle, "×"))
        y = middle + RADIUS
    shapes.append(Arrow(((x, y), (x, end)), bold=bold, head=head))


def _gate(shapes, paths, x_gate, x_branch, y):
    """g to the branch, and 1 - g to the shortcut."""
    shapes.append(Label(x_gate + 0.06, y - 0.13, "g", "left"))
    width = box_width(*(step.text for step in paths.carry))
    x, last = x_gate, RADIUS
    for step in paths.carry[::-1][:1]:
        middle = (x_gate + RADIUS) / 2
        shapes.append(Arrow(((x, y), (middle + width / 2, y))))
        shapes.append(Box(middle, y, width, step.text, step.kind))
        x = middle - width / 2
    shapes.append(Arrow(((x, y), (last, y))))
    if paths.branch[-1].kind == "multiply":
        shapes.append(Arrow(((x_gate, y), (x_branch - RADIUS, y))))
