"""`read_model_file`: model files of unknown origin, looked through before anything is built.

A `.keras` file says which classes and functions make the model, and an HDF5 file may point to
other files or claim sizes that it does not hold. Keras refuses some of that while it builds the
model; here all of it is refused before, by a list of what is known (`allowed`), and HDF5 is read
in a process that may crash (`hdf5`).
"""

import io
import json
import math
import pathlib
import re
import stat
import zipfile
import zlib
from typing import Any, NamedTuple

import numpy as np

from keras_preact.errors import ConfigError, quoted, reason
from keras_preact.weights.allowed import CLASSES, FUNCTIONS, UNSAFE, VALUES
from keras_preact.weights.hdf5 import RefusedError, read_hdf5
from keras_preact.weights.hdf5_child import BOMB_BYTES, BOMB_RATIO

#: What a `.keras` archive is made of; its optional `assets/` hold vocabularies, which images lack.
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = (_CONFIG, "metadata.json", _WEIGHTS)

#: What reading a damaged archive raises, beside Python's own errors.
_DAMAGED = (zipfile.BadZipFile, zlib.error, RecursionError)

#: A number in a config above this, and above all sizes of the stored weights, only fills memory.
_LARGEST = 65_536
#: Values that are no sizes.
_NO_SIZES = (
    "mean", "max_value", "min_value", "offset", "scale", "seed", "shared_object_id", "value",
    "variance",
)  # fmt: skip

#: How deep a config may be nested, and how many bytes a name may have.
_DEEPEST, _LONGEST = 200, 255

#: Layers that make maps larger: none by more than this in one number, and all of a file together
#: not by more than this.
LARGEST_MAP, LARGEST_FACTOR = 4_096, 65_536
_FACTORS = {"UpSampling2D": "size", "Conv2DTranspose": "strides", "RepeatVector": "n"}
LARGER = (
    *_FACTORS, "AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D", "CenterCrop", "Pad",
    "RandomCrop", "Resizing", "ZeroPadding2D",
)  # fmt: skip

_NUMBER = re.compile(r"\s*[+-]?[\d_]+(\.\d*)?([eE][+-]?\d+)?\s*")


class ModelFile(NamedTuple):
    """What is in a model file.

    Attributes:
        arrays: Its arrays by their paths, such as `"layers/dense/vars/0"`.
        attributes: Texts that groups of arrays have, by path and name.
        config: The model as Keras has it in JSON, not compiled; `None` where the file has weights
            alone.
    """

    arrays: dict[str, np.ndarray]
    attributes: dict[str, dict[str, Any]]
    config: dict[str, Any] | None = None


def refuse_unsafe(path) -> None:
    """Looks through a `.keras`, `.weights.h5` or `.h5` file before it is opened.

    Args:
        path: The file.

    Raises:
        ConfigError: For code (Lambda layers, classes and functions that no image classifier is made
            of), archives that reach outside their folder or unpack to much more than they are,
            links to other files, and sizes that are claimed and not held.

    Example:
        >>> import tempfile
        >>> from keras_preact.applications import ResNet8V2
        >>> from keras_preact.weights import refuse_unsafe
        >>> path = tempfile.mkdtemp() + "/net.keras"
        >>> ResNet8V2().save(path)
        >>> refuse_unsafe(path)
    """
    read_model_file(path)


def read_model_file(path) -> ModelFile:
    """What is in a `.keras`, `.weights.h5` or `.h5` file, if that is safe; it is read once.

    Args:
        path: The file.

    Raises:
        ConfigError: As `refuse_unsafe`.
    """
    path = pathlib.Path(path)
    try:
        data = path.read_bytes()
        return _of_archive(data) if path.suffix == ".keras" else ModelFile(*read_hdf5(data))
    except _Unsupported as found:
        raise ConfigError(
            f"A model file may hold what image classifiers are made of. Received: {str(path)!r} "
            f"with {found}, which is safe but not supported. keras.saving.load_model opens it."
        ) from None
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, *_DAMAGED) as error:
        if isinstance(error, RefusedError) and len(error.args) == 2:
            received, expected = error.args
            raise ConfigError(
                f"A model file may hold {expected}. Received: {str(path)!r} with {received}. It is "
                "not opened; if you trust its origin, open it with keras.saving.load_model."
            ) from None
        raise ConfigError(
            "A model file is a whole `.keras`, `.weights.h5` or `.h5` file, as Keras writes them. "
            f"Received: {str(path)!r}, which cannot be read: {reason(error)}"
        ) from None


class _Unsupported(Exception):
    """A class of Keras that is safe, as far as is known, and that no image classifier has."""


def _of_archive(data) -> ModelFile:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        for member in members:
            _look_at_member(member)
        if len({*archive.namelist()}) < len(members):
            raise RefusedError("two members of one name", "each file once")
        unpacked = sum(member.file_size for member in members)
        if unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * len(data):
            sizes = f"{len(data):,} bytes that unpack to {unpacked:,}"
            raise RefusedError(sizes, "files of the size that they are")
        config, weights = json.loads(archive.read(_CONFIG)), archive.read(_WEIGHTS)
    look_through(config)  # what is wrong with names is said of these, and no array is looked at
    config = _untrained(config)
    found = read_hdf5(weights)
    largest = max((size for array in found.arrays.values() for size in array.shape), default=1)
    _look_at_sizes(config, max(largest, _LARGEST))
    return ModelFile(*found, config)


def _untrained(config):
    """A config without what it says of a training, which is not gone on with."""
    if isinstance(config, dict):
        return {k: _untrained(value) for k, value in config.items() if k != "compile_config"}
    return [_untrained(value) for value in config] if isinstance(config, list) else config


def _look_at_member(member):
    name = member.filename
    if name not in _MEMBERS or stat.S_ISLNK(member.external_attr >> 16):
        raise RefusedError(f"the member {name!r}", f"{quoted(_MEMBERS)} alone")


def look_through(config, depth: int = 0) -> int:
    """Looks at all names in the config of a model.

    Args:
        config: The model as Keras has it in JSON, or a part of it.
        depth: How deep that part is in it.

    Returns:
        By what its layers together enlarge maps, as far as they multiply them.

    Raises:
        RefusedError: For what could run code or reach outside.
    """
    if depth > _DEEPEST:
        raise RefusedError(f"a config nested deeper than {_DEEPEST}", "the layers of a network")
    factor, parts = 1, []
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
        received = f"layers that enlarge maps {factor:,} times"
        raise RefusedError(received, f"layers that do by {LARGEST_FACTOR:,} at most")
    return factor


def _look_at_class(config):
    name, module = config["class_name"], config.get("module")
    registered = config.get("registered_name")
    if not isinstance(name, str) or not isinstance(module, (str, type(None))):
        raise RefusedError(f"the class {name!r:.80} of {module!r:.80}", "names of classes")
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


#: Modules of Keras whose other classes do nothing but compute.
_SAFE = (
    "keras.constraints", "keras.initializers", "keras.layers", "keras.losses", "keras.metrics",
    "keras.optimizers", "keras.regularizers", "keras.src.ops.image", "keras.src.ops.math",
    "keras.src.ops.nn", "keras.src.ops.numpy",
)  # fmt: skip

#: Classes that a config may name without a module, as Keras 2 did.
_ANY = {name for names in CLASSES.values() for name in names}


def _look_at_name(name):
    """A name may not lead out of a folder of that name, or garble what shows it."""
    if not isinstance(name, str):
        return
    bad = "\\" in name or ".." in name or not name.isprintable()
    if bad or len(name.encode(errors="replace")) > _LONGEST:
        expected = f"printable names of {_LONGEST} bytes at most, without '..' and '\\'"
        raise RefusedError(f"the name {name[:80]!r}", expected)


def _look_at_map(config) -> int:
    """How many times as large a layer makes its maps; none may do so without measure."""
    name, fields = config["class_name"], config.get("config")
    if name not in LARGER or not isinstance(fields, dict):
        return 1
    for number in _numbers_in(fields):
        if number > LARGEST_MAP:
            received = f"a {name} with the number {number:,}"
            raise RefusedError(received, f"maps that grow by {LARGEST_MAP:,} at most")
    factors = _numbers_in(fields.get(_FACTORS.get(name)))
    return math.prod(int(max(factor, 1)) for factor in factors)


def _look_at_sizes(config, largest):
    for number in _numbers_in(config):
        if number > largest:
            expected = f"sizes up to {largest:,}, as its weights have them"
            raise RefusedError(f"the size {number:,}", expected)


def _numbers_in(value, counted: bool = True):
    """The sizes in a config, those that are written as texts too."""
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
