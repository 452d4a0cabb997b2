"""`accelerate`, `portable`, `unrolled`: the same network in other layers."""

import keras

from keras_preact.errors import ConfigError
from keras_preact.layers import (
    BatchNormalization,
    Conv2D,
    PReLU,
    Repeat,
    ScalarAffine,
    SpatialPyramidPooling,
    StandardizedConv2D,
    StochasticDepth,
)
from keras_preact.layers.standardized_conv import standardized
from keras_preact.rewrite.graph import carry_weights, is_graph, rebuild, same
from keras_preact.rewrite.policy import with_policy
from keras_preact.rewrite.pyramid import is_stock_pyramid, read_pyramid, stock_pyramid


def _of(cls):
    """A replacement by a layer of another class with the same arguments and weights."""
    return lambda config, values: (cls.from_config(config), values)


def _in_groups(config, values):
    """Convolutions without groups are as fast in Keras's own layer."""
    cls = Conv2D if config["groups"] > 1 else keras.layers.Conv2D
    return cls.from_config(config), values


def _constant(config, values):
    """The numbers that a `ScalarAffine` has learned."""
    left = iter(values)
    scale = 1.0 if config["scale"] is None else float(next(left))
    bias = 0.0 if config["bias"] is None else float(next(left))
    named = {key: config[key] for key in ("name", "dtype")}
    return keras.layers.Rescaling(scale, bias, **named), []


def _plain(config, values):
    """The convolution with the kernel that a `StandardizedConv2D` makes of its own."""
    gain, (kernel, *bias) = config.pop("gain"), values
    kernel = keras.ops.convert_to_numpy(standardized(kernel, gain))
    return keras.layers.Conv2D.from_config(config), [kernel, *bias]


def _kept(config, values):
    """In place of `StochasticDepth`: the branch as it is at inference."""
    named = {key: config[key] for key in ("name", "dtype")}
    if config["scale_at_inference"]:
        return keras.layers.Rescaling(1 - config["rate"], **named), values
    return keras.layers.Identity(**named), values


def _stock_depth(config, values):
    """Keras's `Dropout` has its factor in training, nothing has it at inference alone."""
    if config["scale_at_inference"]:
        return _kept(config, values)
    del config["scale_at_inference"]
    return keras.layers.Dropout.from_config(config), values


#: Keras's layers and their replacements: functions of a layer's config and weights to another layer
#: and its weights.
FASTER = {
    keras.layers.BatchNormalization: _of(BatchNormalization),
    keras.layers.Conv2D: _in_groups,
    keras.layers.PReLU: _of(PReLU),
}
STOCK = {
    BatchNormalization: _of(keras.layers.BatchNormalization),
    Conv2D: _of(keras.layers.Conv2D),
    PReLU: _of(keras.layers.PReLU),
    StochasticDepth: _stock_depth,
    ScalarAffine: _constant,
    StandardizedConv2D: _plain,
}


def accelerate(model: keras.Model) -> keras.Model:
    """A copy of a model with this package's faster layers in place of Keras's.

    Outputs and gradients stay the same. The layers are those of `keras_preact.layers`; the model
    can be any functional or sequential one, such as those of `keras.applications`.

    Args:
        model: A functional or sequential `keras.Model`, built; nested models are included.

    Returns:
        A functional `keras.Model` with the same weights, not compiled.

    Raises:
        ConfigError: If the model is not a graph of layers.

    Example:
        >>> import keras
        >>> from keras_preact import accelerate
        >>> model = keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3))
        >>> accelerate(model).count_params() == model.count_params()
        True
    """
    return _swapped(model, FASTER)


def portable(model: keras.Model, dtype: str | keras.DTypePolicy | None = "float32") -> keras.Model:
    """A copy of a model in Keras's own layers, which opens where this package is not installed.

    Args:
        model: A functional or sequential `keras.Model`; the units of a `Repeat` become nested
            models, and so does a spatial pyramid pooling.
        dtype: dtype policy of the copy, as in `with_policy`; `None` keeps each layer's own.

    Returns:
        A functional `keras.Model` with the same weights, not compiled. The numbers of a
        `ScalarAffine` become constants, and standardised kernels are those of plain convolutions.
        Branches left out for a mini-batch at a time become the constants of inference.

    Raises:
        ConfigError: If the model is not a graph of layers, the policy is unknown, a spatial pyramid
            pooling takes maps of any size, or a layer of this package is inside another layer, such
            as `keras.layers.TimeDistributed`.

    Example:
        >>> from keras_preact import portable
        >>> from keras_preact.applications import ResNet8V2
        >>> {type(layer).__module__.split(".")[0] for layer in portable(ResNet8V2()).layers}
        {'keras'}
    """
    copy = _swapped(with_policy(model, dtype) if dtype else model, STOCK)
    if "keras_preact>" in copy.to_json():
        raise ConfigError(
            "A layer of this package is inside another layer, where Keras's cannot replace it: "
            "build that layer with Keras's own layers."
        )
    return copy


def unrolled(model: keras.Model, all_branches: bool = False) -> keras.Model:
    """A copy of a model in which each unit of a `Repeat` is a nested model with its own weights.

    Args:
        model: A functional or sequential `keras.Model`, built.
        all_branches: Whether stochastic depth is taken out, so that no branch is left out in
            training either.

    Returns:
        A functional `keras.Model` with the same weights, not compiled.

    Raises:
        ConfigError: If the model is not a graph of layers.

    Example:
        >>> from keras_preact.applications import ResNet20V2
        >>> from keras_preact.rewrite import unrolled
        >>> [layer.name for layer in unrolled(ResNet20V2(packaging="repeated")).layers][-3:]
        ['head_act', 'avg_pool', 'predictions']
    """
    return _swapped(model, {StochasticDepth: _kept} if all_branches else {})


def _swapped(model, table):
    units, weights = {}, {}  # of each Repeat that is unrolled, and of each replacement

    def make(layer):
        if isinstance(layer, Repeat):
            if table is FASTER:
                return layer.with_template(_swapped(layer.template(), table))
            units[id(layer)] = [_named_like(layer, k, table) for k in range(len(layer.names))]
            return layer
        if is_graph(layer):
            return read_pyramid(layer)
        if isinstance(layer, SpatialPyramidPooling) and table is STOCK:
            return stock_pyramid(layer)
        if type(layer) not in table:
            return same(layer)
        new, values = table[type(layer)](layer.get_config(), layer.get_weights())
        weights[id(new)] = values
        return new

    def call(layer, *args, **kwargs):
        if id(layer) not in units:
            return layer(*args, **kwargs)
        (x,) = args
        for unit in units[id(layer)]:
            x = unit(x)
        return x

    whole = is_stock_pyramid if table is FASTER else None
    swapped, pairs = rebuild(model, make, call, whole=whole)
    for old, new in pairs:
        if id(new) in weights:
            new.set_weights(weights[id(new)])
        else:
            carry_weights(old, new)
    return swapped


def _named_like(repeat, k, table):
    """The `k`-th unit of a `Repeat` as a model of its own."""
    stacks, weights = repeat.stacks(), {}

    def make(layer):
        config = {**layer.get_config(), "name": repeat.layer_name(k, layer.name)}
        if isinstance(layer, StochasticDepth):
            config["rate"] = repeat.rates[k]
        values = [stacks[layer.name, i][k] for i in range(len(layer.weights))]
        new, weights[layer.name] = table.get(type(layer), _of(type(layer)))(config, values)
        return new

    unit, pairs = rebuild(repeat.template(), make)
    for old, new in pairs:
        new.set_weights(weights[old.name])
    unit.name = repeat.names[k]
    if not repeat.trainable:
        unit.trainable = False
    return unit
