"""A plan by several processes: who trains what, what is said, and how they end."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from keras_preact.cli import main
from keras_preact.console import make_console
from keras_preact.errors import ConfigError, DataError, DeviceError, SaveError, StoppedError
from keras_preact.papers import ReproduceConfig, reproduce_together
from keras_preact.run import RunFolder
from keras_preact.training import processes as beside

SMALL = {
    "network.units": [1, 1],
    "network.filters": [4, 8],
    "network.stem_filters": 4,
    "recipe.epochs": 1,
    "recipe.batch_size": 128,
}


def plan(out, rows="original|dropout", **fields):
    same = {"scale": "smoke", "dtype": "float32", "settings": SMALL, **fields}
    return [ReproduceConfig("he2016-table1", row=rows, out=str(out / "table"), **same)]


@pytest.fixture
def instead(monkeypatch):
    """Starts processes that run some code in the place of the training."""

    def run(code):
        def start(module, wish, *, output, environment):
            command = [sys.executable, "-c", f"import os, signal, sys, time\n{code}"]
            pipes = {"stdin": subprocess.PIPE, "stdout": output, "stderr": output}
            return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)

        monkeypatch.setattr(beside, "start", start)

    return run


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("sys.exit('a bug')", DeviceError, "process 1 with: a bug"),
        ("print('no such table'); sys.exit(2)", ConfigError, "with: no such table"),
        ("print('a.png is damaged'); sys.exit(3)", DataError, "with: a.png is damaged"),
        ("print('No space left'); sys.exit(5)", SaveError, "with: No space left"),
        ("os.kill(os.getpid(), signal.SIGKILL)", DeviceError, "SIGKILL.*: fewer processes need"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", DeviceError, r"by SIGSEGV\. The same command"),
    ],
)
def test_what_ends_one_is_said_once_all_have_ended(code, kind, words, instead, tmp_path, capsys):
    instead(f"time.sleep(0.3)\nprint('café')\n{code}")
    with pytest.raises(kind, match=f"2 of 2 processes ended early, .*{words}"):
        reproduce_together(plan(tmp_path), 2, console=make_console(sys.stdout))
    said = capsys.readouterr().out
    assert "1: café\n" in said and "2: café\n" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_for_all(number, instead, tmp_path):
    """Each gets SIGTERM, and has time to save."""
    instead(
        "def save(*_):\n"
        "    time.sleep(0.3)\n"
        f"    open(f'{tmp_path}/{{os.getpid()}}', 'w').close()\n"
        "    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        f"open(f'{tmp_path}/{{os.getpid()}}-begun', 'w').close()\n"
        "time.sleep(60)"
    )

    def ask():
        while len([*tmp_path.glob("*-begun")]) < 3:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    threading.Thread(target=ask).start()
    with pytest.raises(StoppedError, match="The same command resumes") as caught:
        reproduce_together(plan(tmp_path), 3)
    assert caught.value.exit_code == 128 + number
    assert len([*tmp_path.glob("*")]) == 6


def test_processors_and_gpus_are_divided(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(OSError))
    assert [beside.share(k, 3)["TF_NUM_INTRAOP_THREADS"] for k in range(3)] == ["5"] * 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,5")
    visible = [[beside.share(k, n)["CUDA_VISIBLE_DEVICES"] for k in range(n)] for n in (1, 2, 4)]
    assert visible == [["0,2,5"], ["0,5", "2"], ["0", "2", "5", "0"]]


def test_what_processes_are_given(monkeypatch, tmp_path):
    given = []

    def start(module, wish, *, output, environment):
        given.append(environment)
        command = [sys.executable, "-c", ""]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output)

    monkeypatch.setattr(beside, "start", start)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "false")
    reproduce_together(plan(tmp_path), 2)
    reproduce_together(plan(tmp_path, devices="gpu:1"), 2)
    assert [each["CUDA_VISIBLE_DEVICES"] for each in given] == ["0", "1", "0,1", "0,1"]
    assert {each["XLA_PYTHON_CLIENT_PREALLOCATE"] for each in given} == {"false"}
    assert {each["TF_FORCE_GPU_ALLOW_GROWTH"] for each in given} == {"false"}  # as the user says
    assert len({each["JAX_COMPILATION_CACHE_DIR"] for each in given}) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--processes", "0"], "`processes` must be at least 1. Received: processes=0."),
        (["--processes", "2", "--hours", "0"], "`hours` must be above 0"),
        (["--processes", "2", "--dry-run"], "`processes` must be 1 with --dry-run"),
    ],
)
def test_mistakes(options, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "he2016-table1", "--scale", "smoke", *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.thorough
@pytest.mark.tensorflow
def test_killed_and_gone_on_with(tmp_path):
    """SIGKILL for the first process alone: the others save, end, and the same command goes on."""
    rows = "original|dropout|1x1*"
    path = tmp_path / "plan.yaml"
    settings = ", ".join(f"{name}: {value}" for name, value in SMALL.items())
    path.write_text(
        f"- {{table: he2016-table1, row: '{rows}', scale: smoke, out: {tmp_path}/table, "
        f"set: {{{settings}, recipe.epochs: 20}}}}\n"
    )
    command = [sys.executable, "-m", "keras_preact", "reproduce", str(path), "--processes", "2"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    begun = set()
    for line in first.stdout:
        begun |= {*re.findall(r"^(\d): epoch +1/", line)}
        if begun == {"1", "2"}:
            break
    first.kill()
    rest = first.stdout.read()  # until the others have closed it as well
    assert first.wait() == -signal.SIGKILL and "Stopped" not in rest
    locks = [RunFolder(path.parent) for path in (tmp_path / "table").glob("*/config.json")]
    assert len(locks) == 2
    end = time.monotonic() + 60
    while any(run.is_locked for run in locks):
        assert time.monotonic() < end
        time.sleep(0.1)
    steps = {
        run.path.name: len((run.path / "steps.jsonl").read_text().splitlines()) for run in locks
    }
    assert all(count >= 11 for count in steps.values())
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name, count in steps.items():
        assert re.search(rf"resuming .*{name} after step {count}$", done.stdout, re.MULTILINE)
    env = locks[0].read_json("env.json")
    assert env["command"] == ["keras-preact", *command[3:]]
    results = sorted((tmp_path / "table").glob("*/result.json"))
    assert len(results) == 3
    assert all(len(RunFolder(path.parent).log) == 20 for path in results)
    assert (tmp_path / "table" / "report.html").is_file()
