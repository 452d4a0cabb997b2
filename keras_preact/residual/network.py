"""`build_network`: stem, stages and head, from a config to a `keras.Model`."""

from typing import Literal, get_args

import keras

from keras_preact.checked import is_whole, require
from keras_preact.config import KERNELS, ResNetConfig
from keras_preact.errors import ConfigError, quoted
from keras_preact.layers import SpatialPyramidPooling
from keras_preact.residual.parts import Parts
from keras_preact.residual.unit import (
    Unit,
    build_nested_unit,
    build_repeated_units,
    build_unit,
)

#: A Keras graph is walked recursively, one Python call a chained layer, so at Python's default
#: recursion limit of 1000 it ends at about 987 of them. Beyond the first figure "auto" repeats the
#: units, beyond the second a packaging is refused.
AUTO_FLAT_LAYERS = 750
MAX_CHAINED_LAYERS = 900

Packaging = Literal["auto", "flat", "nested", "repeated"]
PACKAGINGS: tuple[Packaging, ...] = get_args(Packaging)


def build_network(
    config: ResNetConfig,
    *,
    input_shape: tuple[int | None, int | None, int | None] | None = None,
    input_tensor: keras.KerasTensor | None = None,
    include_top: bool = True,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = 10,
    classifier_activation: str | None = "softmax",
    data_format: Literal["channels_last", "channels_first"] | None = None,
    dtype: str | keras.DTypePolicy | None = None,
    packaging: Packaging = "auto",
    recompute: bool = False,
    name: str = "resnet",
) -> keras.Model:
    """Builds the network that a `ResNetConfig` describes, as a functional `keras.Model`.

    Args:
        config: The architecture.
        input_shape: Shape of one image, `(height, width, channels)` or channels first; height and
            width may be `None`. Required unless `input_tensor` is given.
        input_tensor: Keras tensor to use as input, such as another layer's output.
        include_top: Whether the network ends with global pooling and a classifier.
        pooling: With `include_top=False`: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes; `None` only with `include_top=False`.
        classifier_activation: Activation of the classifier; `None` gives logits.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras's global setting.
        dtype: dtype policy of the layers, such as `"mixed_bfloat16"`; `None` for Keras's global
            policy. Under a mixed policy, average pooling and the classifier compute in float32.
        packaging: `"flat"` (every layer in the graph), `"nested"` (one nested model per unit),
            `"repeated"` (the identical units of a stage as one loop over stacked weights) or
            `"auto"`: flat up to about 750 chained layers, repeated beyond. The names and values of
            the weights are the same in all of them.
        recompute: Whether the backward pass computes each unit's activations again instead of
            storing them: much less memory for about a third more time. Not with `"flat"`.
        name: Name of the model.

    Returns:
        A functional `keras.Model` that maps images `(batch, *input_shape)` to scores
        `(batch, classes)`; with `include_top=False`, to feature maps or, with `pooling`, to
        features `(batch, channels)`.

    Raises:
        ConfigError: If an argument has a value that is not allowed, or the image is too small.

    Example:
        >>> from keras_preact import ResNetConfig, build_network
        >>> model = build_network(ResNetConfig(units=(1, 1, 1)), input_shape=(32, 32, 3))
        >>> model.count_params() > 70_000
        True
    """
    require(isinstance(include_top, bool), "include_top", include_top, "True or False")
    require(isinstance(recompute, bool), "recompute", recompute, "True or False")
    packaging = _packaging(config, packaging, recompute)
    parts = Parts(config, data_format, dtype)
    inputs = _inputs(input_shape, input_tensor, parts)
    x = _stem(parts, inputs)
    for stage in range(1, len(config.units) + 1):
        if stage > 1 and config.downsample_by == "max_pool":
            x = parts.max_pool(x, 2, 2, f"stage{stage}_pool")
        for units in _groups(config, stage, packaging):
            if len(units) > 1:
                x = build_repeated_units(parts, x, units, f"stage{stage}_units", recompute)
            elif recompute or (packaging == "repeated" and skips(config)):
                x = build_repeated_units(parts, x, units, units[0].name, recompute)
            else:
                build = build_nested_unit if packaging == "nested" else build_unit
                x = build(parts, x, units[0])
        x = parts.layer(keras.layers.Identity, f"stage{stage}")(x)
    for step in config.steps.head:
        x = getattr(parts, step)(x, f"head_{step}")
    x = _head(parts, x, include_top, pooling, classes, classifier_activation)
    if input_tensor is not None:
        sources = keras.utils.get_source_inputs(input_tensor)
        inputs = sources[0] if len(sources) == 1 else sources
    model = keras.Model(inputs, x, name=name)
    model.dtype_policy = parts.policy  # so that `compile` scales the loss under float16
    return model


def _packaging(config, packaging, recompute):
    """The packaging to build; a `ConfigError` where Keras could not handle the one requested."""
    require(packaging in PACKAGINGS, "packaging", packaging, f"one of {quoted(PACKAGINGS)}")
    units = sum(config.units)
    # Flat: norm, act and conv of each weight layer, then what joins the paths.
    flat = units * (3 * len(KERNELS[config.block]) + 2)
    if packaging == "auto":
        chains = flat <= AUTO_FLAT_LAYERS and not recompute and not skips(config)
        return "flat" if chains else "repeated"
    if recompute and packaging == "flat":
        raise ConfigError(
            "recompute=True works a unit at a time, so each unit must be a single layer: use "
            "packaging='nested', 'repeated' or 'auto'. Received: packaging='flat'."
        )
    chained = {"flat": flat, "nested": units}.get(packaging, 0)
    if chained > MAX_CHAINED_LAYERS:
        raise ConfigError(
            f"packaging={packaging!r} would chain about {chained} layers, and Keras "
            f"walks a graph recursively: beyond {MAX_CHAINED_LAYERS} the model could not be saved "
            "or loaded at Python's default recursion limit. Use packaging='repeated' or 'auto', or "
            f"fewer units. Received: units={config.units}."
        )
    return packaging


def skips(config: ResNetConfig) -> bool:
    """Whether units save the time of branches that stochastic depth leaves out, in a loop."""
    return config.stochastic_depth > 0 and config.stochastic_depth_by == "batch"


def stage_units(config: ResNetConfig, stage: int) -> list[Unit]:
    """The units of a stage, both counted from 1."""
    before = sum(config.units[: stage - 1])
    return [
        Unit(
            f"stage{stage}_unit{number}",
            config.filters[stage - 1],
            _stride(config, stage, number),
            first=stage == number == 1,
            depth_rate=config.depth_rate(before + number),
        )
        for number in range(1, config.units[stage - 1] + 1)
    ]


def _groups(config, stage, packaging):
    """The units of a stage, as lists of those that one loop can run."""
    groups = []
    for number, unit in enumerate(stage_units(config, stage), start=1):
        # The first unit of a stage may change the channels, a strided one changes the map.
        identical = packaging == "repeated" and number > 2 and unit.stride == 1
        if identical:
            groups[-1].append(unit)
        else:
            groups.append([unit])
    return groups


def _stride(config, stage, unit):
    """2 in the units that halve the map: the first of a stage, or the last of the one before."""
    if config.downsample_by == "max_pool":
        return 1
    if config.downsample_at == "first_unit":
        return 2 if unit == 1 and stage > 1 else 1
    return 2 if unit == config.units[stage - 1] and stage < len(config.units) else 1


def _inputs(input_shape, input_tensor, parts):
    if input_tensor is not None:
        require(
            keras.utils.is_keras_tensor(input_tensor),
            "input_tensor",
            type(input_tensor).__name__,
            "a Keras tensor, such as keras.Input(...) or the output of a layer",
        )
        if input_shape is not None:
            same = tuple(input_tensor.shape[1:]) == tuple(input_shape)
            expected = "omitted, or equal to the shape of `input_tensor`"
            require(same, "input_shape", input_shape, expected)
        require(len(input_tensor.shape) == 4, "input_tensor", input_tensor.shape, "of rank 4")
        channels = parts.channels(input_tensor)
        expected = "a tensor with a known number of channels"
        require(channels is not None, "input_tensor", input_tensor.shape, expected)
        return input_tensor
    sizes = "(channels, height, width)" if parts.channel_axis == 1 else "(height, width, channels)"
    expected = f"{sizes}, whole numbers of at least 1; only height and width may be None"
    valid = isinstance(input_shape, (tuple, list)) and len(input_shape) == 3
    valid = valid and input_shape[0 if parts.channel_axis == 1 else 2] is not None
    valid = valid and all(s is None or (is_whole(s) and s >= 1) for s in input_shape)
    require(valid, "input_shape", input_shape, expected)
    shape = tuple(None if size is None else int(size) for size in input_shape)
    return keras.Input(shape, name="images")


def _stem(parts, x):
    """The first convolutions, with whatever the first unit does not do itself, then pooling."""
    config = parts.config
    before = config.steps.before
    in_unit = before if config.first_unit_entry in ("unit", "branch") else ()
    whole = before if "norm" in before else ("norm", "act")
    steps = [step for step in whole if step not in in_unit]
    names, margin = ["stem_conv"], None if config.stem_padded else 0
    if config.stem == "deep":
        names += ["stem_conv2", "stem_conv3"]
    for k, name in enumerate(names, start=1):
        last = k == len(names)
        x = parts.conv(
            x,
            config.stem_filters if last else config.stem_filters // 2,
            config.stem_kernel,
            name,
            stride=config.stem_stride if k == 1 else 1,
            margin=margin,
            norm_follows=not last or "norm" in steps,
        )
        if not last:
            x = parts.act(parts.norm(x, f"stem_norm{k}"), f"stem_act{k}")
    for step in steps:
        x = getattr(parts, step)(x, f"stem_{step}")
    if config.stem_pool:
        x = parts.max_pool(
            x,
            config.stem_pool_size,
            config.stem_pool_stride,
            "stem_pool",
            padded=config.stem_padded,
            padding=config.stem_pool_padding,
        )
    return x


def _head(parts, x, include_top, pooling, classes, classifier_activation):
    """Pooling, dense layers and classifier; pooling and classifier in float32 if mixed."""
    poolings = {
        "avg": ("avg_pool", keras.layers.GlobalAveragePooling2D),
        "max": ("max_pool", keras.layers.GlobalMaxPooling2D),
    }
    allowed = f"None, {quoted(poolings)}"
    require(pooling is None or pooling in poolings, "pooling", pooling, allowed)
    dtype = parts.policy.variable_dtype
    if include_top and parts.config.pyramid:
        x = parts.spatial(SpatialPyramidPooling, "pyramid", parts.config.pyramid)(x)
    elif include_top or pooling is not None:
        pool_name, pool = poolings["avg" if include_top or pooling is None else pooling]
        x = pool(data_format=parts.data_format, dtype=dtype, name=pool_name)(x)
    if not include_top:
        return x
    require(is_whole(classes) and classes >= 1, "classes", classes, "a whole number of at least 1")
    x = parts.offset(_dense(parts, x), "predictions")
    stddev, initializers = parts.config.dense_stddev, keras.initializers
    # The default of the reference code's classifier: uniform in ±1/sqrt(inputs).
    initializer = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    if parts.config.normalization == "fixup":
        initializer = initializers.Zeros()
    elif stddev is not None:
        initializer = initializers.RandomNormal(stddev=stddev / 10)
    return keras.layers.Dense(
        int(classes),
        activation=_classifier_activation(classifier_activation),
        kernel_initializer=initializer,
        dtype=dtype,
        name="predictions",
    )(x)


def _dense(parts, x):
    """The hidden dense layers, each with activation and dropout."""
    stddev = parts.config.dense_stddev
    for number, units in enumerate(parts.config.dense, 1):
        initializer = parts.initializer()
        if stddev is not None:
            initializer = keras.initializers.RandomNormal(stddev=stddev)
        name = f"fc{number}"
        x = parts.offset(x, name)
        x = parts.layer(keras.layers.Dense, name, units, kernel_initializer=initializer)(x)
        x = parts.act(x, f"{name}_act")
        x = parts.layer(keras.layers.Dropout, f"{name}_dropout", parts.config.dense_dropout)(x)
    return x


def _classifier_activation(name):
    try:
        return keras.activations.get(name)
    except ValueError:
        expected = "None (logits), 'softmax' or the name of a Keras activation"
        raise ConfigError(
            f"`classifier_activation` must be {expected}. Received: classifier_activation={name!r}."
        ) from None
