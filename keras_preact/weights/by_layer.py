"""Weights of a network by layer name, which every packaging shares.

The names are those of the flat packaging: a layer inside a nested unit keeps its name, and a
`Repeat` has one name per repetition. So weights move between packagings, and a file of one fits the
others.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_preact.errors import ConfigError, quoted

Weights = dict[str, dict[str, np.ndarray]]


def weights_by_layer(model: keras.Model) -> Weights:
    """Returns the values of a model's weights, by layer.

    Args:
        model: A functional `keras.Model`, in any packaging.

    Returns:
        `{layer: {index: array}}`, where the index (`"0"`, `"1"`, ...) is that of the weight in its
        layer, as in Keras's own files.

    Raises:
        ConfigError: If two layers have the same name, or a layer keeps weights in layers inside it.

    Example:
        >>> from keras_preact.applications import ResNet8V2
        >>> from keras_preact.weights import weights_by_layer
        >>> sorted(weights_by_layer(ResNet8V2())["stage1_unit1_norm1"])
        ['0', '1', '2', '3']
    """
    found: Weights = {}
    for layer in layers_with_weights(model):
        store: dict = {}
        layer.save_own_variables(store)
        if len(store) < len(layer.weights):
            raise ConfigError(
                "Weights can be read by layer only if each layer holds its own weights. "
                f"Received: {layer.name!r}, a {type(layer).__name__} with layers inside."
            )
        for key, value in store.items():
            name, index = address(key, layer.name)
            values = found.setdefault(name, {})
            if index in values:
                raise ConfigError(f"Layer names must be unique. Received: {name!r} twice.")
            values[index] = keras.ops.convert_to_numpy(value)
    return found


def load_weights_by_layer(
    model: keras.Model, weights: Weights, called: Callable[[str], str] = str
) -> None:
    """Sets a model's weights by layer; nothing is set unless all of them fit.

    Args:
        model: A functional `keras.Model`, in any packaging.
        weights: `{layer: {index: array}}`, as `weights_by_layer` or `read_weights` return it. It
            may include a classifier (`predictions`) that the model does not have.
        called: Function from the name of a layer to the name used in error messages.

    Raises:
        ConfigError: If the layers or the shapes are not those of the model, or the values are not
            finite numbers.

    Example:
        >>> from keras_preact.applications import ResNet20V2
        >>> from keras_preact.weights import load_weights_by_layer, weights_by_layer
        >>> flat, repeated = ResNet20V2(packaging="flat"), ResNet20V2(packaging="repeated")
        >>> load_weights_by_layer(repeated, weights_by_layer(flat))
    """
    expected = weights_by_layer(model)
    missing = sorted(expected.keys() - weights.keys())
    left_over = sorted(weights.keys() - expected.keys() - {"predictions"})
    if missing or left_over:
        names = quoted(map(called, (missing or left_over)[:3]))
        which = f"they have no {names}" if missing else f"{names} are not in the network"
        raise ConfigError(
            f"The weights must be those of this network: {which}. Received: {len(weights)} layers."
        )
    for name, values in expected.items():
        shapes = {index: value.shape for index, value in values.items()}
        received = {index: np.shape(value) for index, value in weights[name].items()}
        numbers = all(np.asarray(value).dtype.kind in "fiubV" for value in weights[name].values())
        if not numbers:
            raise ConfigError(
                f"Weights must be numbers. Received: other values in {called(name)!r}."
            )
        if not all(map(_is_finite, weights[name].values())):
            raise ConfigError(
                "Weights must be finite numbers; NaN and infinity usually mean that a training "
                f"has diverged. Received: NaN or infinity in {called(name)!r}."
            )
        if shapes != received:
            raise ConfigError(
                f"The weights must be those of this network: layer {called(name)!r} has the "
                f"shapes {shapes}. Received: {received}."
            )
    for layer in layers_with_weights(model):
        store: dict = {}
        layer.save_own_variables(store)
        for key in store:
            name, index = address(key, layer.name)
            store[key] = weights[name][index]
        if store:
            layer.load_own_variables(store)


def _is_finite(value):
    value = np.asarray(value)
    return value.dtype.kind != "f" or bool(np.isfinite(value).all())


def layers_with_weights(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers of a model that have weights of their own, nested models included.

    Args:
        model: A functional `keras.Model`, in any packaging.

    Returns:
        An iterator over the layers; a `Repeat` is one layer.

    Example:
        >>> from keras_preact.applications import ResNet8V2
        >>> from keras_preact.weights import layers_with_weights
        >>> [layer.name for layer in layers_with_weights(ResNet8V2())][-2:]
        ['head_norm', 'predictions']
    """
    for layer in model.layers:
        if hasattr(layer, "operations"):
            yield from layers_with_weights(layer)
        elif layer.weights:
            yield layer


def address(key: str, layer: str) -> tuple[Any, str]:
    """(layer, index) of a key in the store of a layer; keys of a `Repeat` include the layer."""
    name, _, index = key.rpartition(".")
    return name or layer, index
