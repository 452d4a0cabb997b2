"""Loggers: each epoch once, whatever happens; one that fails harms nothing; no secret is kept."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from keras_preact import TrainConfig, train
from keras_preact.cli import main
from keras_preact.console import make_console
from keras_preact.errors import ConfigError, DivergedError
from keras_preact.run import RunFolder
from keras_preact.training import Logger, Result
from keras_preact.training.checkpoint import Checkpoints
from keras_preact.training.loggers import LOGGERS, Loggers, curves, make_loggers

TINY = {"network.units": [1], "network.filters": [4], "network.stem_filters": 4}


def tiny(folder, **fields):
    fields = {"epochs": 2, "dtype": "float32", "saved_model": False, **fields}
    return TrainConfig("resnet8v2", settings=TINY, out=f"{folder}/run", **fields)


class Memory(Logger):
    """Keeps what it is told; is interrupted after an epoch, or raises in one of its functions."""

    def __init__(self, stop_after=None, fails_in=None):
        self.told, self.stop_after, self.fails_in = [], stop_after, fails_in

    def note(self, what, value):
        self.told.append((what, value))
        if what == self.fails_in:
            raise OSError(28, "No space left on device")

    def begin(self, run):
        self.note("begin", run.log)
        self.checkpoints = Checkpoints(run.path / "checkpoints")
        return "in memory"

    def log(self, row):
        saved = self.checkpoints.latest()[0].progress["epochs_done"]
        assert saved == row["epoch"], "what is logged is saved"
        self.note("log", row)
        if row["epoch"] == self.stop_after:
            raise KeyboardInterrupt

    def end(self, result):
        self.note("end", result)


def test_a_logger_is_told_of_each_epoch_once(tmp_path, capsys):
    """Also of a training that was interrupted and goes on; others fail beside it."""
    first, second = Memory(stop_after=1), Memory()
    with pytest.raises(KeyboardInterrupt):
        train(tiny(tmp_path, tensorboard=True), loggers=[first])
    broken = [Memory(fails_in=name) for name in ("begin", "log", "end")]
    config, console = tiny(tmp_path, log_to="tensorboard"), make_console(sys.stdout)
    result = train(config, loggers=[*broken, second], console=console)
    rows = RunFolder(result.run).log
    assert [row["epoch"] for row in rows] == [1, 2]
    assert first.told == [("begin", []), ("log", rows[0]), ("end", None)]
    assert second.told == [("begin", rows[:1]), ("log", rows[1]), ("end", result)]
    assert [logger.told[-1][0] for logger in broken] == ["begin", "log", "end"]
    said = capsys.readouterr().out
    why = "[Errno 28] No space left on device. Training continues.\n"
    assert said.count(f"Memory logs nothing: {why}") == 1
    assert said.count(f"Memory logs nothing more: {why}") == 2
    assert said.count("in memory\n") == 3
    board = EventAccumulator(f"{result.run}/tensorboard").Reload()
    for name, value in curves(rows[0]).items():
        assert [x.step for x in board.Tensors(name)] == [row["step"] for row in rows]
        assert make_ndarray(board.Tensors(name)[0].tensor_proto) == pytest.approx(value)


@pytest.mark.thorough
def test_a_training_that_fails_is_ended(tmp_path):
    logger, settings = Memory(), {**TINY, "recipe.warmup_steps": 0}
    config = tiny(tmp_path, learning_rate=1e30).replace(settings=settings)
    with pytest.raises(DivergedError):
        train(config, loggers=[logger])
    assert logger.told == [("begin", []), ("end", None)]


def test_names_are_checked_and_tensorboard_is_one_of_them():
    assert TrainConfig().logger_names() == []
    assert TrainConfig(tensorboard=True).logger_names() == ["tensorboard"]
    both = TrainConfig(log_to="wandb, tensorboard", tensorboard=True)
    assert both.logger_names() == ["wandb", "tensorboard"]
    assert both.training() == TrainConfig().training(), "where it logs to is not what it computes"
    with pytest.raises(ConfigError, match=r"'tensorboard', 'wandb'.*Did you mean 'tensorboard'\?"):
        TrainConfig(log_to="tensorbord")


def test_what_cannot_log_is_refused_before_images_are_read(tmp_path, monkeypatch, capsys):
    config = tiny(tmp_path, data=f"folder:{tmp_path}/none")
    for wrong in (["wandb"], Memory()):
        with pytest.raises(ConfigError, match="a list of keras_preact"):
            train(config, loggers=wrong)
    for name in LOGGERS:
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, name, None)
            patched.setitem(sys.modules, f"{name}.summary", None)
            with pytest.raises(
                ConfigError, match=rf"Logging to '{name}'.* pip install '.*{name}\W"
            ):
                train(config.replace(log_to=name))
    assert main(["train", "--log-to", "nowhere"]) == 2
    assert "Received: log_to='nowhere'" in capsys.readouterr().err


@pytest.fixture
def run(tmp_path):
    """A run folder as it is when training begins."""
    run = RunFolder.create(tmp_path / "run", "")
    config = tiny(tmp_path)
    run.write_json("config.json", config.to_dict())
    run.write_json("resolved.json", config.resolve().to_dict())
    run.write_json("env.json", {"packages": {"keras": "3.15.1"}, "backend": "tensorflow"})
    return run


#: What no file of a run may hold.
SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "HF_TOKEN": "hf_neverInARunFolder",
    "AWS_SECRET_ACCESS_KEY": "aws/neverInARunFolder",
}


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """W&B as in a new process, which finds no settings and no login of this machine's user."""
    reason = "Weights & Biases is not installed: pip install 'keras-preact[wandb]'"
    wandb = pytest.importorskip("wandb", reason=reason)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "NETRC"):
        monkeypatch.setenv(name, str(tmp_path / name))
    wandb.teardown()
    yield wandb
    wandb.teardown()


def records(path):
    """The records of a `.wandb` file: protocol buffers in a log of blocks, as LevelDB's."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole, at = whole + data[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(whole)
            whole = b""


def of_history(path):
    """What W&B has of each step, once its process has ended and written all of it."""
    sys.modules["wandb"].teardown()
    for record in records(path):
        if record.HasField("history"):
            values = {"/".join(x.nested_key): x.value_json for x in record.history.item}
            yield {name: json.loads(value) for name, value in values.items()}


KILLED = """
import json, os, signal, sys
from keras_preact.run import RunFolder
from keras_preact.training.loggers import make_loggers

run, (logger,) = RunFolder(sys.argv[1]), make_loggers(["wandb"])
logger.begin(run)
for row in json.loads(sys.argv[2]):
    run.append_log(row)
    logger.log(row)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_wandb_goes_on_in_one_run_with_each_epoch_once(run, wandb, monkeypatch):
    """After a kill, also with an epoch that was logged and not saved."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    rows = [
        {"epoch": epoch, "step": 11 * epoch, "loss": 1 / epoch, "gradient_norm": None}
        for epoch in (1, 2, 3)
    ]
    killed = [sys.executable, "-c", KILLED, str(run.path), json.dumps(rows[:2])]
    assert subprocess.run(killed).returncode == -signal.SIGKILL
    before = run.read_json("wandb.json")
    run.cut_log("log.jsonl", "epoch", 1)
    with Loggers(make_loggers(["wandb"]), run) as loggers:
        for row in rows[1:]:
            run.append_log(row)
            loggers.log(row)
        loggers.result = Result("run", "resnet8v2", "digits", 9, 0.75, 3, 4, 3, 1.5, 100.0, 0)
    (path,) = run.path.glob("wandb/offline-run-*/*.wandb")
    assert path.stem == f"run-{before['id']}" and run.read_json("wandb.json") == before
    found = [(x["epoch"], x["_step"], x["loss"]) for x in of_history(path)]
    assert found == [(1, 11, 1.0), (2, 22, 0.5), (3, 33, 1 / 3)]
    ended = [record for record in records(path) if record.HasField("exit")]
    assert [record.exit.exit_code for record in ended] == [0]
    text = b"".join(record.SerializeToString() for record in records(path))
    assert b'"test_accuracy":0.75' in text.replace(b" ", b"")
    assert b"resnet8v2" in text and b"3.15.1" in text
    path.with_name(f"{path.name}.synced").touch()  # as `wandb sync` does
    time.sleep(1.0 - time.time() % 1.0)  # W&B names its folders by the second
    with Loggers(make_loggers(["wandb"]), run) as loggers:
        loggers.log({"epoch": 4, "step": 44, "loss": 0.25})
    (other,) = {*run.path.glob("wandb/offline-run-*/*.wandb")} - {path}
    assert [x["_step"] for x in of_history(other)] == [44]


def test_a_run_folder_holds_no_secret(tmp_path, wandb, monkeypatch):
    for name, value in {**SECRETS, "WANDB_MODE": "offline"}.items():
        monkeypatch.setenv(name, value)
    result = train(tiny(tmp_path, epochs=1, log_to="tensorboard,wandb"))
    files = [path for path in RunFolder(result.run).path.rglob("*") if path.is_file()]
    assert {"wandb.json", "debug.log"} <= {path.name for path in files}
    for path in files:
        data = path.read_bytes()
        assert not [name for name, value in SECRETS.items() if value.encode() in data], path


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "not logged in; run `wandb login` or set WANDB_MODE=offline"),
        (
            {
                "WANDB_API_KEY": SECRETS["WANDB_API_KEY"],
                "WANDB_BASE_URL": "http://127.0.0.1:9",
                "WANDB_HTTP_TIMEOUT": "1",
            },
            "Failed to authenticate",
        ),
    ],
    ids=["no login", "no network"],
)
def test_wandb_without_login_or_network_is_said(environment, words, run, wandb, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.warns(RuntimeWarning, match=f"WeightsAndBiases logs nothing: {words}") as said,
        Loggers(make_loggers(["wandb"]), run) as loggers,
    ):
        loggers.log({"epoch": 1, "step": 11, "loss": 1.0})
    assert len(said) == 1
