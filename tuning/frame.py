"""`trials_frame`: the trials of a search as a table, during and after it."""

import json
import os
import statistics
from typing import TYPE_CHECKING, Any

from keras_preact.errors import damaged
from keras_preact.evaluation.classes import MACRO, by_class
from keras_preact.files import check_row
from keras_preact.run import RunFolder
from keras_preact.tuning.config import TuneConfig
from keras_preact.tuning.state import TRIAL, TRIALS, read_dictionary, read_outcome

if TYPE_CHECKING:
    import pandas

#: Columns of every search, after those of its dimensions.
COLUMNS = {
    "validation_error": "float64",
    "validation_error_std": "float64",
    "balanced_accuracy": "float64",
    "worst_class": "str",
    "worst_recall": "float64",
    **dict.fromkeys(MACRO, "float64"),
    "trainings": "Int64",
    "epochs": "Int64",
    "parameters": "Int64",
    "multiply_adds": "Int64",
    "seconds": "float64",
    "memory_gb": "float64",
    "begun": "datetime64[ms, UTC]",
    "ended": "datetime64[ms, UTC]",
    "failure": "str",
    "folder": "str",
}


def trials_frame(folder: str | os.PathLike[str]) -> "pandas.DataFrame":
    """The trials of a search as a table, read from its files.

    Args:
        folder: Folder of a search that is running, finished, or was killed.

    Returns:
        A `pandas.DataFrame` with one row per trial, in the order of their start: `trial`, `status`
        (`finished`, `failed`, `running` or `interrupted`), a column for each dimension,
        `validation_error` (mean over folds and seeds) and its standard deviation, the mean
        `balanced_accuracy`, the `worst_class` of any of them with its `worst_recall`, the mean
        `macro_f1`, `roc_auc` and `average_precision`, the number of `trainings`, `epochs` of each,
        `parameters`, `multiply_adds`, `seconds` of all trainings, `memory_gb` at most, when it was
        `begun` and `ended`, the reason of a `failure`, `folder`.

    Raises:
        ConfigError: When there is no search in the folder.

    Example:
        >>> from keras_preact.tuning import trials_frame
        >>> frame = trials_frame("runs/tune-gating-bias-digits-1")  # doctest: +SKIP
        >>> frame.sort_values("validation_error").head()  # doctest: +SKIP
    """
    import pandas as pd

    search = RunFolder(folder)
    config = TuneConfig.from_dict(search.read_json("search.json"))
    running = search.is_locked
    paths = sorted((search.path / TRIALS).glob("trial_*"))
    rows = []
    for path in paths:
        with damaged(path):
            row = _row(path, config, running)
            rows += [check_row(row, COLUMNS)] if row else []
    names = [dimension.name for dimension in config.dimensions()]
    rest = [name for name in COLUMNS if name not in names]  # epochs may be a dimension
    frame = pd.DataFrame(rows, columns=["trial", "status", *names, *rest])
    for name in names:
        # As they are: pandas would make a number that is none of `None`.
        frame[name] = pd.Series([row.get(name) for row in rows], dtype=object)
        kinds = {type(value) for value in frame[name]}
        if not (kinds <= {int, float} or kinds == {str} or kinds == {bool}):
            frame[name] = frame[name].map(json.dumps)  # lists, None, mixtures
        frame[name] = frame[name].infer_objects()
    return frame.astype({"trial": "str", "status": "str", **COLUMNS})


def outcome_text(row: Any) -> str:
    """The outcome of a trial: its error and spread, or why it has none.

    Args:
        row: A row of `trials_frame`.

    Returns:
        Such as `"8.70% ± 0.31%"`, `"failed: DivergedError: ..."` or `"running"`.
    """
    if row["status"] == "failed":
        return f"failed: {row['failure']}"
    error, spread = row["validation_error"], row["validation_error_std"]
    if error != error:
        return row["status"]
    return f"{error:.2%}" + (f" ± {spread:.2%}" if spread == spread else "")


def _row(path, config, running):
    needed = {key: kind for key, kind in TRIAL.items() if key != "metrics"}
    trial = read_dictionary(path / "trial.json", needed)
    if not trial:
        return None
    outcome = read_outcome(path)
    runs = outcome.get("runs", [])
    finished = trial["status"] == "COMPLETED"
    errors = [run["error"] for run in runs] if finished else []
    state = "finished" if finished else "running" if running else "interrupted"
    return {
        "trial": path.name.removeprefix("trial_"),
        "status": "failed" if trial["status"] == "FAILED" else state,
        **config.values_of(trial["hyperparameters"]["values"]),
        "validation_error": statistics.mean(errors) if errors else trial["score"],
        "validation_error_std": statistics.stdev(errors) if len(errors) > 1 else None,
        **(by_class(runs) if finished else {}),
        "trainings": len(runs),
        **{
            name: max((run[name] or 0 for run in runs), default=None)
            for name in ("epochs", "parameters", "multiply_adds", "memory_gb")
        },
        "seconds": sum(run["seconds"] for run in runs),
        "begun": outcome.get("begun"),
        "ended": outcome.get("ended"),
        "failure": outcome.get("failure") or trial.get("message"),
        "folder": str(path),
    }
