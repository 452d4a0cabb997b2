"""Weights of a network by the names of its layers, which every packaging shares.

A name is that of the flat packaging: a layer inside a nested unit keeps it, and a `Repeat` has one
for each of its repetitions. So weights move between packagings, and a file of one fits the others.
"""

from collections.abc import Callable

import keras
import numpy as np

from keras_preact.errors import ConfigError, quoted

Weights = dict[str, dict[str, np.ndarray]]


def weights_by_layer(model: keras.Model) -> Weights:
    """The values of a model's weights, by layer.

    Args:
        model: A functional model, in any packaging.

    Returns:
        `{layer: {index: array}}`, where the index ("0", "1", ...) is that of the weight in its
        layer, as in Keras's own files.

    Raises:
        ConfigError: When two layers have one name, or a layer keeps weights in layers inside it.

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
                "Weights by layer are those of layers that hold their weights themselves. "
                f"Received: {layer.name!r}, a {type(layer).__name__}, which has layers inside."
            )
        for key, value in store.items():
            name, index = address(key, layer.name)
            values = found.setdefault(name, {})
            if index in values:
                raise ConfigError(f"Layers must have names of their own. Received: {name!r} twice.")
            values[index] = keras.ops.convert_to_numpy(value)
    return found


def load_weights_by_layer(
    model: keras.Model, weights: Weights, called: Callable[[str], str] = str
) -> None:
    """Sets a model's weights to values by layer; nothing is set unless all of them fit.

    Args:
        model: A functional model, in any packaging.
        weights: As `weights_by_layer` or `read_weights` give them. Those of a classifier
            (`predictions`) may be left over.
        called: What messages call a layer, as a function of its name.

    Raises:
        ConfigError: When the layers or the shapes are not the model's.

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
            f"The weights must be those of this very network: {which}. "
            f"Received: {len(weights)} layers."
        )
    for name, values in expected.items():
        shapes = {index: value.shape for index, value in values.items()}
        received = {index: np.shape(value) for index, value in weights[name].items()}
        numbers = all(np.asarray(value).dtype.kind in "fiubV" for value in weights[name].values())
        if not numbers:
            raise ConfigError(f"Weights are numbers. Received: others in {called(name)!r}.")
        if not all(map(_is_finite, weights[name].values())):
            raise ConfigError(
                "Weights are finite numbers; others are left where a training has diverged. "
                f"Received: NaN or infinite ones in {called(name)!r}."
            )
        if shapes != received:
            raise ConfigError(
                f"The weights must be those of this very network: layer {called(name)!r} has the "
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


def layers_with_weights(model):
    """The layers of a model that have weights of their own, sub-models entered."""
    for layer in model.layers:
        if hasattr(layer, "operations"):
            yield from layers_with_weights(layer)
        elif layer.weights:
            yield layer


def address(key, layer):
    """(layer, index) that a key of a layer's store means; a `Repeat` says the layer itself."""
    name, _, index = key.rpartition(".")
    return name or layer, index
