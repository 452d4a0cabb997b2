"""Whole runs, small: what they learn, what they leave behind, and how they fail."""

import errno
import io
import itertools
import pathlib
import re
import shutil
import signal
import threading

import filelock
import keras
import numpy as np
import pytest
from PIL import Image

from keras_preact import TrainConfig, create_model, load_data, load_trained, train
from keras_preact.cli import main
from keras_preact.console import make_console
from keras_preact.data import Batches, DataOptions, image_mean
from keras_preact.data.statistics import Statistics
from keras_preact.errors import (
    ConfigError,
    DataError,
    DivergedError,
    SaveError,
    StoppedError,
)
from keras_preact.evaluation import runs_frame, save_figure
from keras_preact.evaluation.classes import BY_CLASS, MACRO
from keras_preact.precision import Choice, choose_dtype
from keras_preact.run import BEFORE_CONFIG, LOCK, RunFolder
from keras_preact.training import RECIPES, Recipe, doctor, dry_run
from keras_preact.training.checkpoint import Checkpoints
from keras_preact.training.engines import make_engine
from keras_preact.training.job import prepare, say_small_maps
from keras_preact.training.loop import Loop

PICTURES = ("curves.png", "confusion_matrix.png", "predictions.png")

#: A network of one unit, and one of three stages that learns something.
SMALL = {"network.units": [1], "network.filters": [4], "network.stem_filters": 4}
ABLE = {"network.units": [1] * 3, "network.filters": [16, 32, 64], "network.stem_filters": 16}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def small(tmp_path, **fields):
    settings = {**SMALL, **fields.pop("settings", {})}
    # Not "auto", so that the numbers are the same on every processor.
    defaults = {"model": "resnet20v2", "epochs": 2, "dtype": "float32", "saved_model": False}
    defaults["out"] = str(tmp_path / "run")
    return TrainConfig(**{**defaults, **fields}, settings=settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, drawing):
    """One run on digits, which several tests look at, its pictures as well."""
    drawing.on = True
    folder = tmp_path_factory.mktemp("finished")
    config = small(folder, epochs=6, batch_size=64, saved_model=True, settings=ABLE)
    return config, train(config)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run that was stopped after three steps; copy it to go on with it."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as monkeypatch:
        interrupted(folder, monkeypatch)
    return folder / "run"


def test_a_run_learns_real_digits(finished):
    _, result = finished
    assert result.test_images == 360
    assert result.test_correct == round(result.test_accuracy * 360)
    assert result.test_accuracy > 0.85
    assert result.images_per_second > 0


def test_a_run_leaves_everything_in_its_folder(finished):
    config, result = finished
    run = RunFolder(result.run)
    assert TrainConfig.from_dict(run.config) == config
    assert run.read_json("resolved.json")["network"]["units"] == [1, 1, 1]
    assert run.result["test_correct"] == result.test_correct
    environment = run.read_json("env.json")
    assert environment["backend"] == keras.backend.backend()
    assert environment["why"] == "as requested"
    assert environment["decided"] == {
        "dtype": "float32",
        "streams": False,
        "batch_size": 64,
        "validates": False,
    }
    assert run.read_json("classes.json") == [str(k) for k in range(10)]
    assert [row["epoch"] for row in run.log] == [1, 2, 3, 4, 5, 6]
    losses = [row["loss"] for row in run.log]
    assert losses == sorted(losses, reverse=True), "a mean over an epoch falls at the start"
    assert run.log[-1]["test_error"] == pytest.approx(1 - result.test_accuracy, abs=1e-6)
    assert all(np.isfinite(value) for row in run.log for value in row.values())
    served = keras.backend.backend() == "tensorflow"
    assert (run.path / "saved_model" / "saved_model.pb").is_file() == served
    for name in PICTURES:
        with Image.open(run.path / name) as picture:
            assert min(picture.size) > 400
            assert len(np.unique(picture.convert("L"))) > 20, "a blank picture"


def test_the_saved_model_takes_raw_images(finished):
    _, result = finished
    data = load_data("digits")
    model = keras.models.load_model(f"{result.run}/model.keras")
    assert not model.compiled, "the optimiser is of no use to who opens it"
    scores = model.predict(data.test.images(np.arange(360)), verbose=0)
    assert (scores.argmax(1) == data.test.labels).sum() == result.test_correct


@pytest.mark.slow  # tests/export always does so with a network whose norms are folded
@pytest.mark.tensorflow
def test_the_saved_model_serves_without_this_package(finished, tmp_path, run_python):
    _, result = finished
    images = load_data("digits").test.images(np.arange(17))
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        f"serve = tf.saved_model.load({result.run + '/saved_model'!r})\n"
        f"images = tf.constant(np.load({str(tmp_path / 'images.npy')!r}))\n"
        "scores = serve.signatures['serving_default'](images)['scores']\n"
        "assert 'keras_preact' not in sys.modules\n"
        f"np.save({str(tmp_path / 'scores.npy')!r}, scores)\n"
    )
    run_python(code, tmp_path)
    model = keras.models.load_model(f"{result.run}/model.keras")
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), expected, atol=1e-5)


@pytest.mark.slow  # tests/export always does this, and more, with an exported file
def test_the_saved_model_opens_in_plain_keras(finished, run_python):
    _, result = finished
    code = (
        "import sys, keras\n"
        f"model = keras.models.load_model({result.run + '/model.keras'!r})\n"
        "assert 'keras_preact' not in sys.modules\n"
        "assert model.output_shape == (None, 10)\n"
    )
    run_python(code, result.run)


@pytest.mark.slow  # tests/faults always compares runs to the last bit
def test_the_same_seed_gives_the_same_run(tmp_path):
    losses = []
    for name in ("a", "b"):
        config = small(tmp_path, out=str(tmp_path / name), epochs=1, seed=7)
        losses.append(RunFolder(train(config).run).log[0]["loss"])
    assert losses[0] == losses[1]
    other = small(tmp_path, out=str(tmp_path / "c"), epochs=1, seed=8)
    assert RunFolder(train(other).run).log[0]["loss"] != losses[0]


@pytest.mark.parametrize(
    ("preprocessing", "dtype"),
    [
        ("pixel_mean", "float32"),
        pytest.param("standardize", "mixed_bfloat16", marks=pytest.mark.slow),
        ("standardize", "mixed_float16"),
        pytest.param("none", "float32", marks=pytest.mark.slow),
    ],
)
@pytest.mark.sample(4)
def test_preprocessing_is_part_of_the_model(preprocessing, dtype, tmp_path):
    settings = {"recipe.preprocessing": preprocessing}
    result = train(small(tmp_path, epochs=1, dtype=dtype, settings=settings))
    model = keras.models.load_model(f"{result.run}/model.keras")
    assert str(model.output.dtype) == "float32"
    if preprocessing == "none":
        assert "preprocessing" not in [layer.name for layer in model.layers]
        return
    images = load_data("digits").train.images(np.arange(1437)).astype("float32")
    axes = 0 if preprocessing == "pixel_mean" else (0, 1, 2)
    expected = images - images.mean(axes)
    if preprocessing == "standardize":
        expected /= images.std(axes)
    prepared = model.get_layer("preprocessing")(images[:5])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(prepared), expected[:5], atol=1e-3)


@pytest.mark.thorough
def test_arrays_of_ones_own(tmp_path):
    random = np.random.default_rng(0)
    x, y = random.integers(0, 256, (70, 9, 12, 3)).astype("uint8"), np.arange(70) % 3
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x[:11], y_test=y[:11])
    result = train(small(tmp_path, data=f"npz:{tmp_path}/mine.npz", epochs=1))
    assert result.test_images == 11
    model = keras.models.load_model(f"{result.run}/model.keras")
    assert model.input_shape == (None, 9, 12, 3)
    assert model.output_shape == (None, 3)


def test_the_folder_is_named_after_network_and_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = np.zeros((9, 4, 4, 1), "uint8"), np.arange(9) % 2
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    config = small(tmp_path, data=f"npz:{tmp_path}/mine.npz", epochs=1, out=None)
    config = config.replace(model="resnet8v2")
    assert train(config).run == "runs/resnet8v2-mine-1"


def test_training_that_diverges_stops_and_says_where(tmp_path):
    config = small(tmp_path, learning_rate=1e30, settings={"recipe.warmup_steps": 0})
    with pytest.raises(DivergedError, match=r"step \d+ of epoch 1.*learning-rate"):
        train(config)


def test_missing_data_leave_no_run_behind(tmp_path):
    with pytest.raises(DataError):
        train(small(tmp_path, data=f"folder:{tmp_path}/none"))
    assert not (tmp_path / "run").exists()


@pytest.mark.thorough
def test_the_log_is_written_while_training(tmp_path):
    explodes_in_epoch_2 = {
        "recipe.schedule": "step",
        "recipe.milestones": [0.5],
        "recipe.decay_factor": 1e30,
        "recipe.warmup_steps": 0,
    }
    with pytest.raises(DivergedError, match="of epoch 2"):
        train(small(tmp_path, settings=explodes_in_epoch_2))
    assert [row["epoch"] for row in RunFolder(tmp_path / "run").log] == [1]


@pytest.mark.parametrize(
    "settings",
    [
        {"network.activation": "rellu"},
        {"recipe.augmentation": "imagenet", "augmentation.scale": [2, 4]},
    ],
)
def test_a_mistake_found_while_building_leaves_no_run_behind(settings, tmp_path):
    with pytest.raises(ConfigError):
        train(small(tmp_path, settings=settings))
    assert not (tmp_path / "run").exists()


class Asked:
    """Stands in for `Signals`: asked to stop after some of the times that it is looked at."""

    looks = 0

    def __init__(self, after):
        self.after = after

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    @property
    def number(self):
        self.looks += 1
        return 15 if self.looks > self.after else None


# At the end of an epoch, and within one, which tests/faults do as well.
@pytest.mark.parametrize(
    ("after", "drawn"),
    [
        (10, {"recipe.balance": "sampling"}),
        pytest.param(13, {"recipe.repeats": 3}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_happened(
    after, drawn, tmp_path, monkeypatch
):
    settings = {"network.shortcut": "dropout", "recipe.ema": 0.9, "recipe.mixup": 0.3}
    settings |= {"recipe.cutmix": 0.5, "augmentation.policy": "rand_augment"}
    settings |= {"augmentation.jitter": 0.4, "augmentation.erasing": 0.5}
    settings |= drawn
    whole = train(small(tmp_path, out=str(tmp_path / "whole"), settings=settings))
    config = small(tmp_path, settings=settings)
    with monkeypatch.context() as patched:
        patched.setattr("keras_preact.training.loop.Signals", lambda *_: Asked(after))
        with pytest.raises(StoppedError, match=r"is saved in .* The same command") as stopped:
            train(config)
    assert stopped.value.exit_code == 143
    result = train(config)
    run, expected = RunFolder(result.run), RunFolder(whole.run)
    assert run.steps == expected.steps
    assert result.test_correct == whole.test_correct
    for name, value in weights(run).items():
        np.testing.assert_array_equal(value, weights(expected)[name], err_msg=name)
    assert train(config) == result, "what is finished is not done again"


@pytest.mark.thorough
def test_a_signal_while_the_last_epoch_is_saved_stops_like_any_other(tmp_path, monkeypatch):
    config, asked, save = small(tmp_path, epochs=1), Asked(10**6), Loop._save

    def save_and_ask(loop):
        asked.after = 0
        return save(loop)

    with monkeypatch.context() as patched, pytest.raises(StoppedError, match="resumes from there"):
        patched.setattr("keras_preact.training.loop.Signals", lambda *_: asked)
        patched.setattr(Loop, "_save", save_and_ask)
        train(config)
    assert not (tmp_path / "run/result.json").exists()
    assert train(config).epochs == len(RunFolder(tmp_path / "run").log) == 1


def weights(run):
    return Checkpoints(run.path / "checkpoints").latest()[0].state


def interrupted(tmp_path, monkeypatch, **fields):
    with monkeypatch.context() as patched, pytest.raises(StoppedError):
        patched.setattr("keras_preact.training.loop.Signals", lambda *_: Asked(2))
        train(small(tmp_path, **fields))


@pytest.mark.thorough
def test_without_a_folder_the_interrupted_run_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    interrupted(tmp_path, monkeypatch, out=None, epochs=1)
    assert train(small(tmp_path, out=None, epochs=1)).run == "runs/resnet20v2-digits-1"
    assert train(small(tmp_path, out=None, epochs=1)).run == "runs/resnet20v2-digits-2"
    frame = runs_frame()
    assert frame.state.tolist() == ["finished", "finished"]
    assert frame.epochs.tolist() == [1, 1]
    assert frame.seconds_lost[0] > frame.seconds_lost[1] == 0
    assert str(frame.test_accuracy.dtype) == "float64"
    by_class = RunFolder(frame.run[1]).result
    names = (*BY_CLASS, *MACRO)
    assert [frame[name][1] for name in names] == [by_class[name] for name in names]
    assert 0 < by_class["average_precision"] < by_class["roc_auc"] < 1
    assert main(["runs"]) == 0 and f"{by_class['balanced_accuracy']:.2%}" in capsys.readouterr().out


@pytest.mark.thorough
def test_time_since_the_checkpoint_is_lost_once(tmp_path, monkeypatch, begun):
    """However often a run is killed between two checkpoints."""
    shutil.copytree(begun, tmp_path / "run")
    saved = Checkpoints(tmp_path / "run/checkpoints").latest()[0].progress["saved_at"]

    def stop(loop):  # after its first step
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_save_is_due", stop)
        for later in (1000, 3000):
            patched.setattr("keras_preact.training.loop.time.time", lambda t=later: saved + t)
            with pytest.raises(KeyboardInterrupt):
                train(small(tmp_path))
            assert RunFolder(tmp_path / "run").lost == pytest.approx(later)


def test_a_run_goes_on_without_the_weights_that_it_began_with(tmp_path, monkeypatch, finished):
    """Its checkpoint has all of them; how images are prepared for them is in its folder."""
    weights = tmp_path / "weights.keras"
    shutil.copy(f"{finished[1].run}/model.keras", weights)
    fields = {"init": str(weights), "settings": ABLE}
    interrupted(tmp_path, monkeypatch, **fields)
    assert train(small(tmp_path, out=str(tmp_path / "whole"), **fields)).epochs == 2
    weights.unlink()
    assert train(small(tmp_path, **fields)).epochs == 2
    whole, resumed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "run")
    assert resumed.steps == whole.steps and resumed.log[-1]["loss"] == whole.log[-1]["loss"]
    layers = [load_trained(run.path).model.get_layer("preprocessing") for run in (whole, resumed)]
    assert layers[0].get_config() == layers[1].get_config()


def test_a_file_system_that_cannot_lock(tmp_path, monkeypatch):
    """As some of clusters: a lock is then a file, and must not be there before."""
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert train(small(tmp_path, epochs=1, batch_size=256)).epochs == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"epochs": 5}, r"epochs=5, where it has 2\. .* --init \S+/run starts it from"),
        ({"batch_size": 32}, "batch_size=32"),
        ({"settings": {"recipe.momentum": 0.8}}, "momentum"),
        ({"resume": "never"}, "new or empty"),
    ],
    ids=str,
)
def test_a_run_goes_on_only_with_its_own_config(fields, words, tmp_path, begun):
    shutil.copytree(begun, tmp_path / "run")
    with pytest.raises(ConfigError, match=words):
        train(small(tmp_path, **fields))
    assert RunFolder(tmp_path / "run").steps


def test_a_run_goes_on_only_with_its_own_images(tmp_path, monkeypatch):
    x, y = np.zeros((300, 8, 8, 1), "uint8"), np.arange(300) % 3
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    data = f"npz:{tmp_path}/mine.npz"
    interrupted(tmp_path, monkeypatch, data=data)
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y[::-1], x_test=x[:9], y_test=y[:9])
    with pytest.raises(ConfigError, match="The images are not those"):
        train(small(tmp_path, data=data))


@pytest.mark.slow
def test_a_run_that_goes_on_says_what_is_different(tmp_path, begun):
    run = RunFolder(shutil.copytree(begun, tmp_path / "run"))
    assert run.read_json("env.json")["devices"] == "CPU:0"  # under every backend
    environment = {**run.read_json("env.json"), "devices": "cpu:0", "processors": 1000}
    run.write_json("env.json", environment)
    said = io.StringIO()
    train(small(tmp_path), console=make_console(said))
    assert "began with other processors" in said.getvalue()
    assert "began with other devices" not in said.getvalue()


def test_epochs_are_steps_and_logs_agree(finished):
    _, result = finished
    run = RunFolder(result.run)
    per_epoch = 1437 // 64
    assert [row["step"] for row in run.steps] == list(range(1, 6 * per_epoch + 1))
    for row in run.log:
        steps = [step for step in run.steps if step["epoch"] == row["epoch"]]
        assert row["step"] == steps[-1]["step"]
        assert row["loss"] == pytest.approx(np.mean([step["loss"] for step in steps]))
        assert 0 <= row["input_share"] < 1
    command = (run.path / "command.txt").read_text()
    assert f"--config {run.path}/config.json" in command
    assert "Identity Mappings" in (run.path / "citations.bib").read_text()


@pytest.mark.slow
def test_weights_of_a_run_with_frozen_stages(finished, tmp_path):
    _, source = finished
    options = {"init": source.run, "freeze_to": "stage2"}
    options["settings"] = {**ABLE, "recipe.warmup_steps": 0}
    data = load_data("digits")
    odd = {"x_train": data.train.images(slice(200)), "y_train": data.train.labels[:200] % 2}
    odd |= {"x_test": data.test.images(slice(100)), "y_test": data.test.labels[:100] % 2}
    np.savez(tmp_path / "odd.npz", **odd)
    result = train(small(tmp_path, data=f"npz:{tmp_path}/odd.npz", recipe="fine_tune", **options))
    before, after = (keras.models.load_model(f"{r.run}/model.keras") for r in (source, result))
    for layer in after.layers:
        same = [
            np.array_equal(a, b)
            for a, b in zip(
                layer.get_weights(), before.get_layer(layer.name).get_weights(), strict=True
            )
            if a.shape == b.shape
        ]
        frozen = layer.name.startswith(("stem", "stage1", "stage2", "preprocessing"))
        assert all(same) if frozen else not any(same), layer.name
    assert result.parameters < source.parameters
    assert after.output_shape == (None, 2)
    assert result.test_accuracy > 0.7, "its features know digits"


def test_init_from_what_is_not_finished(tmp_path, begun):
    with pytest.raises(ConfigError, match="a finished run"):
        train(small(tmp_path, init=str(begun)))


def test_a_dry_run_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = dry_run(small(tmp_path, out=None, batch_size=64))
    assert (found.steps, found.batch_size) == (22, 64)
    assert 0 < found.step_seconds < found.first_step_seconds
    assert found.epoch_seconds > 22 * found.step_seconds * 0.99
    assert found.checkpoint_mb > 4 * 2 * found.parameters / 2**20
    assert not list(tmp_path.iterdir())


@pytest.mark.thorough
def test_doctor_says_what_is_here(monkeypatch):
    monkeypatch.setattr("keras_preact.training.check.main_path", lambda: ())
    rows = {row["what"]: row for row in doctor()}
    assert rows["training"]["ok"] is True
    assert rows["backend"]["found"] == keras.backend.backend()
    assert rows["dtype auto"]["found"].startswith(("float32", "mixed_bfloat16"))


@pytest.mark.thorough
def test_class_names_are_shown_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_preact.training.finish.save_figure", save_figure)
    random = np.random.default_rng(0)
    for name in ("$5_$10", "[b]"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for k in range(6):
            pixels = random.integers(0, 256, (4, 1)).astype("uint8")
            Image.fromarray(pixels).save(folder / f"{k}.png")
    result = train(small(tmp_path, data=f"folder:{tmp_path}/images", epochs=1))
    assert RunFolder(result.run).read_json("classes.json") == ["$5_$10", "[b]"]
    assert (RunFolder(result.run).path / "confusion_matrix.png").is_file()


class Overflowing:
    """An engine whose gradients are never finite."""

    is_chief, machines = True, 1

    def train(self, batches, first, last, stop):
        row = {"loss": 1.0, "accuracy": 0.1, "gradient_norm": None, "learning_rate": 0.1}
        yield from (
            [{**row, "images": 4, "waited": 0.0, "stop": False}] for _ in range(first, last)
        )


@pytest.mark.parametrize(("loss_scaled", "step"), [(True, 50), (False, 1)])
def test_steps_that_all_overflow_end_training(loss_scaled, step, tmp_path):
    """Under float16 some do, while the scale of the loss is found."""
    run = RunFolder.create(tmp_path / "run", "")
    data = load_data("digits")
    batches = Batches(data.train, 4)
    loop = Loop(Overflowing(), batches, data, Recipe(), run, loss_scaled=loss_scaled)
    words = f"gradient norm is not finite at step {step} of epoch 1, step {step} in total"
    with pytest.raises(DivergedError, match=words):
        loop.run()
    assert len(run.steps) == step - 1


def test_a_stop_that_cannot_be_saved_is_not_called_saved(tmp_path, monkeypatch):
    def full(*arguments):
        raise SaveError("No space left on device.")

    monkeypatch.setattr("keras_preact.training.loop.Signals", lambda *_: Asked(2))
    monkeypatch.setattr(Checkpoints, "save", full)
    with (
        pytest.warns(RuntimeWarning, match="Training continues"),
        pytest.raises(SaveError, match="after step 3, which could not be saved"),
    ):
        train(small(tmp_path, on_save_error="continue"))


class Slow:
    """Stands for `Checkpoints.save` on a slow disk; those that wait are told to go on."""

    def __init__(self, error=None):
        self.save, self.error, self.go = Checkpoints.save, error, threading.Event()
        self.steps = []

    def __call__(self, checkpoints, state, progress):
        if threading.current_thread() is not threading.main_thread():
            assert self.go.wait(60)
            if self.error:
                raise self.error
        self.steps.append(progress["step"])
        return self.save(checkpoints, state, progress)


def on_a_slow_disk(monkeypatch, **arguments):
    slow, steps = Slow(**arguments), []
    monkeypatch.setattr(Checkpoints, "save", lambda *given: slow(*given))

    def stepped(loop, row, epoch, bar, end=Loop._end_step):
        end(loop, row, epoch, bar)
        steps.append(loop.step)
        if loop.step == 4:  # two after the checkpoint, which is not written yet
            assert slow.steps == []
            slow.go.set()

    monkeypatch.setattr(Loop, "_end_step", stepped)
    return slow, steps


@pytest.mark.thorough
def test_steps_do_not_wait_for_a_slow_disk(tmp_path, monkeypatch):
    """What a thread writes is the state of its step, though steps go on meanwhile."""
    states, state = {}, Loop._save

    def kept(loop, wait=True):
        states[loop.step] = {name: np.array(x) for name, x in loop.engine.state().items()}
        return state(loop, wait)

    monkeypatch.setattr(Loop, "_save", kept)
    monkeypatch.setattr(Checkpoints, "_remove_old", lambda *_: None)
    slow, steps = on_a_slow_disk(monkeypatch)
    train(small(tmp_path, epochs=1, save_every=2))
    assert slow.steps == [*steps[1::2], *steps[len(steps) - len(steps) % 2 :]]
    saved = Checkpoints(tmp_path / "run" / "checkpoints")
    for name in saved.names():
        found = saved.read(name)
        for key, value in found.state.items():
            np.testing.assert_array_equal(value, states[found.progress["step"]][key])


def test_what_a_thread_could_not_write_is_said(tmp_path, monkeypatch):
    on_a_slow_disk(monkeypatch, error=SaveError("No space left on device."))
    with pytest.raises(SaveError, match=r"No space left .* Last good checkpoint: none"):
        train(small(tmp_path, epochs=1, save_every=2))


def test_a_stop_waits_for_the_checkpoint_that_is_being_written(tmp_path, monkeypatch):
    slow, _ = on_a_slow_disk(monkeypatch)
    monkeypatch.setattr("keras_preact.training.loop.Signals", lambda *_: Asked(4))
    with pytest.raises(StoppedError, match="after step 5, which is saved"):
        train(small(tmp_path, epochs=1, save_every=2))
    assert slow.steps == [2, 4, 5]


@pytest.mark.thorough
def test_a_run_keeps_what_was_settled_when_it_began(tmp_path, monkeypatch):
    """The dtype of `auto`, and whether images are held, whatever the next machine would choose."""
    interrupted(tmp_path, monkeypatch, dtype="auto")
    other = Choice("mixed_bfloat16", "another machine")
    monkeypatch.setattr("keras_preact.training.job.choose_dtype", lambda wanted: other)
    before = RunFolder(tmp_path / "run").read_json("env.json")["decided"]
    result = train(small(tmp_path, dtype="auto"))
    assert before["dtype"] == choose_dtype("auto").policy == result.dtype


def test_what_cannot_be_drawn_keeps_no_run_unfinished(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_preact.training.finish.plot_predictions", lambda *_: 1 / 0)
    said = io.StringIO()
    result = train(small(tmp_path, epochs=1), console=make_console(said))
    assert "predictions.png could not be drawn: ZeroDivisionError" in said.getvalue()
    assert RunFolder(result.run).is_finished and train(small(tmp_path, epochs=1)) == result


@pytest.mark.thorough
def test_ctrl_c_while_results_are_written(tmp_path, monkeypatch, request):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    steps = ("portable", "plot_curves", "save_figure", "model_card", "count_multiply_adds")
    steps = ("keras.Model.save", *(f"keras_preact.training.finish.{name}" for name in steps))
    for step in steps if request.config.getoption("--run-slow") else steps[:1]:
        with monkeypatch.context() as patched:
            patched.setattr(step, stopped)
            with pytest.raises(StoppedError, match="the same command resumes") as caught:
                train(small(tmp_path, epochs=1))
        assert caught.value.exit_code == 130
    assert train(small(tmp_path, epochs=1)).test_images == 360
    assert not [*(tmp_path / "run").glob(".partial*")]


@pytest.mark.parametrize("which", [1, slow(2)])
@pytest.mark.thorough
def test_ctrl_c_in_the_last_evaluation(which, tmp_path, monkeypatch):
    """That of the last epoch, and the one after it."""
    evaluate, count = Loop.evaluate, itertools.count(1)

    def stopped(loop, *arguments):
        if next(count) == which:
            signal.raise_signal(signal.SIGINT)
        return evaluate(loop, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "evaluate", stopped)
        with pytest.raises(StoppedError, match=r"[Tt]he same command resumes") as caught:
            train(small(tmp_path, epochs=1))
    assert caught.value.exit_code == 130
    losses = [row["loss"] for row in RunFolder(tmp_path / "run").steps]
    assert train(small(tmp_path, epochs=1)).test_images == 360
    assert [row["loss"] for row in RunFolder(tmp_path / "run").steps] == losses


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("images", "batch_size", "steps"), [(101, None, 1), slow(3, 5000, 1), slow(101, 50, 2)]
)
@pytest.mark.thorough
def test_few_images_are_one_batch_that_all_devices_share(images, batch_size, steps, tmp_path):
    x, y = np.zeros((images, 8, 8, 1), "uint8"), np.arange(images) % 3
    np.savez(tmp_path / "few.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    fields = {"data": f"npz:{tmp_path}/few.npz", "devices": "cpu:0,cpu:1", "epochs": 1}
    train(small(tmp_path, **fields, batch_size=batch_size))
    assert len(RunFolder(tmp_path / "run").steps) == steps


def test_of_two_that_begin_at_once_the_second_is_told_of_the_first(tmp_path, begun, monkeypatch):
    shutil.copytree(begun, tmp_path / "aside")
    other = filelock.FileLock(tmp_path / "run" / LOCK)

    def slow(*arguments):
        job = prepare(*arguments)
        (tmp_path / "aside").rename(tmp_path / "run")  # the first was faster
        other.acquire()
        return job

    monkeypatch.setattr("keras_preact.training.trainer.prepare", slow)
    with pytest.raises(
        ConfigError, match=r"no other process is training in.*used by process.*Wait for it"
    ):
        train(small(tmp_path))
    other.release()


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("resnet18v2", (64, 64), ""),
        ("resnet18v2", (32, 32), ".* from stage4 on are 1 x 1, .*, or a network for small ones"),
        ("resnet18v2", (8, 8), ".* from stage2 on"),
        ("resnet18v2", (64, 32), "For images of 64 x 32, feature maps from stage4 on are 2 x 1,"),
        ("resnet8v2", (1, 40), r".* from stage1 on are 1 x 40, .*\(--image-size\) learn more"),
        ("resnet8v2", (4, 4), r".* from stage3 on .*\(--image-size\) learn more"),
        ("resnet8v2", (8, 8), ""),
    ],
)
@pytest.mark.sample(3)
def test_maps_of_single_pixels_are_said(name, size, words):
    said = io.StringIO()
    say_small_maps(create_model(name, input_shape=(*size, 3)), size, make_console(said))
    assert re.match(words, said.getvalue())
    assert bool(said.getvalue()) is bool(words)


def test_a_folder_that_cannot_be_written_is_said_before_images_are_read(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("keras_preact.training.trainer.prepare", lambda *_: pytest.fail("read"))
    with pytest.raises(ConfigError, match="`out` must be a folder that can be written"):
        train(small(tmp_path, out=str(tmp_path / "file" / "run")))
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "dtype", [pytest.param("mixed_bfloat16", marks=pytest.mark.slow), "mixed_float16"]
)
def test_16_bits_go_on_to_the_last_bit(dtype, tmp_path, monkeypatch):
    """The scale of the loss under float16 is a part of the state."""
    fields = {"dtype": dtype, "epochs": 1}
    interrupted(tmp_path, monkeypatch, **fields)
    train(small(tmp_path, **fields))
    train(small(tmp_path, **fields, out=str(tmp_path / "whole")))
    some, others = (RunFolder(tmp_path / name) for name in ("run", "whole"))
    assert [row["loss"] for row in some.steps] == [row["loss"] for row in others.steps]
    assert weights(some).keys() == weights(others).keys()
    for name, value in weights(some).items():
        np.testing.assert_array_equal(value, weights(others)[name], err_msg=name)


@pytest.fixture
def folder_of_digits(tmp_path, monkeypatch):
    """Digits as 240 files, of which few are looked at before they are needed."""
    monkeypatch.setattr("keras_preact.data.folders.LOOKED_AT", 4)
    monkeypatch.setattr("keras_preact.data.load._LOOKED_AT", 4)
    monkeypatch.setattr("keras_preact.training.job.SAMPLE", 50)
    digits = load_data("digits").train
    for k, (image, label) in enumerate(zip(*digits.examples(slice(0, 240)), strict=True)):
        file = tmp_path / "digits" / f"{label}" / f"{k}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(file)
    return tmp_path / "digits"


@pytest.mark.parametrize(
    ("memory", "part"),
    [slow(None, "test"), (0, "train"), slow(None, "train"), slow(0, "test")],
)
@pytest.mark.thorough
def test_a_damaged_image_stops_a_training_and_loses_nothing(
    tmp_path, folder_of_digits, part, memory
):
    settings = {"data.memory_limit_mb": memory}
    arguments = {"data": f"folder:{folder_of_digits}", "batch_size": 32, "settings": settings}
    expected = RunFolder(train(small(tmp_path, out=f"{tmp_path}/whole", **arguments)).run)
    data = load_data(f"folder:{folder_of_digits}")
    split = getattr(data, part)
    batches = Batches(data.train, 32, shuffle=True)
    late = batches.places(4)[0] if part == "train" else 20
    file = pathlib.Path(split._source.name(split._indices[late]))
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    with pytest.raises(
        DataError, match=rf"{file.name}: .* up to step {4 if part == 'train' else 6}"
    ):
        train(small(tmp_path, **arguments))
    with pytest.raises(DataError, match="same command resumes"):  # and stops there again
        train(small(tmp_path, **arguments))
    file.write_bytes(whole)
    run = RunFolder(train(small(tmp_path, **arguments)).run)
    assert [row["loss"] for row in run.steps] == [row["loss"] for row in expected.steps]
    assert [row["test_loss"] for row in run.log] == [row["test_loss"] for row in expected.log]


def test_a_test_image_that_is_met_at_the_end_loses_nothing(tmp_path, folder_of_digits):
    """With a validation part the test images are read when all is trained."""
    settings = {"data.validation": 0.2, "recipe.keep": "best"}
    config = small(tmp_path, data=f"folder:{folder_of_digits}", settings=settings)
    split = load_data(config.data, options=config.resolve().data).test
    file = pathlib.Path(split._source.name(split._indices[20]))
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    for _ in range(2):  # and when nothing is left to train
        with pytest.raises(DataError, match=rf"{file.name}: .* is saved in .*same command resumes"):
            train(config)
    run = RunFolder(tmp_path / "run")
    (newest, *_), before = Checkpoints(run.path / "checkpoints").names()[::-1], run.log
    file.write_bytes(whole)
    result = train(config)
    assert run.log == before and Checkpoints(run.path / "checkpoints").names()[-1] == newest
    assert result.kept_epoch == result.best_epoch


@pytest.mark.thorough
def test_statistics_of_a_sample_are_the_run_s(tmp_path, folder_of_digits):
    """A run goes on with those that it was begun with, whatever has been decoded by then."""
    settings = {"recipe.preprocessing": "standardize"}
    config = small(tmp_path, data=f"folder:{folder_of_digits}", settings=settings)
    job = prepare(config, make_engine(config))
    assert job.statistics.images == 50 and not job.data.train.decoded
    mean, _ = image_mean(load_data(config.data, options=DataOptions(on_bad_image="skip")).train)
    assert 0 < abs(job.statistics.mean - mean).max() < 20
    kept = {**job.statistics.to_dict(), "mean": [7.0]}
    again = prepare(config, make_engine(config), decided={**job.decided, "statistics": kept})
    layer = again.engine.model.get_layer("preprocessing")
    assert np.ravel(layer.mean) == 7 and again.batches.fill == 7
    early = prepare(config, make_engine(config), decided=job.decided)  # of an early version
    np.testing.assert_array_equal(early.statistics.mean, mean)
    config = config.replace(settings={**config.settings, "recipe.preprocessing": "pixel_mean"})
    job = prepare(config, make_engine(config))
    assert job.statistics.images == len(job.data.train) > 190


def test_statistics_are_in_the_run_s_folder(finished):
    config, _ = finished
    found = Statistics.from_dict(RunFolder(config.out).read_json("statistics.json"))
    assert found.images == 1437 and found.mean.shape == (1,)


def test_a_run_that_was_killed_ahead_of_its_config_is_begun_anew(tmp_path, monkeypatch):
    config, write = small(tmp_path, epochs=1, batch_size=256), RunFolder.write_json

    def killed(run, name, value):
        if name == "config.json":
            raise KeyboardInterrupt
        write(run, name, value)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunFolder, "write_json", killed)
        train(config)
    assert {*BEFORE_CONFIG} - {"start.json"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert train(config).epochs == 1


@pytest.mark.thorough
def test_a_later_versions_recipe_does_not_change_a_run(begun, tmp_path, monkeypatch):
    """It goes on with the fields that it was begun with, to the same losses."""
    was = RECIPES["quick"]
    shutil.copytree(begun, tmp_path / "run")
    shutil.copytree(begun, tmp_path / "other")
    expected = RunFolder(train(small(tmp_path, out=str(tmp_path / "other"))).run)
    monkeypatch.setitem(RECIPES, "quick", was.replace(momentum=0.5, weight_decay=0.1))
    run = RunFolder(train(small(tmp_path)).run)
    assert run.read_json("resolved.json") == expected.read_json("resolved.json")
    assert run.steps == expected.steps


@pytest.mark.parametrize(
    ("batch_size", "repeats", "words"),
    [
        (400, 1, "has 3 steps and leaves out 237"),
        (400, 2, "has 3 steps and leaves out 837"),
        (2000, 1, "has 1 step. A smaller"),
        (64, 1, ""),
    ],
)
@pytest.mark.sample(4)
def test_epochs_of_few_steps_are_said(batch_size, repeats, words):
    said, settings = io.StringIO(), {"recipe.repeats": repeats}
    config = TrainConfig("resnet8v2", batch_size=batch_size, dtype="float32", settings=settings)
    prepare(config, make_engine(config), make_console(said))
    assert words in said.getvalue() and ("--batch-size" in said.getvalue()) is bool(words)
