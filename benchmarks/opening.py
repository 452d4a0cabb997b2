"""What it costs to open a file of unknown origin: a child process reads its weights."""

import pathlib
import statistics
import tempfile
import time

import keras
from jsonargparse import auto_cli

from benchmarks.report import progress, show
from keras_preact import create_model
from keras_preact.weights.hdf5 import read_hdf5
from keras_preact.weights.opening import open_model
from keras_preact.weights.safe import read_model_file

COLUMNS = ["what", "MB", "seconds", "more than Keras"]


def main(model: str = "resnet50v2", rounds: int = 5, json: bool = False):
    """Measures how long a `.keras` file takes to open, beside `keras.saving.load_model`, by turns.

    Args:
        model: The network in the file.
        rounds: Turns, of which the medians count.
        json: Print JSON instead of a table.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "net.keras"
        create_model(model).save(path)
        size = path.stat().st_size / 1e6
        ways = {
            "keras.saving.load_model": lambda: keras.saving.load_model(path, compile=False),
            "keras_preact, looked through": lambda: open_model(path),
            "of that, reading": lambda: read_model_file(path),
        }
        with tempfile.NamedTemporaryFile(suffix=".weights.h5") as small:
            create_model("resnet8v2").save_weights(small.name)
            data = pathlib.Path(small.name).read_bytes()
        start = time.perf_counter()
        read_hdf5(data)
        begun = time.perf_counter() - start
        times = {name: [] for name in ways}
        for k in range(rounds + 1):  # the first warms up
            progress(f"round {k} of {rounds}")
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                times[name].append(time.perf_counter() - start)
                keras.utils.clear_session(free_memory=False)
    medians = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
    first = medians["keras.saving.load_model"]
    rows = [
        [name, size, seconds, "" if "reading" in name else seconds - first]
        for name, seconds in medians.items()
    ]
    rows.append(["starting the child process, once", 0.0, begun, ""])
    show(f"Opening {model}", COLUMNS, rows, json)


if __name__ == "__main__":
    auto_cli(main)
