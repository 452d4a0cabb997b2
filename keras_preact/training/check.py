"""Checks before days of training: `dry_run` of a config, and `doctor` for a machine."""

import dataclasses
import importlib.metadata
import math
import os
import tempfile
import time
from typing import TYPE_CHECKING, Any

import h5py
import keras
import numpy as np

from keras_preact.precision import choose_dtype
from keras_preact.run import environment
from keras_preact.training.checkpoint import Checkpoints
from keras_preact.training.config import TrainConfig
from keras_preact.training.engines import make_engine
from keras_preact.training.job import prepare
from keras_preact.training.walk import main_path
from keras_preact.weights.hdf5 import confinement

if TYPE_CHECKING:
    from rich.console import Console

#: Steps that a dry run times, after the first, which is compiled.
STEPS = 3

#: What the extras of the package bring: extra, package to look for, what for.
EXTRAS = (
    ("jax", "jax", "training on JAX"),
    ("onnx", "onnxruntime", "export to ONNX"),
    ("onnx", "tf2onnx", "export to ONNX"),
    ("openvino", "openvino", "export to OpenVINO"),
    ("openvino", "nncf", "export to OpenVINO in int8"),
    ("wandb", "wandb", "logging to Weights & Biases"),
    ("bench", "torch", "benchmarks beside PyTorch"),
    ("notebook", "nbclient", "the notebooks"),
)


@dataclasses.dataclass(frozen=True)
class DryRun:
    """What a training run would take.

    Attributes:
        parameters: Trainable parameters.
        steps: Steps per epoch.
        batch_size: Images per step.
        first_step_seconds: Time of the first step, with compilation.
        step_seconds: Time of a later step.
        evaluation_seconds: Time to classify all test images.
        epoch_seconds: Time of an epoch with its evaluation.
        total_hours: Time of all epochs.
        checkpoint_mb: Size of a checkpoint.
        checkpoint_seconds: Time to write it and read it back.
        memory_gb: Peak memory.
    """

    parameters: int
    steps: int
    batch_size: int
    first_step_seconds: float
    step_seconds: float
    evaluation_seconds: float
    epoch_seconds: float
    total_hours: float
    checkpoint_mb: float
    checkpoint_seconds: float
    memory_gb: float


def dry_run(config: TrainConfig, *, console: "Console | None" = None) -> DryRun:
    """Builds everything, times a few steps and a checkpoint, and leaves nothing behind.

    Args:
        config: The training run to try.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        A `DryRun`, with times measured on this machine.

    Raises:
        ConfigError, DataError, SaveError: As `train`.

    Example:
        >>> from keras_preact import TrainConfig
        >>> from keras_preact.training import dry_run
        >>> dry_run(TrainConfig("resnet8v2")).parameters
        75002
    """
    engine = make_engine(config)
    job = prepare(config, engine, console)
    seconds = []
    start = time.perf_counter()
    while (left := 1 + STEPS - len(seconds)) > 0:  # more than an epoch where that is short
        for rows in engine.train(job.batches, 0, min(len(job.batches), left)):
            seconds += [(time.perf_counter() - start) / len(rows)] * len(rows)
            start = time.perf_counter()
    step = min(seconds[1:])
    images = job.data.test.images(np.arange(min(len(job.data.test), 2 * job.batches.batch_size)))
    engine.predict(images)  # compiled
    start = time.perf_counter()
    engine.predict(images)
    evaluation = (time.perf_counter() - start) * len(job.data.test) / len(images)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        state = engine.state()
        checkpoints = Checkpoints(folder)
        path = checkpoints.save(state, {"step": len(seconds)})
        engine.restore(checkpoints.read(path.name).state)
        saving = time.perf_counter() - start
        size = sum(file.stat().st_size for file in path.iterdir())
    epoch = step * len(job.batches) + evaluation
    return DryRun(
        parameters=sum(math.prod(weight.shape) for weight in engine.model.trainable_weights),
        steps=len(job.batches),
        batch_size=job.batches.batch_size,
        first_step_seconds=seconds[0],
        step_seconds=step,
        evaluation_seconds=evaluation,
        epoch_seconds=epoch,
        total_hours=epoch * job.parts.recipe.epochs / 3600,
        checkpoint_mb=size / 2**20,
        checkpoint_seconds=saving,
        memory_gb=engine.memory()[0] / 2**30,
    )


def doctor() -> list[dict[str, Any]]:
    """Reports what this machine offers, and whether the main workflow works on it.

    With a small network on digits, it compares training on all devices with training on one, then
    trains in float32 and in what `dtype="auto"` means here, evaluates, predicts, and exports to
    each installed format.

    Returns:
        Dictionaries with `what`, `found` and `ok`: `True`, `False` (needs fixing) or `None` (for
        information).

    Example:
        >>> from keras_preact.training import doctor
        >>> all(row["ok"] is not False for row in doctor())
        True
    """
    import psutil  # tensorflow-datasets depends on it

    machine = environment()
    memory = psutil.virtual_memory()
    dtype = choose_dtype()
    rows = [
        ("Python", machine["python"], None),
        *((name, version, None) for name, version in machine["packages"].items()),
        ("h5py", f"{h5py.__version__}, HDF5 {h5py.version.hdf5_version}", None),
        ("weight files", f"read in a separate process, confined by {confinement()}", None),
        ("backend", keras.backend.backend(), None),
        ("processors", str(os.cpu_count()), None),
        ("memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GB free", None),
        ("dtype auto", f"{dtype.policy}: {dtype.reason}", None),
    ]
    for extra, package, purpose in EXTRAS:
        try:
            found = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found = f'missing, for {purpose}: pip install "keras-preact[{extra}]"'
        rows.append((package, found, None))
    unique = {what: (what, found, ok) for what, found, ok in rows}
    rows = [*unique.values(), *_self_check(), *main_path()]
    return [{"what": what, "found": found, "ok": ok} for what, found, ok in rows]


def _self_check():
    """Three steps on one device and, where there are several, on all: they must agree."""
    devices = make_engine(TrainConfig()).devices
    count = len(devices.split(", "))
    yield "devices", devices, None
    config = TrainConfig("resnet8v2", dtype="float32", learning_rate=0.01, batch_size=64 * count)
    one = _losses(config.replace(devices=devices.split(", ")[0]))
    if count == 1:
        yield "training", "3 steps, losses are finite", all(map(math.isfinite, one))
        return
    together = _losses(config.replace(sync_batch_norm=True))
    worst = max(abs(a - b) / abs(a) for a, b in zip(one, together, strict=True))
    found = f"losses of 3 steps on one device and on {count} differ by at most {worst:.0e}"
    yield "training", found, bool(worst < 1e-3)


def _losses(config):
    job = prepare(config, make_engine(config))
    steps = job.engine.train(job.batches, 0, min(3, len(job.batches)))
    return [row["loss"] for rows in steps for row in rows]
