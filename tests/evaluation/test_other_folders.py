"""A run on folders of others: what they are called, where they lie, and in what order."""

import json
import os
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from keras_preact import TrainConfig, load_trained, train
from keras_preact.cli import main
from keras_preact.data.classes import key_of
from keras_preact.errors import DataError

pytestmark = pytest.mark.tensorflow
CLASSES = 12


def folder_of(root, names, count=4, value=None):
    """Images of one grey each; that of class `k` is the brighter, the higher `k`."""
    random = np.random.default_rng(0)
    for name in names:
        grey = int(key_of(name)) if value is None else value
        (root / name).mkdir(parents=True)
        for n in range(count):
            pixels = 20 * grey + random.integers(0, 4, (8, 8))
            Image.fromarray(pixels.astype("uint8")).save(root / name / f"{n}.png")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trained on arrays with the labels 0 to 11, and then made to know all of them."""
    folder = tmp_path_factory.mktemp("greys")
    labels = np.arange(CLASSES).repeat(4)
    x = np.tile(20 * labels[:, None, None], (1, 8, 8)).astype("uint8")
    np.savez(folder / "greys.npz", x_train=x, y_train=labels, x_test=x, y_test=labels)
    small = {"network.units": [1], "network.filters": [4], "network.stem_filters": 4}
    os.chdir(folder)
    config = TrainConfig("resnet8v2", "npz:greys.npz", epochs=1, settings=small, saved_model=False)
    out = folder / "run"
    train(config.replace(out=str(out)))
    images = keras.Input((8, 8, 1))
    mean = keras.layers.GlobalAveragePooling2D()(images) / 20
    centres = np.arange(CLASSES, dtype="float32")
    head = keras.layers.Dense(CLASSES, "softmax", name="predictions")
    model = keras.Model(images, head(mean))
    head.set_weights([20 * centres[None], -10 * centres**2])  # the nearest grey
    model.save(out / "model.keras")
    return out


def evaluated(capsys, *arguments):
    assert main(["evaluate", *map(str, arguments), "--json"]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


@pytest.mark.thorough
def test_classes_are_matched_by_name_and_all_images_tested(run, tmp_path, capsys):
    folder = folder_of(tmp_path / "test", [str(k) for k in range(CLASSES)])
    found, _ = evaluated(capsys, run, "--data", f"folder:{folder}")
    assert (found["top1_error"], found["images"]) == (0.0, 4 * CLASSES)
    padded = folder_of(tmp_path / "padded", [f"{k:03d}" for k in range(CLASSES)])
    assert evaluated(capsys, run, "--data", f"folder:{padded}")[0]["top1_error"] == 0.0
    few = folder_of(tmp_path / "few", ["10", "2", "7"])
    found, said = evaluated(capsys, run, "--data", f"folder:{few}")
    assert (found["top1_error"], found["images"]) == (0.0, 12)
    assert "no test images of 9 of 12 classes: '0', '1', '3', '4', '5' and 4 more" in said
    table = tmp_path / "few.csv"
    table.write_text("file;class\nfew/10/0.png;10\nfew/7/1.png;007\n")
    found, _ = evaluated(capsys, run, "--data", f"csv:{table}")
    assert (found["top1_error"], found["images"]) == (0.0, 2)
    names = folder_of(tmp_path / "names", ["cat", "dog"], value=1)
    assert main(["evaluate", str(run), "--data", f"folder:{names}"]) == 3
    assert "matched by their names" in capsys.readouterr().err


@pytest.mark.thorough
def test_each_data_set_s_evaluation_is_kept(run, tmp_path, capsys):
    evaluated(capsys, run)
    own = (run / "evaluation" / "evaluation.json").read_bytes()
    before = {*run.glob("evaluation-*")}
    for name in ("a", "b"):  # which differ behind a long way
        folder = folder_of(tmp_path / ("long" * 25) / name, ["0", "1"])
        evaluated(capsys, run, "--data", f"folder:{folder}")
    assert (run / "evaluation" / "evaluation.json").read_bytes() == own
    assert json.loads(own)["tested"] == "its test part"
    new = {*run.glob("evaluation-*")} - before
    assert len(new) == 2
    for folder in new:
        found = json.loads((folder / "evaluation.json").read_text())
        assert found["tested"] == "all its images" and found["data"].startswith("folder:")


def test_a_run_finds_its_images_from_anywhere_and_says_when_they_are_gone(
    run, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert evaluated(capsys, run)[0]["top1_error"] == 0.0
    (run.parent / "greys.npz").rename(run.parent / "moved.npz")
    try:
        assert main(["evaluate", str(run)]) == 3
        assert "are no longer where they were" in capsys.readouterr().err
        moved = f"npz:{run.parent}/moved.npz"
        assert evaluated(capsys, run, "--data", moved)[0]["top1_error"] == 0.0
        assert main(["export", str(run), "--format", "keras"]) == 0
        said = capsys.readouterr().out
        assert "The comparison uses noise" in said and "(noise)" in said
    finally:
        (run.parent / "moved.npz").rename(run.parent / "greys.npz")


def test_networks_of_an_ensemble_have_their_classes_in_any_order(run, tmp_path, capsys):
    model = load_trained(run).model
    turned = keras.Model(model.input, keras.ops.flip(model.output, axis=1))
    turned.save(tmp_path / "other.keras")
    names = tmp_path / "other.classes.json"
    names.write_text(json.dumps([str(k) for k in range(CLASSES)][::-1]))
    argv = ["evaluate", str(run), str(tmp_path / "other.keras"), "--json"]
    assert main(argv) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["top1_error"] for row in found] == [0.0, 0.0, 0.0]
    names.write_text(json.dumps(["z", *map(str, range(1, CLASSES))]))
    assert main(argv) != 0


def test_networks_of_an_ensemble_may_take_grey_and_colours(run, tmp_path, capsys):
    model, images = load_trained(run).model, keras.Input((8, 8, 3))
    keras.Model(images, model(images[..., :1])).save(tmp_path / "colours.keras")
    shutil.copy(run / "classes.json", tmp_path / "colours.classes.json")
    folder = folder_of(tmp_path / "test", [str(k) for k in range(CLASSES)])
    for argv in ([run, tmp_path / "colours.keras"], [tmp_path / "colours.keras", run]):
        argv = ["evaluate", *map(str, argv), "--data", f"folder:{folder}", "--json"]
        assert main(argv) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [row["top1_error"] for row in found] == [0.0, 0.0, 0.0]


@pytest.fixture
def split_run(tmp_path):
    """Trained on a folder without a test part, from which a fifth was held back; they may move."""
    folder_of(tmp_path / "box" / "set", ["0", "11"], count=10)
    small = {"network.units": [1], "network.filters": [4], "network.stem_filters": 4}
    out = tmp_path / "box" / "run"
    data = f"folder:{tmp_path}/box/set"
    config = TrainConfig("resnet8v2", data, epochs=1, settings=small, saved_model=False)
    train(config.replace(out=str(out)))
    return out


def test_images_that_a_run_learned_from_are_no_test(split_run, monkeypatch):
    """Whatever their path is called, wherever they have moved to, and when their order is new."""

    def tested(name=None, **options):
        data = trained.load_data(name and f"folder:{name}", **options)
        assert len(data.notes) == (data.tested != own)
        return len(data.test), data.tested

    box, trained = split_run.parent, load_trained(split_run)
    own, changed = (f"20% of its images, {words}" for words in
                    ("not trained on", "split differently from the training"))  # fmt: skip
    monkeypatch.chdir(box)
    (box / "link").symlink_to(box / "set")
    for path in (None, "set", "./set/", f"{box}/run/../set", "link"):
        assert tested(path) == (4, own)
    assert tested(split_seed=5) == (4, changed)
    box = box.rename(box.with_name("renamed"))  # both together
    trained = load_trained(box / "run")
    assert tested() == (4, own)
    (box / "set").rename(box / "images")
    assert tested(box / "images") == (20, "all its images, perhaps used in its training")
    (box / "images").rename(box / "set")
    for name in ("0", "11"):
        for file in sorted((box / "set" / name).iterdir())[:5]:
            file.rename(file.with_name(f"new{file.name}"))
    assert tested() == (4, changed)


def test_a_run_finds_its_table_where_both_have_moved(tmp_path):
    box = tmp_path / "box"
    files = sorted(folder_of(box / "set", ["0", "11"], count=5).rglob("*.png"))
    lines = [f"{file.relative_to(box)},{file.parent.name},{file.stem}\n" for file in files[::-1]]
    (box / "mine.csv").write_text("".join(["where,label,group\n", *lines]))
    small = {"network.units": [1], "network.filters": [4], "network.stem_filters": 4}
    small |= {"data.path_column": "where", "data.memory_limit_mb": 0}
    config = TrainConfig("resnet8v2", f"csv:{box}/mine.csv", epochs=1, settings=small)
    train(config.replace(out=str(box / "run"), saved_model=False))
    box = box.rename(tmp_path / "moved")
    data = load_trained(box / "run").load_data()
    assert (data.tested, data.name) == ("20% of its images, not trained on", f"csv:{box}/mine.csv")
    assert not data.notes and data.test.streams
    assert not {*data.train.columns["group"]} & {*data.test.columns["group"]}
    (box / "mine.csv").unlink()
    with pytest.raises(DataError, match=r"no longer where they were.* --data csv:PATH"):
        load_trained(box / "run").load_data()


@pytest.mark.parametrize("option", ["evaluate --out", "check-data --html"])
def test_where_nothing_can_be_written_is_said_before_images_are_read(run, option, tmp_path, capsys):
    (tmp_path / "file").touch()
    command, option = option.split()
    images = {"evaluate": run, "check-data": "npz:not-there.npz"}[command]
    assert main([command, str(images), option, f"{tmp_path}/file/x/y.html"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and "could not be written to" in said.err


def test_what_a_run_does_with_its_own_images_is_not_for_others(tmp_path, capsys):
    """Its validation part, groups and cache: other images are tested, all of them."""
    folder_of(tmp_path / "own", ["1", "2"], count=10)
    small = {"network.units": [1], "network.filters": [4], "network.stem_filters": 4}
    options = {"validation": 8, "group": r"(\d)\.", "cache": str(tmp_path / "cache")}
    settings = small | {f"data.{name}": value for name, value in options.items()}
    data, out = f"folder:{tmp_path}/own", tmp_path / "run"
    config = TrainConfig("resnet8v2", data, epochs=1, settings=settings, saved_model=False)
    train(config.replace(out=str(out)))
    trained = load_trained(out)
    assert len(trained.load_data().validation) == 8
    few = folder_of(tmp_path / "few", ["1", "2"], count=2)
    for n, path in enumerate([*few.rglob("*.png")]):
        path.rename(path.with_name(f"{'ab'[n % 2]}{n}-.png"))  # in which no group is found
    found = trained.load_data(f"folder:{few}")
    assert len(found.test) == 4 and found.validation is None
    x, y = np.zeros((4, 8, 8), "uint8"), np.arange(4) % 2
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y, class_names=["1", "2"])
    assert len(trained.load_data(f"npz:{tmp_path}/x.npz").test) == 4


@pytest.mark.parametrize("limit", [None, 0])
def test_views_are_of_whole_images_wherever_they_are_held(run, tmp_path, capsys, limit):
    """Eight greys in a row: a crop of the centre alone would see two of them."""
    for name in ("3", "5"):
        (tmp_path / "set" / name).mkdir(parents=True)
        row = 20 * np.repeat([int(name)] * 3 + [9] * 2 + [int(name)] * 3, 8)
        image = Image.fromarray(np.tile(row.astype("uint8"), (8, 1)))
        image.save(tmp_path / "set" / name / "0.png")
    data = [run, "--data", f"folder:{tmp_path}/set"]
    data += ["--set", f"data.memory_limit_mb={'null' if limit is None else limit}"]
    assert evaluated(capsys, *data)[0]["top1_error"] == 1.0
    views = ["--size", "8", "--shorter", "8", "--crops", "10"]
    assert evaluated(capsys, *data, *views)[0]["top1_error"] == 0.0


def test_how_images_are_read_is_written_down(run, tmp_path, capsys):
    folder = folder_of(tmp_path / "test", ["0", "1"])
    out = tmp_path / "out"
    argv = [run, "--data", f"folder:{folder}", "--out", out, "--set", "data.crop=squash"]
    _, said = evaluated(capsys, *argv, "--set", "data.range=[0,250]")
    assert "ignoring the aspect ratio" in said and "data.range=[0" in said
    geometry = json.loads((out / "evaluation.json").read_text())["geometry"]
    assert (geometry["crop"], geometry["reading"]["range"]) == ("squash", [0, 250])
    for name in ("image_size", "channels"):
        assert main(["evaluate", str(run), "--set", f"data.{name}=1"]) == 2
        assert f"`data.{name}` must be left out" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["0", "-1"])
def test_batches_have_at_least_one_image(run, tmp_path, capsys, size):
    folder = folder_of(tmp_path / "test", ["0", "1"])
    for argv in (["predict", run, folder / "0"], ["evaluate", run, "--size", 8, "--crops", 10]):
        assert main([*map(str, argv), "--batch-size", size]) == 2
        assert f"at least 1. Received: batch_size={size}" in capsys.readouterr().err
