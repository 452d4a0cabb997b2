"""Weights of a network by the names of its layers, which every packaging shares.

A name is that of the flat packaging: a layer inside a nested unit keeps it, and a `Repeat` has one
for each of its repetitions. So weights move between packagings, and a file of one fits the others.
"""

import io
import pathlib
import zipfile

import h5py
import keras
import numpy as np

from keras_preact.errors import ConfigError, quoted
from keras_preact.files import replace_file, save_error

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
            name, index = _address(key, layer.name)
            values = found.setdefault(name, {})
            if index in values:
                raise ConfigError(f"Layers must have names of their own. Received: {name!r} twice.")
            values[index] = keras.ops.convert_to_numpy(value)
    return found


def load_weights_by_layer(model: keras.Model, weights: Weights) -> None:
    """Sets a model's weights to values by layer; nothing is set unless all of them fit.

    Args:
        model: A functional model, in any packaging.
        weights: As `weights_by_layer` or `read_weights` give them. Those of a classifier
            (`predictions`) may be left over.

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
        which = f"they have no {quoted(missing[:3])}" if missing else ""
        which = which or f"{quoted(left_over[:3])} are not in the network"
        raise ConfigError(f"The weights must be those of this very network: {which}.")
    for name, values in expected.items():
        shapes = {index: value.shape for index, value in values.items()}
        received = {index: np.shape(value) for index, value in weights[name].items()}
        if shapes != received:
            raise ConfigError(
                f"The weights must be those of this very network: layer {name!r} has the shapes "
                f"{[*shapes.values()]}. Received: {[*received.values()]}."
            )
    for layer in layers_with_weights(model):
        store: dict = {}
        layer.save_own_variables(store)
        for key in store:
            name, index = _address(key, layer.name)
            store[key] = weights[name][index]
        if store:
            layer.load_own_variables(store)


def read_weights(path) -> Weights:
    """The weights in a file, by layer.

    Args:
        path: A `.weights.h5` or `.keras` file of a network in any packaging.

    Returns:
        What `weights_by_layer` returns.

    Raises:
        ConfigError: For a file that is damaged or of another kind.

    Example:
        >>> import tempfile
        >>> from keras_preact.applications import ResNet8V2
        >>> from keras_preact.weights import read_weights
        >>> path = tempfile.mkdtemp() + "/net.weights.h5"
        >>> ResNet8V2().save_weights(path)
        >>> read_weights(path)["stem_conv"]["0"].shape
        (3, 3, 3, 16)
    """
    path = pathlib.Path(path)
    found: Weights = {}

    def note(path, group):
        # Beside the layers a trained model's file holds its optimiser and metrics.
        if not path.startswith("layers/") or "name" not in group.attrs:
            return
        for key, value in group.items():
            name, index = _address(key, group.attrs["name"])
            found.setdefault(name, {})[index] = np.asarray(value)

    try:
        source = path
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                source = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(source) as file:
            file.visititems(note)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            "A weights file is a whole `.weights.h5` or `.keras` file, as `save_weights` and "
            f"`save` write them. Received: {str(path)!r}, which cannot be read: {reason}"
        ) from None
    return found


def write_weights(path, weights: Weights) -> None:
    """Writes weights by layer as a file that `read_weights` and `weights=` read.

    Args:
        path: A `.weights.h5` file. It is there whole or not at all, whatever interrupts.
        weights: As `weights_by_layer` gives them.

    Raises:
        SaveError: When it cannot be written.

    Example:
        >>> import tempfile
        >>> from keras_preact.applications import ResNet8V2
        >>> from keras_preact.weights import weights_by_layer, write_weights
        >>> model = ResNet8V2()
        >>> path = tempfile.mkdtemp() + "/net.weights.h5"
        >>> write_weights(path, weights_by_layer(model))
        >>> again = ResNet8V2(weights=path)
    """
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for layer, values in weights.items():
            group = file.create_group(f"layers/{layer}/vars")
            group.attrs["name"] = layer
            for index, value in values.items():
                group[index] = value
    try:
        replace_file(path, data.getvalue())
    except OSError as error:
        raise save_error(error, "Weights", path) from None


def layers_with_weights(model):
    """The layers of a model that have weights of their own, sub-models entered."""
    for layer in model.layers:
        if hasattr(layer, "operations"):
            yield from layers_with_weights(layer)
        elif layer.weights:
            yield layer


def _address(key, layer):
    """(layer, index) that a key of a layer's store means; a `Repeat` says the layer itself."""
    name, _, index = key.rpartition(".")
    return name or layer, index
