"""`BenchConfig`: how files are measured, and the format of each path."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence

from keras_preact.checked import Checked, require
from keras_preact.errors import ConfigError
from keras_preact.export.runtimes_tf import RUNTIMES


@dataclasses.dataclass(frozen=True)
class BenchConfig(Checked):
    """Settings of a benchmark.

    Args:
        data: Images on whose test split the accuracy is measured: digits, a name of
            tensorflow-datasets, folder:PATH, ...; if not given, no accuracy is measured.
        batch_sizes: Batch sizes to measure; the one with the most images per second counts.
        threads: Number of threads; all processors if not given.
        seconds: Length of each turn in seconds, for each batch size; at least one step.
        rounds: Number of turns per file; the files take turns.
        size: Side of the images in pixels for networks of any size; if not given, the size stored
            beside the file, or 224.

    Raises:
        ConfigError: If a field has a value that is not allowed.

    Example:
        >>> from keras_preact.bench import BenchConfig
        >>> BenchConfig(batch_sizes=[1, 8]).batch_sizes
        (1, 8)
    """

    data: str | None = None
    batch_sizes: tuple[int, ...] = (1, 8, 32)
    threads: int | None = None
    seconds: float = 0.5
    rounds: int = 5
    size: int | None = None

    def check(self) -> None:
        """Rules of single fields."""
        batches = self.batch_sizes
        sizes = bool(batches) and min(batches) >= 1 and len({*batches}) == len(batches)
        expected = "a list of different whole numbers of at least 1"
        require(sizes, "batch_sizes", batches, expected)
        require(self.seconds > 0, "seconds", self.seconds, "above 0")
        require(self.rounds >= 1, "rounds", self.rounds, "at least 1")
        for name in ("threads", "size"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "None or at least 1")


#: Formats by the suffix of a file, and by a file in a folder; the first one found counts.
ENDINGS = {".keras": "keras", ".tflite": "litert", ".onnx": "onnx", ".xml": "openvino"}
INSIDE = {"model.keras": "keras", "saved_model.pb": "saved_model", "model.xml": "openvino"}

#: File in a folder of exports that describes each of them.
_EXPORTS = "exports.json"


def files_of(paths: Sequence[str | os.PathLike]) -> list[tuple[pathlib.Path, str]]:
    """The files to measure, each with its format.

    Args:
        paths: Run folders, `.keras`, `.tflite`, `.onnx` and `.xml` files, folders of a SavedModel
            or an OpenVINO graph, and folders of exports, which mean every export in them.

    Returns:
        Pairs of a path and one of `keras_preact.export.runtimes_tf.RUNTIMES`, each path once.

    Raises:
        ConfigError: If a path does not exist or is none of these.
    """
    require(len(paths) > 0, "paths", paths, "at least one file or folder")
    found = {}
    for path in map(pathlib.Path, paths):
        if (path / _EXPORTS).is_file():
            found |= _exported(path)
        else:
            found[path] = _format_of(path)
    return [*found.items()]


def _exported(folder):
    """The files in a folder of exports that a runtime opens, each with its format."""
    try:
        exports = json.loads((folder / _EXPORTS).read_bytes())
    except ValueError as error:
        raise ConfigError(f"{folder / _EXPORTS} is damaged: {error}.") from None
    paths = {folder / name: about.get("format") for name, about in exports.items()}
    formats = {path: format or _format_of(path) for path, format in paths.items()}
    return {path: format for path, format in formats.items() if format in RUNTIMES}


def _format_of(path):
    if path.is_dir():
        inside = [format for name, format in INSIDE.items() if (path / name).is_file()]
        if inside:
            return inside[0]
    elif path.is_file() and path.suffix in ENDINGS:
        return ENDINGS[path.suffix]
    raise ConfigError(
        "A path must be the folder of a finished run, a .keras, .tflite, .onnx or .xml file, the "
        "folder of a SavedModel or of an OpenVINO graph, or a folder of exports. "
        f"Received: {str(path)!r}{'' if path.exists() else ', which does not exist'}."
    )
