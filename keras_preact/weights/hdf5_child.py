"""The process that reads HDF5 files of unknown origin, and nothing else.

The HDF5 library has bugs that a crafted file can exploit. So such files are read here, with limited
memory and without the right to open files or connections; the arrays are returned as safetensors.
The module runs as a script, without TensorFlow and without this package, and answers one file after
the other:

    to it:   8 bytes, the length of a file, and the file
    from it: 8 bytes, the length of JSON, and the JSON: `refused` (what was found, what is allowed),
             `error`, `memory` if it runs out, or the `attributes` of groups and the `size` of the
             safetensors that follow
"""

import contextlib
import ctypes
import io
import json
import os
import struct
import sys
from collections.abc import Callable
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None

import h5py
import numpy as np
from safetensors.numpy import save

#: Files that unpack to more than this size and this many times their size are refused as bombs.
BOMB_BYTES, BOMB_RATIO = 64 * 2**20, 20

#: Most arrays and groups in a file, and most bytes in a part of a path.
_MOST, _LONGEST = 200_000, 255

#: HDF5's numbers of the filters that Keras and h5py use: deflate, shuffle, a checksum, LZF.
_FILTERS = (1, 2, 3, 32_000)

#: Memory of the process besides a file and its arrays, in bytes.
_MEMORY = 512 * 2**20


class Refused(Exception):
    """What a file contains, and what is allowed."""


def main() -> None:
    """Answers files until there are no more."""
    took, gave = sys.stdin.buffer, sys.stdout.buffer
    read(_sample(), lambda size: None)  # so that everything that is imported late is loaded
    base = _address_space()
    _answer(gave, {"confined": confine()})
    while len(header := took.read(8)) == 8:
        _answer(gave, *_of_one(took, struct.unpack("<Q", header)[0], base))


def _of_one(took, length, base):
    """The answer to a file of some length, and the arrays that go with it."""

    def allow(size):
        _limit_memory(base + _MEMORY + 3 * length + 3 * size)

    allow(0)
    try:
        attributes, arrays = read(took.read(length), allow)
        packed = save(arrays)
        return {"attributes": attributes, "size": len(packed)}, packed
    except Refused as refused:
        return {"refused": refused.args}, b""
    except MemoryError:
        return {"memory": "reading takes more memory than is allowed for its size"}, b""
    except Exception as error:  # whatever a damaged file makes h5py raise
        return {"error": f"{type(error).__name__}: {error}"[:300]}, b""


def read(
    data: bytes, allow: Callable[[int], None]
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """The text attributes of groups, and the arrays, both by path.

    Args:
        data: The bytes of a file.
        allow: Called with the number of bytes of the arrays before any is read.
    """
    with h5py.File(io.BytesIO(data)) as file:
        attributes, found, size = {}, {}, 0
        for item in _items(file):
            if isinstance(item, h5py.Group):
                if texts := {key: _texts(item.attrs[key]) for key in item.attrs if _wanted(key)}:
                    attributes[item.name] = texts
            else:
                _look_at(item)
                found[item.name], size = item, size + item.nbytes
            if len(found) + len(attributes) > _MOST:
                raise Refused(f"more than {_MOST:,} arrays", "the weights of a network")
        if size > BOMB_BYTES and size > BOMB_RATIO * len(data):
            sizes = f"{len(data):,} bytes that unpack to {size:,}"
            raise Refused(sizes, "files of the size that they claim")
        allow(size)
        return attributes, {name.strip("/"): _values(item) for name, item in found.items()}


def _wanted(key):
    """Whether an attribute is a digest or has names: of a layer (Keras 3), or lists (Keras 2)."""
    return key in ("name", "sha256") or key.startswith(("layer_names", "weight_names"))


def _texts(value):
    values = np.asarray(value).ravel().tolist()
    texts = [value.decode() if isinstance(value, bytes) else value for value in values]
    return texts if isinstance(value, np.ndarray) else texts[0]


def _items(group):
    """A group, and the groups and arrays in it, each of which has one name."""
    yield group
    for name in group:
        _look_at_part(name)
        link = group.get(name, getlink=True)
        if isinstance(link, (h5py.ExternalLink, h5py.SoftLink)):
            raise Refused(f"a link at {group.name}/{name}", "arrays of its own")
        item = group[name]
        if h5py.h5o.get_info(item.id).rc > 1:
            raise Refused(f"a second name at {group.name}/{name}", "each array only once")
        if isinstance(item, h5py.Group):
            yield from _items(item)
        elif isinstance(item, h5py.Dataset):
            yield item
        else:
            raise Refused(f"a {type(item).__name__} at {item.name}", "only groups and arrays")


def _look_at_part(name):
    """Refuses a name that could lead out of a folder, or that cannot be printed."""
    bad = "\\" in name or ".." in name or name in ("", ".") or not name.isprintable()
    if bad or len(name.encode()) > _LONGEST:
        raise Refused(f"the name {name[:80]!r}", f"printable names of at most {_LONGEST} bytes")


def _look_at(item):
    """Refuses an array whose numbers are not in the file."""
    if item.is_virtual or item.external:
        raise Refused(f"{item.name}, whose values are in another file", "arrays of its own")
    # V2 is Keras's bfloat16.
    number = (item.dtype.kind in "fiub" and item.dtype.itemsize <= 8) or item.dtype == "V2"
    if not number or item.shape is None:
        raise Refused(f"{item.name} of dtype {item.dtype}", "arrays of numbers")
    made = item.id.get_create_plist()
    filters = [made.get_filter(k)[0] for k in range(made.get_nfilters())]
    if not {*filters} <= {*_FILTERS}:
        raise Refused(f"{item.name}, packed by filter {max(filters)}", "arrays packed with gzip")
    held = item.id.get_storage_size()
    packed = bool(filters) and item.nbytes <= max(BOMB_RATIO * held, 2**20)
    if item.nbytes > held and not packed:
        sizes = f"{item.name} of shape {item.shape}, of which only {held:,} bytes are stored"
        raise Refused(sizes, "arrays that are stored completely")


def _values(item):
    array = item[()]
    if item.dtype == "V2":  # bfloat16, which NumPy does not have, is the upper half of float32
        array = (array.view("u2").astype("u4") << 16).view("f4").reshape(item.shape)
    array = np.asarray(array, order="C")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def confine() -> str:
    """Gives up the rights that reading does not need; returns the restrictions in words.

    On Linux with Landlock the process can neither open nor create files, open connections, nor
    trace other processes; elsewhere at least it cannot get new file descriptors.
    """
    done = ["Landlock"] if _landlock() else []
    if resource:
        for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE):
            resource.setrlimit(kind, (0, 0))
        done.append("resource limits")
    return " and ".join(done) or "only a process of its own"


def _landlock() -> bool:
    """Denies the only thread everything that Landlock covers, by an empty set of rules."""
    if sys.platform != "linux" or len(os.listdir("/proc/self/task")) != 1:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    create, restrict = 444, 446  # numbers of system calls, the same on all processors
    version = libc.syscall(create, None, 0, 1)
    if version < 1:
        return False
    files = (1 << (13, 14, 15, 15, 16)[min(version, 5) - 1]) - 1
    rules = [files, *([3] if version >= 4 else []), *([3] if version >= 6 else [])]
    handled = struct.pack(f"<{len(rules)}Q", *rules)  # files, connections, signals and sockets
    ruleset = libc.syscall(create, handled, len(handled), 0)
    no_new_privileges = 38
    denied = ruleset >= 0 and libc.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    denied = denied and libc.syscall(restrict, ruleset, 0) == 0
    if ruleset >= 0:
        os.close(ruleset)
    return denied


def _address_space() -> int:
    """Current address space of the process in bytes."""
    with contextlib.suppress(OSError), open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
    return 0


def _limit_memory(size):
    if resource:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _sample():
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        group = file.create_group("layers/a/vars")
        group.attrs["name"], group.attrs["weight_names"] = "a", [b"a"]
        group.create_dataset("0", data=np.zeros((8, 8), "f4"), compression="gzip")
    return data.getvalue()


def _answer(stream, answer, packed=b""):
    text = json.dumps(answer).encode()
    for part in (struct.pack("<Q", len(text)), text, packed):
        stream.write(part)
    stream.flush()


if __name__ == "__main__":
    main()
