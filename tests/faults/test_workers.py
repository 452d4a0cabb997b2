"""Machines that train together: two processes on loopback."""

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from keras_preact import TrainConfig, train
from keras_preact.run import RunFolder

pytestmark = pytest.mark.tensorflow

SETTINGS = {"network.units": [1, 1], "network.filters": [8, 16], "network.stem_filters": 8}
FIELDS = {"model": "resnet8v2", "epochs": 2, "batch_size": 64, "learning_rate": 0.01}
FIELDS["saved_model"] = False


def free_address():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def start(workers, index, out):
    options = {**FIELDS, "dtype": "float32", "sync_batch_norm": True, "out": out}
    command = [sys.executable, "-m", "keras_preact", "train", "--workers", ",".join(workers)]
    command += ["--index", str(index)]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value).lower()]
    for name, value in SETTINGS.items():
        command += ["--set", f"{name}={value}"]
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def test_two_machines_stop_together_go_on_and_train_as_one_does(tmp_path):
    """SIGTERM to one ends both after the same step; the outcome is that of one process."""
    out = tmp_path / "run"
    workers = [free_address(), free_address()]
    processes = [start(workers, index, out) for index in (0, 1)]
    log, deadline = out / "steps.jsonl", time.monotonic() + 300
    while not (log.is_file() and log.read_bytes().count(b"\n") > 3):
        assert time.monotonic() < deadline and processes[0].poll() is None
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [143, 143], said
    assert not RunFolder(out).is_finished

    processes = [start(workers, index, out) for index in (0, 1)]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said

    alone = train(
        TrainConfig(**FIELDS, dtype="float32", out=str(tmp_path / "alone"), settings=SETTINGS)
    )
    together = RunFolder(out)
    for name in ("loss", "accuracy", "gradient_norm", "learning_rate"):
        values = [[row[name] for row in run.steps] for run in (together, RunFolder(alone.run))]
        np.testing.assert_allclose(*values, rtol=1e-4)
    assert [row["step"] for row in together.steps] == list(range(1, 45))
    assert together.result["test_images"] == 360
    assert abs(together.result["test_correct"] - alone.test_correct) <= 1
