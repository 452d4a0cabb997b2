"""Weights in files: Keras's own, and safetensors whose keys are `layer/weight`."""

import io
import pathlib

import h5py
import numpy as np
from safetensors import SafetensorError, safe_open

from keras_preact.config import ResNetConfig
from keras_preact.errors import ConfigError, quoted, reason
from keras_preact.files import replace_file, save_error
from keras_preact.weights.by_layer import Weights, address
from keras_preact.weights.preprocessing import Preprocessing
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
    return _by_layer(read_tensors(path))


def read_tensors(path) -> dict[str, np.ndarray]:
    """The arrays in a safetensors file, those of 16 bits as float32.

    Args:
        path: A `.safetensors` file of anyone.

    Raises:
        ConfigError: For a file that is damaged, and for numbers that NumPy does not have.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from safetensors.numpy import save_file
        >>> from keras_preact.weights.files import read_tensors
        >>> path = tempfile.mkdtemp() + "/net.safetensors"
        >>> save_file({"fc.bias": np.ones(2, "float16")}, path)
        >>> read_tensors(path)["fc.bias"].dtype
        dtype('float32')
    """
    try:
        with safe_open(path, "np") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            "A whole `.safetensors` file is expected, with numbers of 16 bits or more. "
            f"Received: {str(path)!r}, which cannot be read: {reason(error)}"
        ) from None
    return {key: _widened(array) for key, array in arrays.items()}


def _widened(array):
    """Numbers of 16 bits as float32."""
    import ml_dtypes  # has what NumPy does not

    small = array.dtype in (np.float16, ml_dtypes.bfloat16)
    return array.astype(np.float32) if small else array


def _read(value):
    """An array of Keras's file, in which bfloat16 is said beside the bytes."""
    import ml_dtypes

    array = np.asarray(value)
    if array.dtype == np.dtype("V2") and value.attrs.get("dtype") == "bfloat16":
        array = array.view(ml_dtypes.bfloat16)
    return _widened(array)


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
    text = _header(path).get("config")
    return text and ResNetConfig.from_json(text)


def read_preprocessing(path) -> Preprocessing | None:
    """How a network's images are prepared, as the header of a safetensors file says.

    Args:
        path: Any file or folder.

    Returns:
        The `Preprocessing` that `save_named` was given; `None` where there is none.

    Example:
        >>> from keras_preact.weights import read_preprocessing
        >>> print(read_preprocessing("none.safetensors"))
        None
    """
    text = _header(path).get("preprocessing")
    return text and Preprocessing.from_json(text)


def _header(path) -> dict[str, str]:
    """What the header of a file of `save_named` says; empty for all others."""
    path = pathlib.Path(path)
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(path, "np") as file:
            about = file.metadata() or {}
    except (OSError, SafetensorError):
        return {}  # what is wrong with it is said where its weights are read
    return about if about.get("format") == FORMAT else {}


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
                group[index] = _widened(np.asarray(value))
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
        if not isinstance(layer, str):
            raise ConfigError(f"A layer has a text for a name. Received: {layer!r} at {path!r}.")
        for key, value in group.items():
            name, index = address(key, layer)
            found.setdefault(name, {})[index] = _read(value)

    file.visititems(note)
    return found


def read_names(path) -> dict[str, list[str]]:
    """What a safetensors file calls the weights of each layer, in their order; else nothing.

    Args:
        path: A file that `read_weights` reads.

    Example:
        >>> from keras_preact.weights.files import read_names
        >>> read_names("net.weights.h5")
        {}
    """
    if pathlib.Path(path).suffix != ".safetensors":
        return {}
    with safe_open(path, "np") as file:
        keys = dict.fromkeys(file.keys())
    return {layer: [*names] for layer, names in _layers(keys).items()}


def _by_layer(tensors) -> Weights:
    return {
        layer: {str(k): array for k, array in enumerate(arrays.values())}
        for layer, arrays in _layers(tensors).items()
    }


def _layers(tensors) -> dict[str, dict[str, np.ndarray]]:
    """Arrays by layer and by what they are called, in the order that they have in their layer."""
    layers: dict[str, dict] = {}
    for key, array in tensors.items():
        layer, _, name = key.rpartition("/")
        known = layer and (name.isdecimal() or name in NAMES)
        if not known:
            raise ConfigError(
                f"Keys are `layer/weight`, with {quoted(NAMES)} or an index for the weight, as "
                f"`save_named` writes them; keras_preact.convert() reads the files of others. "
                f"Received: the key {key!r}."
            )
        layers.setdefault(layer, {})[name] = array

    def place(name):
        return int(name) if name.isdecimal() else NAMES.index(name)

    return {
        layer: {name: arrays[name] for name in sorted(arrays, key=place)}
        for layer, arrays in layers.items()
    }
