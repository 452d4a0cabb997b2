"""A validation part steers a training; a finished run is trained for longer."""

import pathlib
import shutil
import threading
import time

import numpy as np
import pytest

from keras_preact import TrainConfig, load_data, load_trained, train
from keras_preact.cli import main
from keras_preact.console import make_console
from keras_preact.data.splits import ArraySplit
from keras_preact.errors import ConfigError
from keras_preact.evaluation import compare_page, evaluate, runs_frame
from keras_preact.run import RunFolder
from keras_preact.training.checkpoint import Checkpoints
from keras_preact.training.engine import LOGS
from keras_preact.training.epoch import Epoch
from keras_preact.training.extend import Extended, config_of
from keras_preact.training.loop import Loop

SMALL = {"network.units": [1], "network.filters": [4], "network.stem_filters": 4}


def small(out, **fields):
    settings = {**SMALL, "data.validation": 0.2, **fields.pop("settings", {})}
    defaults = {"dtype": "float32", "saved_model": False, "epochs": 3, "out": str(out)}
    return TrainConfig("resnet8v2", **{**defaults, **fields}, settings=settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 3 epochs with a validation part."""
    out = tmp_path_factory.mktemp("steered") / "run"
    return RunFolder(train(small(out)).run)


@pytest.mark.thorough
def test_the_test_part_is_looked_at_once(tmp_path, monkeypatch):
    looked = {"test": 0, "validation": 0}
    loaded = load_data("digits", options=small(tmp_path).resolve().data)
    parts = {loaded.parts()[name].labels.tobytes(): name for name in looked}

    def counting(method):
        def counted(split, indices, *arguments):
            if name := parts.get(split.labels.tobytes()):
                looked[name] += len(split.labels[indices])
            return method(split, indices, *arguments)

        return counted

    for name in ("images", "examples"):
        monkeypatch.setattr(ArraySplit, name, counting(getattr(ArraySplit, name)))
    monkeypatch.setattr("keras_preact.training.finish.plot_predictions", None)  # shows some again
    monkeypatch.setattr("keras_preact.data.load._LOOKED_AT", 0)  # and so does a digest of a few
    result = train(small(tmp_path / "run"))
    assert looked["test"] == result.test_images == 360
    assert looked["validation"] == 3 * len(loaded.validation)


@pytest.mark.thorough
def test_what_is_written_of_it(finished):
    assert all("test_error" not in row and row["validation_loss"] > 0 for row in finished.log)
    errors = [row["validation_error"] for row in finished.log]
    result, best = finished.result, int(np.argmin(errors)) + 1
    assert (result["best_epoch"], result["kept_epoch"]) == (best, 3)
    assert result["validation_accuracy"] == pytest.approx(1 - errors[-1])
    assert finished.read_json("data.json")["validation_images"] == 287
    assert finished.read_json("env.json")["decided"]["validates"] is True
    row = runs_frame(finished.path.parent).iloc[0]
    assert row["test_accuracy"] == result["test_accuracy"]
    assert row["best_accuracy"] == pytest.approx(1 - min(errors))
    assert "validation accuracy" in compare_page([finished.path, finished.path])
    assert "no test image was used to choose it" in (finished.path / "README.md").read_text()
    data = load_trained(finished.path).load_data()
    assert len(data.validation) == 287 and len(data.test) == 360


@pytest.mark.parametrize("monitor", ["error", "loss"])
@pytest.mark.sample(2)
def test_the_best_epoch_is_kept_and_training_ends_early(tmp_path, monkeypatch, monitor):
    """With errors that are prescribed: the best epoch is the second, and the third and fourth are
    the patience."""
    values, found = iter([0.5, 0.2, 0.4, 0.3, 0.1, 0.1]), []

    def prescribed(loop, split=None):
        if split is None:
            return evaluation(loop, split)
        found.append([*map(np.array, loop.engine.model.get_weights())])
        value = next(values)
        figures = {"accuracy": 1 - value, "loss": value}
        if monitor == "loss":
            figures["accuracy"] = 0.5
        return type("Evaluation", (), figures)

    evaluation = Loop.evaluate
    monkeypatch.setattr(Loop, "evaluate", prescribed)
    recipe = {"recipe.patience": 2, "recipe.keep": "best", "recipe.monitor": monitor}
    with make_console(open(tmp_path / "said", "w")).file as said:
        result = train(
            small(tmp_path / "run", epochs=6, settings=recipe), console=make_console(said)
        )
    assert (result.epochs, result.best_epoch, result.kept_epoch) == (4, 2, 2)
    assert result.validation_accuracy == (0.8 if monitor == "error" else 0.5)
    kept = load_trained(tmp_path / "run").model.get_weights()
    trained = [w for w in found[1] if w.size > 1]
    assert sum(any(np.array_equal(w, k) for k in kept) for w in trained) == len(trained)
    words = (tmp_path / "said").read_text()
    assert (
        f"Stopped after epoch 4: the validation {monitor} has not improved since epoch 2" in words
    )
    assert "The weights are those of epoch 2, the best." in words


@pytest.mark.parametrize("recipe", [{"recipe.keep": "best"}, {"recipe.patience": 3}], ids=str)
def test_without_a_validation_part_nothing_is_best(tmp_path, recipe):
    settings = {"data.validation": None, **recipe}
    with pytest.raises(
        ConfigError, match=r"test images that chose it would flatter.*data\.validation"
    ):
        train(small(tmp_path / "run", settings=settings))
    assert not (tmp_path / "run").exists()


@pytest.mark.thorough
def test_a_run_of_an_early_version_goes_on_without_one(tmp_path, monkeypatch):
    """It was begun where validation images were not used: its curves are of the test part."""
    run = RunFolder(train(small(tmp_path / "run", settings={"data.validation": None})).run)
    env = run.read_json("env.json")
    del env["decided"]["validates"]
    run.write_json("env.json", env)
    (run.path / "result.json").unlink()
    result = train(small(tmp_path / "run", settings={"data.validation": None}))
    assert result.best_epoch is None and "test_error" in run.log[-1]


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.thorough
def test_a_longer_run_goes_on_from_a_finished_one(tmp_path, capsys, monkeypatch):
    """As one that was begun with all epochs and a rate that does not depend on them."""
    settings = {"recipe.schedule": "step", "recipe.warmup_steps": 0}
    whole = RunFolder(train(small(tmp_path / "whole", epochs=4, settings=settings)).run)
    short = RunFolder(train(small(tmp_path / "short", epochs=2, settings=settings)).run)
    out = f"{tmp_path}/longer"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Extended, "into", interrupted)
        train(config_of(short.path, epochs=4, out=out))
    assert main(["train", "--extend", str(short.path), "--epochs", "4", "--out", out]) == 0
    said = capsys.readouterr().out
    assert "Epochs up to 2 are from" in said and "(step) now covers 4 epochs" in said
    longer = RunFolder(out)
    assert [row["loss"] for row in longer.steps] == [row["loss"] for row in whole.steps]
    assert longer.result["test_correct"] == whole.result["test_correct"]
    assert len(short.log) == 2 and len(longer.log) == 4  # the first is as it was
    assert train(config_of(short.path, epochs=4, out=out)).epochs == 4  # finished already


def test_the_best_epoch_is_kept_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """One of the steps before has its number only once a thread has written it."""
    save, waits = Checkpoints.save, threading.current_thread

    def slow(checkpoints, state, progress):
        time.sleep(0.5 * (waits() is not threading.main_thread()))
        return save(checkpoints, state, progress)

    monkeypatch.setattr(Checkpoints, "save", slow)
    settings = {"recipe.keep": "best", "recipe.monitor": "loss", "recipe.learning_rate": 3.0}
    config = small(tmp_path / "run", epochs=4, batch_size=128, save_every=7, settings=settings)
    result = train(config)
    run = RunFolder(result.run)
    errors = [row["validation_loss"] for row in run.log]
    assert result.best_epoch == 1 + int(np.argmin(errors)) < len(errors)
    found = load_trained(run.path)
    kept = evaluate(found.model, found.load_data().validation, found.class_names)
    assert kept.loss == pytest.approx(min(errors), rel=1e-4)


def test_what_is_written_of_an_epoch_stays_as_it_was():
    """A thread writes it, while steps go on."""
    epoch = Epoch(1)
    line = dict.fromkeys(LOGS, 1.0)
    epoch.add(line, images=8, waited=0.0)
    written = epoch.so_far()
    epoch.add(line, images=8, waited=0.0)
    assert (written["images"], written["counts"]["loss"], written["sums"]["loss"]) == (8, 1, 1.0)


def test_what_was_lost_is_the_longer_runs_own(finished, tmp_path, monkeypatch):
    """Killed ahead of its own first checkpoint: the time since the shorter one is not lost."""

    def stop(loop):
        raise KeyboardInterrupt

    config = config_of(finished.path, epochs=4, out=str(tmp_path / "longer"))
    saved = Checkpoints(finished.path / "checkpoints").latest()[0].progress["saved_at"]
    for _ in range(2):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(Loop, "_save_is_due", stop)
            patched.setattr("keras_preact.training.loop.time.time", lambda: saved + 86_400)
            train(config)
    assert RunFolder(tmp_path / "longer").lost == 0


def test_a_longer_run_has_the_batches_of_the_shorter_one(tmp_path, monkeypatch):
    """Whatever the largest is by now."""
    largest = "keras_preact.training.trainer.largest_batch"
    monkeypatch.setattr(largest, lambda *_: 128)
    short = train(small(tmp_path / "short", epochs=1, batch_size="auto"))
    monkeypatch.setattr(largest, lambda *_: 32)
    longer = RunFolder(train(config_of(short.run, epochs=2, out=str(tmp_path / "longer"))).run)
    assert longer.read_json("resolved.json")["recipe"]["batch_size"] == 128
    assert [row["step"] for row in longer.log] == [8, 16]


def test_a_run_that_was_stopped_early_goes_on_with_more_patience(tmp_path):
    settings = {"recipe.patience": 1, "recipe.monitor": "loss", "recipe.learning_rate": 3.0}
    short = train(small(tmp_path / "short", epochs=4, batch_size=128, settings=settings))
    assert short.epochs == 2
    with pytest.raises(ConfigError, match=r"None, or more than the 1 epochs .* patience=1"):
        train(config_of(short.run, epochs=5, out=str(tmp_path / "longer")))
    more = {"recipe.patience": None}
    assert train(config_of(short.run, epochs=3, settings=more, out=str(tmp_path / "a"))).epochs == 3


def test_what_cannot_be_extended(finished, tmp_path):
    with pytest.raises(ConfigError, match="more than the 3 of the run to extend"):
        train(config_of(finished.path, epochs=3, out=str(tmp_path / "new")))
    with pytest.raises(ConfigError, match=r"Received: seed=5, where it has 0"):
        train(config_of(finished.path, epochs=5, seed=5, out=str(tmp_path / "new")))
    with pytest.raises(ConfigError, match=r"network\.units"):
        settings = {"network.units": [2]}
        train(config_of(finished.path, epochs=5, settings=settings, out=str(tmp_path / "new")))
    copy = RunFolder(shutil.copytree(finished.path, tmp_path / "copy"))
    (copy.path / "result.json").unlink()
    with pytest.raises(ConfigError, match="the folder of a finished run"):
        train(config_of(copy.path, epochs=5, out=str(tmp_path / "new")))
    assert not pathlib.Path(tmp_path / "new").exists()


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.sample(2)
def test_with_a_full_disk_the_last_epoch_is_kept(tmp_path, monkeypatch, keep):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keras_preact.training.checkpoint.Checkpoints.save", full)
    config = small(tmp_path / "run", on_save_error="continue", settings={"recipe.keep": keep})
    with pytest.warns(RuntimeWarning, match="Training continues"):
        result = train(config)
    assert (result.best_epoch, result.kept_epoch) == (None, 3) and result.validation_accuracy > 0
