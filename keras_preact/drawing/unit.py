"""`draw_unit`: a residual unit as the papers draw it."""

from keras_preact.checked import is_whole, require
from keras_preact.drawing.paths import UnitPaths, read_unit
from keras_preact.drawing.sheet import (
    BOX,
    GAP,
    RADIUS,
    TEXT,
    TITLE,
    Arrow,
    Box,
    Circle,
    Label,
    Sheet,
    box_width,
    extent,
    legend,
    paint,
)
from keras_preact.drawing.variants import config_of
from keras_preact.residual.network import stage_units

PITCH = BOX + GAP
_SPACE = 0.17
_LABEL = 0.2


def draw_unit(
    network=None,
    filters=None,
    stride=None,
    in_channels=None,
    *,
    stage=None,
    unit=None,
    title=None,
    **fields,
):
    """A residual unit as the papers draw it, from the layers that it really has.

    As in Figures 2 and 4 of Identity Mappings (2016) the grey arrow is the shortcut, from the
    unit's input x_l to x_{l+1}, and beside it stands the branch, with the gate, if there is one,
    between the two.

    Args:
        network: A `ResNetConfig`, or the name of a variant (`"exclusive_gating"`) or of a network
            (`"resnet110v2"`); `None` for the default config.
        filters: Filters of the branch; `None`: the boxes name none.
        stride: Stride of the unit, 1 if not given.
        in_channels: Channels of its input; `None`: those of its output, half of them at a stride.
        stage: Stage of the network whose unit is wanted, from 1, instead of these three.
        unit: Which unit of that stage, from 1; the first if not given.
        title: What stands above the unit.
        **fields: Fields of the config to change, such as `placement` or `shortcut`.

    Returns:
        A `matplotlib.figure.Figure`; `save_drawing` writes it.

    Raises:
        ConfigError: For names, fields and sizes that are not allowed or make no unit.

    Example:
        >>> from keras_preact.drawing import draw_unit
        >>> figure = draw_unit("bottleneck", filters=64, placement="full_preactivation")
        >>> [text.get_text() for text in figure.axes[0].texts][3:6]
        ['BN', 'ReLU', '1×1 conv, 64']
    """
    config, given, _ = config_of(network)
    config = config.replace(**fields)
    sizes = {"filters": filters, "stride": stride, "in_channels": in_channels}
    sizes = {name: value for name, value in sizes.items() if value is not None}
    given = {**given, **sizes}
    require(unit is None or stage is not None, "unit", unit, "given with `stage`")
    if stage is not None:
        for name, value in sizes.items():
            require(False, name, value, "left out where `stage` is given, which says it")
        given = _unit_of_network(config, stage, 1 if unit is None else unit)
    shapes = layout_unit(read_unit(config, **given))
    return paint(sheet_of([("", title or "", shapes)]))


def _unit_of_network(config, stage, unit):
    """The arguments of `read_unit` for a unit of a network."""
    stages = len(config.units)
    valid = is_whole(stage) and 1 <= stage <= stages
    require(valid, "stage", stage, f"a whole number from 1 to {stages}")
    units = stage_units(config, stage)
    valid = is_whole(unit) and 1 <= unit <= len(units)
    require(valid, "unit", unit, f"a whole number from 1 to {len(units)}, the units of the stage")
    channels = (config.stem_filters, *config.stage_channels)
    chosen = units[unit - 1]
    return {
        "filters": chosen.filters,
        "stride": chosen.stride,
        "in_channels": channels[stage - 1 if unit == 1 else stage],
        "first": chosen.first,
    }


def sheet_of(units, columns=1, words="") -> Sheet:
    """Units in a grid, each with a title of letter and caption, and one legend for all.

    Args:
        units: `(letter, caption, shapes)` of each.
        columns: How many stand in a row.
        words: What stands below the grid.
    """
    rows = [units[k : k + columns] for k in range(0, len(units), columns)]
    captions = [[_caption(letter, caption) for letter, caption, _ in row] for row in rows]
    widths = [0.0] * columns
    for row, heads in zip(rows, captions, strict=True):
        for k, ((_, _, shapes), head) in enumerate(zip(row, heads, strict=True)):
            spans = [extent(part) for part in (shapes, head) if part]
            widths[k] = max(widths[k], *(high - low for low, high in spans))
    key = legend([shape for _, _, shapes in units for shape in shapes])
    margin, space = 0.1, 0.27
    inner = sum(widths) + space * (columns - 1)
    key_rows = _wrapped(key, max(inner, 4.0 if columns == 1 else inner))
    key_width = max(extent(row)[1] for row in key_rows)
    width = max(inner, key_width) + 2 * margin
    placed, y = [], margin
    for row, heads in zip(rows, captions, strict=True):
        top = max((0.2 * len(head) for head in heads), default=0) + 0.05 * any(heads)
        x = (width - inner) / 2
        for column, ((_, _, shapes), head) in enumerate(zip(row, heads, strict=True)):
            middle = x + widths[column] / 2
            low, high = extent(shapes)
            placed += Sheet(0, 0, head).moved(middle, y + 0.1)
            placed += Sheet(0, 0, shapes).moved(middle - (low + high) / 2, y + top)
            x += widths[column] + space
        y += top + max(bottom(shapes) for _, _, shapes in row) + 0.3
    for row in key_rows:
        placed += Sheet(0, 0, row).moved((width - extent(row)[1]) / 2, y)
        y += 0.24
    return Sheet(width, y - 0.12 + margin, tuple(placed))


def _caption(letter, caption):
    """The title's lines, around x = 0."""
    lines = caption.split("\n") if caption else []
    if letter:
        lines[0] = f"({letter}) {lines[0]}"
    return [Label(0, 0.2 * k, line, size=TITLE) for k, line in enumerate(lines)]


def _wrapped(key, width):
    """The legend's pairs of sign and words, as rows no wider than `width`."""
    rows, start = [[]], 0.0
    for pair in zip(key[::2], key[1::2], strict=True):
        low, high = extent(pair)
        if rows[-1] and high - start > width:
            rows.append([])
        if not rows[-1]:
            start = low
        rows[-1] += Sheet(0, 0, pair).moved(-start, 0)
    return rows


def bottom(shapes) -> float:
    """Where a unit ends: with the name of its output."""
    return max(shape.y for shape in shapes if isinstance(shape, Label)) + _LABEL / 2


def layout_unit(paths: UnitPaths) -> list:
    """The shapes of a unit, from its input at the top; its spine, the shortcut, is at x = 0."""
    is_plain = paths.shortcut is None
    x_gate, x_branch = _columns(paths)
    start, end = paths.channels or (None, None)
    shapes = _tensor(_LABEL / 2, "l", start)
    y = _LABEL
    spine = not is_plain
    y = _run(shapes, 0, y, paths.entry, bold=spine)
    if is_plain:
        y = _run(shapes, 0, y, paths.branch, bold=False)
    else:
        y = _two_paths(shapes, paths, y, x_gate, x_branch)
    y = _run(shapes, 0, y, paths.exit, bold=spine)
    shapes.append(Arrow(((0, y), (0, y + GAP)), bold=spine))
    return shapes + _tensor(y + GAP + _LABEL / 2, "l+1", end)


def _tensor(y, index, channels):
    """The unit's input or output, its x on the spine."""
    small, left = 0.75 * TEXT, 0.045
    labels = [
        Label(0, y, "x", weight="bold"),
        Label(left, y + 0.025, index, "left", small, style="italic"),
    ]
    if channels is not None:
        labels.append(Label(left + 0.055 * len(index), y, f", {channels}-d", "left"))
    return labels


def _columns(paths):
    """x of the gate and of the branch, as near to the spine as what stands there allows."""
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
    """Boxes one below the other, each with the arrow that leads to it; returns where they end."""
    width = box_width(*(step.text for step in steps))
    for step in steps:
        shapes.append(Arrow(((x, y), (x, y + GAP)), bold=bold))
        shapes.append(Box(x, y + GAP + BOX / 2, width, step.text, step.kind))
        y += PITCH
    return y


def _two_paths(shapes, paths, y, x_gate, x_branch):
    """From where the paths part to their addition; returns where its circle ends."""
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
    """Steps in the middle of the rows, a product in the last, and the arrows from `y` to `end`."""
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
    """g to the branch, and what is made of it to the shortcut."""
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
