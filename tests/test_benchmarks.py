"""The benchmarks run and report; what they measure is not tested."""

import importlib.util
import json
import math
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

TINY = ["--rounds", "1", "--batch_size", "4"]
#: Of those that have not both.
SHORT = {"opening": TINY[:2], "time_to_accuracy": ["--epochs", "2", "--seeds", "1"]}
COMMANDS = {
    "train_step": ["--models", "[resnet8v2]", "--contenders", "[keras_preact, stock Keras]"],
    "depth": ["--model", "resnet20v2", "--shallow_units", "[1, 1, 1]"],
    "inference": ["--model", "resnet8v2", "--contenders", "[keras_preact]"],
    "input": ["--model", "resnet8v2", "--images", "64"],
    "augmentation": ["--sizes", "[32]", "--seconds_a_round", "0.1"],
    "overhead": ["--model", "resnet8v2", "--steps", "2", "--save_every", "1"],
    "opening": ["--model", "resnet8v2"],
    "time_to_accuracy": ["--contenders", "[keras_preact, PyTorch]"],
}
#: Options of `input` with which it reads files.
FILES = ["--files", "true", "--seconds_a_round", "0.1"]


def results(name, *arguments):
    command = [f"benchmarks.{name}", *COMMANDS[name], *SHORT.get(name, TINY), "--json", "true"]
    run = subprocess.run(
        [sys.executable, "-m", *command, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more"), [*((name, []) for name in COMMANDS), ("input", FILES)], ids=str
)
def test_a_benchmark_reports_every_contender(name, more):
    found = results(name, *more)
    assert found["command"].startswith(f"python -m benchmarks.{name} ")
    assert found["machine"]["packages"]["keras"]
    assert found["results"]
    assert found["measurements"] or name in ("overhead", "opening")
    for measurement in found["measurements"]:
        assert measurement["failure"] is None
        assert measurement["step"] > 0


@pytest.mark.slow
def test_a_contender_that_fails_is_a_row_with_its_reason():
    found = results("train_step", "--models", "[resnet50v2]", "--image_size=-1")
    assert {m["failure"] is not None for m in found["measurements"]} == {True}
    assert "negative" in found["results"][0]["ours is"]


@pytest.mark.parametrize("name", ["quick", "fast_cifar"])
@pytest.mark.parametrize("epochs", [1, 30])
def test_the_peer_in_pytorch_has_the_learning_rate_of_the_recipe(name, epochs):
    sys.path.insert(0, str(ROOT))
    from benchmarks.time_to_accuracy import _share_of_rate
    from keras_preact.training import RECIPES
    from keras_preact.training.optimizer import learning_rate_schedule

    recipe = RECIPES[name].replace(epochs=epochs)
    schedule, steps = learning_rate_schedule(recipe, 100), 100 * epochs
    for step in {0, 1, steps // 20, 1499, 1500, 1501, steps // 2, steps - 1} & {*range(steps)}:
        expected = recipe.learning_rate * _share_of_rate(recipe, steps, step)
        assert float(schedule(step)) == pytest.approx(expected, abs=1e-6)


def test_a_training_ends_with_the_first_epoch_that_has_the_accuracy():
    sys.path.insert(0, str(ROOT))
    from benchmarks.group import Measurement, Spec

    found = Measurement(Spec("", ""), seconds=[1, 2, 4, 8], accuracies=[0.5, 0.8, 0.7, 0.9])
    times = {0.1: 1, 0.6: 3, 0.8: 3, 0.85: 15, 0.95: None, None: None}
    assert {accuracy: found.until(accuracy) for accuracy in times} == times


def test_beside_a_library_the_network_takes_its_layout(monkeypatch):
    sys.path.insert(0, str(ROOT))
    from benchmarks import contenders
    from keras_preact.weights.layouts import KERAS_V2, TORCH_V1, TORCH_V2

    monkeypatch.setattr(contenders, "available", lambda names: [n for n in names if n != "gone"])
    fields = contenders.fields_for
    assert fields("resnet50v2", ("keras_preact", "PyTorch", "gone")) == {}
    assert fields("resnet20v2", ("keras_preact",), {"activation": "prelu"}) == {
        "activation": "prelu"
    }
    assert fields("resnet50v2", ("keras.applications, oneDNN",)) == KERAS_V2
    assert fields("resnet50v2", ("timm", "timm, compiled")) == TORCH_V2
    assert fields("resnet50", ("timm",)) == TORCH_V1
    with pytest.raises(ValueError, match="different layouts"):
        fields("resnet50v2", ("timm", "keras.applications"))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs the extra `bench`")
@pytest.mark.parametrize("entry", ["stem", "unit", "branch", "both"])
@pytest.mark.parametrize("name", ["resnet20v2", "resnet50v2"])
def test_the_peer_in_pytorch_is_the_same_network(name, entry):
    sys.path.insert(0, str(ROOT))
    from benchmarks.torch_networks import preact_resnet
    from keras_preact import create_model, model_info

    info = model_info(name)
    network = preact_resnet(info.config.replace(first_unit_entry=entry), info.classes)
    ours = create_model(name, first_unit_entry=entry).trainable_weights
    assert sum(p.numel() for p in network.parameters()) == sum(math.prod(w.shape) for w in ours)
