"""`refuse_unsafe`: what a model file of unknown origin may hold, looked at before it is opened.

A `.keras` file says which classes and functions make the model, and an HDF5 file may point to
other files or claim sizes that it does not hold. Keras refuses some of that while it builds the
model; here all of it is refused before anything is built.
"""

import contextlib
import io
import json
import pathlib
import stat
import zipfile
import zlib

import h5py

from keras_preact.errors import ConfigError, quoted, reason

#: What a `.keras` archive is made of; vocabularies and the like lie under `assets/`.
_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")

#: Where the classes and functions of a model may come from. Others could run anything.
_HOMES = (
    "builtins",  # names of Keras's own functions, which it looks up in a table
    "keras.activations",
    "keras.constraints",
    "keras.initializers",
    "keras.layers",
    "keras.losses",
    "keras.metrics",
    "keras.models",
    "keras.optimizers",
    "keras.regularizers",
    "keras.src.models.functional",
    "keras.src.ops.numpy",  # such as the padding that a maximum passes over
    "keras.src.models.sequential",
    "keras_preact",
)
#: What has no other home than Keras itself.
_OF_KERAS = ("Functional", "Sequential", "Model", "DTypePolicy", "DTypePolicyMap")
_CODE = ("Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")

#: What reading a damaged archive raises, beside Python's own errors.
_DAMAGED = (zipfile.BadZipFile, zlib.error)

#: A number in a config above this, and above all sizes of the stored weights, only fills memory.
_LARGEST = 65_536
_NO_SIZES = ("seed", "shared_object_id")

#: Packed files of this size and this many times smaller than what they hold are taken for bombs.
_BOMB_BYTES, _BOMB_RATIO = 64 * 2**20, 20


def refuse_unsafe(path) -> None:
    """Looks through a `.keras`, `.weights.h5` or `.h5` file before it is opened.

    Args:
        path: The file.

    Raises:
        ConfigError: For code (Lambda layers, classes of modules other than Keras's and this
            package's), archives that reach outside their folder or unpack to much more than they
            are, links to other files, and sizes that are claimed and not held.

    Example:
        >>> import tempfile
        >>> from keras_preact.applications import ResNet8V2
        >>> from keras_preact.weights import refuse_unsafe
        >>> path = tempfile.mkdtemp() + "/net.keras"
        >>> ResNet8V2().save(path)
        >>> refuse_unsafe(path)
    """
    path = pathlib.Path(path)
    try:
        if path.suffix == ".keras":
            _look_through_archive(path)
        else:
            with h5py.File(path) as file:
                _largest_in(file, path)
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, *_DAMAGED) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            "A model file is a whole `.keras`, `.weights.h5` or `.h5` file, as Keras writes them. "
            f"Received: {str(path)!r}, which cannot be read: {reason(error)}"
        ) from None


def _look_through_archive(path):
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            _look_at_member(member, path)
        if len({*archive.namelist()}) < len(members):
            _refuse(path, "two members of one name", "each file once")
        _look_at_sizes(sum(member.file_size for member in members), path)
        with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
            largest = _largest_in(file, path)
        config = json.loads(archive.read("config.json"))
    _look_through_config(config, max(largest, _LARGEST), path)


def _look_at_member(member, path):
    name = member.filename
    known = name in _MEMBERS or name.startswith("assets/")
    inside = ".." not in pathlib.PurePosixPath(name).parts and "\\" not in name
    link = stat.S_ISLNK(member.external_attr >> 16)
    if not known or not inside or link:
        _refuse(path, f"the member {name!r}", f"{quoted(_MEMBERS)} and files under assets/")


def _look_at_sizes(unpacked, path):
    """All that a file holds beside its own size on the disk, which no header can claim."""
    size = path.stat().st_size
    if unpacked > _BOMB_BYTES and unpacked > _BOMB_RATIO * size:
        sizes = f"{size:,} bytes that unpack to {unpacked:,}"
        _refuse(path, sizes, "files of the size that they are")


def _largest_in(file, path) -> int:
    """The largest dimension of all arrays in a file."""
    largest, unpacked = 1, 0
    for item in _arrays_in(file, path):
        if item.is_virtual or item.external:
            _refuse(path, f"{item.name}, whose values lie in another file", "arrays of its own")
        number = item.dtype.kind in "fiub" or item.dtype == "V2"  # which is Keras's bfloat16
        if not number or item.shape is None:
            _refuse(path, f"{item.name} of type {item.dtype}", "arrays of numbers")
        held = item.id.get_storage_size()
        packed = item.compression is not None and item.nbytes <= max(_BOMB_RATIO * held, 2**20)
        if item.nbytes > held and not packed:
            sizes = f"{item.name} of shape {item.shape}, of which {held:,} bytes are there"
            _refuse(path, sizes, "arrays that are held in full")
        largest, unpacked = max(largest, *item.shape, 1), unpacked + item.nbytes
    _look_at_sizes(unpacked, path)
    return largest


def _arrays_in(group, path):
    """The arrays in a group and in those below, each of which has one name."""
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, (h5py.ExternalLink, h5py.SoftLink)):
            _refuse(path, f"a link at {group.name}/{name}", "arrays of its own")
        item = group[name]
        if h5py.h5o.get_info(item.id).rc > 1:
            _refuse(path, f"a second name at {group.name}/{name}", "each array once")
        if isinstance(item, h5py.Group):
            yield from _arrays_in(item, path)
        elif isinstance(item, h5py.Dataset):
            yield item
        else:
            _refuse(path, f"a {type(item).__name__} at {item.name}", "groups and arrays")


def _look_through_config(config, largest, path):
    if isinstance(config, dict):
        if "class_name" in config:
            _look_at_class(config, path)
        for key, value in config.items():
            if key not in _NO_SIZES or not isinstance(value, int):
                _look_through_config(value, largest, path)
    elif isinstance(config, list):
        for value in config:
            _look_through_config(value, largest, path)
    elif isinstance(config, int) and config > largest:
        _refuse(path, f"the size {config:,}", f"sizes up to {largest:,}, as its weights have them")


def _look_at_class(config, path):
    name, module = config["class_name"], config.get("module")
    registered = str(config.get("registered_name") or "")
    known = module is None or module in _HOMES or str(module).startswith("keras_preact.")
    known = known or (module == "keras" and name in _OF_KERAS)
    known = known and (">" not in registered or registered.startswith("keras_preact>"))
    # Keras follows dots from module to module, and so out of those that are known.
    dotted = "." in str(name) or (name == "function" and "." in str(config.get("config")))
    if name in _CODE or dotted or not known:
        origin = f"{module}.{name}" if module else name
        _refuse(path, origin, "layers and functions of Keras and of keras_preact, without code")


def _refuse(path, received, expected):
    raise ConfigError(
        f"A model file may hold {expected}. Received: {str(path)!r} with {received}. It is not "
        "opened; if you trust its origin, open it with keras.saving.load_model."
    )


@contextlib.contextmanager
def opened_weights(path):
    """The HDF5 file of the weights in a `.keras`, `.weights.h5` or `.h5` file, if it is safe."""
    refuse_unsafe(path)
    source = pathlib.Path(path)
    if source.suffix == ".keras":
        with zipfile.ZipFile(source) as archive:
            source = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(source) as file:
        yield file
