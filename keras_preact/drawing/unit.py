"""`draw_unit`: a residual unit as the papers draw it."""

from typing import TYPE_CHECKING, Any

from keras_preact.checked import is_whole, require
from keras_preact.config import ResNetConfig
from keras_preact.drawing.grid import sheet_of
from keras_preact.drawing.layout import layout_units
from keras_preact.drawing.paths import read_unit
from keras_preact.drawing.sheet import paint
from keras_preact.drawing.variants import config_of
from keras_preact.residual.network import stage_units

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_unit(
    network: ResNetConfig | str | None = None,
    filters: int | None = None,
    stride: int | None = None,
    in_channels: int | None = None,
    *,
    stage: int | None = None,
    unit: int | None = None,
    title: str | None = None,
    **fields: Any,
) -> "Figure":
    """Draws a residual unit as the papers do, from the layers that are built for it.

    As in Figures 2 and 4 of Identity Mappings (2016), the grey arrow is the shortcut, from the
    unit's input x_l to x_{l+1}. The branch is beside it, and the gate, if there is one, between
    the two.

    Args:
        network: A `ResNetConfig`, or the name of a variant (`"exclusive_gating"`) or of a network
            (`"resnet110v2"`); `None` for the default config.
        filters: Filters of the branch; `None`: the boxes show no numbers of filters.
        stride: Stride of the unit; 1 by default.
        in_channels: Channels of its input; `None`: as many as its output has, or half of them if
            the stride is above 1.
        stage: Draws a unit of this stage of the network, counted from 1; replaces `filters`,
            `stride` and `in_channels`.
        unit: Number of the unit in that stage, counted from 1; the first by default.
        title: Title above the unit.
        **fields: Fields of the config to change, such as `placement` or `shortcut`.

    Returns:
        A `matplotlib.figure.Figure`; `save_drawing` writes it.

    Raises:
        ConfigError: If a name, field or size is not allowed, or they do not go together.

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
    require(unit is None or stage is not None, "unit", unit, "None unless `stage` is given")
    if stage is not None:
        for name, value in sizes.items():
            require(False, name, value, "None if `stage` is given, which determines it")
        given = _unit_of_network(config, stage, 1 if unit is None else unit)
    shapes = layout_units(read_unit(config, **given))
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
        "depth_rate": chosen.depth_rate,
    }
