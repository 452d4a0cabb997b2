"""A cache on disk: the images of a folder or a table, decoded once.

A cache is a folder with the file `pixels`, which is memory-mapped and so shared by all processes,
and an index. It is complete or absent. Its name is a digest of the paths, sizes and times of its
files and of how they were read, so that a change makes a new one.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import threading
import zlib
from collections.abc import Callable

import numpy as np

from keras_preact.data.images import scaled_shape
from keras_preact.data.options import DataOptions
from keras_preact.data.parts import Folder
from keras_preact.data.picture import Header, Picture
from keras_preact.errors import DataError
from keras_preact.files import make_folder, replacing

_VERSION = 1  # of what is in the folder, and of how images are decoded
_OF_HEADER = ("width", "height", "mode", "format", "orientation", "brightest")
_ROW = np.dtype(
    [
        ("place", "i8"), ("rows", "i4"), ("columns", "i4"), ("crc", "u4"),
        ("width", "i4"), ("height", "i4"), ("mode", "U8"), ("format", "U8"),
        ("orientation", "i1"), ("brightest", "i2"),
    ]
)  # fmt: skip


class ImageCache:
    """Decoded images in a folder, by part and position.

    Args:
        path: the folder.
        folder: the listed folder or table whose images they are; what is known of its files is
            noted in its parts.

    Raises:
        DataError: it is damaged.
    """

    def __init__(self, path: pathlib.Path, folder: Folder) -> None:
        self.path = path
        try:
            about = json.loads((path / "about.json").read_bytes())
            index = np.load(path / "index.npy", allow_pickle=False)
            self._pixels = np.memmap(path / "pixels", np.uint8, "r")
            self._channels = about["channels"]
            sizes = index["rows"].astype(np.int64) * index["columns"] * self._channels
            whole = index.dtype == _ROW and (index["place"] + sizes <= len(self._pixels)).all()
            counts = [len(part.paths) for part in folder.parts.values()]
            if not whole or len(index) != sum(counts):
                raise ValueError("its parts do not match")
            starts = np.cumsum([0, *counts])
            self._index = {
                name: index[first : first + count]
                for name, first, count in zip(folder.parts, starts, counts, strict=False)
            }
            self._seen = {name: np.zeros(len(rows), bool) for name, rows in self._index.items()}
            for name, part in folder.parts.items():
                part.bad = {int(k): reason for k, reason in about["bad"][name].items()}
                rows = self._index[name][[*_OF_HEADER]].tolist()
                part.headers = {
                    k: Header(**dict(zip(_OF_HEADER, row, strict=True)))
                    for k, row in enumerate(rows)
                    if k not in part.bad
                }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(self._damaged(str(error))) from None

    def pixels(self, part: str, position: int) -> np.ndarray:
        """An image, uint8 `[rows, columns, channels]`; checked when it is read first."""
        row = self._index[part][position]
        shape = int(row["rows"]), int(row["columns"]), self._channels
        first = int(row["place"])
        pixels = self._pixels[first : first + int(np.prod(shape))]
        if not self._seen[part][position]:
            if zlib.crc32(pixels) != row["crc"]:
                raise DataError(self._damaged(f"image {position} of its part {part!r} has changed"))
            self._seen[part][position] = True
        return np.asarray(pixels).reshape(shape)

    def _damaged(self, reason):
        return (
            f"{self.path} must be an undamaged image cache. Received: {reason}. Delete it; the "
            "same command writes it again."
        )


class _Writer:
    """Decoded images on their way into a cache."""

    def __init__(self, path, folder: Folder, channels: int, shorter: int | None):
        self._path, self._channels, self._shorter = path, channels, shorter
        self._index = {name: np.zeros(len(p.paths), _ROW) for name, p in folder.parts.items()}
        self._file, self._lock = (path / "pixels").open("wb"), threading.Lock()

    def put(self, picture: Picture, part: str, position: int) -> None:
        """Writes an image, as it is or with its shorter side scaled down."""
        shorter = self._shorter
        small = shorter is None or min(picture.shape[:2]) <= shorter
        pixels = picture.pixels() if small else picture.scaled(scaled_shape(picture.shape, shorter))
        crc = zlib.crc32(np.ascontiguousarray(pixels))
        with self._lock:
            row = (self._file.tell(), *pixels.shape[:2], crc)
            self._file.write(pixels.tobytes())
        for name, value in zip(_ROW.names, row, strict=False):
            self._index[part][name][position] = value

    def end(self, folder: Folder) -> None:
        """Writes what is known of the images."""
        with self._file:
            if not self._file.tell():
                self._file.write(b"\0")  # which can be mapped
        for name, part in folder.parts.items():
            for field in _OF_HEADER:
                for position, header in part.headers.items():
                    self._index[name][field][position] = getattr(header, field)
        np.save(self._path / "index.npy", np.concatenate([*self._index.values()]))
        about = {
            "channels": self._channels,
            "bad": {name: part.bad for name, part in folder.parts.items()},
        }
        (self._path / "about.json").write_text(json.dumps(about))


def cached(
    folder: Folder, options: DataOptions, channels: int, decode: Callable[..., None]
) -> ImageCache:
    """The cache of a folder's images, made if it is not there.

    Args:
        folder: a listed folder or table.
        options: `cache`, `cache_shorter` and how images are read count.
        channels: 1 or 3.
        decode: decodes all files of the folder; takes what to do with each picture, its part and
            its position there.

    Returns:
        An `ImageCache`.

    Raises:
        DataError: it is damaged.
        SaveError: it cannot be written.
    """
    import filelock

    place = os.path.expanduser(options.cache)
    make_folder(place, "The cache of images")
    path = pathlib.Path(place) / _key(folder, options, channels)
    with contextlib.ExitStack() as stack:
        if not path.is_dir():
            # Another process may be at it; then this one waits.
            stack.enter_context(filelock.FileLock(f"{path}.lock"))
        if not path.is_dir():
            with replacing(path, "The cache of images") as partial:
                partial.mkdir()
                writer = _Writer(partial, folder, channels, options.cache_shorter)
                decode(writer.put)
                writer.end(folder)
    return ImageCache(path, folder)


def _key(folder: Folder, options: DataOptions, channels: int) -> str:
    """What a cache is called: a digest of all that its pixels depend on."""
    digest = hashlib.sha256()
    how = (_VERSION, repr(options.reading), options.cache_shorter, channels)
    digest.update(repr(how).encode())
    for name, part in folder.parts.items():
        digest.update(f"\0{name}\0".encode())
        for path in part.paths:
            try:
                state = os.stat(path)
                facts = state.st_size, state.st_mtime_ns
            except OSError:
                facts = None
            digest.update(os.fsencode(os.path.abspath(path)) + repr(facts).encode())
    return digest.hexdigest()[:32]
