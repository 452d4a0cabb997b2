"""The files that KerasTuner keeps of a search: looked through before it goes on, and mended."""

import json
import pathlib
import shutil

from keras_preact.errors import ConfigError
from keras_preact.files import replace_file, to_json

#: Ends of a trial.
FINAL = ("COMPLETED", "FAILED")


def mend(folder) -> list[str]:
    """Mends the state of a search that was killed or whose files were damaged.

    Each of KerasTuner's two kinds of files can be made again from the other: values of trials
    stand in both. A trial whose file is lost is tried again, which takes no time where its
    trainings are finished.

    Args:
        folder: Folder with `oracle.json` and a folder for each trial.

    Returns:
        What was mended, in words.

    Raises:
        ConfigError: When too much is damaged.

    Example:
        >>> from keras_preact.tuning.state import mend
        >>> mend("no such folder")
        []
    """
    folder = pathlib.Path(folder)
    trials = {path.name.removeprefix("trial_"): path for path in sorted(folder.glob("trial_*"))}
    if not (folder / "oracle.json").is_file() and not trials:
        return []
    oracle = _read(folder / "oracle.json")
    found = {name: _read(path / "trial.json") for name, path in trials.items()}
    if oracle is None:
        return _oracle_anew(folder, found)
    said = []
    for name in {**trials, **oracle["values"]}:
        if name not in oracle["values"]:  # killed after its file was written, before the oracle's
            shutil.rmtree(trials[name])
            said.append(f"trial {name} had not begun and is proposed again")
        elif found.get(name) is None:
            _trial_anew(folder, name, oracle)
            said.append(f"trial {name}: its trial.json was damaged and is made again")
    if said:
        replace_file(folder / "oracle.json", to_json(oracle))
    return said


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
    replace_file(path / "trial.json", to_json(trial))
    oracle["end_order"] = [other for other in oracle["end_order"] if other != name]
    oracle["run_times"].pop(name, None)
    if name not in {*oracle["ongoing_trials"].values(), *oracle["retry_queue"]}:
        oracle["retry_queue"].append(name)


def _oracle_anew(folder, trials):
    """The oracle's file from those of the trials."""
    expected = f"{folder / 'oracle.json'} is damaged"
    if None in trials.values() or not trials:
        raise ConfigError(
            f"{expected}, and trials are too: the search cannot go on. Begin another."
        )
    values = {name: trial["hyperparameters"]["values"] for name, trial in trials.items()}
    if any("tuner/bracket" in chosen for chosen in values.values()):
        raise ConfigError(
            f"{expected}: what Hyperband had planned is lost. Its trials can be seen with "
            "`keras-preact tune report`; begin another search."
        )
    ended = [name for name, trial in trials.items() if trial["status"] in FINAL]
    last = list(trials.values())[-1]
    oracle = {
        "ongoing_trials": {f"lost{k}": name for k, name in enumerate({*trials} - {*ended})},
        "hyperparameters": {**last["hyperparameters"], "values": {}},
        "start_order": list(trials),
        "end_order": ended,
        "run_times": dict.fromkeys(ended, 1),
        "retry_queue": [],
        "values": values,
    }
    replace_file(folder / "oracle.json", to_json(oracle))
    return [f"{folder / 'oracle.json'} was damaged and is made again from the trials"]


def _read(path):
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
