"""`RunFolder`: the folder of a training run, read and written in one place."""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from keras_preact import __version__
from keras_preact.checked import require
from keras_preact.errors import ConfigError
from keras_preact.files import PARTIAL, replace_file, replacing, save_error, sync_tree, to_json
from keras_preact.machine import processor

LOCK = ".lock"

#: Beside a model file: the names of its classes, and how image files become what it takes. A file's
#: own come first, `NAME.classes.json`.
CLASSES, GEOMETRY = "classes.json", "geometry.json"

#: What a new run writes before `config.json`, which makes the folder one of a run.
BEFORE_CONFIG = (
    "resolved.json", "data.json", "env.json", "statistics.json", "start.json", "command.txt",
    "citations.bib",
)  # fmt: skip


class RunFolder:
    """The folder of one run.

    It holds `config.json` (what was asked for; `keras-preact train --config` takes it),
    `command.txt` (the command that repeats it), `resolved.json` (every field), `env.json` (versions
    and machine), `data.json` (what the images were), `citations.bib`, `log.jsonl` and `steps.jsonl`
    (one JSON object per epoch and per step), `checkpoints/`, after a restart `restarts.json` (the
    seconds that it cost), and once it is finished `result.json`, `classes.json`, `geometry.json`,
    the trained model as `model.keras` and, where the config has `saved_model`, in `saved_model/`,
    and pictures. Loggers write `tensorboard/`, `wandb/` and `wandb.json`.

    Args:
        path: The folder of an existing run.

    Raises:
        ConfigError: When there is no such folder.

    Example:
        >>> from keras_preact.run import RunFolder
        >>> import tempfile
        >>> run = RunFolder.create(tempfile.mkdtemp() + "/mine", name="")
        >>> run.write_json("config.json", {"model": "resnet20v2"})
        >>> RunFolder(run.path).config["model"]
        'resnet20v2'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        if not self.path.is_dir():
            raise ConfigError(f"A run is a folder written by training. Received: {str(path)!r}.")

    @classmethod
    def create(cls, path: str | os.PathLike[str] | None, name: str) -> "RunFolder":
        """A new, empty run folder: `path`, or the first free `runs/{name}-{number}` for `None`.

        Raises:
            ConfigError: When the folder has files in it or cannot be written.
        """
        refuse_used(path)
        try:
            if path is not None:
                folder = pathlib.Path(path)
                is_new = not folder.is_dir()
                folder.mkdir(parents=True, exist_ok=True)
            else:
                is_new, folder = True, _next_free(pathlib.Path("runs"), name)
            # Says now, not after training, that it can be written. Where a file system cannot
            # lock, a lock that is there counts as one that is held.
            probe = folder / f"{PARTIAL}{secrets.token_hex(4)}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            where = "runs/ in this folder" if path is None else repr(str(path))
            raise ConfigError(
                f"`out` must be a folder that can be written. Received: {where} ({error.strerror})."
            ) from None
        run = cls(folder)
        run._is_new = is_new  # for `discard_if_empty`
        return run

    @classmethod
    def temporary(cls) -> "RunFolder":
        """A folder that is removed with this process, for workers that write no results."""
        folder = tempfile.TemporaryDirectory(prefix="keras_preact-")
        run = cls(folder.name)
        run._kept = folder  # removed with this object
        return run

    def discard_if_empty(self) -> None:
        """Undoes `create`, if nothing has been written since."""
        with contextlib.suppress(OSError):
            if {path.name for path in self.path.iterdir()} <= {LOCK}:
                (self.path / LOCK).unlink(missing_ok=True)
                if self._is_new:
                    self.path.rmdir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes out of the folder while this one trains.

        Raises:
            ConfigError: When another process has it; names the process.
        """
        import filelock

        lock = filelock.FileLock(self.path / LOCK)
        owner = self.path / f"{LOCK}.json"
        try:
            lock.acquire(timeout=0.5)  # others look whether it is locked, for a moment each
        except filelock.Timeout:
            who = {}
            with contextlib.suppress(OSError, ValueError):  # it may be gone, or not there yet
                who = json.loads(owner.read_text())
            raise ConfigError(
                "`out` must be a folder that no other process is training in. "
                f"Received: {str(self.path)!r}, used by process {who.get('process', '?')} on "
                f"{who.get('host', '?')}. Wait for it, or give another folder."
            ) from None
        except OSError as error:
            raise ConfigError(
                f"`out` must be a folder that can be written. Received: {str(self.path)!r} "
                f"({error.strerror})."
            ) from None
        try:
            self.write_json(owner.name, {"process": os.getpid(), "host": socket.gethostname()})
            yield
        finally:
            with contextlib.suppress(OSError):  # of a disk that fails; the lock ends anyway
                owner.unlink(missing_ok=True)
            lock.release()

    @property
    def is_locked(self) -> bool:
        """Whether a process is training in the folder."""
        import filelock

        lock = filelock.FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return True
        except OSError:  # a folder that cannot be written is one in which none trains
            return False
        lock.release()
        return False

    @property
    def is_finished(self) -> bool:
        """Whether training has finished."""
        return (self.path / "result.json").is_file()

    @property
    def config(self) -> dict[str, Any]:
        """The fields of the run's `TrainConfig`."""
        return self.read_json("config.json")

    def replacing(self, name: str) -> contextlib.AbstractContextManager[pathlib.Path]:
        """`keras_preact.files.replacing` of a file or folder in this one."""
        return replacing(self.path / name, name)

    @property
    def result(self) -> dict[str, Any]:
        """The fields of the run's `Result`."""
        return self.read_json("result.json")

    @property
    def log(self) -> list[dict[str, Any]]:
        """One dictionary per epoch."""
        return self.read_lines("log.jsonl")

    @property
    def lost(self) -> float:
        """Seconds that restarts have cost: what was done again, and the time in between."""
        there = (self.path / "restarts.json").is_file()
        return self.read_json("restarts.json")["lost"] if there else 0.0

    @property
    def steps(self) -> list[dict[str, Any]]:
        """One dictionary per step."""
        return self.read_lines("steps.jsonl")

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """The entries of a log, up to a line damaged by a kill or a power failure."""
        if not (self.path / name).is_file():
            return []
        found = []
        for line in (self.path / name).read_bytes().split(b"\n")[:-1]:
            try:
                found.append(json.loads(line))
            except ValueError:
                break
        return found

    def read_json(self, name: str) -> Any:
        """A JSON file of the folder."""
        try:
            return json.loads(self._text(name))
        except json.JSONDecodeError as error:
            raise ConfigError(f"{self.path / name} is damaged: {error}.") from None

    def write_json(self, name: str, value: Any) -> None:
        """Writes a JSON file atomically.

        Raises:
            SaveError: When it cannot be written.
        """
        self.write_bytes(name, to_json(value))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Writes a file atomically; raises `SaveError` if it cannot."""
        try:
            replace_file(self.path / name, data)
        except OSError as error:
            raise save_error(error, name, self.path) from error

    def append_log(self, values: dict[str, Any], name: str = "log.jsonl") -> None:
        """Appends one line to a log, completely or not at all.

        Args:
            values: The entry, as plain values.
            name: File of the log.

        Raises:
            SaveError: When it cannot be written.
        """
        line = f"{json.dumps(values)}\n".encode()
        try:
            with open(self.path / name, "ab", buffering=0) as file:
                end = file.tell()
                if file.write(line) < len(line):  # a full disk takes part of it
                    file.truncate(end)
                    raise OSError(28, "No space left on device")
        except OSError as error:
            raise save_error(error, f"A line of {name}", self.path) from error

    def sync_logs(self) -> None:
        """Flushes the logs to disk; raises `SaveError` if it cannot."""
        for name in ("log.jsonl", "steps.jsonl"):
            if (self.path / name).is_file():
                try:
                    sync_tree(self.path / name)
                except OSError as error:
                    raise save_error(error, name, self.path) from error

    def cut_log(self, name: str, key: str, last: int) -> None:
        """Keeps the lines of a log whose `key` is at most `last`; later steps are repeated.

        Raises:
            SaveError: When it cannot be written.
        """
        kept = [line for line in self.read_lines(name) if line[key] <= last]
        text = "".join(f"{json.dumps(line)}\n" for line in kept)
        self.write_bytes(name, text.encode())

    def _text(self, name: str) -> str:
        try:
            return (self.path / name).read_text()
        except OSError:
            raise ConfigError(f"{self.path} is not a run folder: it has no {name}.") from None
        except ValueError:
            raise ConfigError(f"{self.path / name} is damaged: it is not text.") from None


def refuse_used(path: str | os.PathLike[str] | None) -> None:
    """Raises `ConfigError` if `path` is given and is not a new or empty folder."""
    if path is None or not os.path.exists(path):
        return
    require(os.access(path, os.R_OK), "out", str(path), "a folder that can be read and written")
    # What a run may have left that was killed before it had its config, which is written last.
    harmless = {LOCK, f"{LOCK}.json", *BEFORE_CONFIG}
    found = [] if not os.path.isdir(path) else os.listdir(path)
    left = {name for name in found if not name.startswith(PARTIAL)}
    used = not os.path.isdir(path) or bool(left - harmless)
    busy = used and LOCK in found and RunFolder(path).is_locked
    require(
        not used,
        "out",
        str(path),
        "a new or empty folder, so that no run is lost",
        f"{'Another process is training in it. ' if busy else ''}Give another one, or none.",
    )


def watched(row: dict) -> str:
    """Which images a line of a run's log was evaluated on: `"validation"` or else `"test"`.

    Example:
        >>> from keras_preact.run import watched
        >>> watched({"epoch": 1, "error": 0.5, "test_error": 0.6})
        'test'
    """
    return "validation" if "validation_error" in row else "test"


def beside(model: pathlib.Path, name: str) -> pathlib.Path:
    """The `CLASSES` or `GEOMETRY` file that belongs to a model file, whether it exists or not."""
    own = model.with_name(f"{model.stem}.{name}")
    return own if own.is_file() else model.with_name(name)


def runs_in(parent: str | os.PathLike[str]) -> list[RunFolder]:
    """The run folders in a folder, newest last; empty if there is no such folder."""
    parent = pathlib.Path(parent)
    found = [path.parent for path in parent.glob("*/config.json")] if parent.is_dir() else []
    return [RunFolder(path) for path in sorted(found, key=lambda path: path.stat().st_ctime)]


def environment() -> dict[str, Any]:
    """Versions and machine, as recorded in a run."""
    versions = {"keras-preact": __version__}
    for package in ("keras", "tensorflow", "jax", "torch", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "command": [_program(), *sys.argv[1:]],
        "python": platform.python_version(),
        "packages": versions,
        "platform": platform.platform(),
        "processor": processor(),
        "processors": os.cpu_count(),
    }


def _program():
    """What was called, also where that was `python -m keras_preact`."""
    path = pathlib.Path(sys.argv[0])
    return "keras-preact" if path.parts[-2:] == ("keras_preact", "__main__.py") else path.name


def folder_name(name: str) -> str:
    """`name` with characters replaced that file systems may not allow."""
    return re.sub(r"[^\w.-]+", "_", name)[:80]


def _next_free(parent: pathlib.Path, name: str) -> pathlib.Path:
    parent.mkdir(exist_ok=True)
    name = folder_name(name)
    number = 1
    while True:
        try:
            folder = parent / f"{name}-{number}"
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
