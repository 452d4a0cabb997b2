"""The process that reads HDF5 files of unknown origin, and nothing else.

The HDF5 library has faults that a crafted file reaches. So it meets such files here, where it can
neither open a file nor a connection, in limited memory; what it finds goes back as safetensors. It
is run as a script, without TensorFlow and without this package, and answers one file after the
other:

    to it:   8 bytes, the length of a file, and the file
    from it: 8 bytes, the length of JSON, and the JSON: `refused` (what came, what is expected),
             `error`, `memory` where that ends, or the `attributes` of groups and the `size` of the
             safetensors that follow
"""

import contextlib
import ctypes
import io
import json
import os
import struct
import sys

try:
    import resource
except ImportError:  # Windows
    resource = None

import h5py
import numpy as np
from safetensors.numpy import save

#: Packed files of this size and this many times smaller than what they hold are taken for bombs.
BOMB_BYTES, BOMB_RATIO = 64 * 2**20, 20

#: Arrays and groups that a file may have, and bytes that a part of a path may.
_MOST, _LONGEST = 200_000, 255

#: HDF5's numbers of the filters that Keras and h5py pack with: deflate, shuffle, a checksum, LZF.
_FILTERS = (1, 2, 3, 32_000)

#: What the process may take beside a file and what is in it, bytes.
_MEMORY = 512 * 2**20


class Refused(Exception):
    """What a file has, and what it may have."""


def main():
    """Answers files until there are no more."""
    took, gave = sys.stdin.buffer, sys.stdout.buffer
    read(_sample(), lambda size: None)  # so that all that is imported late has been
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
        return {"memory": "it takes more memory than a file of its size may"}, b""
    except Exception as error:  # whatever a damaged file makes h5py raise
        return {"error": f"{type(error).__name__}: {error}"[:300]}, b""


def read(data, allow):
    """The texts that groups have as attributes, and the arrays, both by their paths.

    Args:
        data: A file.
        allow: Told how many bytes the arrays take before any is read.
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
            raise Refused(sizes, "files of the size that they are")
        allow(size)
        return attributes, {name.strip("/"): _values(item) for name, item in found.items()}


def _wanted(key):
    """A digest, and names: Keras 3's of a layer, and Keras 2's lists, whole or in pieces."""
    return key in ("name", "sha256") or key.startswith(("layer_names", "weight_names"))


def _texts(value):
    values = np.asarray(value).ravel().tolist()
    texts = [value.decode() if isinstance(value, bytes) else value for value in values]
    return texts if isinstance(value, np.ndarray) else texts[0]


def _items(group):
    """A group, the groups in it and the arrays, each of which has one name."""
    yield group
    for name in group:
        _look_at_part(name)
        link = group.get(name, getlink=True)
        if isinstance(link, (h5py.ExternalLink, h5py.SoftLink)):
            raise Refused(f"a link at {group.name}/{name}", "arrays of its own")
        item = group[name]
        if h5py.h5o.get_info(item.id).rc > 1:
            raise Refused(f"a second name at {group.name}/{name}", "each array once")
        if isinstance(item, h5py.Group):
            yield from _items(item)
        elif isinstance(item, h5py.Dataset):
            yield item
        else:
            raise Refused(f"a {type(item).__name__} at {item.name}", "groups and arrays")


def _look_at_part(name):
    """A name that could be taken for a way out of a folder, or garble what shows it."""
    bad = "\\" in name or ".." in name or name in ("", ".") or not name.isprintable()
    if bad or len(name.encode()) > _LONGEST:
        raise Refused(f"the name {name[:80]!r}", f"printable names of {_LONGEST} bytes at most")


def _look_at(item):
    """An array whose numbers are in the file."""
    if item.is_virtual or item.external:
        raise Refused(f"{item.name}, whose values lie in another file", "arrays of its own")
    # V2 is Keras's bfloat16.
    number = (item.dtype.kind in "fiub" and item.dtype.itemsize <= 8) or item.dtype == "V2"
    if not number or item.shape is None:
        raise Refused(f"{item.name} of type {item.dtype}", "arrays of numbers")
    made = item.id.get_create_plist()
    filters = [made.get_filter(k)[0] for k in range(made.get_nfilters())]
    if not {*filters} <= {*_FILTERS}:
        raise Refused(f"{item.name}, packed by filter {max(filters)}", "arrays packed by gzip")
    held = item.id.get_storage_size()
    packed = bool(filters) and item.nbytes <= max(BOMB_RATIO * held, 2**20)
    if item.nbytes > held and not packed:
        sizes = f"{item.name} of shape {item.shape}, of which {held:,} bytes are there"
        raise Refused(sizes, "arrays that are held in full")


def _values(item):
    array = item[()]
    if item.dtype == "V2":  # bfloat16, which NumPy does not have, is the upper half of float32
        array = (array.view("u2").astype("u4") << 16).view("f4").reshape(item.shape)
    array = np.asarray(array, order="C")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def confine() -> str:
    """Takes away what reading does not need; in words, what could be.

    On Linux with Landlock no file can be opened or made and no connection either, and no other
    process be traced; elsewhere at least no new file descriptor can be had.
    """
    done = ["Landlock"] if _landlock() else []
    if resource:
        for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE):
            resource.setrlimit(kind, (0, 0))
        done.append("limits of resources")
    return " and ".join(done) or "a process of its own alone"


def _landlock() -> bool:
    """Denies the only thread all that Landlock knows, by a set of rules that is empty."""
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
    """What the process has by now, bytes."""
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
