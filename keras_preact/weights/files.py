"""Weights in files: Keras's own, and safetensors whose keys are `layer/weight`."""

import io
import pathlib

import h5py
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from keras_preact.config import ResNetConfig
from keras_preact.errors import ConfigError, quoted
from keras_preact.files import replace_file, save_error
from keras_preact.weights.by_layer import Weights, address
from keras_preact.weights.safe import opened_weights

#: What the weights of layers are called, in the order that they have in their layer.
NAMES = ("kernel", "gamma", "alpha", "bias", "beta", "moving_mean", "moving_variance")

#: What the header of a safetensors file of this package says of its format.
FORMAT = "keras_preact"


def read_weights(path) -> Weights:
    """The weights in a file, by layer.

    Args:
        path: A `.weights.h5`, `.keras` or `.safetensors` file of a network in any packaging.

    Returns:
        What `weights_by_layer` returns.

    Raises:
        ConfigError: For a file that is damaged, of another kind, or not safe to open.

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
    if path.suffix != ".safetensors":
        with opened_weights(path) as file:
            return _of_keras(file)
    try:
        return _by_layer(load_file(path))
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            "A whole `.safetensors` file is expected, as `save_named` writes it. "
            f"Received: {str(path)!r}, which cannot be read: {reason}"
        ) from None


def read_config(path) -> ResNetConfig | None:
    """The config of the network in the header of a safetensors file; `None` where there is none.

    Args:
        path: Any file or folder.

    Returns:
        The `ResNetConfig` that `save_named` was given.

    Example:
        >>> import tempfile
        >>> from keras_preact import create_model, model_info
        >>> from keras_preact.weights import read_config, save_named
        >>> path = tempfile.mkdtemp() + "/net.safetensors"
        >>> save_named(create_model("resnet8v2"), path, model_info("resnet8v2").config)
        >>> read_config(path).units
        (1, 1, 1)
    """
    path = pathlib.Path(path)
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, "np") as file:
            about = file.metadata() or {}
    except (OSError, SafetensorError):
        return None  # what is wrong with it is said where its weights are read
    ours = about.get("format") == FORMAT and "config" in about
    return ResNetConfig.from_json(about["config"]) if ours else None


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


def _of_keras(file) -> Weights:
    found: Weights = {}

    def note(path, group):
        # Beside the layers a trained model's file holds its optimiser and metrics.
        if not path.startswith("layers/") or not path.endswith("/vars"):
            return
        # Older versions of Keras write no names, only classes and numbers: layers/conv2d_1/vars.
        layer = group.attrs.get("name", path.split("/")[-2])
        for key, value in group.items():
            name, index = address(key, layer)
            found.setdefault(name, {})[index] = np.asarray(value)

    file.visititems(note)
    return found


def _by_layer(tensors) -> Weights:
    layers: dict[str, dict] = {}
    for key, array in tensors.items():
        layer, _, name = key.rpartition("/")
        known = layer and (name.isdigit() or name in NAMES)
        if not known:
            raise ConfigError(
                f"Keys are `layer/weight`, with {quoted(NAMES)} or an index for the weight, as "
                f"`save_named` writes them; keras_preact.convert() reads the files of others. "
                f"Received: the key {key!r}."
            )
        layers.setdefault(layer, {})[name] = array
    found: Weights = {}
    for layer, arrays in layers.items():
        order = sorted(arrays, key=lambda name: int(name) if name.isdigit() else NAMES.index(name))
        found[layer] = {str(k): arrays[name] for k, name in enumerate(order)}
    return found
