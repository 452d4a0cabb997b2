"""Oracles and their files: killed at any write, damaged in any way, a search tries the same."""

import json
import os

import keras_tuner
import pytest

from keras_preact.errors import ConfigError, SaveError
from keras_preact.tuning import TuneConfig
from keras_preact.tuning.config import hyperband_begins
from keras_preact.tuning.oracles import LEASE, OBJECTIVE, make_oracle
from keras_preact.tuning.state import mend, write_state

ORACLES = ["grid", "random", "bayesian", "hyperband"]
SPACE = {
    "network.gate_bias": [0.0, -1.5, -3.0, -6.1, -8.0],
    "network.activation": ["relu", "prelu"],
    "network.units": [[1, 1, 1], [2, 1, 1]],
}


def config(oracle, **fields):
    trials = None if oracle in ("grid", "hyperband") else 9
    training = {"model": "resnet8v2", "epochs": 9}
    return TuneConfig(
        "fields", space=SPACE, training=training, oracle=oracle, trials=trials, **fields
    )


def begin(oracle, folder):
    """The oracle of a search in a folder, new or as it was left."""
    said = mend(folder / "trials")
    made = make_oracle(config(oracle))
    made._set_project_dir(str(folder), "trials")
    if (folder / "trials" / "oracle.json").is_file():
        made.reload()
    else:
        made.save()
    return made, said


def go_on(oracle, steps=10_000):
    """Runs trials as a tuner does, without training; their score follows from their values."""
    for _ in range(steps):
        trial = oracle.create_trial("worker")
        if trial.status == "STOPPED":
            return True
        values = trial.hyperparameters.values
        score = abs(values["network.gate_bias"] + 3) + len(values["network.activation"])
        oracle.update_trial(trial.trial_id, {"validation_error": score})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    return False


def tried(folder):
    """Each trial's values and status."""
    files = sorted((folder / "trials").glob("trial_*/trial.json"))
    found = {path.parent.name: json.loads(path.read_bytes()) for path in files}
    return {name: (t["hyperparameters"]["values"], t["status"]) for name, t in found.items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What each oracle tries when nothing happens."""
    found = {}
    for oracle in ORACLES:
        folder = tmp_path_factory.mktemp(oracle)
        made, _ = begin(oracle, folder)
        assert go_on(made)
        found[oracle] = tried(folder)
        assert {status for _, status in found[oracle].values()} == {"COMPLETED"}
    return found


@pytest.mark.thorough
def test_a_grid_is_all_combinations_once(undisturbed):
    values = [json.dumps(values) for values, _ in undisturbed["grid"].values()]
    assert len(values) == len({*values}) == 5 * 2 * 2


@pytest.mark.parametrize("oracle", ["random", "bayesian"])
def test_nothing_is_tried_twice(undisturbed, oracle):
    values = [json.dumps(values) for values, _ in undisturbed[oracle].values()]
    assert len(values) == len({*values}) == 9


@pytest.mark.thorough
def test_a_space_that_is_exhausted_ends_the_search(tmp_path):
    made = make_oracle(config("random").replace(trials=100))
    made._set_project_dir(str(tmp_path), "trials")
    assert go_on(made)
    assert len(tried(tmp_path)) == 20


#: When an oracle is killed at any write; the others only when slow.
MARKS = {"random": (), "hyperband": pytest.mark.thorough}


class Killed(Exception):
    """Stands for the end of the process."""


def dying(write, place):
    """Writes until the file at a place, before which the process ends."""
    left = place

    def write_or_die(path, state):
        nonlocal left
        if left == 0:
            raise Killed
        write(path, state)
        left -= 1

    return write_or_die


@pytest.mark.parametrize(
    "oracle",
    [pytest.param(o, marks=MARKS.get(o, pytest.mark.slow)) for o in ORACLES],
)
@pytest.mark.thorough
def test_killed_at_any_write(oracle, tmp_path, monkeypatch, undisturbed):
    """R21: before each file is written, the process ends, and another goes on."""
    import keras_preact.tuning.oracles as module

    write = module.write_state
    # The oracle's first, then five a trial: at creation and end a file each for trial and oracle,
    # and one for its score.
    for place in range(1 + 2 * 5 + 2):
        folder = tmp_path / str(place)
        monkeypatch.setattr(module, "write_state", dying(write, place))
        with pytest.raises(Killed):
            go_on(begin(oracle, folder)[0])
        monkeypatch.setattr(module, "write_state", write)
        made, _ = begin(oracle, folder)
        assert go_on(made)
        assert tried(folder) == undisturbed[oracle], place


@pytest.mark.sample(18)
@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("damage", [b"", b"{", b"{}", None], ids=["empty", "half", "none", "gone"])
def test_a_damaged_trial_is_tried_again(oracle, damage, tmp_path, undisturbed):
    made, _ = begin(oracle, tmp_path)
    go_on(made, 5)
    path = sorted((tmp_path / "trials").glob("trial_*/trial.json"))[2]
    path.unlink() if damage is None else path.write_bytes(damage)
    made, said = begin(oracle, tmp_path)
    assert len(said) == 1 and "its damaged trial.json was restored" in said[0]
    assert go_on(made)
    assert tried(tmp_path) == undisturbed[oracle]


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.sample(4)
def test_killed_while_it_is_mended(oracle, tmp_path, monkeypatch, undisturbed):
    import keras_preact.tuning.state as module

    write = module.write_state
    for place in range(2):  # the trial's file and the oracle's
        folder = tmp_path / str(place)
        made, _ = begin(oracle, folder)
        go_on(made, 5)
        paths = sorted((folder / "trials").glob("trial_*/trial.json"))
        paths[2].write_bytes(b"")
        orphan = folder / "trials" / "trial_99"
        orphan.mkdir()
        (orphan / "trial.json").write_bytes(paths[1].read_bytes())
        monkeypatch.setattr(module, "write_state", dying(write, place))
        with pytest.raises(Killed):
            begin(oracle, folder)
        monkeypatch.setattr(module, "write_state", write)
        assert go_on(begin(oracle, folder)[0])
        assert tried(folder) == undisturbed[oracle], place


@pytest.mark.sample(18)
@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("damage", [b"", b"{", b"{}", None], ids=["empty", "half", "none", "gone"])
def test_a_damaged_oracle_is_made_again(oracle, damage, tmp_path, undisturbed):
    made, _ = begin(oracle, tmp_path)
    go_on(made, 5)
    before = tried(tmp_path)
    path = tmp_path / "trials" / "oracle.json"
    path.unlink() if damage is None else path.write_bytes(damage)
    if oracle == "hyperband":
        with pytest.raises(ConfigError, match="the plan of Hyperband is lost"):
            begin(oracle, tmp_path)
        return
    made, said = begin(oracle, tmp_path)
    assert len(said) == 1 and "restored from the trials" in said[0]
    assert go_on(made)
    found = tried(tmp_path)
    assert before.items() <= found.items()
    assert len({json.dumps(v) for v, _ in found.values()}) == len(undisturbed[oracle])


@pytest.mark.parametrize("oracle", ORACLES)
def test_an_older_oracle_learns_of_later_trials(oracle, tmp_path, undisturbed):
    made, _ = begin(oracle, tmp_path)
    go_on(made, 3)
    path = tmp_path / "trials" / "oracle.json"
    old = path.read_bytes()
    go_on(made, 2)
    for trial in (tmp_path / "trials").glob("trial_*"):
        (trial / "outcome.json").write_text('{"runs": []}')
    path.write_bytes(old)
    if oracle == "hyperband":
        with pytest.raises(ConfigError, match="older than its trials: the plan of Hyperband"):
            begin(oracle, tmp_path)
        return
    made, said = begin(oracle, tmp_path)
    assert len(said) == 2 and all("was missing in oracle.json" in line for line in said)
    before = tried(tmp_path)
    assert go_on(made)
    found = tried(tmp_path)
    assert all(found[name] == trial for name, trial in before.items())
    assert len(found) == len(undisturbed[oracle])
    assert len({json.dumps(values) for values, _ in found.values()}) == len(found)


def ends(oracle, trial, score=1.0):
    oracle.update_trial(trial.trial_id, {"validation_error": score})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


def test_trials_stay_with_workers_who_are_elsewhere(tmp_path):
    """A chief that starts anew does not give away what others are at."""
    made, _ = begin("grid", tmp_path)
    first, second = made.create_trial("a"), made.create_trial("b")
    mend(tmp_path / "trials", keep_ongoing=True)
    made = make_oracle(config("grid"))
    made._set_project_dir(str(tmp_path), "trials")
    made.reload()
    assert made.create_trial("b").trial_id == second.trial_id
    assert made.create_trial("c").trial_id not in (first.trial_id, second.trial_id)
    ends(made, first)
    assert first.trial_id in made.end_order


def test_a_worker_that_does_not_come_back_is_given_up(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr("keras_preact.tuning.oracles.time.monotonic", lambda: now)
    made, _ = begin("grid", tmp_path)
    made.max_trials = 2
    lost, kept = made.create_trial("lost"), made.create_trial("kept")
    now = LEASE - 1
    os.utime(tmp_path / "trials" / f"trial_{kept.trial_id}")  # a sign of life
    assert made.create_trial("c").status == "IDLE"  # nothing to do, but not at an end
    now = LEASE + 1
    assert made.create_trial("c").trial_id == lost.trial_id
    ends(made, kept)
    ends(made, lost, 0.5)
    ends(made, lost, 0.7)  # the lost worker, after all
    assert made.end_order == [kept.trial_id, lost.trial_id] and not made.ongoing_trials
    assert made.create_trial("c").status == "STOPPED"
    assert made.tuner_ids <= {"kept"}  # which asks no more, and is forgotten too
    now = 3 * LEASE
    made.create_trial("c")
    assert not made.tuner_ids


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(SaveError, match=r"oracle.json could not be written to .*missing"):
        write_state(tmp_path / "missing" / "oracle.json", {})


def test_too_much_damage_is_refused(tmp_path):
    made, _ = begin("grid", tmp_path)
    go_on(made, 3)
    for path in (tmp_path / "trials").rglob("*.json"):
        path.write_bytes(b"{")
    with pytest.raises(ConfigError, match=r"oracle.json is damaged, and so are trials"):
        begin("grid", tmp_path)


def test_hyperband_promotes_beside_failures(tmp_path):
    """In KerasTuner a bracket with too many failures never goes on."""
    made, _ = begin("hyperband", tmp_path)
    while (trial := made.create_trial("worker")).status == "RUNNING":
        values = trial.hyperparameters.values
        trial.status = "COMPLETED"
        if values["network.activation"] == "prelu":
            trial.status = "FAILED"
        else:
            made.update_trial(
                trial.trial_id, {"validation_error": abs(values["network.gate_bias"])}
            )
        made.end_trial(trial)
    epochs = [values["tuner/epochs"] for values, _ in tried(tmp_path).values()]
    assert epochs.count(9) >= 3 and epochs.count(3) >= 5


@pytest.mark.parametrize("epochs", [1, 5, 9, 30, 81])
def test_how_many_trials_hyperband_begins(epochs):
    hyperband = keras_tuner.oracles.HyperbandOracle(OBJECTIVE, max_epochs=epochs)
    expected = sum(hyperband._get_size(k, 0) for k in range(hyperband._get_num_brackets()))
    assert hyperband_begins(epochs) == expected


def test_hyperband_trains_for_more_and_more_epochs(undisturbed):
    epochs = [values["tuner/epochs"] for values, _ in undisturbed["hyperband"].values()]
    assert {*epochs} == {1, 3, 9}
    settings = config("hyperband").training_config(
        {"network.gate_bias": 0.0, "network.activation": "relu", "network.units": [1, 1, 1]},
        epochs=3,
    )
    assert settings.resolve().recipe.epochs == 3
