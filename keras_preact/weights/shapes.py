"""`config_of`: the architecture of a network, from the shapes of its weights."""

import re
from typing import Any

import numpy as np

from keras_preact.checked import require
from keras_preact.config import EXPANSION, KERNELS, ResNetConfig
from keras_preact.errors import ConfigError
from keras_preact.weights.by_layer import Weights
from keras_preact.weights.layouts import Layout
from keras_preact.weights.own import Layer, fields_of


def config_of(
    weights: Weights,
    layout: Layout,
    layers: dict[str, Layer] | None = None,
    fields: dict[str, Any] | None = None,
) -> ResNetConfig:
    """The config of a network; its depth, blocks and widths are read from the weights' shapes.

    Args:
        weights: Weights by our layer names.
        layout: The layer names of their library, and the fields of its networks.
        layers: The layers of a network of this package, of `layers_of`, which give all other
            fields.
        fields: Fields from a file beside the weights.

    Returns:
        The config.

    Raises:
        ConfigError: If no config describes the network.
    """

    def called(layer):
        return layout.theirs(layer) or layer

    def shape(layer):
        values = weights.get(layer, {})
        if np.ndim(values.get("0")) != 4:
            raise ConfigError(
                f"The weights of a {layout.name} must include the kernel of {called(layer)!r}. "
                f"Received: {len(weights)} layers without it."
            )
        return values["0"].shape

    stages: dict[int, set[int]] = {}
    for layer in weights:
        if match := re.match(r"stage(\d+)_unit(\d+)_conv\d+", layer):
            stage, unit = map(int, match.groups())
            stages.setdefault(stage, set()).add(unit)
    for seen, what in ((stages, "stages"), *((units, "units") for units in stages.values())):
        expected = "numbered without gaps"
        require(max(seen, default=0) == len(seen), what, sorted(seen)[-3:], expected)
    units = [len(stages[stage]) for stage in sorted(stages)] or [1]
    convs = [layer for layer in weights if re.fullmatch(r"stage1_unit1_conv\d+", layer)]
    kernels = tuple(shape(f"stage1_unit1_conv{k + 1}")[0] for k in range(len(convs)))
    block = next((block for block, sizes in KERNELS.items() if sizes == kernels), None)
    sizes = f"one of {', '.join(map(str, KERNELS.values()))}"
    if block is None:
        raise ConfigError(
            f"The kernel sizes of a unit must be {sizes}. Received: kernel sizes {kernels}."
        )
    lasts = (f"stage{stage}_unit1_conv{len(kernels)}" for stage in range(1, len(units) + 1))
    filters = [max(1, shape(last)[3] // EXPANSION[block]) for last in lasts]
    inner: dict[str, Any] = {}
    if block == "bottleneck":
        *_, taken, given = shape("stage1_unit1_conv2")
        inner = {"width": given / filters[0], "groups": given // max(1, taken)}
    stem, deep = shape("stem_conv"), "stem_conv3" in weights
    return ResNetConfig(
        block=block,
        units=tuple(units),
        filters=tuple(filters),
        **inner,
        stem="deep" if deep else "conv",
        stem_filters=shape("stem_conv3" if deep else "stem_conv")[3],
        stem_kernel=stem[0],
        **(fields_of(layers, units) if layers else {**layout.fields, **(fields or {})}),
    )
