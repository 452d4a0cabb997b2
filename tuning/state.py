"""The files of a search's trials: those that KerasTuner keeps are mended before it goes on."""

import json
import os
import pathlib
import shutil
from typing import Any

from keras_preact.errors import ConfigError
from keras_preact.files import replace_file, save_error, to_json

#: KerasTuner's folder in that of a search, and what a trial says there of its trainings.
TRIALS, OUTCOME = "trials", "outcome.json"

#: Ends of a trial.
FINAL = ("COMPLETED", "FAILED")

#: Without which these files are taken for damaged.
_ORACLE = {
    "hyperparameters": dict, "values": dict, "ongoing_trials": dict, "retry_queue": list,
    "start_order": list, "end_order": list, "run_times": dict,
}  # fmt: skip
TRIAL = {
    "hyperparameters": dict, "status": str, "score": (int, float, type(None)), "metrics": dict,
}  # fmt: skip


def mend(folder: str | os.PathLike[str], keep_ongoing: bool = False) -> list[str]:
    """Repairs the state of a search that was killed or whose files were damaged.

    Each of KerasTuner's two kinds of files can be made again from the other: values of trials
    stand in both. A trial whose file is lost is tried again, which takes no time where its
    trainings are finished.

    Args:
        folder: Folder with `oracle.json` and a folder for each trial.
        keep_ongoing: Leave trials to the workers that had them, who may still be at it; else the
            first who asks gets them.

    Returns:
        Descriptions of the repairs.

    Raises:
        ConfigError: When too much is damaged.
        SaveError: When it cannot be written.

    Example:
        >>> from keras_preact.tuning.state import mend
        >>> mend("no such folder")
        []
    """
    folder = pathlib.Path(folder)
    trials = {path.name.removeprefix("trial_"): path for path in sorted(folder.glob("trial_*"))}
    if not (folder / "oracle.json").is_file() and not trials:
        return []
    oracle = read_dictionary(folder / "oracle.json", _ORACLE)
    found = {name: read_dictionary(path / "trial.json", TRIAL) for name, path in trials.items()}
    if not oracle:
        return _oracle_anew(folder, found)
    said = []
    for name, path in trials.items():
        if name in oracle["values"]:
            continue
        if found[name] and read_outcome(path):  # of an oracle.json that is older
            _refuse_hyperband(f"{folder / 'oracle.json'} is older than its trials", found)
            _adopt(name, found[name], oracle)
            said.append(f"trial {name} was missing in oracle.json and was added")
        else:  # killed after its file was written, before the oracle's
            shutil.rmtree(path)
            said.append(f"trial {name} had not begun and is proposed again")
    for name in oracle["values"]:
        if not found.get(name):
            _trial_anew(folder, name, oracle)
            said.append(f"trial {name}: its damaged trial.json was restored")
        elif found[name]["status"] not in FINAL:
            _queue(name, oracle)
    if not keep_ongoing:
        ended = {name for name, trial in found.items() if trial.get("status") in FINAL}
        waiting = [name for name in oracle["ongoing_trials"].values() if name not in ended]
        oracle |= {"retry_queue": oracle["retry_queue"] + waiting, "ongoing_trials": {}}
    write_state(folder / "oracle.json", oracle)
    return said


def write_state(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Writes a file of JSON whole or not at all.

    Raises:
        SaveError: When it cannot be written; the one before is untouched.
    """
    path = pathlib.Path(path)
    try:
        replace_file(path, to_json(state))
    except OSError as error:
        raise save_error(error, path.name, path.parent) from error


def read_dictionary(path: str | os.PathLike[str], needed: dict[str, Any] | None = None) -> dict:
    """The object in a JSON file; empty where there is none.

    Args:
        path: The file.
        needed: The types that it must have under some keys, by key; else it is taken for damaged.
    """
    try:
        found = json.loads(pathlib.Path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    is_whole = isinstance(found, dict) and all(
        key in found and isinstance(found[key], kind) for key, kind in (needed or {}).items()
    )
    return found if is_whole else {}


def read_outcome(trial: Any) -> dict:
    """What a trial says of its trainings; empty where it has not begun or is damaged."""
    found = read_dictionary(pathlib.Path(trial) / OUTCOME)
    return found if isinstance(found.get("runs"), list) else {}


def _trial_anew(folder, name, oracle):
    """A trial that is to be run again, from what the oracle knows of it."""
    path = folder / f"trial_{name}"
    path.mkdir(exist_ok=True)
    hyperparameters = {**oracle["hyperparameters"], "values": oracle["values"][name]}
    trial = {
        "trial_id": name,
        "hyperparameters": hyperparameters,
        "metrics": {"metrics": {}},
        "score": None,
        "best_step": 0,
        "status": "RUNNING",
        "message": None,
    }
    write_state(path / "trial.json", trial)
    _queue(name, oracle)


def _adopt(name, trial, oracle):
    """Adds a trial to what the oracle knows."""
    oracle["values"][name] = trial["hyperparameters"]["values"]
    oracle["start_order"].append(name)
    if trial["status"] in FINAL:
        oracle["end_order"].append(name)
        oracle["run_times"][name] = 1


def _queue(name, oracle):
    """Has a trial run again."""
    oracle["end_order"] = [other for other in oracle["end_order"] if other != name]
    oracle["run_times"].pop(name, None)
    if name not in {*oracle["ongoing_trials"].values(), *oracle["retry_queue"]}:
        oracle["retry_queue"].append(name)


def _oracle_anew(folder, trials):
    """The oracle's file from those of the trials."""
    expected = f"{folder / 'oracle.json'} is damaged"
    if not all(trials.values()) or not trials:
        raise ConfigError(
            f"{expected}, and so are trials: the search cannot resume. Start another."
        )
    values = {name: trial["hyperparameters"]["values"] for name, trial in trials.items()}
    _refuse_hyperband(expected, trials)
    ended = [name for name, trial in trials.items() if trial["status"] in FINAL]
    last = list(trials.values())[-1]
    oracle = {
        "ongoing_trials": {},
        "hyperparameters": {**last["hyperparameters"], "values": {}},
        "start_order": list(trials),
        "end_order": ended,
        "run_times": dict.fromkeys(ended, 1),
        "retry_queue": [name for name in trials if name not in ended],
        "values": values,
    }
    write_state(folder / "oracle.json", oracle)
    return [f"{folder / 'oracle.json'} was damaged and was restored from the trials"]


def _refuse_hyperband(said, trials):
    """Which trials Hyperband goes on with stands in its own file alone."""
    if any("tuner/bracket" in t["hyperparameters"]["values"] for t in trials.values() if t):
        raise ConfigError(
            f"{said}: the plan of Hyperband is lost. `keras-preact tune report` shows its "
            "trials; start another search."
        )
