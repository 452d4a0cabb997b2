"""What the training path costs over the bare compiled step; checkpoints and determinism too."""

import shutil
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
    image_size: int = 32,
    steps: int = 20,
    rounds: int = 7,
    save_every: int | None = None,
    deterministic: bool = False,
    json: bool = False,
):
    """Measures steps as `keras-preact train` does them, beside the compiled step on one batch.

    They take turns in one process and run the same compiled function. The training path shuffles,
    augments, logs every step and draws no bar; the bare step has its batch on the device already.

    Args:
        model: The network.
        dtype: Its dtype policy.
        batch_size: Images in a step.
        image_size: Side of an image.
        steps: Steps of a turn.
        save_every: Steps between checkpoints within a turn, of a training path that has them.
        rounds: Turns, of whose ratios the median counts.
        deterministic: Whether only deterministic kernels are used.
        json: Print JSON instead of a table.
    """
    random = np.random.default_rng(0)
    shape = (image_size, image_size, 3)
    images = {
        "x_train": random.integers(0, 256, (steps * batch_size, *shape), np.uint8),
        "y_train": np.arange(steps * batch_size) % 10,
        "x_test": random.integers(0, 256, (10, *shape), np.uint8),
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
        paths = {"training path": None}
        if save_every:
            paths[f"with a checkpoint every {save_every} steps"] = save_every
        times = {name: [] for name in ("bare compiled step", *paths)}
        for k in range(rounds):
            progress(f"round {k + 1} of {rounds}")
            start = time.perf_counter()
            for _ in range(steps):
                bare()
            times["bare compiled step"].append((time.perf_counter() - start) / steps)
            for name, every in paths.items():
                times[name].append(_path(job, f"{folder}/{name} {k}", every) / steps)
    first, *_ = times.values()
    rows = []
    for name, found in times.items():
        ratio = statistics.median(mine / its for mine, its in zip(found, first, strict=True))
        words = f"{100 * ratio:.1f} %" if name in paths else ""
        rows.append([name, batch_size, 1000 * statistics.median(found), words])
    words = ", deterministic" if deterministic else ""
    show(f"Overhead, {model}, {dtype}{words}", COLUMNS, rows, json)


def _bare_step(job):
    """One call of the compiled step on a batch that stays where it is."""
    images, labels = job.batches[0]
    step = job.engine.step_on(images, labels)
    step()
    return step


def _path(job, folder, save_every=None):
    """Seconds of an epoch of the training path, without evaluation and the last checkpoint."""
    run = RunFolder.create(folder, "")
    loop = job.loop(run)
    loop.save_every = save_every
    loop.run()
    shutil.rmtree(run.path / "checkpoints")
    return run.log[0]["seconds"]


if __name__ == "__main__":
    auto_cli(main)
