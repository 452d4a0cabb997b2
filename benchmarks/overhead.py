"""What the training path costs over the bare compiled step, and what determinism costs."""

import statistics
import tempfile
import time

import numpy as np
from jsonargparse import auto_cli

from benchmarks.report import progress, show
from keras_preact import TrainConfig
from keras_preact.run import RunFolder
from keras_preact.training.engines import make_engine
from keras_preact.training.job import prepare

COLUMNS = ["what", "batch", "ms a step", "of the bare step"]


def main(
    model: str = "resnet20v2",
    dtype: str = "float32",
    batch_size: int = 128,
    steps: int = 20,
    rounds: int = 7,
    deterministic: bool = False,
    json: bool = False,
):
    """Measures steps as `keras-preact train` does them, beside the compiled step on one batch.

    Both take turns in one process and run the same compiled function. The training path shuffles,
    augments, logs every step and draws no bar; the bare step has its batch on the device already.

    Args:
        model: The network, on images of 32 x 32.
        dtype: Its dtype policy.
        batch_size: Images in a step.
        steps: Steps of a turn.
        rounds: Turns, of whose ratios the median counts.
        deterministic: Whether only deterministic kernels are used.
        json: Print JSON instead of a table.
    """
    random = np.random.default_rng(0)
    images = {
        "x_train": random.integers(0, 256, (steps * batch_size, 32, 32, 3), np.uint8),
        "y_train": np.arange(steps * batch_size) % 10,
        "x_test": random.integers(0, 256, (10, 32, 32, 3), np.uint8),
        "y_test": np.arange(10),
    }
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/images.npz", **images)
        config = TrainConfig(
            model,
            f"npz:{folder}/images.npz",
            epochs=1,
            batch_size=batch_size,
            dtype=dtype,
            deterministic=deterministic,
        )
        job = prepare(config, make_engine(config))
        bare = _bare_step(job)
        _path(job, f"{folder}/warm")  # compiles
        times = {"bare": [], "path": []}
        for k in range(rounds):
            progress(f"round {k + 1} of {rounds}")
            start = time.perf_counter()
            for _ in range(steps):
                bare()
            times["bare"].append((time.perf_counter() - start) / steps)
            times["path"].append(_path(job, f"{folder}/{k}") / steps)
    ratio = statistics.median(p / b for p, b in zip(times["path"], times["bare"], strict=True))
    bare_ms, path_ms = (1000 * statistics.median(times[name]) for name in ("bare", "path"))
    rows = [
        ["bare compiled step", batch_size, bare_ms, ""],
        ["training path", batch_size, path_ms, f"{100 * ratio:.1f} %"],
    ]
    words = ", deterministic" if deterministic else ""
    show(f"Overhead, {model}, {dtype}{words}", COLUMNS, rows, json)


def _bare_step(job):
    """One call of the compiled step on a batch that stays where it is."""
    images, labels = job.batches[0]
    step = job.engine.step_on(images, labels)
    step()
    return step


def _path(job, folder):
    """Seconds of an epoch of the training path, without evaluation and checkpoint."""
    run = RunFolder.create(folder, "")
    job.loop(run).run()
    return run.log[0]["seconds"]


if __name__ == "__main__":
    auto_cli(main)
