"""The main path as commands, under both answers that `--dtype auto` can give."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from keras_preact import load_data
from keras_preact.cli import main
from keras_preact.export.formats import FORMATS, missing
from keras_preact.precision import DTYPE
from keras_preact.rewrite import outputs_of
from keras_preact.run import RunFolder
from keras_preact.trained import open_keras_file

pytestmark = pytest.mark.tensorflow

#: Both answers of `--dtype auto`; that of most processors is given by all other tests as well.
ANSWERS = pytest.mark.parametrize(
    "answer", [pytest.param("float32", marks=pytest.mark.slow), "mixed_bfloat16"]
)

SMALL = [
    "--set", "network.units=[1,1]", "--set", "network.filters=[4,8]",
    "--set", "network.stem_filters=4",
]  # fmt: skip


def run(capsys, *argv):
    """What a command that succeeds says on its two outputs."""
    code = main([*map(str, argv)])
    said = capsys.readouterr()
    assert code == 0, said.err
    return said


@pytest.mark.thorough
@ANSWERS
def test_from_training_to_a_file_in_use(answer, capsys, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(DTYPE, answer)
    train = ["train", "--model", "resnet8v2", "--epochs", "2", *SMALL]
    said = run(capsys, *train, "--out", "run", "--learning-rate", "0.05", "--batch-size", "32")
    assert f"dtype {answer}: set by {DTYPE}" in said.out
    assert ("The saved network computes in float32" in said.out) is (answer != "float32")
    result = RunFolder("run").result
    assert result["dtype"] == answer and result["test_accuracy"] > 0.2
    assert outputs_of(open_keras_file("run/model.keras")) == result["outputs"] == "probabilities"

    said = run(capsys, "evaluate", "run", "--json")
    assert json.loads(said.out)["top1_correct"] == pytest.approx(result["test_correct"], abs=1)
    assert f"run: computed in {answer} (as in training)" in said.err
    evaluation = json.loads(pathlib.Path("run/evaluation/evaluation.json").read_text())
    assert evaluation["dtypes"] == {"run": answer}

    digit = load_data("digits").test.images([0])[0, :, :, 0]
    Image.fromarray(digit).save("digit.png")
    said = run(capsys, "predict", "run", "digit.png", "--json")
    assert sum(json.loads(said.out)["scores"].values()) <= 1 + 1e-6
    assert f"computed in {answer}" in said.err

    every = request.config.option.run_slow  # each for itself: tests/export, tests/analysis
    formats = [format for format in FORMATS if not missing(format)] if every else ["litert"]
    run(capsys, "export", "run", "--format", ",".join(formats), "--quantize", "int8")
    found = json.loads(pathlib.Path("run/export/exports.json").read_text())
    for file, export in found.items():
        assert export["precision"] == ("int8" if "-int8" in file else "float32")
        if export["precision"] == "int8":
            assert abs(export["accuracy_after"] - result["test_accuracy"]) < 0.1
        else:
            assert export["difference"] <= 1e-4
    assert len(found) == len(formats) and "model-int8.tflite" in found

    run(capsys, "convert", "run", "--out", "copy.keras")
    copied = json.loads(run(capsys, "predict", "copy.keras", "digit.png", "--json").out)
    assert [*copied["scores"]] == [*json.loads(said.out)["scores"]]

    if every:
        run(capsys, "analyze", "run", "--images", "16", "--batch-size", "8", "--out", "inside")
        assert (pathlib.Path("inside") / "signals.csv").is_file()
    said = run(capsys, *train, "--epochs", "1", "--init", "run", "--out", "tuned")
    assert "weights of run" in said.out


@pytest.mark.slow
@ANSWERS
def test_searches_and_tables(answer, capsys, tmp_path, monkeypatch):
    """Trainings in processes of their own heed the same variable."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(DTYPE, answer)
    pathlib.Path("space.yaml").write_text("network.activation: [relu]\n")
    tune = ["tune", "fields", "--space", "space.yaml", "--model", "resnet8v2", "--epochs", "1"]
    run(capsys, *tune, *SMALL, "--final-seeds", "0", "--out", "search")
    reproduce = ["reproduce", "he2016-table1", "--scale", "smoke", "--row", "original"]
    run(capsys, *reproduce, "--set", "recipe.epochs=1", "--out", "table")
    for folder in ("search", "table"):
        runs = [RunFolder(path.parent) for path in pathlib.Path(folder).rglob("resolved.json")]
        assert {run.read_json("env.json")["decided"]["dtype"] for run in runs} == {answer}


@pytest.mark.thorough
def test_16_bits_are_kept_where_they_are_asked_for(trained_run, capsys, tmp_path, request):
    """For serving on machines with units for them; what that costs is said in the card."""
    out = tmp_path / "export"
    names = {"saved_model": "saved_model"} if request.config.option.run_slow else {}
    names["keras"] = "model"
    wish = ["--format", ",".join(names), "--dtype", "mixed_bfloat16", "--json"]
    rows = map(json.loads, run(capsys, "export", trained_run, "--out", out, *wish).out.splitlines())
    for found, name in zip(rows, names.values(), strict=True):
        assert pathlib.Path(found["path"]).stem == f"{name}-mixed_bfloat16"
        assert 0 < found["difference"] < 0.1
        assert abs(found["accuracy_before"] - found["accuracy_after"]) < 0.05
    assert (out / "README.md").read_text().count("mixed_bfloat16: accuracy") == len(names)
    model = json.loads((out / "exports.json").read_text())["model-mixed_bfloat16.keras"]
    assert model["precision"] == "mixed_bfloat16"
    for format in ("litert", "onnx"):
        argv = ["export", trained_run, "--format", format, "--dtype", "mixed_bfloat16"]
        assert main([*map(str, argv)]) == 2
        assert f"'int8' for '{format}'. Received: precision=" in capsys.readouterr().err


@pytest.mark.thorough
def test_evaluation_in_another_dtype(trained_run, capsys, tmp_path):
    argv = ["evaluate", trained_run, "--out", tmp_path, "--json", "--dtype"]
    errors = {}
    for dtype in ("float32", "mixed_bfloat16"):
        said = run(capsys, *argv, dtype)
        assert f"computed in {dtype} (as requested)" in said.err
        errors[dtype] = json.loads(said.out)["calibration_error"]
    assert errors["float32"] != errors["mixed_bfloat16"]
    assert np.isclose(*errors.values(), atol=0.02)
