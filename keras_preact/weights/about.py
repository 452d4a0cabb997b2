"""Metadata of a weights file, in its header or beside it: config, preprocessing, geometry."""

import json
import os
import pathlib
from collections.abc import Sequence

from safetensors import SafetensorError, safe_open

from keras_preact.checked import require
from keras_preact.config import ResNetConfig
from keras_preact.data import DataOptions, Geometry
from keras_preact.errors import ConfigError
from keras_preact.run import GEOMETRY, RunFolder, beside
from keras_preact.weights.preprocessing import Preprocessing

#: The value of `format` in the header of a safetensors file of this package.
FORMAT = "keras_preact"

#: The keys that such a header may have.
ABOUT = ("format", "name", "config", "preprocessing", "geometry")


def read_config(path: str | os.PathLike) -> ResNetConfig | None:
    """Reads the config of a network from the header of a safetensors file.

    Args:
        path: Any file or folder.

    Returns:
        The `ResNetConfig` that `save_named` was given; `None` if there is none.

    Raises:
        ConfigError: If the config in the header is not valid.

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
    return ResNetConfig.from_json(text) if text else None


def read_preprocessing(path: str | os.PathLike) -> Preprocessing | None:
    """Reads the preprocessing of a network from the header of a safetensors file.

    Args:
        path: Any file or folder.

    Returns:
        The `Preprocessing` that `save_named` was given; `None` if there is none.

    Raises:
        ConfigError: If the preprocessing in the header is not valid.

    Example:
        >>> from keras_preact.weights import read_preprocessing
        >>> print(read_preprocessing("none.safetensors"))
        None
    """
    text = _header(path).get("preprocessing")
    return Preprocessing.from_json(text) if text else None


def read_geometry(path: str | os.PathLike) -> Geometry | None:
    """Reads how image files are resized and cropped for a network.

    Args:
        path: A `.safetensors` file of `save_named`, which has the geometry in its header; or a
            `.keras` file, which has it beside it in `NAME.geometry.json` or `geometry.json` or, in
            the folder of a run made by an early version, in the run's options.

    Returns:
        The `Geometry`; `None` if there is none.

    Raises:
        ConfigError: If the file is damaged or its geometry is not valid.

    Example:
        >>> from keras_preact.weights import read_geometry
        >>> print(read_geometry("none.keras"))
        None
    """
    path = pathlib.Path(path)
    if path.suffix != ".keras":
        text = _header(path).get("geometry")
        return Geometry.from_json(text) if text else None
    file = beside(path, GEOMETRY)
    if file.is_file():
        try:
            return Geometry.from_dict(json.loads(file.read_bytes()))
        except (ConfigError, OSError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"{file} must describe how image files are fitted to {path.name}, as it was "
                f"written. Received: {error}"
            ) from None
    if path.name == "model.keras" and (path.parent / "resolved.json").is_file():
        options = RunFolder(path.parent).read_json("resolved.json")["data"]
        return DataOptions.from_dict(options).geometry
    return None


def geometry_of(path: str | os.PathLike, size: Sequence[int | None]) -> Geometry:
    """The geometry stored with a `.keras` file, for the image size of its network.

    Args:
        path: The file.
        size: Height and width of the network's images, or `(None, None)` for any.

    Returns:
        The `Geometry`.

    Raises:
        ConfigError: As `read_geometry`, and if the geometry is for another size.

    Example:
        >>> from keras_preact.weights.about import geometry_of
        >>> geometry_of("none.keras", (32, 32)).size
        (32, 32)
    """
    path, found = pathlib.Path(path), read_geometry(path) or Geometry()
    if None in size:
        return found
    expected = f"{[*size]}, the image size of the network in {path.name}"
    fits = found.size in (None, tuple(size))
    fix = f"Remove or correct {beside(path, GEOMETRY)}."
    require(fits, "size", [*(found.size or ())], expected, fix)
    return found.of_size(tuple(size))


def _header(path) -> dict[str, str]:
    """The header of a file of `save_named`; empty for all others."""
    path = pathlib.Path(path)
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(path, "np") as file:
            about = file.metadata() or {}
    except (OSError, SafetensorError):
        return {}  # the error is raised where its weights are read
    return about if about.get("format") == FORMAT else {}
