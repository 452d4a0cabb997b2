"""What earlier versions wrote opens, says the same, and goes on; `kept` has a folder a version."""

import json
import pathlib
import shutil

import keras
import numpy as np
import pytest

from keras_preact import ResNetConfig, TrainConfig, build_network, convert, load_trained, train
from keras_preact.evaluation import evaluate
from keras_preact.papers import ReproduceConfig, reproduce
from keras_preact.run import RunFolder
from keras_preact.tuning import TuneConfig, trials_frame, tune
from keras_preact.weights import PREPROCESSINGS, load_named, read_source

KEPT = pathlib.Path(__file__).parent / "kept"

#: Of which `scores.json` has the scores.
IMAGES = (np.arange(2 * 8 * 8 * 3).reshape(2, 8, 8, 3) % 7 / 7).astype("float32")


def of_every_version(pattern):
    """Parametrises a test by the folders of all versions that have such a name."""
    found = sorted(path.relative_to(KEPT) for path in KEPT.glob(f"v*/{pattern}"))
    assert found
    return pytest.mark.parametrize("kept", found, ids=str)


@pytest.fixture
def folder(kept, tmp_path, monkeypatch):
    """A copy of a kept folder in the current one, under the name that it was made under."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(KEPT / kept, kept.name)
    return RunFolder(kept.name)


@of_every_version("finished-*")
def test_a_finished_run_says_the_same(folder):
    trained = load_trained(folder.path)
    data = trained.load_data()
    found = evaluate(trained.model, data.test, trained.class_names)
    assert (found.correct, len(found.labels)) == (
        folder.result["test_correct"], folder.result["test_images"],
    )  # fmt: skip
    again = train(TrainConfig.from_dict({**folder.config, "out": str(folder.path)}))
    assert again.test_correct == found.correct  # it is finished already


@of_every_version("interrupted*")
@pytest.mark.sample(2)
def test_an_interrupted_run_goes_on(folder):
    before = folder.steps
    result = train(TrainConfig.from_dict({**folder.config, "out": str(folder.path)}))
    assert result.epochs == 2 and [row["epoch"] for row in folder.log] == [1, 2]
    assert [row["step"] for row in folder.steps] == list(range(1, folder.log[-1]["step"] + 1))
    assert folder.steps[: len(before)] == before
    assert load_trained(folder.path).class_names == tuple("0123456789")


@of_every_version("networks")
def test_networks_and_weights_open(folder):
    expected = folder.read_json("scores.json")

    def check(model):
        np.testing.assert_allclose(model(IMAGES), expected, atol=1e-5)

    check(keras.saving.load_model(folder.path / "tiny.keras"))
    check(load_trained(folder.path / "tiny.keras").model)
    source = read_source(folder.path / "tiny.safetensors")
    assert source.preprocessing == PREPROCESSINGS["torch"]
    config = ResNetConfig(units=(3,), filters=(4,), stem_filters=4, activation="prelu")
    assert source.config == config
    check(convert(source))
    for file in ("tiny.safetensors", "tiny.weights.h5", "tiny.keras"):
        model = build_network(config, input_shape=(8, 8, 3), classes=3)
        assert load_named(model, folder.path / file).missing == ()
        check(model)
    model = build_network(config, input_shape=(8, 8, 3), classes=3, packaging="repeated")
    model.load_weights(folder.path / "tiny.weights.h5")
    check(model)


@pytest.mark.slow
@of_every_version("search")
def test_an_interrupted_search_goes_on(folder):
    before = {path: path.read_text() for path in folder.path.glob("trials/*/outcome.json")}
    assert before
    result = tune(TuneConfig.from_dict(folder.read_json("search.json")))
    assert (result.trials, result.failed) == (3, 0)
    frame = trials_frame(folder.path)
    assert list(frame["status"]) == ["finished"] * 3
    assert {path: path.read_text() for path in before} == before


@pytest.mark.thorough
@of_every_version("table")
def test_a_table_goes_on(folder):
    done = json.loads((folder.path / "original-seed0" / "result.json").read_text())
    found = reproduce(ReproduceConfig.from_dict(folder.read_json("reproduce.json")))
    assert found.left == 0 and found.frame["runs"].tolist() == [1, 1]
    assert RunFolder(folder.path / "original-seed0").result == done
