"""`Checkpoints`: states of a training on disk, each whole and verified, or not there."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from keras_preact.errors import DataError, DivergedError
from keras_preact.files import PARTIAL, save_error, sync_folder, to_json, write_file

FORMAT = 1
_NAME = re.compile(r"(\d{6,})-step-(\d+)")


class Checkpoint(NamedTuple):
    """One state that was saved.

    Attributes:
        state: Arrays by name: weights, statistics, seeds, the optimiser's variables.
        progress: How far the training was: `step`, `epochs_done`, `best`.
        path: Its folder.
    """

    state: dict[str, np.ndarray]
    progress: dict[str, Any]
    path: pathlib.Path


class Checkpoints:
    """The checkpoints of a run: the last ones and the best.

    Each is a folder with `state.safetensors`, `progress.json` and `MANIFEST.json` (size and SHA-256
    of both). It is written under another name, the manifest last, put on the disk and then renamed:
    a kill at any moment leaves the ones before untouched. None is removed before what replaces it
    is on the disk.

    Args:
        path: Folder of the checkpoints.
        keep: How many of the last to keep, besides the best.

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

    def __init__(self, path, keep: int = 2):
        self.path, self.keep = pathlib.Path(path), keep

    def names(self) -> list[str]:
        """The checkpoints that are there, the oldest first."""
        found = self.path.iterdir() if self.path.is_dir() else ()
        numbered = [(int(m[1]), path.name) for path in found if (m := _NAME.fullmatch(path.name))]
        return [name for _, name in sorted(numbered)]

    @property
    def last_good(self) -> str:
        """The newest one's folder, or `none`, as messages name it."""
        names = self.names()
        return str(self.path / names[-1]) if names else "none"

    def after_diverging(self) -> str:
        """What is left of a training that diverged, and what to try next."""
        return (
            f"The last good checkpoint: {self.last_good}. A lower --learning-rate or a recipe with "
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
            progress: Plain values; `step`, and `best` with the name of the `checkpoint` to keep.

        Returns:
            Its folder.

        Raises:
            DivergedError: When a number in the state is not finite.
            SaveError: When it cannot be written; the ones before are untouched.
        """
        for name, value in state.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise DivergedError(
                    f"{name} is not finite at step {progress['step']}. {self.after_diverging()}"
                )
        target = self.path / self.next_name(progress["step"])
        partial = self.path / f"{PARTIAL}{target.name}"
        values = {name: np.array(value, order="C", copy=None) for name, value in state.items()}
        contents = {
            "state.safetensors": safetensors.numpy.save(values),
            "progress.json": to_json({"format": FORMAT, **progress}),
        }
        manifest = {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in contents.items()
        }
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._clear_partial()
            os.mkdir(partial)
            for name, data in contents.items():
                write_file(partial / name, data)
            write_file(partial / "MANIFEST.json", to_json(manifest))
            sync_folder(partial)
            os.rename(partial, target)
            sync_folder(self.path)
        except OSError as error:
            raise save_error(error, "A checkpoint", target) from error
        self._remove_old(progress)
        return target

    def latest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that is whole, and what is wrong with the newer ones.

        Raises:
            DataError: When there are checkpoints and none of them is whole.
        """
        damaged = []
        for name in reversed(self.names()):
            try:
                return self.read(name), damaged
            except DataError as error:
                damaged.append(str(error))
        if damaged:
            raise DataError(f"No checkpoint of this run is whole. {damaged[0]}")
        return None, []

    def set_aside(self, newer_than: str | None) -> None:
        """Renames those newer than a checkpoint, so that they no longer count as kept ones."""
        names = self.names()
        for name in names[names.index(newer_than) + 1 :] if newer_than else ():
            with contextlib.suppress(OSError):
                os.rename(self.path / name, self.path / f"damaged-{name}")

    def read(self, name: str) -> Checkpoint:
        """One checkpoint, verified.

        Raises:
            DataError: When any of its files is missing or not what was written; names the file.
        """
        folder = self.path / name
        manifest = _parsed(folder / "MANIFEST.json", _read(folder / "MANIFEST.json"))
        contents = {}
        for file in ("state.safetensors", "progress.json"):
            data = _read(folder / file)
            found = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            if manifest.get(file) != found:
                raise DataError(f"{folder / file} is damaged: it is not what was written.")
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


def _read(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def _parsed(path: pathlib.Path, data: bytes) -> dict[str, Any]:
    """A JSON file of ours: what does not come out byte for byte again was changed."""
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict) or to_json(value) != data:
        raise DataError(f"{path} is damaged: it is not what was written.")
    return value
