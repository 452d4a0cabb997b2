"""Searches whose processes are killed: every trial once, no hang, each failure with its reason."""

import concurrent.futures
import contextlib
import functools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from keras_preact import TrainConfig
from keras_preact.run import RunFolder
from keras_preact.tuning import trials_frame
from keras_preact.tuning.training_process import train_in_process

pytestmark = pytest.mark.tensorflow

TRAINING = [
    "--model", "resnet8v2", "--epochs", "1", "--dtype", "float32", "--final-seeds", "0",
    "--set", "network.units=[1, 1]", "--set", "network.filters=[4, 8]",
    "--set", "network.stem_filters=4",
]  # fmt: skip


def start(out, space, *options, environment=None):
    """A search on the command line, its processes in a group of their own."""
    command = [sys.executable, "-m", "keras_preact", "tune", "fields", "--out", str(out), *TRAINING]
    return subprocess.Popen(
        [*command, "--space", json.dumps(space), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
    )


def family(process, module=None):
    """All processes of a search, or those that run a module."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            command = child.cmdline()
            is_chief = child.environ().get("KERASTUNER_TUNER_ID") == "chief"
        except psutil.Error:
            continue
        if module is None or (f"keras_preact.tuning.{module}" in command and not is_chief):
            found.append(child)
    return found


def listening(process):
    """Where a process can be reached by others than its user."""
    with contextlib.suppress(psutil.Error):
        return [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    return []


def wait_for(condition, process, seconds=200):
    """What it was that was waited for."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "nothing happens"
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    return found


def kill(process, module):
    """Kills a process of the search that runs a module, once there is one."""
    random.choice(wait_for(lambda: family(process, module), process)).kill()


@pytest.mark.slow
def test_workers_that_are_killed_are_replaced(tmp_path, request):
    """R20, R22: one of two workers is killed (three times with more `--kills`); trials diverge."""
    kills = 3 if request.config.getoption("--kills") > 5 else 1
    norms = [None, True][: 1 if kills == 1 else 2]
    space = {"recipe.learning_rate": [0.1, 1e30], "network.projection_norm": norms}
    out = tmp_path / "search"
    process = start(out, space, "--workers", "2")
    for k in range(kills):
        wait_for(lambda k=k: len([*(out / "trials").glob("trial_*")]) > k, process)
        assert not [c for p in family(process) for c in listening(p)]  # nobody else gets trials
        time.sleep(random.uniform(0, 3))
        kill(process, "worker")
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    frame = trials_frame(out)
    each = len(norms)
    assert len(frame) == len(frame.drop_duplicates([*space])) == 2 * each
    assert frame["status"].value_counts().to_dict() == {"finished": each, "failed": each}
    assert frame["failure"].dropna().str.contains("DivergedError").all()
    assert (out / "report.html").is_file()


def test_a_training_that_is_killed_says_by_what(tmp_path):
    config = TrainConfig("resnet8v2", out=str(tmp_path / "run"))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        future = pool.submit(train_in_process, config)
        while not (found := family(psutil.Process(), "training_process")):
            assert not future.done()
            time.sleep(0.01)
        found[0].kill()
        found = future.result(60)
    assert found.result is None and "SIGKILL" in found.failure and found.memory_gb > 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Gives the trials of a search to which nothing happens."""

    @functools.cache
    def search(*options):
        out = tmp_path_factory.mktemp("undisturbed") / "search"
        process = start(out, SPACE, *options)
        said = process.communicate(timeout=600)[0]
        assert process.returncode == 0, said
        return results(out)

    return search


SPACE = {"recipe.learning_rate": [0.1, 0.05], "network.gate_bias": [0.0, -1.0, -2.0]}
ORACLES = {
    "grid": ["--trials", "3"],
    "random": ["--trials", "3"],
    "bayesian": ["--trials", "5"],
    "hyperband": ["--epochs", "3"],
}


def results(out):
    """Values and error of each finished trial."""
    frame = trials_frame(out)
    assert {*frame["status"]} == {"finished"}
    return sorted(map(tuple, frame[[*SPACE, "epochs", "validation_error"]].to_numpy().tolist()))


@pytest.mark.slow  # tests/tuning/test_oracles.py always goes through all files of all oracles
@pytest.mark.parametrize("oracle", ORACLES)
def test_a_search_that_is_killed_goes_on(oracle, tmp_path, undisturbed):
    """R21: all of its processes at once, then the first alone, then SIGTERM."""
    options = ("--oracle", oracle, *ORACLES[oracle])
    out = tmp_path / "search"
    for way in ("all", "first", "SIGTERM"):
        process = start(out, SPACE, *options)
        wait_for(lambda: family(process, "training_process"), process)  # noqa: B023
        time.sleep(random.uniform(0, 6))
        everyone = family(process)
        if way == "SIGTERM":
            process.terminate()
            assert process.wait(60) == 143
        else:
            for one in [process, *everyone] if way == "all" else [process]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL)
        _, left = psutil.wait_procs(everyone, 60)
        assert not left  # they end with the first one
        process.wait()
    process = start(out, SPACE, *options)
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said
    assert results(out) == undisturbed(*options)
    assert RunFolder(out).result["trials"] == len(results(out))


@pytest.mark.slow  # minutes
def test_a_search_on_many_machines(tmp_path, undisturbed):
    """A chief and two workers by KerasTuner's variables; each is killed, and started again."""
    out = tmp_path / "search"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    shared |= {"no_grpc_proxy": "127.0.0.1"}

    def begin(role):
        return start(out, SPACE, environment={**shared, "KERASTUNER_TUNER_ID": role})

    machines = {role: begin(role) for role in ("chief", "worker0", "worker1")}
    victims = ["worker0", "chief", "worker1"]
    deadline = time.monotonic() + 600
    while any(process.poll() is None for process in machines.values()):
        assert time.monotonic() < deadline, "no end"
        ended = len([*(out / "trials").glob("trial_*/outcome.json")])
        if victims and ended > 3 - len(victims) and machines[victims[0]].poll() is None:
            time.sleep(random.uniform(0, 4))
            machines[victims.pop(0)].kill()
        for role, process in machines.items():
            if process.poll() not in (None, 0):
                assert process.returncode in (-signal.SIGKILL, 1), process.stdout.read()
                machines[role] = begin(role)
        time.sleep(0.2)
    assert not victims
    assert results(out) == undisturbed()
    assert RunFolder(out).result["trials"] == 6


@pytest.mark.slow
def test_killed_while_the_winner_is_trained(tmp_path):
    """The final trainings go on too, and their results are those of an undisturbed search."""
    space = {"recipe.learning_rate": [0.1]}
    outs = [tmp_path / "killed", tmp_path / "undisturbed"]
    for place, out in enumerate(outs):
        for seed in (0, 1, None):
            process = start(out, space, "--final-seeds", "2")
            if place == 0 and seed is not None:
                wait_for((out / "final" / f"seed{seed}.log").is_file, process)
                time.sleep(random.uniform(0, 6))
                everyone = [process, *family(process)]
                for one in everyone:
                    with contextlib.suppress(psutil.Error):
                        one.kill()
                psutil.wait_procs(everyone[1:], 60)
                process.wait()
                continue
            assert process.wait(300) == 0, process.stdout.read()
            break
    found = [RunFolder(out).result for out in outs]
    assert found[0]["test_errors"] == found[1]["test_errors"] and len(found[0]["test_errors"]) == 2
