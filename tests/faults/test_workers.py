"""Machines that train together: two processes on loopback."""

import contextlib
import random
import socket

import numpy as np
import pytest

from keras_preact import TrainConfig
from keras_preact.run import RunFolder
from keras_preact.training.checkpoint import Checkpoints
from keras_preact.training.engines import make_engine
from keras_preact.training.job import prepare

pytestmark = pytest.mark.tensorflow

#: Everything that has a state takes part but dropout, whose masks are each device's own.
SETTINGS = {
    "network.units": [1, 1],
    "network.filters": [8, 16],
    "network.stem_filters": 8,
    # Machines add in another order than one process does, so the last bits differ. Where that lifts
    # a value over zero ReLU makes much of it: at a rate of 0.01 the norm of a gradient changes by
    # 8e-4, as it does in one process, in one of four trainings, when the last bits of its first
    # weights are changed. A smooth activation leaves it below 1e-6, after 44 steps as after one.
    "network.activation": "silu",
    "recipe.mixup": 0.2,
    "recipe.ema": 0.9,
}
CURVES = ("loss", "gradient_norm", "accuracy", "learning_rate")
FIELDS = {"epochs": 2, "batch_size": 64, "learning_rate": 0.1, "settings": SETTINGS}
TOGETHER = {**FIELDS, "save_every": None, "saved_model": False, "sync_batch_norm": True}


def addresses(count):
    """Addresses that are free and stay so: no port that a system gives to whoever asks for any."""
    found = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
                found.append(f"127.0.0.1:{probe.getsockname()[1]}")
    return found


def machines(faults):
    """The jobs of two machines, the second of which gets the faults."""
    config = {**TOGETHER, "workers": ",".join(addresses(2))}
    return {"config": {**config, "index": 0}}, {"config": {**config, "index": 1}, "faults": faults}


def trainings(job, count):
    """Curve and last state of one process's training, then from weights with other last bits."""
    batches, first = job.batches, job.engine.state()
    for seed in range(count):
        choose = np.random.default_rng(seed).choice
        state = {
            name: np.nextafter(value, choose(np.float32([-np.inf, np.inf]), value.shape))
            if seed and name.startswith("model.") and value.dtype == np.float32
            else value
            for name, value in first.items()
        }
        job.engine.restore(state)
        steps = []
        for epoch in range(job.parts.recipe.epochs):
            batches.epoch = epoch
            for rows in job.engine.train(batches, 0, len(batches)):
                steps += rows
        yield curve_of(steps), job.engine.state()


def curve_of(rows):
    """Loss, norm of the gradient, accuracy and learning rate, each for all steps."""
    return np.array([[row[name] for row in rows] for name in CURVES])


def deviation(found, expected):
    """How far two trainings are apart, relatively: loss, norm of the gradient, and last state."""
    (curve, state), (expected_curve, expected_state) = found, expected
    curves = np.abs(curve[:2] / expected_curve[:2] - 1).max(1)
    states = [
        np.abs(state[name] - value).max() / np.abs(value).max()
        for name, value in expected_state.items()
        if value.dtype == np.float32 and value.any()
    ]
    return np.array([*curves, max(states)])


def test_two_machines_stop_together_go_on_and_train_as_one_does(zygote, tmp_path):
    """SIGTERM to one ends both after the same step; the outcome is that of one process.

    It is the same but for rounding: in the first steps to a few of the last bits, and to the end no
    further away than other last bits of the first weights lead one process.
    """
    out = tmp_path / "run"
    codes, said = zygote.run_together(out, *machines({"append_log": [5, "SIGTERM"]}))
    assert codes == (143, 143), said
    assert all("after step 6, " in text for text in said), said
    assert RunFolder(out).steps[-1]["step"] == 6 and not RunFolder(out).is_finished

    codes, said = zygote.run_together(out, *machines({}))
    assert codes == (0, 0), said
    run = RunFolder(out)
    assert [row["step"] for row in run.steps] == list(range(1, 45))
    together = curve_of(run.steps), Checkpoints(out / "checkpoints").latest()[0].state

    config = TrainConfig("resnet8v2", dtype="float32", **FIELDS)
    job = prepare(config, make_engine(config))
    alone, *changed = trainings(job, 6)
    np.testing.assert_allclose(together[0][:2, :3], alone[0][:2, :3], rtol=1e-6)
    np.testing.assert_array_equal(together[0][2:], alone[0][2:])
    rounding = np.max([deviation(other, alone) for other in changed], 0)
    assert (rounding < 3e-5).all()  # else the next line would say nothing
    assert (deviation(together, alone) <= 10 * rounding).all()

    job.engine.restore(together[1])
    test = job.data.test
    with job.engine.averaged():
        scores = job.engine.predict(test.images(np.arange(len(test))))
    assert run.result["test_images"] == len(test) == 360
    assert run.result["test_correct"] == np.sum(scores.argmax(1) == test.labels)
