"""`residual_unit`: the one function that builds every unit of every paper."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import keras

from keras_preact.config import EXPANSION, KERNELS, ResNetConfig
from keras_preact.errors import ConfigError
from keras_preact.layers import Repeat, StochasticDepth
from keras_preact.residual.parts import Parts
from keras_preact.shortcuts import SHORTCUTS, Paths, match_dimensions, projects


def residual_unit(
    x: keras.KerasTensor,
    filters: int,
    stride: int = 1,
    *,
    name: str | None = None,
    config: ResNetConfig | None = None,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    dtype: str | keras.DTypePolicy | None = None,
    **fields: Any,
) -> keras.KerasTensor:
    """Adds one residual unit to your own functional graph.

    x_{l+1} = f(h(x_l) + F(x_l)) (Identity Mappings, equations 1 and 2); the fields of the config
    choose h, F and f. The layers are named `{name}_conv1`, `{name}_norm1`, `{name}_act1`, ...

    Args:
        x: Input tensor, `(batch, height, width, channels)` or channels first; height and width may
            be `None`.
        filters: Filters of the branch; a bottleneck unit has four times as many output channels.
        stride: Stride of the unit; the output is `ceil(size / stride)` on each side.
        name: Prefix of the layer names; `None`: `residual_unit_1`, `residual_unit_2`, ...
        config: The `ResNetConfig` that describes the unit; `None` for the defaults.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras's global setting.
        dtype: dtype policy of the layers; `None` for Keras's global policy.
        **fields: Fields of the config to change, such as `block`, `placement` or `shortcut`.

    Returns:
        Tensor `(batch, ceil(height / stride), ceil(width / stride), filters * expansion)`, where
        `expansion` is 4 for bottleneck units and 1 for the others.

    Raises:
        ConfigError: If a field is unknown, has a value that is not allowed, or does not go with
            another field.

    Example:
        >>> import keras
        >>> from keras_preact import residual_unit
        >>> inputs = keras.Input((32, 32, 16), dtype="float32")
        >>> x = residual_unit(inputs, 32, stride=2, block="basic", shortcut="dropout", name="unit1")
        >>> x.shape
        (None, 16, 16, 32)
    """
    config = (config or ResNetConfig()).replace(**fields)
    name = name or f"residual_unit_{keras.backend.get_uid('residual_unit')}"
    unit = Unit(name, filters, stride, depth_rate=config.stochastic_depth)
    return build_unit(Parts(config, data_format, dtype), x, unit)


class Unit(NamedTuple):
    """What distinguishes one unit of a network from another.

    Attributes:
        name: Prefix of its layer names.
        filters: Filters of its branch.
        stride: Its stride.
        first: Whether it is the first unit of the network, directly after the stem.
        depth_rate: Probability that its branch is left out in training.
    """

    name: str
    filters: int
    stride: int = 1
    first: bool = False
    depth_rate: float = 0.0


def build_unit(parts: Parts, x: Any, unit: Unit) -> Any:
    """One unit, each layer in the graph of `x`."""
    config, (name, filters, stride, first, depth_rate) = parts.config, unit
    steps = config.steps
    path = _Branch(parts, name)
    activated = x if first and config.first_unit_entry == "stem" else path.apply(steps.before, x)
    y = activated
    for number, arguments in enumerate(_convolutions(config, filters, stride), start=1):
        if number == 2 and config.branch_dropout:
            y = parts.layer("Dropout", f"{name}_branch_dropout", config.branch_dropout)(y)
        y = path.conv(y, **arguments)
    if config.shortcut != "none":
        y = parts.scale_branch(y, name)
    if depth_rate:
        whole = config.stochastic_depth_by == "batch"
        how = {"noise_shape": (1 if whole else None, 1, 1, 1), "scale_at_inference": whole}
        y = parts.layer(StochasticDepth, f"{name}_depth", depth_rate, **how)(y)
    if config.shortcut != "none":
        channels = filters * EXPANSION[config.block]
        source = activated if _shares_activation(parts, x, channels, stride, first) else x
        h = match_dimensions(parts, source, channels, stride, name)
        y = SHORTCUTS[config.shortcut].join(parts, Paths(name, source, stride, h, y))
    for step in steps.after:
        y = getattr(parts, step)(y, f"{name}_{step}_out")
    return y


def build_nested_unit(parts: Parts, x: Any, unit: Unit) -> Any:
    """The same unit as one nested model, whose layers keep their names."""
    return _submodel(parts, x, unit)(x)


def build_repeated_units(
    parts: Parts, x: Any, units: Sequence[Unit], name: str, recompute: bool = False
) -> Any:
    """Units that differ only in their names, as one loop over stacked weights."""
    template = _submodel(parts, x, units[0]._replace(name="unit"))
    names, rates = [unit.name for unit in units], [unit.depth_rate for unit in units]
    arguments = {"recompute": recompute, "rates": rates if any(rates) else None}
    return parts.layer(Repeat, name, template, names, **arguments)(x)


def _submodel(parts, x, unit):
    inputs = keras.Input(batch_shape=x.shape, dtype=x.dtype, name=f"{unit.name}_input")
    return keras.Model(inputs, build_unit(parts, inputs, unit), name=unit.name)


class _Branch:
    """Applies a branch's steps and numbers them: the k-th norm is `norm{k}`."""

    def __init__(self, parts, name):
        self.parts, self.name = parts, name
        self.counts = {"conv": 0, "norm": 0, "act": 0}

    def next_name(self, kind):
        self.counts[kind] += 1
        return f"{self.name}_{kind}{self.counts[kind]}"

    def apply(self, steps, x, **of_norm):
        for step in steps:
            arguments = of_norm if step == "norm" else {}
            x = getattr(self.parts, step)(x, self.next_name(step), **arguments)
        return x

    def conv(self, x, **arguments):
        """The branch's next convolution and the steps that follow it."""
        parts, name = self.parts, self.next_name("conv")
        config, number = parts.config, self.counts["conv"]
        convolutions = len(KERNELS[config.block])
        zero = config.starts_at_zero if number == convolutions else None
        steps = config.steps.behind(number, convolutions)
        initializer = "zeros" if zero == "kernel" else parts.initializer(in_branch=True)
        arguments |= {"norm_follows": steps[:1] == ("norm",), "kernel_initializer": initializer}
        return self.apply(steps, parts.conv(x, name=name, **arguments), zero=zero == "norm")


def _convolutions(config, filters, stride):
    """The arguments of `Parts.conv` for each convolution of the branch."""
    kernels = KERNELS[config.block]
    if config.block == "basic2x2" and stride > 1:
        raise ConfigError(
            "A pair of 2x2 convolutions keeps the size of the feature map: block='basic2x2' goes "
            f"with stride=1. Received: stride={stride}."
        )
    inner = config.inner_filters(filters)
    strided = 1 if config.block == "bottleneck" and config.stride_on == "3x3" else 0
    for k, kernel in enumerate(kernels):
        last = k == len(kernels) - 1
        yield {
            "filters": filters * EXPANSION[config.block] if last else inner,
            "kernel": kernel,
            "stride": stride if k == strided else 1,
            # Even kernels have no centre: the first of a pair removes a pixel that the second adds.
            "margin": k if kernel == 2 else (kernel - 1) // 2,
            "groups": 1 if kernel == 1 else config.groups,
        }


def _shares_activation(parts, x, channels, stride, first):
    """Whether a pre-activation unit's shortcut starts at the activated tensor (2016, appendix).

    It does in a first unit whose activation precedes both paths, and, unless `projection_input` is
    "raw", where the shortcut changes the channels or is a projection.
    """
    config = parts.config
    if first and config.first_unit_entry in ("stem", "unit"):
        return True
    in_channels = parts.channels(x)
    changes = in_channels != channels or projects(config, in_channels, channels, stride)
    return changes and config.projection_input == "preactivated"
