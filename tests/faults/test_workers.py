"""Machines that train together: two processes on loopback, under both backends."""

import contextlib
import itertools
import json
import random
import signal
import socket

import numpy as np
import pytest

from keras_preact import TrainConfig
from keras_preact.errors import DeviceError
from keras_preact.run import RunFolder
from keras_preact.training.checkpoint import Checkpoints
from keras_preact.training.engines import make_engine
from keras_preact.training.job import prepare

pytestmark = pytest.mark.tensorflow  # and JAX in processes of its own

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

#: Of the ways to lose a machine, that which is tried most often.
OFTEN = {("jax", 0, "SIGKILL")}


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


def machines(faults, victim=1, config=TOGETHER, **fields):
    """The jobs of two machines, one of which gets the faults."""
    config = {**config, "workers": ",".join(addresses(2))}
    jobs = [{"config": {**config, "index": index}, **fields} for index in range(2)]
    jobs[victim]["faults"] = faults
    return jobs


def stop_together_and_go_on(zygote, out, config=TOGETHER):
    """SIGTERM to one machine ends both after the same step; then both finish what they began."""
    faults = {"append_log": [5, "SIGTERM"]}
    codes, said = zygote.run_together(out, *machines(faults, config=config))
    assert codes == (143, 143), said
    assert all("after step 6, " in text for text in said), said
    assert RunFolder(out).steps[-1]["step"] == 6 and not RunFolder(out).is_finished

    codes, said = zygote.run_together(out, *machines({}, config=config))
    assert codes == (0, 0), said
    run = RunFolder(out)
    assert [row["step"] for row in run.steps] == list(range(1, 45))
    return run


def outcome_of(run):
    """Curve and last state of a run."""
    return curve_of(run.steps), Checkpoints(run.path / "checkpoints").latest()[0].state


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


@pytest.mark.thorough
def test_two_machines_stop_together_go_on_and_train_as_one_does(zygote, tmp_path):
    """The outcome is that of one process.

    It is the same but for rounding: in the first steps to a few of the last bits, and to the end no
    further away than other last bits of the first weights lead one process.
    """
    run = stop_together_and_go_on(zygote, tmp_path / "run")
    together = outcome_of(run)

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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Collective ops is aborted by: recvmsg:Connection reset by peer Additional GRPC error "
            "information from remote target /job:worker/replica:0/task:1 while calling",
            r"Worker 2 \(c:3\)",
        ),
        (
            "Error reported from /job:worker/task:0: The following tasks are unhealthy (stopped "
            "sending heartbeats): /job:chief/replica:0/task:0 The tasks have crashed.",
            r"Worker 0 \(a:1\)",
        ),
        ("Deadline Exceeded RPC: /tensorflow.CoordinationService/Heartbeat", r"Worker 0 \(a:1\)"),
        ("Collective ops is aborted by: Socket closed", "Another machine"),
    ],
)
def test_errors_of_tensorflow_name_the_machine(text, words, monkeypatch):
    """Each is of a run in which a process was killed or stopped."""
    from keras_preact.training.engine_tf import TensorFlowEngine, tf

    cluster = {"chief": ["a:1"], "worker": ["b:2", "c:3"]}
    place = {"cluster": cluster, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(place))
    alone = tf.distribute.get_strategy()
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda: alone)
    engine = TensorFlowEngine()
    gone = pytest.raises(DeviceError, match=f"^{words} of this run has stopped")
    with gone, engine._others_may_end():
        raise tf.errors.UnavailableError(None, None, text)


@pytest.mark.slow
def test_two_machines_of_jax_stop_together_go_on_and_train_as_one_does(zygote_of_jax, tmp_path):
    """Here statistics are those of the whole batch, and dropout draws what one device does."""
    dropped = {"network.shortcut": "dropout", "network.stochastic_depth": 0.3}
    config = {**TOGETHER, "settings": {**SETTINGS, **dropped}}
    run = stop_together_and_go_on(zygote_of_jax, tmp_path / "run", config)
    assert zygote_of_jax.run(tmp_path / "one", config=config) == 0, zygote_of_jax.message
    one = RunFolder(tmp_path / "one")
    together, expected = outcome_of(run), outcome_of(one)
    np.testing.assert_allclose(together[0][:2, :3], expected[0][:2, :3], rtol=1e-6)
    np.testing.assert_array_equal(together[0][2:], expected[0][2:])
    assert (deviation(together, expected) < 1e-5).all()
    assert run.result["test_images"] == 360
    assert run.result["test_correct"] == one.result["test_correct"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("backend", "victim", "sent"),
    [
        pytest.param(*case, marks=() if case in OFTEN else pytest.mark.slow)
        for case in itertools.product(("jax", "tensorflow"), (0, 1), ("SIGKILL", "SIGSTOP"))
    ],
)
def test_a_machine_that_is_gone_or_hangs_is_named(backend, victim, sent, request, tmp_path):
    """The other one ends by itself, with a line and not by a signal of C++."""
    zygote = request.getfixturevalue("zygote" if backend == "tensorflow" else "zygote_of_jax")
    jobs = machines({"append_log": [5, sent]}, victim, lost=8.0)
    _, pid = zygote.start(tmp_path / "run", jobs[1 - victim], jobs[victim])
    code, said = zygote.wait(), zygote.message
    zygote.kill(pid)  # one that hangs; and one that is gone is no more
    assert zygote.wait() == -signal.SIGKILL
    assert code == DeviceError.exit_code, said
    address = jobs[0]["config"]["workers"].split(",")[victim]
    assert said.startswith(f"Worker {victim} ({address}) of this run has stopped"), said
