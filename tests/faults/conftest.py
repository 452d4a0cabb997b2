"""Children that train, get killed, and are compared with one that was left in peace."""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from keras_preact.run import RunFolder
from keras_preact.training.checkpoint import Checkpoints

#: A small training in which everything that has a state takes part: dropout's seeds, momentum, the
#: average of the weights, moving statistics; its checkpoints fall within and at the end of epochs.
CONFIG = {
    "model": "resnet8v2",
    "epochs": 2,
    "batch_size": 128,
    "dtype": "float32",
    "save_every": 4,
    "settings": {
        "network.units": [1, 1],
        "network.filters": [4, 8],
        "network.stem_filters": 4,
        "network.shortcut": "dropout",
        "network.stochastic_depth": 0.3,
        "recipe.repeats": 3,
        "recipe.mixup": 0.2,
        "recipe.cutmix": 1.0,
        "augmentation.policy": "trivial_augment",
        "recipe.ema": 0.9,
    },
}


class Zygote:
    """Starts children that train.

    Args:
        environment: Variables that differ from this process's.

    Attributes:
        message: What the last one said.
    """

    message = ""

    def __init__(self, **environment):
        self.process = subprocess.Popen(
            [sys.executable, pathlib.Path(__file__).with_name("zygote.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self.process.stdout.readline() == "ready\n"

    def end(self):
        self.process.stdin.close()
        self.process.wait()

    def kill(self, child):
        """Whether it was still there."""
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def config(self, out, **fields):
        return {**CONFIG, "out": str(out), **fields}

    def start(self, out, *jobs):
        """Begins trainings; the process ids of the children."""
        jobs = [{**job, "config": self.config(out, **job.get("config", {}))} for job in jobs]
        self.process.stdin.write(json.dumps(jobs) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def wait(self):
        """The next child's exit code, or minus the number of the signal that ended it."""
        status, self.message = json.loads(self.process.stdout.readline())
        return os.waitstatus_to_exitcode(status)

    def run(self, out, **job):
        self.start(out, job)
        return self.wait()

    def run_together(self, out, *jobs):
        """The exit codes of trainings at the same time, and what each said."""
        self.start(out, *jobs)
        return [*zip(*[(self.wait(), self.message) for _ in jobs], strict=True)]


@pytest.fixture(scope="session")
def zygote():
    zygote = Zygote()
    yield zygote
    zygote.end()


@pytest.fixture(scope="session")
def zygote_of_jax(tmp_path_factory):
    """What takes time is compiling: that is done without optimisations, and once for all."""
    zygote = Zygote(
        KERAS_BACKEND="jax",
        JAX_DISABLE_MOST_OPTIMIZATIONS="1",
        JAX_COMPILATION_CACHE_DIR=str(tmp_path_factory.mktemp("jax")),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
        JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
    )
    yield zygote
    zygote.end()


@pytest.fixture(scope="session")
def reference(zygote, tmp_path_factory):
    """What an undisturbed run gave, and how long it took."""
    out = tmp_path_factory.mktemp("reference") / "run"
    start = time.monotonic()
    assert zygote.run(out) == 0, zygote.message
    return _outcome(out), time.monotonic() - start


@pytest.fixture(scope="session")
def digit_files(tmp_path_factory):
    """The first 700 digits as files in a folder for each class."""
    from PIL import Image

    from keras_preact import load_data

    root = tmp_path_factory.mktemp("digits")
    images, labels = load_data("digits").train.examples(slice(0, 700))
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        file = root / str(label) / f"{k}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).save(file)
    return root


@pytest.fixture(scope="session")
def outcome():
    return _outcome


def _outcome(out):
    """All that must be the same to the last bit, whatever happened on the way."""
    run = RunFolder(out)
    found, damaged = Checkpoints(run.path / "checkpoints").latest()
    assert not damaged
    state = b"".join(found.state[name].tobytes() for name in sorted(found.state))
    measured = ("seconds", "images_per_second", "input_share")
    return {
        "steps": [{**row, "loss": row["loss"].hex()} for row in run.steps],
        "epochs": [{k: v for k, v in row.items() if k not in measured} for row in run.log],
        "weights": hashlib.sha256(state).hexdigest(),
        "best": {k: v for k, v in (found.progress["best"] or {}).items() if k != "checkpoint"},
        "kept": run.result["kept_epoch"],
        "correct": run.result["test_correct"],
        "parameters": run.result["parameters"],
    }
