"""`trials_frame`: what a search has tried, as a table, while it runs and after."""

import json
import statistics

from keras_preact.run import RunFolder
from keras_preact.tuning.config import TuneConfig

#: Columns of every search, after those of its dimensions.
COLUMNS = {
    "validation_error": "float64",
    "validation_error_std": "float64",
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


def trials_frame(folder):
    """The trials of a search as a table, read from its files alone.

    Args:
        folder: Folder of a search that is running, finished, or was killed.

    Returns:
        A `pandas.DataFrame` with a row a trial in the order in which they were begun: `trial`,
        `status` (`finished`, `failed`, `running` or `interrupted`), a column for each dimension,
        `validation_error` (mean over folds and seeds) and its standard deviation, the number of
        `trainings`, `epochs` of each, `parameters`, `multiply_adds`, `seconds` of all trainings,
        `memory_gb` at most, when it was `begun` and `ended`, the reason of a `failure`, `folder`.

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
    paths = sorted((search.path / "trials").glob("trial_*"))
    rows = [row for path in paths if (row := _row(path, config, running))]
    names = [dimension.name for dimension in config.dimensions()]
    frame = pd.DataFrame(rows, columns=["trial", "status", *names, *COLUMNS])
    for name in names:
        simple = frame[name].map(lambda value: isinstance(value, (int, float, str))).all()
        if not simple:  # lists, as of units, cannot be sorted or saved
            frame[name] = frame[name].map(json.dumps)
        frame[name] = frame[name].infer_objects()
    return frame.astype({"trial": "str", "status": "str", **COLUMNS})


def _row(path, config, running):
    trial, outcome = _read(path / "trial.json"), _read(path / "outcome.json")
    if trial is None:
        return None
    codes = trial["hyperparameters"]["values"]
    runs = [run for run in outcome.get("runs", []) if run["error"] is not None]
    errors = [run["error"] for run in runs]
    ended = "finished" if trial["status"] == "COMPLETED" else "failed"
    open_ = trial["status"] not in ("COMPLETED", "FAILED")
    return {
        "trial": path.name.removeprefix("trial_"),
        "status": ("running" if running else "interrupted") if open_ else ended,
        **{d.name: d.decode(codes[d.name]) for d in config.dimensions()},
        "validation_error": None
        if open_
        else statistics.mean(errors)
        if errors
        else trial["score"],
        "validation_error_std": statistics.stdev(errors) if len(errors) > 1 else None,
        "trainings": len(runs),
        **{
            name: max((run[name] or 0 for run in runs), default=None)
            for name in ("epochs", "parameters", "multiply_adds", "memory_gb")
        },
        "seconds": sum(run["seconds"] for run in runs),
        "begun": outcome.get("begun"),
        "ended": outcome.get("ended"),
        "failure": outcome.get("failure"),
        "folder": str(path),
    }


def _read(path):
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {} if path.name == "outcome.json" else None
