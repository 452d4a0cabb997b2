"""What a file of weights says of its network, or what stands beside it: config, images."""

import json
import pathlib

from safetensors import SafetensorError, safe_open

from keras_preact.checked import require
from keras_preact.config import ResNetConfig
from keras_preact.data import DataOptions, Geometry
from keras_preact.errors import ConfigError
from keras_preact.run import GEOMETRY, RunFolder, beside
from keras_preact.weights.preprocessing import Preprocessing

#: What the header of a safetensors file of this package says of its format.
FORMAT = "keras_preact"

#: What that header has beside it, perhaps.
ABOUT = ("format", "name", "config", "preprocessing", "geometry")


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


def read_geometry(path) -> Geometry | None:
    """How image files become what a network takes, as was remembered of it.

    Args:
        path: A `.safetensors` file of `save_named`, which says so in its header; or a `.keras`
            file, which has it beside it in `NAME.geometry.json`, else in `geometry.json` or, in the
            folder of a run that an early version made, in the run's options.

    Returns:
        The `Geometry`; `None` where there is none.

    Raises:
        ConfigError: For a file that is damaged or says what cannot be.

    Example:
        >>> from keras_preact.weights import read_geometry
        >>> print(read_geometry("none.keras"))
        None
    """
    path = pathlib.Path(path)
    if path.suffix != ".keras":
        text = _header(path).get("geometry")
        return text and Geometry.from_json(text)
    file = beside(path, GEOMETRY)
    if file.is_file():
        try:
            return Geometry.from_dict(json.loads(file.read_bytes()))
        except (ConfigError, OSError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"{file} must say how image files become what {path.name} takes, as it was written "
                f"beside it. Received: {error}"
            ) from None
    if path.name == "model.keras" and (path.parent / "resolved.json").is_file():
        options = RunFolder(path.parent).read_json("resolved.json")["data"]
        return DataOptions.from_dict(options).geometry
    return None


def geometry_of(path, size) -> Geometry:
    """That which was remembered of a `.keras` file, for the size that its network takes.

    Args:
        path: The file.
        size: Height and width of the network's images, or `None` twice for any.

    Raises:
        ConfigError: As `read_geometry`, and for a geometry of another size.

    Example:
        >>> from keras_preact.weights.about import geometry_of
        >>> geometry_of("none.keras", (32, 32)).size
        (32, 32)
    """
    path, found = pathlib.Path(path), read_geometry(path) or Geometry()
    if None in size:
        return found
    expected = f"{[*size]}, as the network of {path.name} has it"
    fits = found.size in (None, tuple(size))
    fix = f"Remove or correct {beside(path, GEOMETRY)}."
    require(fits, "size", [*(found.size or ())], expected, fix)
    return found.of_size(tuple(size))


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
