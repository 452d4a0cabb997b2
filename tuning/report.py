"""The report of a search: trials as CSV and Parquet, plots, and an HTML page."""

import html
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_preact.errors import ConfigError
from keras_preact.evaluation.classes import BY_CLASS, classes_in_words
from keras_preact.evaluation.page import html_page, html_picture, html_table, to_png
from keras_preact.files import to_csv
from keras_preact.papers.agreement import Agreement
from keras_preact.run import RunFolder
from keras_preact.training import TrainConfig
from keras_preact.tuning.config import TuneConfig
from keras_preact.tuning.frame import outcome_text, trials_frame
from keras_preact.tuning.paper import agreement
from keras_preact.tuning.plots import plot_dimension, plot_importance, plot_parallel, plot_trials
from keras_preact.tuning.space import settings_for

if TYPE_CHECKING:
    import pandas

#: Trials that the page's table shows, and that an estimate of importance needs.
_BEST, _ENOUGH = 20, 6


def write_report(folder: str | os.PathLike[str]) -> list[str]:
    """Writes `trials.csv`, `trials.parquet`, plots and `report.html` into a search's folder.

    Args:
        folder: Folder of a search that is running, finished, or was killed.

    Returns:
        The paths of the files.

    Raises:
        ConfigError: When there is no search in the folder, or no trial has ended.
        SaveError: When they cannot be written.
    """
    search = RunFolder(folder)
    config = TuneConfig.from_dict(search.read_json("search.json"))
    frame = trials_frame(folder)
    done = frame[frame["status"] == "finished"]
    if done.empty:
        raise ConfigError(
            f"A report needs a finished trial. Received: {folder}, with {len(frame)} trials, "
            "none of which has finished."
        )
    figures = _figures(config, frame, done)
    page = _page(search, config, frame, figures)
    search.write_bytes("trials.csv", to_csv(frame).encode())
    search.write_bytes("trials.parquet", frame.to_parquet(index=False))
    for name, (_, png) in figures.items():
        search.write_bytes(f"{name}.png", png)
    search.write_bytes("report.html", page.encode())  # last: its being there says all is
    names = ["report.html", "trials.csv", "trials.parquet", *(f"{name}.png" for name in figures)]
    return [str(search.path / name) for name in names]


def importance_of(frame: "pandas.DataFrame", names: Sequence[str]) -> "pandas.Series | None":
    """The importance of each dimension for the validation error.

    Permutation importance of a random forest (Breiman 2001): the increase of its error when the
    values of one dimension are shuffled.

    Args:
        frame: `trials_frame` of a search.
        names: The dimensions.

    Returns:
        A `pandas.Series` that sums to 1; `None` with too few trials or values.
    """
    import pandas as pd
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    done = frame[frame["status"] == "finished"]
    varied = [name for name in names if done[name].nunique() > 1]
    if len(done) < _ENOUGH or len(varied) < 2:
        return None
    columns = {
        name: done[name] if done[name].dtype.kind in "if" else pd.factorize(done[name])[0]
        for name in varied
    }
    inputs = pd.DataFrame({name: np.asarray(column, float) for name, column in columns.items()})
    target = done["validation_error"].to_numpy()
    forest = RandomForestRegressor(200, random_state=0).fit(inputs, target)
    found = permutation_importance(forest, inputs, target, n_repeats=20, random_state=0)
    gains = np.maximum(found.importances_mean, 0)
    return pd.Series(gains / (gains.sum() or 1), index=varied)


def shortcut_of(config: Any) -> str:
    """The shortcut of a search's networks, where it is not itself searched."""
    fields = config.fields()
    fields, settings = settings_for(config.first(), fields, fields.pop("settings"))
    return TrainConfig(**fields, settings=settings).resolve().network.shortcut


def _figures(config, frame, done):
    """`{file name: (headline, PNG file)}`."""
    names = [dimension.name for dimension in config.dimensions()]
    varied = [name for name in names if done[name].nunique() > 1]
    figures = {}
    for name in varied:
        file = f"by_{name.split('.')[-1]}"
        figures[file] = (name, plot_dimension(frame, name, shortcut_of(config)))
    if len(varied) > 1:
        figures["parallel"] = ("All dimensions", plot_parallel(frame, varied))
    shares = importance_of(frame, names)
    if shares is not None:
        figures["importance"] = ("Importance", plot_importance(shares))
    figures["curves"] = ("Curves of all trials", plot_trials(frame))
    return {file: (headline, to_png(figure)) for file, (headline, figure) in figures.items()}


def comparison(frame: "pandas.DataFrame", config: Any) -> Agreement | None:
    """`agreement` with the paper, for a search that has its gate biases."""
    if "network.gate_bias" not in frame or not len(frame):
        return None
    return agreement(frame, shortcut_of(config))


def final_words(result: dict[str, Any]) -> str:
    """The test errors of a search's winner, and what stands beside them.

    Args:
        result: Fields of a `TuneResult`, with a test error.
    """
    each = ", ".join(f"{error:.2%}" for error in result["test_errors"])
    words = f"test error {result['test_error']:.2%} ({each})"
    found = [result.get(name) for name in BY_CLASS]
    if None in found:  # of a search that an early version finished
        return words
    return f"{words}, {classes_in_words(1 - result['test_error'], *found)}"


def agreement_line(found: Agreement) -> str:
    """An `Agreement` in words."""
    return (
        f"Order of the gate biases, by their medians, compared with the paper's (2016, Table 1): "
        f"{found} or its reverse over {found.places} biases"
    )


def _page(search, config, frame, figures):
    title = f"Search: {config.search} on {config.fields().get('data', 'digits')}"
    counts = frame["status"].value_counts()
    lines = [f"{len(frame)} trials: " + ", ".join(f"{n} {state}" for state, n in counts.items())]
    if search.is_finished:
        result = search.result
        best = ", ".join(f"{name} = {value}" for name, value in result["best"].items())
        lines.append(f"Best: {best}; validation error {result['validation_error']:.2%}")
        if result["test_error"] is not None:
            lines.append(f"Trained with it on all training images: {final_words(result)}")
    found = comparison(frame, config)
    if found:
        lines.append(agreement_line(found))
    sections = [f"<p>{html.escape(line)}.</p>" for line in lines]
    titles, rows = table_rows(frame, config)
    words = 1 + len(config.dimensions())
    table = html_table(titles, rows, words, failed=lambda row: "failed: " in "".join(row))
    sections.append(f"<h2>The best trials</h2>{table}")
    sections += [html_picture(headline, png) for headline, png in figures.values()]
    settings = html.escape(config.to_json())
    sections.append(f"<h2>Search settings</h2><pre>{settings}</pre>")
    return html_page(title, sections)


def table_rows(
    frame: "pandas.DataFrame", config: Any, most: int = _BEST
) -> tuple[list[str], list[list[str]]]:
    """The best trials as text: titles, and rows of cells."""
    import pandas as pd

    names = [dimension.name for dimension in config.dimensions()]
    measured = {
        "balanced accuracy": ("balanced_accuracy", ".2%"),
        "worst recall": ("worst_recall", ".1%"),
        "parameters": ("parameters", ","),
        "multiply-adds": ("multiply_adds", ","),
        "seconds": ("seconds", ",.0f"),
        "GB": ("memory_gb", ".1f"),
    }
    titles = ["trial", *names, "validation error", *measured]
    rows = []
    best = frame.sort_values("validation_error", na_position="last").head(most)
    for row in best.to_dict("records"):
        values = [str(row[name]) for name in names]
        numbers = [
            "" if pd.isna(row[name]) or not row["trainings"] else f"{row[name]:{form}}"
            for name, form in measured.values()
        ]
        rows.append([row["trial"], *values, outcome_text(row), *numbers])
    return titles, rows
