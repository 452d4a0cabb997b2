"""`keras-preact evaluate`: exact counts, ensembles, several devices, pictures."""

import csv
import io
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from keras_preact import load_trained
from keras_preact.cli import main
from keras_preact.data import Geometry
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


@pytest.mark.thorough
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


def test_the_table_has_short_names_and_no_top_5_where_all_are_right(
    runs, capsys, tmp_path, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["evaluate", *runs]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("top-5 error" in line for line in lines)
    begin = [line.split()[0] for line in lines if line.strip() and line.startswith("  ")]
    assert {"a", "b", "all"} <= {*begin}
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(3, "softmax"))
    model.save(tmp_path / "three.keras")
    images, labels = np.zeros((6, 8, 8, 1), np.uint8), np.arange(6) % 3
    np.savez(tmp_path / "x.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    data = f"npz:{tmp_path}/x.npz"
    assert main(["evaluate", str(tmp_path / "three.keras"), "--data", data]) == 0
    assert "top-5" not in capsys.readouterr().out


@pytest.mark.thorough
def test_crops_scales_and_pictures(runs, capsys):
    assert evaluated(capsys, runs[0], "--size", "8", "--shorter", "10", "--crops", "10")
    assert evaluated(capsys, runs[0], "--scales", "8,10")
    folder = load_trained(runs[0]).path / "evaluation"
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    pictures = {"confusion_matrix.png", "calibration.png", "mistakes.png"}
    assert names == {"evaluation.json", "per_class.csv", *pictures}


@pytest.mark.thorough
def test_images_of_other_sizes_are_fitted_as_the_network_remembers(tmp_path, capsys):
    """As many are right as `predict` says, which follows the same geometry."""
    random = np.random.default_rng(0)
    for k, pixels in enumerate(random.integers(0, 256, (24, 4, 4, 3), "uint8")):
        folder = tmp_path / "data" / "abc"[k % 3]
        folder.mkdir(parents=True, exist_ok=True)
        size = tuple(random.integers(12, 60, 2).tolist())
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(folder / f"{k}.png")
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu")(images / 255)
    x = keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling2D()(x))
    path = str(tmp_path / "net.keras")
    keras.Model(images, x).save(path)
    (tmp_path / "classes.json").write_text('["a", "b", "c"]')
    data = ["--data", f"folder:{tmp_path}/data"]
    assert main(["evaluate", path, *data]) == 3
    assert "The images must have the same size" in capsys.readouterr().err
    (tmp_path / "net.geometry.json").write_text(Geometry(16, 20, "bicubic").to_json())
    ways = ([], ["--size", "8"], ["--interpolation", "nearest", "--shorter", "16"])
    for options in ways:
        (found,) = evaluated(capsys, path, *data, *options, "--out", f"{tmp_path}/out")
        assert main(["predict", path, f"{tmp_path}/data", "--csv", "--top", "1", *options]) == 0
        rows = [*csv.DictReader(io.StringIO(capsys.readouterr().out))]
        right = [pathlib.Path(row["file"]).parent.name == row["label"] for row in rows]
        assert (found["images"], found["top1_correct"]) == (24, sum(right))
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert Geometry.from_dict(written["geometry"]) == Geometry(16, 16, "nearest")
    other = shutil.copy(path, tmp_path / "other.keras")  # each is shown images as it takes them
    (tmp_path / "other.geometry.json").write_text(Geometry(8).to_json())
    found = evaluated(capsys, path, str(other), *data, "--out", f"{tmp_path}/out")
    alone = [evaluated(capsys, str(one), *data)[0] for one in (path, other)]
    for one, together in zip(alone, found[:2], strict=True):
        assert one["top1_correct"] == together["top1_correct"]


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


@pytest.mark.thorough
def test_scores_that_are_not_finite_are_said(runs, tmp_path, capsys):
    model = keras.models.load_model(runs[0] + "/model.keras")
    head = model.get_layer("predictions")
    head.bias.assign(np.full(10, np.nan))
    model.save(tmp_path / "lost.keras")
    lost = str(tmp_path / "lost.keras")
    (found,) = evaluated(capsys, lost, "--data", "digits")
    assert (found["images_without_scores"], found["top1_correct"]) == (360, 0)
    assert found["calibration_error"] is found["roc_auc"] is found["average_precision"] is None
    assert main(["evaluate", lost, "--data", "digits"]) == 0
    said = capsys.readouterr().out
    assert "360 images have scores that are not finite" in said
    assert "macro F1 0.00%, one-vs-rest means over the classes." in said
