"""The steps on the paths of a residual unit, read from the graph that `build_unit` makes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from keras_preact.checked import is_whole, require
from keras_preact.config import EXPANSION, ResNetConfig
from keras_preact.drawing.labels import Step, steps_of
from keras_preact.residual.parts import Parts
from keras_preact.residual.unit import Unit, build_unit


class UnitPaths(NamedTuple):
    """The steps of a unit, path by path, each in the order in which they are computed.

    Attributes:
        entry: Steps before the paths split.
        branch: F(x); ends with a step of kind `"multiply"` if it is multiplied by a gate.
        shortcut: h(x), empty for an identity, `None` without a shortcut; ends with a step of kind
            `"multiply"` if it is multiplied by a gate.
        gate: g(x), empty without a gate.
        carry: 1 - g, between the gate and the shortcut.
        exit: Steps after the addition.
        channels: Channels of the unit's input and output; `None` if no filters were given.
    """

    entry: tuple[Step, ...] = ()
    branch: tuple[Step, ...] = ()
    shortcut: tuple[Step, ...] | None = None
    gate: tuple[Step, ...] = ()
    carry: tuple[Step, ...] = ()
    exit: tuple[Step, ...] = ()
    channels: tuple[int, int] | None = None


def read_unit(
    config: ResNetConfig,
    filters: int | None = None,
    stride: int = 1,
    in_channels: int | None = None,
    *,
    first: bool = False,
    depth_rate: float | None = None,
) -> UnitPaths:
    """Reads the paths of a unit from the layers that are built for it.

    Args:
        config: A `ResNetConfig`.
        filters: Filters of the branch; `None` for steps without numbers of filters.
        stride: The unit's stride.
        in_channels: Channels of its input; `None`: as many as its output has, or half of them if
            the stride is above 1.
        first: Whether it is the first unit of the network, directly after the stem.
        depth_rate: Probability that its branch is left out in training; `None`: as in the last unit
            of the network.

    Returns:
        The unit's `UnitPaths`.

    Raises:
        ConfigError: If an argument is not allowed, or they do not go together.

    Example:
        >>> from keras_preact import ResNetConfig
        >>> from keras_preact.drawing import read_unit
        >>> paths = read_unit(ResNetConfig(shortcut="dropout"), filters=16)
        >>> [step.text for step in paths.branch]
        ['BN', 'ReLU', '3×3 conv, 16', 'BN', 'ReLU', '3×3 conv, 16']
        >>> [step.text for step in paths.shortcut]
        ['dropout 0.5']
    """
    for name, value in {"filters": filters, "in_channels": in_channels}.items():
        valid = value is None or (is_whole(value) and value >= 1)
        require(valid, name, value, "a whole number of at least 1, or None")
    require(is_whole(stride) and stride >= 1, "stride", stride, "a whole number of at least 1")
    counted = filters is not None
    expected = "None unless `filters` is given"
    require(counted or in_channels is None, "in_channels", in_channels, expected)
    filters = filters or 16
    channels = filters * EXPANSION[config.block]
    in_channels = in_channels or (channels if stride == 1 else max(1, channels // 2))
    inputs = keras.Input((None, None, in_channels), dtype="float32")
    rate = config.stochastic_depth if depth_rate is None else depth_rate
    unit = Unit("unit", filters, stride, first, rate)
    outputs = build_unit(Parts(config, "channels_last", "float32"), inputs, unit)
    paths = _read(Graph(keras.Model(inputs, outputs)), counted)
    return paths._replace(channels=(in_channels, channels) if counted else None)


class Graph:
    """A functional model, traversed backwards.

    Args:
        model: A functional `keras.Model`.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self._makers = {id(operation.output): operation for operation in model.operations}

    def chain(self, tensor: Any, until: Sequence[Any] = ()) -> tuple[list[Any], Any]:
        """The operations that lead to a tensor, in order, and the one at which they begin.

        Where two paths meet, this package's layers list the main one last.

        Args:
            tensor: The tensor to start from.
            until: Operations at which to stop, as at the model's input.
        """
        chain = []
        operation = self._makers[id(tensor)]
        while operation not in until and not isinstance(operation, keras.layers.InputLayer):
            chain.append(operation)
            operation = self._makers[id(keras.tree.flatten(operation.input)[-1])]
        return chain[::-1], operation


def _read(graph, counted):
    def steps(operations):
        return tuple(step for operation in operations for step in steps_of(operation, counted))

    main, _ = graph.chain(graph.model.output)
    additions = [k for k, operation in enumerate(main) if isinstance(operation, keras.layers.Add)]
    if not additions:
        return UnitPaths(branch=steps(main))
    end = additions[-1]
    shortcut, start = graph.chain(main[end].input[0], until=main[:end])
    begin = main.index(start) + 1 if start in main else 0
    gate, carry = _gate(graph, [*main[begin:end], *shortcut], until=main[:end])
    return UnitPaths(
        entry=steps(main[:begin]),
        branch=steps(main[begin:end]),
        shortcut=steps(shortcut),
        gate=steps(gate),
        carry=steps(carry),
        exit=steps(main[end + 1 :]),
    )


def _gate(graph, operations, until):
    """The operations that compute g, and those that compute 1 - g from it."""
    gates = [
        graph.chain(operation.input[0], until)[0]
        for operation in operations
        if isinstance(operation, keras.layers.Multiply)
    ]
    longest = max(gates, key=len, default=[])
    carry = [layer for layer in longest if isinstance(layer, keras.layers.Rescaling)]
    return [layer for layer in longest if layer not in carry], carry
