"""`BenchConfig`: how files are measured, and what each path is."""

import dataclasses
import json
import pathlib

from keras_preact.checked import Checked, require
from keras_preact.errors import ConfigError
from keras_preact.export.runtimes_tf import RUNTIMES


@dataclasses.dataclass(frozen=True)
class BenchConfig(Checked):
    """How files are measured.

    Args:
        data: Images whose test part the accuracy is of: digits, a set of tensorflow-datasets,
            folder:PATH, ...; without any no accuracy is measured.
        batch_sizes: Images in a step, of which the one with the most images a second counts.
        threads: How many compute; all processors if not given.
        seconds: How long each turn is, for each batch size; at least one step.
        rounds: Turns that each file takes, one after the other.
        size: Side of the images in pixels for networks of any size; what is remembered beside the
            file if not given, or 224.

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
        sizes = batches and min(batches) >= 1 and len({*batches}) == len(batches)
        require(sizes, "batch_sizes", batches, "one or more different whole numbers, at least 1")
        require(self.seconds > 0, "seconds", self.seconds, "above 0")
        require(self.rounds >= 1, "rounds", self.rounds, "at least 1")
        for name in ("threads", "size"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "None or at least 1")


#: Formats by the ending of a file, and by a file in a folder; the first that is there counts.
ENDINGS = {".keras": "keras", ".tflite": "litert", ".onnx": "onnx", ".xml": "openvino"}
INSIDE = {"model.keras": "keras", "saved_model.pb": "saved_model", "model.xml": "openvino"}

#: In a folder of exports: what each of them is.
_EXPORTS = "exports.json"


def files_of(paths) -> list[tuple[pathlib.Path, str]]:
    """The files that paths name, each with its format.

    Args:
        paths: Run folders, `.keras`, `.tflite`, `.onnx` and `.xml` files, folders of a SavedModel
            or an OpenVINO graph, and folders of exports, which stand for all that is in them.

    Returns:
        Pairs of a path and one of `keras_preact.export.runtimes_tf.RUNTIMES`, each path once.

    Raises:
        ConfigError: For paths that are not there, or are none of these.
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
        f"Received: {str(path)!r}{'' if path.exists() else ', which is not there'}."
    )
