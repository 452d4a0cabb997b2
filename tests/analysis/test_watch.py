"""Watching a training changes nothing of it, and goes on where it was interrupted."""

import os
import signal
import types

import numpy as np
import pandas as pd
import pytest

from keras_preact import TrainConfig, create_model, train
from keras_preact.analysis import Watch, dissect, signal_propagation
from keras_preact.analysis.further import batches_of
from keras_preact.cli import main
from keras_preact.data import load_data
from keras_preact.errors import ConfigError, StoppedError
from keras_preact.run import RunFolder
from keras_preact.trained import open_keras_file
from keras_preact.training.loggers import Logger, Loggers

NETWORK = {"units": (1, 1), "filters": (4, 8), "stem_filters": 4}
SMALL = {f"network.{name}": value for name, value in NETWORK.items()}
SETTINGS = {"network.shortcut": "dropout", "recipe.batch_size": 256, "recipe.mixup": 0.2, **SMALL}
LOOK = {"parts": ("signals", "lesions", "refinement"), "every": 3, "images": 24, "batch_size": 12}


def config(out, **others):
    fields = {"dtype": "float32", "settings": SETTINGS, **others}
    return TrainConfig("resnet8v2", epochs=2, saved_model=False, out=str(out), **fields)


def losses(run):
    return [(row["step"], row["loss"]) for row in RunFolder(run).read_lines("steps.jsonl")]


class Stop(Logger):
    """Interrupts a training after a step, as Ctrl-C does."""

    every = 1

    def __init__(self, at):
        self.at = at

    def look(self, step, model, data):
        if step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A training that is watched and interrupted between two looks, and one that is neither."""
    folder = tmp_path_factory.mktemp("watched")
    plain = train(config(folder / "plain"))
    with pytest.raises(StoppedError):
        train(config(folder / "run"), loggers=[Watch(**LOOK), Stop(4)])
    return plain.run, train(config(folder / "run"), loggers=[Watch(**LOOK)]).run


def test_the_training_is_what_it_is_without(watched):
    plain, run = watched
    assert losses(run) == losses(plain)
    some, others = (open_keras_file(f"{path}/model.keras").get_weights() for path in watched)
    assert all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize(("part", "rows"), [("signals", 2), ("lesions", 2), ("refinement", 3)])
def test_each_look_is_there_once(part, rows, watched):
    _, run = watched
    table = pd.read_csv(f"{run}/watch-{part}.csv")
    assert table.groupby("step").size().to_dict() == dict.fromkeys((3, 6, 9), rows)
    assert (table.groupby("unit")["step"].nunique() == 3).all()
    with open(f"{run}/watch-{part}.png", "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


@pytest.mark.thorough
def test_what_is_seen_is_that_of_the_weights(tmp_path):
    """At the last step: the same as a look at the network that the run leaves."""
    watch = Watch(("signals", "gates"), every=5, images=24, batch_size=12)
    fields = {"network.shortcut": "exclusive_gating", "recipe.batch_size": 256, **SMALL}
    run = train(config(tmp_path / "run", settings=fields).replace(epochs=1), loggers=[watch]).run
    split = load_data("digits", seed=0).train
    model = open_keras_file(f"{run}/model.keras")
    found = signal_propagation(dissect(model), batches_of(split, watch))
    units, gates = found.units, pd.read_csv(f"{run}/watch-gates.csv")
    np.testing.assert_allclose(gates[["bias", "mean"]], found.gates[["bias", "mean"]], rtol=1e-4)
    seen = pd.DataFrame(RunFolder(run).read_lines("watch-signals.jsonl"))
    assert seen["step"].unique().tolist() == [5]
    for name in ("output_channel_variance", "adds", "negative"):
        np.testing.assert_allclose(seen[name], units[name], rtol=1e-4)


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    out = tmp_path / "run"
    command = ["train", "--model", "resnet8v2", "--epochs", "1", "--out", str(out)]
    assert main([*command, "--watch", "signal"]) == 2
    assert "Did you mean 'signals'?" in capsys.readouterr().err and not out.exists()
    more = ["--watch", "signals, lesions", "--every", "5", "--set", "recipe.batch_size=256"]
    assert main([*command, *more]) == 0
    said = capsys.readouterr().out
    assert "watching signals, lesions every 5 steps" in said and "watching took" in said
    assert len(pd.read_csv(out / "watch-lesions.csv")) == 3


def test_a_network_without_gates_leaves_none(tmp_path):
    watch, result = Watch(("gates",), every=1, images=4, batch_size=2), types.SimpleNamespace
    watch.begin(RunFolder.create(tmp_path / "run", ""))
    watch.look(1, create_model("resnet8v2", input_shape=(8, 8, 1), **NETWORK), load_data("digits"))
    assert watch.end(result(seconds=1.0)).endswith("; nothing was seen of gates")
    assert not [*(tmp_path / "run").glob("watch-*")]


def test_looks_are_counted_from_the_first_step():
    class Each(Logger):
        def __init__(self, every):
            self.every, self.seen = every, []

        def look(self, step, model, data):
            self.seen.append(step)

    each = [Each(2), Each(3), Logger()]
    loggers, step = Loggers(each, None), 0
    while step < 9:
        step = loggers.next_look(step)
        loggers.look(step, None, None)
    assert each[0].seen == [2, 4, 6, 8] and each[1].seen == [3, 6, 9]
    assert Loggers([Logger()], None).next_look(0) is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"parts": ("signal",)}, "signals.*Did you mean"),
        ({"parts": ()}, "at least one"),
        ({"every": 0}, "whole number"),
        ({"images": 1.5}, "whole number"),
    ],
)
def test_what_cannot_be_watched(wrong, words):
    with pytest.raises(ConfigError, match=words):
        Watch(**wrong)
