"""`keras-preact evaluate`: exact counts, ensembles, several devices, pictures."""

import json
import shutil

import keras
import numpy as np
import pytest

from keras_preact import load_trained
from keras_preact.cli import main
from keras_preact.training.devices import open_on_devices

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def runs(trained_run, tmp_path_factory):
    """A run, and one with other weights."""
    folder = tmp_path_factory.mktemp("runs")
    first, second = (shutil.copytree(trained_run, folder / name) for name in "ab")
    model = keras.models.load_model(second / "model.keras")
    head = model.get_layer("predictions")
    head.kernel.assign(head.kernel[:, ::-1])
    model.save(second / "model.keras")
    return [str(first), str(second)]


def evaluated(capsys, *arguments):
    assert main(["evaluate", *arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_counts_are_those_of_the_run(runs, capsys):
    result = load_trained(runs[0]).run.result
    for options in ([], ["--batch-size", "7"], ["--devices", "cpu:0,cpu:1"]):
        (found,) = evaluated(capsys, runs[0], *options)
        assert (found["images"], found["top1_correct"]) == (360, result["test_correct"])
        assert found["top5_correct"] > found["top1_correct"]


def test_several_runs_are_an_ensemble(runs, capsys, tmp_path):
    found = evaluated(capsys, *runs, "--out", str(tmp_path))
    assert [row["network"] for row in found] == [*runs, "all 2 together"]
    data = load_trained(runs[0]).load_data()
    images = data.test.images(slice(None)).astype("float32")
    scores = [load_trained(run).model.predict(images, verbose=0) for run in runs]
    right = (np.mean(scores, 0).argmax(1) == data.test.labels).sum()
    assert found[2]["top1_correct"] == right
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["networks"]["all 2 together"]["top1_correct"] == right


def test_crops_scales_and_pictures(runs, capsys):
    assert evaluated(capsys, runs[0], "--size", "8", "--shorter", "10", "--crops", "10")
    assert evaluated(capsys, runs[0], "--scales", "8,10")
    folder = load_trained(runs[0]).path / "evaluation"
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    pictures = {"confusion_matrix.png", "calibration.png", "mistakes.png"}
    assert names == {"evaluation.json", "per_class.csv", *pictures}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--crops", "5"], "1 or 10"),
        (["--crops", "10"], "--size"),
        (["--scales", "8", "--size", "8"], "whole images"),
        (["--scales", "big"], "whole number"),
        (["--data", "cifar100000"], "Received: 'cifar100000'"),
        (["--set", "recipe.epochs=3"], "data.FIELD=VALUE"),
    ],
)
def test_what_is_refused(options, message, runs, capsys):
    assert main(["evaluate", runs[0], *options]) == 2
    assert message in capsys.readouterr().err


def test_images_of_other_classes_are_refused(runs, capsys, tmp_path):
    images = np.zeros((6, 8, 8, 1), "uint8")
    np.savez(tmp_path / "x.npz", x_train=images, y_train=np.arange(6) % 3)
    assert main(["evaluate", runs[0], "--data", f"npz:{tmp_path}/x.npz"]) == 3
    assert "Received: 3 classes without names" in capsys.readouterr().err


def test_several_devices_need_a_softmax(runs, tmp_path):
    path = tmp_path / "normalised.keras"
    x = keras.Input((8, 8, 1))
    y = keras.layers.Dense(2, "softplus")(keras.layers.Flatten()(x))
    keras.Model(x, y / keras.ops.sum(y, axis=1, keepdims=True)).save(path)
    with pytest.raises(ValueError, match="ends with a softmax"):
        open_on_devices(path, "cpu:0,cpu:1")


def test_scores_that_are_not_finite_are_said(runs, tmp_path, capsys):
    model = keras.models.load_model(runs[0] + "/model.keras")
    head = model.get_layer("predictions")
    head.bias.assign(np.full(10, np.nan))
    model.save(tmp_path / "lost.keras")
    lost = str(tmp_path / "lost.keras")
    (found,) = evaluated(capsys, lost, "--data", "digits")
    assert (found["images_without_scores"], found["top1_correct"]) == (360, 0)
    assert found["calibration_error"] is None
    assert main(["evaluate", lost, "--data", "digits"]) == 0
    assert "the scores of 360 images are not finite" in capsys.readouterr().out
