"""`Checkpoints`: training states on disk, each complete and verified, or absent."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

from keras_preact.errors import DataError, DivergedError
from keras_preact.files import PARTIAL, save_error, sync_folder, to_json, write_file

FORMAT = 1
#: Bytes of a file that are made, hashed and written at a time.
_PIECE = 2**20
_NAME = re.compile(r"(\d{6,})-step-(\d+)")


class Checkpoint(NamedTuple):
    """A saved state.

    Attributes:
        state: Arrays by name: weights, statistics, seeds, the optimiser's variables.
        progress: How far training had come: `step`, `epochs_done`, `best`.
        path: Its folder.
    """

    state: dict[str, np.ndarray]
    progress: dict[str, Any]
    path: pathlib.Path


class Checkpoints:
    """The checkpoints of a run: the latest and the best.

    Each is a folder with `state.safetensors`, `progress.json` and `MANIFEST.json` (size and SHA-256
    of both). It is written under a temporary name, the manifest last, flushed to disk and then
    renamed, so that a kill at any moment leaves earlier ones intact. None is removed before its
    successor is on disk.

    Args:
        path: Folder of the checkpoints.
        keep: How many of the latest to keep, besides the best.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from keras_preact.training.checkpoint import Checkpoints
        >>> checkpoints = Checkpoints(tempfile.mkdtemp())
        >>> _ = checkpoints.save({"w": np.ones(3)}, {"step": 7})
        >>> found, damaged = checkpoints.latest()
        >>> found.progress["step"], damaged
        (7, [])
    """

    def __init__(self, path: str | os.PathLike[str], keep: int = 2) -> None:
        self.path, self.keep = pathlib.Path(path), keep

    def names(self) -> list[str]:
        """The existing checkpoints, oldest first."""
        found = self.path.iterdir() if self.path.is_dir() else ()
        numbered = [(int(m[1]), path.name) for path in found if (m := _NAME.fullmatch(path.name))]
        return [name for _, name in sorted(numbered)]

    @property
    def last_good(self) -> str:
        """The folder of the newest one, or `none`, for messages."""
        names = self.names()
        return str(self.path / names[-1]) if names else "none"

    def after_diverging(self) -> str:
        """What remains after training diverged, and what to try next."""
        return (
            f"Last good checkpoint: {self.last_good}. A lower --learning-rate or a recipe with "
            "warm-up usually helps."
        )

    def next_name(self, step: int) -> str:
        """The name that the next checkpoint will have."""
        names = self.names()
        number = int(_NAME.fullmatch(names[-1])[1]) + 1 if names else 1
        return f"{number:06d}-step-{step}"

    def save(self, state: dict[str, np.ndarray], progress: dict[str, Any]) -> pathlib.Path:
        """Writes a checkpoint, then removes those that are no longer needed.

        Args:
            state: Arrays by name.
            progress: Plain values: `step`, and `best` with the name of the `checkpoint` to keep.

        Returns:
            Its folder.

        Raises:
            DivergedError: When a number in the state is not finite.
            SaveError: When it cannot be written; earlier ones stay intact.
        """
        for name, value in state.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise DivergedError(
                    f"{name} is not finite at step {progress['step']}. {self.after_diverging()}"
                )
        target = self.path / self.next_name(progress["step"])
        partial = self.path / f"{PARTIAL}{target.name}"
        contents = {
            "state.safetensors": _safetensors(state),
            "progress.json": [to_json({"format": FORMAT, **progress})],
        }
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._clear_partial()
            os.mkdir(partial)
            manifest = {name: _written(partial / name, data) for name, data in contents.items()}
            write_file(partial / "MANIFEST.json", to_json(manifest))
            sync_folder(partial)
            os.rename(partial, target)
            sync_folder(self.path)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)  # others need the last of the space
            raise save_error(error, "A checkpoint", target) from error
        self._remove_old(progress)
        return target

    def latest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest undamaged checkpoint, and what is wrong with newer ones.

        Raises:
            DataError: When there are checkpoints and all are damaged.
        """
        damaged = []
        for name in reversed(self.names()):
            try:
                return self.read(name), damaged
            except DataError as error:
                damaged.append(str(error))
        if damaged:
            raise DataError(f"All checkpoints of this run are damaged. {damaged[0]}")
        return None, []

    def set_aside(self, newer_than: str | None) -> None:
        """Renames checkpoints newer than this one, so that they no longer count."""
        names = self.names()
        for name in names[names.index(newer_than) + 1 :] if newer_than else ():
            with contextlib.suppress(OSError):
                os.rename(self.path / name, self.path / f"damaged-{name}")

    def read(self, name: str) -> Checkpoint:
        """Reads and verifies a checkpoint.

        Raises:
            DataError: When one of its files is missing or has changed; names the file.
        """
        folder = self.path / name
        manifest = _parsed(folder / "MANIFEST.json", _read(folder / "MANIFEST.json"))
        contents = {}
        for file in ("state.safetensors", "progress.json"):
            data = _read(folder / file)
            found = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            if manifest.get(file) != found:
                raise DataError(f"{folder / file} is damaged: its contents have changed.")
            contents[file] = data
        progress = _parsed(folder / "progress.json", contents["progress.json"])
        if progress["format"] > FORMAT:
            raise DataError(f"{folder} was written by a later version of keras_preact.")
        state = safetensors.numpy.load(contents["state.safetensors"])
        return Checkpoint(state, progress, folder)

    def _remove_old(self, progress):
        best = (progress.get("best") or {}).get("checkpoint")
        for name in self.names()[: -self.keep]:
            if name != best:
                shutil.rmtree(self.path / name, ignore_errors=True)

    def _clear_partial(self):
        for path in self.path.glob(f"{PARTIAL}*"):
            shutil.rmtree(path, ignore_errors=True)


def _safetensors(state: dict[str, np.ndarray]) -> Iterator[bytearray]:
    """A safetensors file of some arrays, in pieces.

    The library would make it whole, in memory, which takes longer than all else about a checkpoint.
    """
    entries, end = {}, 0
    for name, value in state.items():
        kind, bits = value.dtype.kind, 8 * value.itemsize
        begin, end = end, end + value.nbytes
        entries[name] = {
            "dtype": "BOOL" if kind == "b" else {"i": "I", "u": "U", "f": "F"}[kind] + str(bits),
            "shape": value.shape,
            "data_offsets": (begin, end),
        }
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    piece = bytearray(len(header).to_bytes(8, "little") + header)
    for value in state.values():
        piece += value.tobytes()
        if len(piece) >= _PIECE:
            yield piece
            piece = bytearray()
    yield piece


def _written(path: pathlib.Path, pieces: Iterable[bytes | bytearray]) -> dict[str, Any]:
    """Writes a file; what the manifest says of it."""
    digest, size = hashlib.sha256(), 0

    def hashed():
        nonlocal size
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            yield piece

    write_file(path, hashed())
    return {"bytes": size, "sha256": digest.hexdigest()}


def _read(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def _parsed(path: pathlib.Path, data: bytes) -> dict[str, Any]:
    """Reads a JSON file of this package; one that is not reproduced byte for byte was changed."""
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict) or to_json(value) != data:
        raise DataError(f"{path} is damaged: its contents have changed.")
    return value
