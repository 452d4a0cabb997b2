"""Kills, signals and full disks, in real processes: what comes out is the same to the last bit."""

import itertools
import pathlib
import random
import shutil
import signal
import time
from typing import get_args, get_type_hints

import psutil
import pytest

from keras_preact import TrainConfig, train
from keras_preact.errors import ConfigError
from keras_preact.run import RunFolder
from keras_preact.training.algorithms import OPTIMIZERS
from keras_preact.training.cards import RECIPES
from keras_preact.training.checkpoint import Checkpoints
from keras_preact.training.recipes import Recipe

pytestmark = pytest.mark.tensorflow


def checkpoints(out):
    return Checkpoints(pathlib.Path(out) / "checkpoints")


def test_the_reference_is_whole(reference):
    expected, _ = reference
    assert [row["step"] for row in expected["steps"]] == list(range(1, 23))
    assert [row["epoch"] for row in expected["epochs"]] == [1, 2]
    assert not expected["best"]  # no test image chooses anything


@pytest.mark.thorough
def test_killed_where_a_validation_part_steers(zygote, outcome, tmp_path):
    """Within an epoch, and between the last one and what is made of the best."""
    settings = {"data.validation": 0.2, "recipe.keep": "best", "recipe.patience": 2}
    config = {"epochs": 4, "settings": {**zygote.config("")["settings"], **settings}}
    assert zygote.run(tmp_path / "whole", config=config) == 0, zygote.message
    expected, out = outcome(tmp_path / "whole"), tmp_path / "run"
    assert expected["best"]["validation_error"] == min(
        row["validation_error"] for row in expected["epochs"]
    )
    assert expected["kept"] == expected["best"]["epoch"]
    lines = len(expected["steps"]) + len(expected["epochs"])
    for line in (12, lines - 12 - 1):  # of what is left, the last line but one
        assert (
            zygote.run(out, config=config, faults={"append_log": [line, "after"]})
            == -signal.SIGKILL
        )
    assert zygote.run(out, config=config) == 0, zygote.message
    assert outcome(out) == expected


def test_killed_at_random_moments(zygote, reference, outcome, tmp_path, request):
    """R1: SIGKILL at any time, then the same command again, until it is through."""
    expected, seconds = reference
    kills = request.config.getoption("--kills")
    chance = random.Random(kills)
    done = compared = 0
    while done < kills:
        out = tmp_path / f"run{compared}"
        while True:
            (child,) = zygote.start(out, {})
            if done < kills:
                time.sleep(chance.uniform(0.05, seconds))
                done += zygote.kill(child)
            code = zygote.wait()
            if code != -signal.SIGKILL:
                break
        assert code == 0, zygote.message
        assert outcome(out) == expected
        compared += 1
        shutil.rmtree(out)
    print(f"{done} kills, {compared} runs compared")


#: Every recipe with every optimiser, and those that are not killed only when slow.
CASES = [*itertools.product(RECIPES, OPTIMIZERS)]
OFTEN = {("fine_tune", "lamb")}

#: What is drawn for each case, and how far the recipes are scaled down: to 10 steps.
TYPES = get_type_hints(Recipe)
DRAWN = {
    "recipe.loss": get_args(TYPES["loss"]),
    "recipe.balance": get_args(TYPES["balance"]),
    "recipe.mixup": (0.0, 0.2),
    "recipe.cutmix": (0.0, 1.0),
    "recipe.ema": (0.0, 0.9),
    "recipe.clip_norm": (None, 0.1),
    "recipe.layer_decay": (1.0, 0.8),
    "augmentation.policy": (None, "rand_augment", "trivial_augment"),
    "recipe.repeats": (1, 3),
}
SCALED_DOWN = {"epochs": 2, "batch_size": 256, "learning_rate": 0.002}


def drawn(recipe, optimizer):
    """The settings of a case, and after which of its 12 lines of log it is killed."""
    chance = random.Random(f"{recipe} {optimizer}")
    settings = {name: chance.choice(values) for name, values in DRAWN.items()}
    if settings["recipe.balance"] == "logit_adjustment":  # which is of a softmax
        settings["recipe.loss"] = "categorical_crossentropy"
    if settings["recipe.balance"] == "sampling":  # which repeats images by itself
        settings["recipe.repeats"] = 1
    return {**settings, "recipe.optimizer": optimizer}, chance.randint(1, 11)


def test_all_that_can_be_drawn_is():
    found = {item for case in CASES for item in drawn(*case)[0].items()}
    assert found >= {(name, value) for name, values in DRAWN.items() for value in values}
    assert {drawn(*case)[1] for case in CASES} == {*range(1, 12)} and {*CASES} > OFTEN


@pytest.mark.parametrize(
    ("recipe", "optimizer"),
    [
        pytest.param(*case, marks=pytest.mark.thorough if case in OFTEN else pytest.mark.slow)
        for case in CASES
    ],
)
def test_killed_at_a_random_step(zygote, outcome, tmp_path, recipe, optimizer):
    """R1: whatever is between image and weight."""
    settings, line = drawn(recipe, optimizer)
    print(f"{recipe}, {optimizer}: killed after line {line} of 12, {settings}")
    settings = {**zygote.config("")["settings"], **settings}
    config = {"recipe": recipe, **SCALED_DOWN, "settings": settings}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert zygote.run(whole, config=config) == 0, zygote.message
    faults = {"append_log": [line, "after"]}
    assert zygote.run(killed, config=config, faults=faults) == -signal.SIGKILL
    assert len(RunFolder(killed).steps) + len(RunFolder(killed).log) == line
    assert zygote.run(killed, config=config) == 0, zygote.message
    assert outcome(killed) == outcome(whole)
    assert [row["step"] for row in RunFolder(whole).steps] == [*range(1, 11)]


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param({"fsync": [30, "before"]}, marks=pytest.mark.slow),
        pytest.param({"rename": [2, "after"]}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_killed_while_writing(zygote, reference, outcome, tmp_path, faults):
    """R2: within a save, and then again within the first save after that."""
    out = tmp_path / "run"
    assert zygote.run(out, faults=faults) == -signal.SIGKILL
    assert zygote.run(out, faults={"rename": [1, "before"]}) == -signal.SIGKILL
    assert zygote.run(out) == 0, zygote.message
    assert outcome(out) == reference[0]


@pytest.mark.parametrize(
    "streamed",
    [pytest.param(False, marks=pytest.mark.thorough), pytest.param(True, marks=pytest.mark.slow)],
)
def test_killed_in_the_first_epoch_on_files(zygote, outcome, digit_files, tmp_path, streamed):
    """Images that are decoded when they are first needed, or in each epoch."""
    settings = {**zygote.config("")["settings"], "recipe.preprocessing": "standardize"}
    settings |= {"data.memory_limit_mb": 0} if streamed else {}
    config = {"data": f"folder:{digit_files}", "batch_size": 64, "settings": settings}
    assert zygote.run(tmp_path / "whole", config=config) == 0, zygote.message
    out = tmp_path / "run"
    assert zygote.run(out, config=config, faults={"append_log": [6, "after"]}) == -signal.SIGKILL
    assert not RunFolder(out).log  # in the first epoch
    assert zygote.run(out, config=config) == 0, zygote.message
    assert outcome(out) == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_signals_save_and_exit(zygote, reference, outcome, tmp_path, number, code):
    """R3: the step that was under way is finished and saved, and nothing is done twice."""
    out = tmp_path / "run"
    faults = {"append_log": [6, signal.Signals(number).name]}
    assert zygote.run(out, faults=faults, config={"save_every": None}) == code
    last = RunFolder(out).steps[-1]["step"]
    assert checkpoints(out).latest()[0].progress["step"] == last
    assert f"after step {last}" in zygote.message
    assert zygote.run(out, config={"save_every": None}) == 0, zygote.message
    assert outcome(out) == reference[0]


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over(zygote, reference, outcome, tmp_path):
    """R4: the one before is used, and the outcome is the same."""
    out = tmp_path / "run"
    assert zygote.run(out, faults={"append_log": [15, "after"]}) == -signal.SIGKILL
    newest = checkpoints(out).path / checkpoints(out).names()[-1] / "state.safetensors"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    assert zygote.run(out) == 0, zygote.message
    assert outcome(out) == reference[0]


@pytest.mark.slow
def test_without_a_whole_checkpoint_nothing_is_overwritten(zygote, tmp_path):
    out = tmp_path / "run"
    assert zygote.run(out, faults={"append_log": [6, "after"]}) == -signal.SIGKILL
    for name in checkpoints(out).names():
        (checkpoints(out).path / name / "MANIFEST.json").write_text("")
    before = RunFolder(out).steps
    assert zygote.run(out) == 3
    assert "All checkpoints of this run are damaged" in zygote.message
    assert "MANIFEST.json is damaged" in zygote.message
    assert RunFolder(out).steps[: len(before)] == before


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"faults": {"write": [16, "full"]}}, marks=pytest.mark.slow),
        pytest.param({"largest_file": 9000}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_full_disk(zygote, reference, outcome, tmp_path, fault):
    """R5: exit 1, said in one line; what was saved before is whole, and with room it goes on."""
    out = tmp_path / "run"
    assert zygote.run(out, **fault) == 1
    said = zygote.message
    assert "\n" not in said
    assert "MB are free there" in said and "Last good checkpoint: " in said
    _, damaged = checkpoints(out).latest()
    assert not damaged
    assert zygote.run(out) == 0, zygote.message
    assert outcome(out) == reference[0]


def test_a_full_disk_need_not_stop_training(zygote, reference, outcome, tmp_path):
    out = tmp_path / "run"
    config = {"on_save_error": "continue"}
    assert zygote.run(out, faults={"write": [16, "full"]}, config=config) == 0, zygote.message
    assert outcome(out) == reference[0]


def test_a_folder_that_cannot_be_written(zygote):
    """R24: refused before anything is computed."""
    assert zygote.run("/proc/run") == 2  # where not even root may write
    assert "`out` must be a folder that can be written" in zygote.message


def test_two_runs_in_one_folder(zygote, tmp_path):
    """R24: the second is refused and told of the first."""
    out = tmp_path / "run"
    (child,) = zygote.start(out, {"faults": {"append_log": [1, "SIGSTOP"]}})
    while psutil.Process(child).status() != psutil.STATUS_STOPPED:  # and holds the folder
        time.sleep(0.005)
    config = TrainConfig.from_dict(zygote.config(out))
    with pytest.raises(ConfigError, match=f"process {child} on"):
        train(config)
    zygote.kill(child)
    zygote.wait()
