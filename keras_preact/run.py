"""`RunFolder`: where a training run keeps what it did, read and written in one place."""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import sys
from typing import Any

from keras_preact.checked import require
from keras_preact.errors import ConfigError


class RunFolder:
    """The folder of one run.

    It holds `config.json` (what was asked for; `keras-preact train --config` takes it),
    `resolved.json` (every field), `env.json` (versions and machine), `log.jsonl` (one JSON object
    an epoch), `result.json`, `classes.json`, the trained model as `model.keras` and in
    `saved_model/`, and pictures.

    Args:
        path: An existing run's folder.

    Raises:
        ConfigError: When there is no run in it.

    Example:
        >>> from keras_preact.run import RunFolder
        >>> import tempfile
        >>> run = RunFolder.create(tempfile.mkdtemp() + "/mine", name="")
        >>> run.write_json("config.json", {"model": "resnet20v2"})
        >>> RunFolder(run.path).config["model"]
        'resnet20v2'
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        if not self.path.is_dir():
            raise ConfigError(f"A run is a folder that training wrote. Received: {str(path)!r}.")

    @staticmethod
    def refuse_used(path) -> None:
        """Raises `ConfigError` when `path` is given and has something in it."""
        if path is not None and os.path.exists(path):
            used = not os.path.isdir(path) or bool(os.listdir(path))
            require(
                not used,
                "out",
                str(path),
                "a folder that is new or empty, so that no run is lost",
                "Name another one, or leave it out.",
            )

    @classmethod
    def create(cls, path, name: str) -> "RunFolder":
        """A new, empty run folder: `path`, or the first free `runs/{name}-{number}` for `None`.

        Raises:
            ConfigError: When the folder has files in it or cannot be written.
        """
        cls.refuse_used(path)
        try:
            if path is not None:
                folder = pathlib.Path(path)
                folder.mkdir(parents=True, exist_ok=True)
            else:
                folder = _next_free(pathlib.Path("runs"), name)
            (folder / "config.json").touch()  # says now, not after training, that it can be written
        except OSError as error:
            where = "runs/ in this folder" if path is None else repr(str(path))
            raise ConfigError(
                f"`out` must be a folder that can be written. Received: {where} ({error.strerror})."
            ) from None
        return cls(folder)

    @property
    def config(self) -> dict[str, Any]:
        """The fields of the run's `TrainConfig`."""
        return self.read_json("config.json")

    @property
    def result(self) -> dict[str, Any]:
        """The fields of the run's `Result`."""
        return self.read_json("result.json")

    @property
    def log(self) -> list[dict[str, Any]]:
        """One dictionary an epoch."""
        return [json.loads(line) for line in self._text("log.jsonl").splitlines()]

    def read_json(self, name: str) -> Any:
        """A JSON file of the folder."""
        try:
            return json.loads(self._text(name))
        except json.JSONDecodeError as error:
            raise ConfigError(f"{self.path / name} is damaged: {error}.") from None

    def write_json(self, name: str, value: Any) -> None:
        """Writes a JSON file, whole or not at all."""
        temporary = self.path / f".{name}.partial"
        temporary.write_text(json.dumps(value, indent=2) + "\n")
        os.replace(temporary, self.path / name)

    def append_log(self, values: dict[str, Any]) -> None:
        """Adds one line to the log."""
        with open(self.path / "log.jsonl", "a") as file:
            file.write(json.dumps(values) + "\n")

    def _text(self, name: str) -> str:
        try:
            return (self.path / name).read_text()
        except OSError:
            raise ConfigError(f"{self.path} is not a run folder: it has no {name}.") from None


def environment() -> dict[str, Any]:
    """Versions and machine, as a run records them."""
    packages = ("keras-preact", "keras", "tensorflow", "jax", "torch", "numpy")
    versions = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "packages": versions,
        "platform": platform.platform(),
        "processors": os.cpu_count(),
    }


def _next_free(parent: pathlib.Path, name: str) -> pathlib.Path:
    parent.mkdir(exist_ok=True)
    name = re.sub(r"[^\w.-]+", "_", name)[:80]
    number = 1
    while True:
        try:
            folder = parent / f"{name}-{number}"
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
