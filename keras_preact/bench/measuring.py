"""`bench`: latency, throughput, memory and accuracy of files, each in a process, round by round."""

import dataclasses
import json
import os
import pathlib
import statistics
import sys
import tempfile
import types
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import keras_preact
from keras_preact.bench.config import BenchConfig, files_of
from keras_preact.bench.process import Answering
from keras_preact.console import say
from keras_preact.data import Geometry
from keras_preact.export.formats import FORMATS
from keras_preact.run import RunFolder
from keras_preact.trained import Trained, class_names_of
from keras_preact.weights.about import geometry_of

if TYPE_CHECKING:
    from rich.console import Console

#: The script that each process runs, and the file that opens each format.
_WORKER = pathlib.Path(__file__).with_name("worker.py")
_RUNTIMES = pathlib.Path(__file__).parents[1] / "export" / "runtimes_tf.py"

#: Side of the images if neither the file nor the user gives one.
_SIZE = 224


@dataclasses.dataclass
class Measured:
    """The measurements of one file.

    Attributes:
        path: The file or folder.
        format: One of `keras_preact.export.formats.FORMATS`.
        runtime: The library that ran it, with its version.
        images: Height, width and channels of its images.
        latency_ms: Median latency of one image over all rounds, in milliseconds.
        p99_ms: The 99th percentile of this latency, in milliseconds.
        images_per_second: Throughput at the fastest batch size: the median over the rounds.
        best_batch: The fastest batch size.
        by_batch: Images per second by batch size.
        load_seconds: Seconds from opening the file to the scores of a first image, without
            importing the runtime.
        megabytes: Size of the file or folder in MB.
        peak_mb: Peak memory of its process in MB, including the runtime.
        correct, tested: Number of correctly classified images, and of images tested.
        failure: Why it could not be measured; `None` if it was.
    """

    path: str
    format: str
    runtime: str = ""
    images: tuple[int, ...] = ()
    latency_ms: float | None = None
    p99_ms: float | None = None
    images_per_second: float | None = None
    best_batch: int | None = None
    by_batch: dict[int, float] = dataclasses.field(default_factory=dict)
    load_seconds: float | None = None
    megabytes: float | None = None
    peak_mb: float | None = None
    correct: int | None = None
    tested: int | None = None
    failure: str | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of the tested images that are classified correctly, from 0 to 1."""
        return self.correct / self.tested if self.correct is not None and self.tested else None


def bench(
    paths: Sequence[str | os.PathLike],
    config: BenchConfig | None = None,
    console: "Console | None" = None,
) -> list[Measured]:
    """Measures latency, throughput, memory and accuracy of files on this machine.

    Each file is opened by its runtime in a process of its own. The processes take turns, so that
    other load on the machine affects all of them equally.

    Args:
        paths: Run folders, `.keras`, `.tflite`, `.onnx` and `.xml` files, folders of a SavedModel
            or an OpenVINO graph, and folders of exports, which mean every export in them.
        config: The settings; `BenchConfig()` by default.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        One `Measured` per file, in order; for a file that cannot be opened, its `failure` says why.

    Raises:
        ConfigError: If a path does not exist or is none of these.
        DataError: If the images are missing or damaged, or have other classes.

    Example:
        >>> import tempfile
        >>> from keras_preact import create_model
        >>> from keras_preact.bench import BenchConfig, bench
        >>> path = tempfile.mkdtemp() + "/mine.keras"
        >>> create_model("resnet8v2", input_shape=(8, 8, 1)).save(path)
        >>> (found,) = bench([path], BenchConfig(batch_sizes=(1, 4), seconds=0.05, rounds=1))
        >>> found.latency_ms > 0, found.best_batch in (1, 4)
        (True, True)
    """
    config = config or BenchConfig()
    contenders = []
    try:
        for path, format in files_of(paths):
            say(console, f"opening {path} ({format})")
            contenders.append(_Contender(path, format, config))
        if config.data is not None:
            with tempfile.TemporaryDirectory(prefix="keras_preact-") as folder:
                tests = _TestImages(config.data, folder)
                for contender in contenders:
                    contender.count_correct(tests, max(config.batch_sizes))
        for number in range(1, config.rounds + 1):
            say(console, f"round {number} of {config.rounds}")
            for contender in contenders:
                contender.take_turn(config)
        return [contender.finished() for contender in contenders]
    finally:
        for contender in contenders:
            contender.process.end()


class _Contender:
    """A file in its process, and its measurements."""

    def __init__(self, path, format, config):
        self.measured = Measured(str(path), format, megabytes=round(size_of(path) / 2**20, 3))
        self.path, self.latencies, self.rates = path, [], {}
        size = _size_for_any(path, config)
        spec = {"runtimes": str(_RUNTIMES), "path": str(path), "format": format}
        spec |= {"threads": config.threads, "size": size}
        home = str(pathlib.Path(keras_preact.__file__).parents[1])
        places = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        if format == "saved_model":  # whose weights do not change; its card says so to servers
            environment.setdefault("TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "1")
        command = [sys.executable, "-P", str(_WORKER), json.dumps(spec)]
        self.process = Answering(command, environment)
        opened = self._ask()
        if opened:
            height, width, channels = opened["image_shape"]
            self.measured.images = (height or size, width or size, channels)
            self.measured.load_seconds = opened["load_seconds"]
            self.measured.runtime, self.classes = opened["runtime"], opened["classes"]
            if height and config.size not in (None, height):
                self.process.failure = f"takes only images of {height} x {width}"

    def _ask(self, **wish):
        """An answer of the process, which the other processes' turns do not disturb."""
        return self.process.ask(json.dumps(wish) if wish else None)

    def count_correct(self, tests, batch):
        """Classifies the test images, `batch` at a time."""
        if self.process.failure:
            return
        files, self.measured.tested = tests.of(self.path, self.measured.images, self.classes)
        answer = self._ask(do="count", batch=batch, **files)
        self.measured.correct = answer and answer["correct"]

    def take_turn(self, config):
        """One turn: single images, then each batch size."""
        for batch in dict.fromkeys((1, *config.batch_sizes)):
            answer = self._ask(do="turn", batch=batch, seconds=config.seconds)
            if answer is None:
                return
            steps = answer["seconds"]
            if batch == 1:
                self.latencies += steps
            if batch in config.batch_sizes:
                self.rates.setdefault(batch, []).append(batch * len(steps) / sum(steps))

    def finished(self):
        """The measurements, once all rounds are over."""
        answer = self._ask(do="memory")
        if answer is None:
            self.measured.failure = _with_extra(self.process.failure, self.measured.format)
            return self.measured
        self.measured.peak_mb = answer["peak_mb"]
        for name, value in figures_of(self.latencies, self.rates).items():
            setattr(self.measured, name, value)
        return self.measured


def figures_of(latencies: Sequence[float], rates: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    """The figures of a file, computed from its turns.

    Args:
        latencies: Seconds of each step with one image.
        rates: Images per second in each round, by batch size.

    Returns:
        `latency_ms`, `p99_ms`, `images_per_second`, `best_batch` and `by_batch`.

    Example:
        >>> from keras_preact.bench.measuring import figures_of
        >>> figures_of([0.001, 0.002, 0.009], {1: [500.0], 8: [900.0, 1000.0, 100.0]})["best_batch"]
        8
    """
    by_batch = {batch: statistics.median(found) for batch, found in rates.items()}
    best = max(by_batch, key=by_batch.__getitem__)
    ordered = sorted(latencies)
    last = -(-99 * len(ordered) // 100) - 1  # the first that 99 % do not exceed
    return {
        "latency_ms": 1e3 * statistics.median(ordered),
        "p99_ms": 1e3 * ordered[last],
        "images_per_second": by_batch[best],
        "best_batch": best,
        "by_batch": by_batch,
    }


def size_of(path: str | os.PathLike) -> int:
    """Bytes of a file or folder, of an OpenVINO graph with its weights, or of a run's network."""
    path = pathlib.Path(path)
    files = [path] if path.is_file() else [*path.rglob("*")]
    if (path / "model.keras").is_file():
        files = [path / "model.keras"]
    elif path.suffix == ".xml":
        files = [path, path.with_suffix(".bin")]
    return sum(file.stat().st_size for file in files if file.is_file())


def _with_extra(failure, format):
    if failure.endswith("is not installed") and FORMATS[format].needs:
        return f"{failure}: pip install 'keras-preact[{format}]'"
    return failure


def _model_file(path):
    """The path that a `.keras` file would have beside the network's classes and geometry."""
    if (path / "model.keras").is_file():
        return path / "model.keras"
    return (path.parent if path.suffix == ".xml" else path).with_suffix(".keras")


def _size_for_any(path, config):
    """Side of the images for a network of any size."""
    remembered = geometry_of(_model_file(path), (None, None)).size
    return config.size or (remembered[0] if remembered else _SIZE)


class _TestImages:
    """The test images as files for other processes, written once per kind of input."""

    def __init__(self, data, folder):
        self.data, self.folder, self.known = data, folder, {}

    def of(self, path, shape, classes):
        """Files of the images and labels, fitted to a network, and the number of images.

        Args:
            path: The network's file or folder.
            shape: Height, width and channels of its images.
            classes: Its number of classes.
        """
        file = _model_file(path)
        geometry = geometry_of(file, (None, None))
        if geometry.size != tuple(shape[:2]):
            geometry = geometry.changed(shape[0]) if shape[0] == shape[1] else Geometry(shape[:2])
        names = class_names_of(file, classes)
        key = (geometry, shape, names)
        if key not in self.known:
            model = types.SimpleNamespace(input_shape=(None, *shape))
            run = RunFolder(path) if file.parent == path else None
            trained = Trained(model, names, path, run, geometry=geometry)
            self.known[key] = self._written(trained.load_data(self.data).test)
        return self.known[key]

    def _written(self, split):
        start = f"{self.folder}/{len(self.known)}"
        files = {name: f"{start}-{name}.npy" for name in ("images", "labels")}
        shape = (len(split), *split.image_shape)
        images = np.lib.format.open_memmap(files["images"], "w+", np.uint8, shape)
        for part in np.array_split(np.arange(len(split)), -(-len(split) // 256)):
            images[part] = split.images(part)
        images.flush()
        np.save(files["labels"], split.labels)
        return files, len(split)
