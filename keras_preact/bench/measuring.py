"""`bench`: latency, throughput, memory and accuracy of files, each in a process, round by round."""

import dataclasses
import json
import os
import pathlib
import statistics
import sys
import tempfile
import types

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

#: What a process runs, and the file that opens each format.
_WORKER = pathlib.Path(__file__).with_name("worker.py")
_RUNTIMES = pathlib.Path(__file__).parents[1] / "export" / "runtimes_tf.py"

#: Side of the images where neither file, folder nor user says one.
_SIZE = 224


@dataclasses.dataclass
class Measured:
    """What was measured of a file.

    Attributes:
        path: The file or folder.
        format: One of `keras_preact.export.formats.FORMATS`.
        runtime: The library that it ran in, with its version.
        images: Height, width and channels of its images.
        latency_ms: Median milliseconds of a step with one image, over all rounds.
        p99_ms: That 99 of 100 of these steps do not exceed.
        images_per_second: At the batch size that gives most: the median over the rounds.
        best_batch: That batch size.
        by_batch: Images a second by batch size.
        load_seconds: From the file to the scores of a first image, without importing the runtime.
        megabytes: Size of the file or folder.
        peak_mb: Highest memory of its process, the runtime included.
        correct, tested: Images that are classified correctly, and of how many.
        failure: Why it has no figures, if it has none.
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
        """Share of the images that are classified correctly."""
        return None if self.correct is None else self.correct / self.tested


def bench(paths, config: BenchConfig | None = None, console=None) -> list[Measured]:
    """Measures files beside each other on this machine.

    Each is opened in a process of its own by the runtime that it is for. They take turns, so that
    what else the machine does meets all alike.

    Args:
        paths: As `files_of` takes them.
        config: How; `BenchConfig()` if not given.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        A `Measured` each, in order; one that cannot be opened says why.

    Raises:
        ConfigError: For paths that are none of these.
        DataError: For images that are missing, damaged, or of other classes.

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
    """A file in its process, and what has been measured of it."""

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
                self.process.failure = f"takes images of {height} x {width} alone"

    def _ask(self, **wish):
        """An answer of the process, which is not disturbed by the others' turns."""
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
        """What was measured, once all rounds are over."""
        answer = self._ask(do="memory")
        if answer is None:
            self.measured.failure = _with_extra(self.process.failure, self.measured.format)
            return self.measured
        self.measured.peak_mb = answer["peak_mb"]
        for name, value in figures_of(self.latencies, self.rates).items():
            setattr(self.measured, name, value)
        return self.measured


def figures_of(latencies, rates) -> dict:
    """The figures of a file from what its turns took.

    Args:
        latencies: Seconds of each step with one image.
        rates: By batch size, images a second in each round.

    Returns:
        `latency_ms`, `p99_ms`, `images_per_second`, `best_batch` and `by_batch`.

    Example:
        >>> from keras_preact.bench.measuring import figures_of
        >>> figures_of([0.001, 0.002, 0.009], {1: [500.0], 8: [900.0, 1000.0, 100.0]})["best_batch"]
        8
    """
    by_batch = {batch: statistics.median(found) for batch, found in rates.items()}
    best = max(by_batch, key=by_batch.get)
    ordered = sorted(latencies)
    last = -(-99 * len(ordered) // 100) - 1  # the first that 99 of 100 do not exceed
    return {
        "latency_ms": 1e3 * statistics.median(ordered),
        "p99_ms": 1e3 * ordered[last],
        "images_per_second": by_batch[best],
        "best_batch": best,
        "by_batch": by_batch,
    }


def size_of(path) -> int:
    """Bytes of a file or folder, of an OpenVINO graph and its weights, or of a run's network."""
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
    """The `.keras` file, if it were one, beside which a network's classes and geometry stand."""
    if (path / "model.keras").is_file():
        return path / "model.keras"
    return (path.parent if path.suffix == ".xml" else path).with_suffix(".keras")


def _size_for_any(path, config):
    """Side of the images for a network of any size."""
    remembered = geometry_of(_model_file(path), (None, None)).size
    return config.size or (remembered[0] if remembered else _SIZE)


class _TestImages:
    """The test images as files for other processes, once for all networks that take the same."""

    def __init__(self, data, folder):
        self.data, self.folder, self.known = data, folder, {}

    def of(self, path, shape, classes):
        """Files of the images, fitted to a network and with its classes' numbers, and how many.

        Args:
            path: Its file or folder.
            shape: Height, width and channels of its images.
            classes: How many it has.
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
