"""`accelerate`, `portable`, `unrolled`: the same network in other layers."""

import keras

from keras_preact.errors import ConfigError
from keras_preact.layers import (
    BatchNormalization,
    PReLU,
    Repeat,
    SpatialPyramidPooling,
    StochasticDepth,
)
from keras_preact.rewrite.graph import carry_weights, is_graph, rebuild, same
from keras_preact.rewrite.policy import with_policy
from keras_preact.rewrite.pyramid import is_stock_pyramid, read_pyramid, stock_pyramid

#: Keras's layers and their replacements; arguments, weights and results are equal.
FASTER = {
    keras.layers.BatchNormalization: BatchNormalization,
    keras.layers.PReLU: PReLU,
}
STOCK = {fast: stock for stock, fast in FASTER.items()}
STOCK |= {StochasticDepth: keras.layers.Dropout}  # of other values


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
        A functional `keras.Model` with the same weights, not compiled.

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


class _Kept:
    """In place of `StochasticDepth`: the branch as it is at inference."""

    @staticmethod
    def from_config(config):
        return keras.layers.Identity(name=config["name"], dtype=config["dtype"])


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
    return _swapped(model, {StochasticDepth: _Kept} if all_branches else {})


def _swapped(model, table):
    units = {}  # of each Repeat that is unrolled

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
        cls = table.get(type(layer))
        return cls.from_config(layer.get_config()) if cls else same(layer)

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
        carry_weights(old, new)
    return swapped


def _named_like(repeat, k, table):
    """The `k`-th unit of a `Repeat` as a model of its own."""

    def make(layer):
        config = {**layer.get_config(), "name": repeat.layer_name(k, layer.name)}
        if isinstance(layer, StochasticDepth):
            config["rate"] = repeat.rates[k]
        return table.get(type(layer), type(layer)).from_config(config)

    unit, pairs = rebuild(repeat.template(), make)
    stacks = repeat.stacks()
    for old, new in pairs:
        new.set_weights([stacks[old.name, i][k] for i in range(len(old.weights))])
    unit.name = repeat.names[k]
    if not repeat.trainable:
        unit.trainable = False
    return unit
