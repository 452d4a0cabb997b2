"""`read_model_file`: model files of unknown origin, checked before anything is built.

A `.keras` file names the classes and functions of the model, and an HDF5 file may point to other
files or claim sizes that it does not contain. Keras refuses some of that while it builds the model;
here all of it is refused before, by a list of allowed names (`allowed`), and HDF5 is read in a
process that may crash (`hdf5`).
"""

import io
import json
import math
import os
import pathlib
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_preact.errors import ConfigError, quoted, reason
from keras_preact.weights.allowed import CLASSES, FUNCTIONS, UNSAFE, VALUES
from keras_preact.weights.hdf5 import RefusedError, read_hdf5
from keras_preact.weights.hdf5_child import BOMB_BYTES, BOMB_RATIO

#: The files of a `.keras` archive; its optional `assets/` are vocabularies, not used for images.
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = (_CONFIG, "metadata.json", _WEIGHTS)

#: Errors that reading a damaged archive raises, besides Python's own errors.
_DAMAGED = (zipfile.BadZipFile, zlib.error, RecursionError)

#: A number in a config above this, and above all sizes of the stored weights, only fills memory.
_LARGEST = 65_536
#: Values that are not sizes.
_NO_SIZES = (
    "mean", "max_value", "min_value", "offset", "scale", "seed", "shared_object_id", "value",
    "variance",
)  # fmt: skip

#: Deepest nesting of a config, and most bytes in a name.
_DEEPEST, _LONGEST = 200, 255

#: Limits for layers that enlarge feature maps: for any single number, and for the product of all
#: factors in a file.
LARGEST_MAP, LARGEST_FACTOR = 4_096, 65_536
_FACTORS = {"UpSampling2D": "size", "Conv2DTranspose": "strides", "RepeatVector": "n"}
LARGER = (
    *_FACTORS, "AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D", "CenterCrop", "Pad",
    "RandomCrop", "Resizing", "ZeroPadding2D",
)  # fmt: skip

_NUMBER = re.compile(r"\s*[+-]?[\d_]+(\.\d*)?([eE][+-]?\d+)?\s*")


class ModelFile(NamedTuple):
    """The content of a model file.

    Attributes:
        arrays: Its arrays by path, such as `"layers/dense/vars/0"`.
        attributes: Text attributes of groups of arrays, by path and name.
        config: The model as Keras writes it to JSON, not compiled; `None` if the file contains only
            weights.
    """

    arrays: dict[str, np.ndarray]
    attributes: dict[str, dict[str, Any]]
    config: dict[str, Any] | None = None


def refuse_unsafe(path: str | os.PathLike) -> None:
    """Checks that a `.keras`, `.weights.h5` or `.h5` file of unknown origin is safe to open.

    Args:
        path: The file.

    Raises:
        ConfigError: If the file contains code (Lambda layers, or classes and functions that image
            classifiers do not use), is an archive that reaches outside its folder or unpacks to far
            more than its size, links to other files, claims sizes that it does not contain, or
            cannot be read.

    Example:
        >>> import tempfile
        >>> from keras_preact.applications import ResNet8V2
        >>> from keras_preact.weights import refuse_unsafe
        >>> path = tempfile.mkdtemp() + "/net.keras"
        >>> ResNet8V2().save(path)
        >>> refuse_unsafe(path)
    """
    read_model_file(path)


def read_model_file(path: str | os.PathLike) -> ModelFile:
    """Reads a `.keras`, `.weights.h5` or `.h5` file once, if it is safe.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        ConfigError: As `refuse_unsafe`.
    """
    path = pathlib.Path(path)
    try:
        data = path.read_bytes()
        return _of_archive(data) if path.suffix == ".keras" else ModelFile(*read_hdf5(data))
    except _Unsupported as found:
        raise ConfigError(
            "A model file may only contain layers and functions for image classifiers. Received: "
            f"{str(path)!r} with {found}, which is safe but not supported. "
            "keras.saving.load_model opens it."
        ) from None
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, *_DAMAGED) as error:
        if isinstance(error, RefusedError) and len(error.args) == 2:
            received, expected = error.args
            raise ConfigError(
                f"A model file may only contain {expected}. Received: {str(path)!r} with "
                f"{received}. It is not opened; if you trust its origin, open it with "
                "keras.saving.load_model."
            ) from None
        raise ConfigError(
            "A model file must be a complete `.keras`, `.weights.h5` or `.h5` file, as written by "
            f"Keras. Received: {str(path)!r}, which cannot be read: {reason(error)}"
        ) from None


class _Unsupported(Exception):
    """A class of Keras that is safe, as far as is known, but that image classifiers do not use."""


def _of_archive(data) -> ModelFile:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        for member in members:
            _look_at_member(member)
        if len({*archive.namelist()}) < len(members):
            raise RefusedError("two members of the same name", "each file only once")
        unpacked = sum(member.file_size for member in members)
        if unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * len(data):
            sizes = f"{len(data):,} bytes that unpack to {unpacked:,}"
            raise RefusedError(sizes, "files of the size that they claim")
        config, weights = json.loads(archive.read(_CONFIG)), archive.read(_WEIGHTS)
    look_through(config)  # errors in the names are reported before any array is read
    config = _untrained(config)
    found = read_hdf5(weights)
    largest = max((size for array in found.arrays.values() for size in array.shape), default=1)
    _look_at_sizes(config, max(largest, _LARGEST))
    return ModelFile(*found, config)


def _untrained(config):
    """A config without its training setup, which is not used."""
    if isinstance(config, dict):
        return {k: _untrained(value) for k, value in config.items() if k != "compile_config"}
    return [_untrained(value) for value in config] if isinstance(config, list) else config


def _look_at_member(member):
    name = member.filename
    if name not in _MEMBERS or stat.S_ISLNK(member.external_attr >> 16):
        raise RefusedError(f"the member {name!r}", quoted(_MEMBERS))


def look_through(config: Any, depth: int = 0) -> int:
    """Checks all names in the config of a model.

    Args:
        config: The model as Keras writes it to JSON, or a part of it.
        depth: Nesting depth of that part.

    Returns:
        The factor by which its layers together enlarge feature maps.

    Raises:
        RefusedError: If it could run code or reach outside.
    """
    if depth > _DEEPEST:
        raise RefusedError(f"a config nested deeper than {_DEEPEST}", "the layers of a network")
    factor = 1
    parts: list[Any] = []
    if isinstance(config, dict):
        parts = [*config.values()]
        if "class_name" in config:
            _look_at_class(config)
            factor = _look_at_map(config)
        _look_at_name(config.get("name"))
        for name in config.get("names") or () if isinstance(config.get("names"), list) else ():
            _look_at_name(name)
    elif isinstance(config, list):
        parts = config
    for part in parts:
        if isinstance(part, (dict, list)):
            factor *= look_through(part, depth + 1)
    if factor > LARGEST_FACTOR:
        received = f"layers that enlarge feature maps {factor:,} times"
        raise RefusedError(received, f"layers that do so at most {LARGEST_FACTOR:,} times")
    return factor


def _look_at_class(config):
    name, module = config["class_name"], config.get("module")
    registered = config.get("registered_name")
    if not isinstance(name, str) or not isinstance(module, (str, type(None))):
        raise RefusedError(f"the class {name!r:.80} of {module!r:.80}", "known class names")
    if name in VALUES and module in (None, "builtins"):
        return
    function = name == "function"
    wanted = config.get("config") if function else name
    tables = FUNCTIONS if function else CLASSES
    names = tables.get(module, ()) if module is not None else _ANY if not function else ()
    own = (module or "").startswith("keras_preact.")
    fits = registered in ((f"keras_preact>{name}",) if own else (None, "", wanted, name))
    if isinstance(wanted, str) and wanted in names and fits:
        return
    origin = ".".join(str(part)[:80] for part in (module, wanted) if part is not None)
    is_class = name.isidentifier() and name[0].isupper()
    if fits and is_class and module in _SAFE and name not in UNSAFE:
        raise _Unsupported(origin)
    origin += "" if fits else f" (registered as {str(registered)[:80]!r})"
    raise RefusedError(origin, "layers and functions of Keras and of keras_preact, without code")


#: Modules of Keras whose other classes only compute.
_SAFE = (
    "keras.constraints", "keras.initializers", "keras.layers", "keras.losses", "keras.metrics",
    "keras.optimizers", "keras.regularizers", "keras.src.ops.image", "keras.src.ops.math",
    "keras.src.ops.nn", "keras.src.ops.numpy",
)  # fmt: skip

#: Classes that a config may name without a module, as Keras 2 did.
_ANY = {name for names in CLASSES.values() for name in names}


def _look_at_name(name):
    """Refuses a name that could lead out of a folder, or that cannot be printed."""
    if not isinstance(name, str):
        return
    bad = "\\" in name or ".." in name or not name.isprintable()
    if bad or len(name.encode(errors="replace")) > _LONGEST:
        expected = f"printable names of at most {_LONGEST} bytes, without '..' and '\\'"
        raise RefusedError(f"the name {name[:80]!r}", expected)


def _look_at_map(config) -> int:
    """The factor by which a layer enlarges feature maps; too large ones are refused."""
    name, fields = config["class_name"], config.get("config")
    if name not in LARGER or not isinstance(fields, dict):
        return 1
    for number in _numbers_in(fields):
        if number > LARGEST_MAP:
            received = f"a {name} with the number {number:,}"
            raise RefusedError(received, f"feature maps that grow by at most {LARGEST_MAP:,}")
    factors = _numbers_in(fields.get(_FACTORS.get(name)))
    return math.prod(int(max(factor, 1)) for factor in factors)


def _look_at_sizes(config, largest):
    for number in _numbers_in(config):
        if number > largest:
            expected = f"sizes up to {largest:,}, as the weights in it"
            raise RefusedError(f"the size {number:,}", expected)


def _numbers_in(value: Any, counted: bool = True) -> Iterator[float]:
    """The sizes in a config, including those that are written as strings."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "name":
                yield from _numbers_in(inner, key not in _NO_SIZES)
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers_in(inner, counted)
    elif counted and isinstance(value, (int, float)):
        yield value
    elif counted and isinstance(value, str) and len(value) < 400 and _NUMBER.fullmatch(value):
        yield float(value.replace("_", ""))
