"""Shortcuts: the dimension changes of the 2015 paper and the types of the 2016 paper, as a table.

`match_dimensions` gives the shortcut the branch's shape; the functions of `SHORTCUTS` then join the
two paths (Identity Mappings, Figure 2 and Table 1), one small function per type. They ask `Parts`
for layers by Keras's names, since a config, to which this table belongs, is made without Keras.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Shortcut = Literal[
    "identity",
    "constant_scaling",
    "exclusive_gating",
    "shortcut_only_gating",
    "conv1x1",
    "dropout",
    "none",
]


class Paths(NamedTuple):
    """The two paths of a unit, ready to be joined.

    Attributes:
        name: The unit's name.
        source: Input of the shortcut, before any change of dimensions.
        stride: The unit's stride.
        shortcut: h(x), with the branch's dimensions.
        branch: F(x).
    """

    name: str
    source: Any
    stride: int
    shortcut: Any
    branch: Any


def projects(config: Any, in_channels: int, channels: int, stride: int) -> bool:
    """Whether a unit's shortcut is a 1x1 convolution."""
    if config.projects_every_unit:
        return True
    if config.projection == "A":
        return False
    return in_channels != channels or (stride > 1 and config.subsample_shortcut == "projection")


def match_dimensions(parts: Any, source: Any, channels: int, stride: int, name: str) -> Any:
    """The shortcut with the branch's dimensions (2015, section 3.3, options A, B and C)."""
    config, in_channels = parts.config, parts.channels(source)
    if projects(config, in_channels, channels, stride):
        norm = config.projection_norm
        if norm is None:
            norm = "norm" in config.steps.last
        if stride > 1 and config.projection_stride == "avg_pool":
            source, stride = parts.average_pool(source, stride, f"{name}_shortcut_avg_pool"), 1
        h = parts.conv(
            source, channels, 1, f"{name}_shortcut_conv", stride=stride, norm_follows=norm
        )
        return parts.norm(h, f"{name}_shortcut_norm") if norm else h
    h = source
    if stride > 1:
        h = parts.subsample(h, stride, f"{name}_shortcut_pool")
    if in_channels != channels:
        h = parts.pad_channels(h, channels, f"{name}_shortcut_pad")
    return h


def add(parts: Any, paths: Paths) -> Any:
    """h + F: identity shortcuts and 1x1 convolutions (Figure 2a, 2e)."""
    return parts.layer("Add", f"{paths.name}_add")([paths.shortcut, paths.branch])


def constant_scaling(parts: Any, paths: Paths) -> Any:
    """λ h + s F (Figure 2b; 0.5 and 0.5 is the row of Table 1 that trains)."""
    config = parts.config
    h = _scaled(parts, paths.shortcut, config.shortcut_scale, f"{paths.name}_shortcut_scale")
    branch = _scaled(parts, paths.branch, config.branch_scale, f"{paths.name}_branch_scale")
    return add(parts, paths._replace(shortcut=h, branch=branch))


def exclusive_gating(parts: Any, paths: Paths) -> Any:
    """(1 - g) h + g F, element-wise (Figure 2c, as in Highway Networks)."""
    gate = _gate(parts, paths)
    branch = parts.layer("Multiply", f"{paths.name}_branch_scale")([gate, paths.branch])
    return add(parts, _carried(parts, paths, gate)._replace(branch=branch))


def shortcut_only_gating(parts: Any, paths: Paths) -> Any:
    """(1 - g) h + F, element-wise (Figure 2d)."""
    return add(parts, _carried(parts, paths, _gate(parts, paths)))


def dropout(parts: Any, paths: Paths) -> Any:
    """dropout(h) + F, with Keras's inverted dropout (Figure 2f)."""
    name = f"{paths.name}_shortcut_dropout"
    h = parts.layer("Dropout", name, parts.config.dropout_rate)(paths.shortcut)
    return add(parts, paths._replace(shortcut=h))


def _scaled(parts, x, scale, name, offset=0.0):
    return parts.layer("Rescaling", name, scale, offset)(x)


def _gate(parts, paths):
    """g = sigmoid(1x1 convolution of the shortcut's input + bias).

    The paper does not say what a gate does where dimensions change, nor how its kernel is
    initialised. Here it has one value per channel and position of the output, so it has the stride
    of its unit, and its kernel is initialised like every other kernel.
    """
    return parts.conv(
        paths.source,
        parts.channels(paths.branch),
        1,
        f"{paths.name}_gate",
        stride=paths.stride,
        activation="sigmoid",
        use_bias=True,
        bias_initializer=parts.constant(parts.config.gate_bias),
    )


def _carried(parts, paths, gate):
    """The paths with (1 - g) h for the shortcut."""
    carry = _scaled(parts, gate, -1.0, f"{paths.name}_gate_carry", offset=1.0)
    multiply = parts.layer("Multiply", f"{paths.name}_shortcut_scale")
    return paths._replace(shortcut=multiply([carry, paths.shortcut]))


class ShortcutType(NamedTuple):
    """A type of shortcut.

    Attributes:
        join: Function of the `Parts` of a network and a unit's `Paths` to its output.
        layers: What tells it in a graph: the ends of its layers' names, each with the fields of the
            config that the layer holds, and what Keras calls them there.
    """

    join: Callable
    layers: Mapping[str, dict[str, str]] = MappingProxyType({})


SHORTCUTS: dict[Shortcut, ShortcutType] = {
    "identity": ShortcutType(add),
    "conv1x1": ShortcutType(add),
    "constant_scaling": ShortcutType(
        constant_scaling,
        {
            "shortcut_scale": {"shortcut_scale": "scale"},
            "branch_scale": {"branch_scale": "scale"},
        },
    ),
    "exclusive_gating": ShortcutType(
        exclusive_gating, {"gate": {}, "shortcut_scale": {}, "branch_scale": {}}
    ),
    "shortcut_only_gating": ShortcutType(shortcut_only_gating, {"gate": {}, "shortcut_scale": {}}),
    "dropout": ShortcutType(dropout, {"shortcut_dropout": {"dropout_rate": "rate"}}),
}
