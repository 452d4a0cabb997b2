"""Weights in files: Keras's own, and safetensors whose keys are `layer/weight`."""

import hashlib
import io
import json
import os
import pathlib

import h5py
import numpy as np
from safetensors import SafetensorError, safe_open

from keras_preact.errors import ConfigError, quoted, reason
from keras_preact.files import replace_file, save_error
from keras_preact.weights.about import ABOUT, FORMAT
from keras_preact.weights.by_layer import Weights, address
from keras_preact.weights.own import learned_constants
from keras_preact.weights.safe import ModelFile, read_model_file

#: The names of the weights of layers, in the order that they have in their layer.
NAMES = ("kernel", "gamma", "alpha", "scale", "bias", "beta", "moving_mean", "moving_variance")

#: The key of the digest in files of this package, which is verified when they are read.
DIGEST = "sha256"


def read_weights(path: str | os.PathLike) -> Weights:
    """Reads the weights in a file, by layer.

    Args:
        path: A `.weights.h5`, `.keras` or `.safetensors` file of a network in any packaging, or an
            `.h5` file of Keras 2.

    Returns:
        `{layer: {index: array}}`, as `weights_by_layer` returns it.

    Raises:
        ConfigError: If the file is damaged, of another kind, or not safe to open.

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
    if path.suffix == ".safetensors":
        return _by_layer(read_tensors(path))
    file = read_model_file(path)
    names = {group: texts["name"] for group, texts in file.attributes.items() if "name" in texts}
    _hold_against(file.attributes.get("/", {}).get(DIGEST), file.arrays, names, path)
    found = weights_in(file)
    if not found:
        raise ConfigError(f"`path` must be a file with layer weights. Received: {str(path)!r}.")
    return found


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the arrays in a safetensors file; 16-bit arrays become float32.

    Args:
        path: A `.safetensors` file of any origin.

    Returns:
        The arrays by key.

    Raises:
        ConfigError: If the file is damaged, or has a dtype that NumPy does not support.

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
            about = dict(file.metadata() or {})
    except (OSError, SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            "`path` must be a complete `.safetensors` file with numbers of 16 bits or more. "
            f"Received: {str(path)!r}, which cannot be read: {reason(error)}"
        ) from None
    _hold_against(about.pop(DIGEST, None), arrays, about, path)
    return {key: _widened(array) for key, array in arrays.items()}


def digest_of_arrays(arrays: dict[str, np.ndarray], about: dict[str, str] | None = None) -> str:
    """The SHA-256 of arrays with their keys, and of their metadata.

    Args:
        arrays: The arrays by key.
        about: Metadata of the file.

    Example:
        >>> import numpy as np
        >>> from keras_preact.weights.files import digest_of_arrays
        >>> digest_of_arrays({"a/bias": np.zeros(2, "float32")})[:8]
        '6ac77c18'
    """
    digest = hashlib.sha256(json.dumps(about or {}, sort_keys=True).encode())
    for key in sorted(arrays):
        array = np.asarray(arrays[key], order="C")
        digest.update(f"{key} {array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _hold_against(digest, arrays, about, path):
    """Refuses a file of this package that has changed since it was written."""
    strange = about.get("format") == FORMAT and not {*about} <= {*ABOUT}
    if strange or (digest is not None and digest != digest_of_arrays(arrays, about)):
        raise ConfigError(
            "A file of this package must have the SHA-256 of the content that was written. "
            f"Received: {str(path)!r}, which has changed since. Use another copy of it."
        )


def _widened(array):
    """16-bit numbers as float32."""
    import ml_dtypes  # has bfloat16, which NumPy does not

    small = array.dtype in (np.float16, ml_dtypes.bfloat16)
    return array.astype(np.float32) if small else array


def write_weights(path: str | os.PathLike, weights: Weights) -> None:
    """Writes weights by layer to a file that `read_weights` and the argument `weights` read.

    Args:
        path: A `.weights.h5` file. It is written completely or not at all.
        weights: `{layer: {index: array}}`, as `weights_by_layer` returns it.

    Raises:
        SaveError: If the file cannot be written.

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
    arrays = {
        f"layers/{layer}/vars/{index}": _widened(np.asarray(value))
        for layer, values in weights.items()
        for index, value in values.items()
    }
    with h5py.File(data, "w") as file:
        for path_inside, array in arrays.items():
            file[path_inside] = array
        for layer in weights:
            file.require_group(f"layers/{layer}/vars").attrs["name"] = layer
        names = {f"/layers/{layer}/vars": layer for layer in weights}
        file.attrs[DIGEST] = np.bytes_(digest_of_arrays(arrays, names))
    try:
        replace_file(path, data.getvalue())
    except OSError as error:
        raise save_error(error, "Weights", path) from None


def weights_in(file: ModelFile) -> Weights:
    """The weights in a file of Keras, by layer; empty if it is no such file."""
    for root in ("/", "/model_weights"):  # Keras 2: only the weights, or a whole model
        if layers := _listed(file, root, "layer_names"):
            return _of_keras_2(file, root.strip("/"), layers)
    found: Weights = {}
    for path, array in file.arrays.items():
        group, _, key = path.rpartition("/")
        # Besides the layers, the file of a trained model contains its optimiser and metrics.
        if not group.startswith("layers/") or not group.endswith("/vars"):
            continue
        # Older versions of Keras write no names, only classes and numbers: layers/conv2d_1/vars.
        layer = file.attributes.get(f"/{group}", {}).get("name", group.split("/")[-2])
        if not isinstance(layer, str):
            raise ConfigError(f"Layer names must be strings. Received: {layer!r} at {group!r}.")
        name, index = address(key, layer)
        found.setdefault(name, {})[index] = _widened(array)
    return found | learned_constants(file.config) if found and file.config else found


def _of_keras_2(file, root, layers) -> Weights:
    """One group per layer, which lists its weights in order."""
    found = {}
    for layer in layers:
        group = f"{root}/{layer}".strip("/")
        names = _listed(file, f"/{group}", "weight_names")
        missing = [name for name in names if f"{group}/{name}" not in file.arrays]
        if missing:
            raise ConfigError(
                f"The file must be complete. Received: a file without {missing[0]!r}."
            )
        arrays = [_widened(file.arrays[f"{group}/{name}"]) for name in names]
        found |= {layer: {str(k): array for k, array in enumerate(arrays)}} if arrays else {}
    return found


def _listed(file, group, key) -> list[str]:
    """A list of names, which Keras 2 split if it was long: key, or key0, key1, ..."""
    found = file.attributes.get(group, {})
    pieces = [piece.removeprefix(key) for piece in found if piece.startswith(key)]
    numbers = sorted(int(piece) for piece in pieces if piece.isdecimal())
    keys = [key] if key in found else [f"{key}{number}" for number in numbers]
    return [name for piece in keys for name in found[piece]]


def read_names(path: str | os.PathLike) -> dict[str, list[str]]:
    """The names of the weights of each layer in a safetensors file, in order; else empty.

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
    """Arrays by layer and weight name, in the order that they have in their layer."""
    layers: dict[str, dict] = {}
    for key, array in tensors.items():
        layer, _, name = key.rpartition("/")
        known = layer and (name.isdecimal() or name in NAMES)
        if not known:
            raise ConfigError(
                f"Keys must be `layer/weight`, with {quoted(NAMES)} or an index for the weight, as "
                "`save_named` writes them. "
                f"Received: the key {key!r}. Use keras_preact.convert() for files of other "
                "libraries."
            )
        layers.setdefault(layer, {})[name] = array

    def place(name):
        return int(name) if name.isdecimal() else NAMES.index(name)

    return {
        layer: {name: arrays[name] for name in sorted(arrays, key=place)}
        for layer, arrays in layers.items()
    }
