"""Run folders side by side: a table of them, their curves in one plot, their machines."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_preact.errors import ConfigError, damaged
from keras_preact.evaluation.classes import BY_CLASS, MACRO
from keras_preact.evaluation.plots import INK, new_figure, over_epochs, plain_text, short
from keras_preact.files import check_row
from keras_preact.run import RunFolder, runs_in, watched

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def runs_frame(parent: str | os.PathLike = "runs") -> "pd.DataFrame":
    """Lists the runs in a folder as a table.

    Args:
        parent: The folder that contains the run folders.

    Returns:
        A `pandas.DataFrame` with one row per run, oldest first: `run` (path), `state`
        (`finished`, `running` or `interrupted`), `model`, `data`, `recipe`, `epochs` done,
        `epochs_planned`, `test_accuracy` of the last epoch, `balanced_accuracy`, `worst_class` with
        its `worst_recall`, `macro_f1`, `roc_auc` and `average_precision` (these only of finished
        runs), `best_accuracy`, `images_per_second`, `seconds` of training, and `seconds_lost` by
        restarts: from the checkpoint that a session went on from to its first step.

    Example:
        >>> from keras_preact.evaluation import runs_frame
        >>> len(runs_frame("no such folder"))
        0
    """
    import pandas as pd

    rows = [row for run in runs_in(parent) if (row := _row(run))]
    return pd.DataFrame(rows, columns=[*_COLUMNS]).astype(_COLUMNS)


_COLUMNS = {
    "run": "str",
    "state": "str",
    "model": "str",
    "data": "str",
    "recipe": "str",
    "epochs": "Int64",
    "epochs_planned": "Int64",
    "test_accuracy": "float64",
    "balanced_accuracy": "float64",
    "worst_class": "str",
    "worst_recall": "float64",
    **dict.fromkeys(MACRO, "float64"),
    "best_accuracy": "float64",
    "images_per_second": "float64",
    "seconds": "float64",
    "seconds_lost": "float64",
}


def _row(run: RunFolder):
    try:
        with damaged(run.path):
            return facts_of(run)
    except ConfigError:  # killed before its files were written, or damaged
        return None


def facts_of(run: RunFolder) -> dict[str, Any]:
    """A row of `runs_frame`; raises `TypeError` for values of other types."""
    config, log = run.config, run.log
    planned = run.read_json("resolved.json")["recipe"]["epochs"]
    result = run.result if run.is_finished else {}
    state = "interrupted"
    if run.is_finished or run.is_locked:
        state = "finished" if run.is_finished else "running"
    accuracies = [1 - row[f"{watched(row)}_error"] for row in log]
    tested = accuracies[-1] if log else None
    if log and watched(log[-1]) == "validation":  # then the test split is used once, at the end
        tested = result.get("test_accuracy")
    facts = {
        "run": str(run.path),
        "state": state,
        **{name: config[name] for name in ("model", "data", "recipe")},
        "epochs": len(log),
        "epochs_planned": planned,
        "test_accuracy": tested,
        **{name: result.get(name) for name in (*BY_CLASS, *MACRO)},
        "best_accuracy": max(accuracies, default=None),
        "images_per_second": log[-1]["images_per_second"] if log else None,
        "seconds": sum(row["seconds"] for row in log),
        "seconds_lost": run.lost,
    }
    return check_row(facts, _COLUMNS)


#: The panels of `plot_runs`: the values of the thin and the thick line, and the title.
_PANELS = (
    ("error", "watched_error", "top-1 error"),
    ("loss", "watched_loss", "loss"),
    (None, "learning_rate", "learning rate"),
)


def drawn(log: Iterable[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The values of a log that `plot_logs` draws; raises `TypeError` for other types.

    Example:
        >>> from keras_preact.evaluation.runs import drawn
        >>> drawn([{"epoch": 1, "loss": 2, "gradient_norm": None}])
        [{'epoch': 1.0, 'loss': 2.0}]
    """
    names = [name for *pair, _ in _PANELS for name in pair if name]
    lines = []
    for row in log:
        found = {name: row.get(name.replace("watched", watched(row))) for name in names}
        known = {name: float(value) for name, value in found.items() if value is not None}
        lines.append({"epoch": float(row["epoch"]), **known})
    return lines


@plain_text
def plot_runs(paths: Sequence[str | os.PathLike]) -> "Figure":
    """Plots error, loss and learning rate of several runs over their epochs.

    Training is thin; validation, or test if there is no validation split, is thick.

    Args:
        paths: Run folders with at least one epoch.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ConfigError: If a folder is not a run, is damaged, or has no epoch yet.

    Example:
        >>> import tempfile
        >>> from keras_preact.evaluation import plot_runs
        >>> from keras_preact.run import RunFolder
        >>> run = RunFolder.create(tempfile.mkdtemp() + "/mine", name="")
        >>> run.write_json("config.json", {"model": "resnet20v2"})
        >>> run.append_log({"epoch": 1, "error": 0.5, "test_error": 0.6})
        >>> len(plot_runs([run.path, run.path]).axes[0].lines)
        4
    """
    logs = {}
    for k, run in enumerate(map(RunFolder, paths)):
        if not run.log:
            raise ConfigError(f"A run must have at least one epoch. Received: {run.path}.")
        with damaged(run.path):
            logs[k] = drawn(run.log), _label(run)
    return plot_logs(logs)


def plot_logs(logs: Mapping[int, tuple[list[dict[str, float]], str]]) -> "Figure":
    """`plot_runs` of logs.

    Args:
        logs: `{number of the colour: (log, label)}`, the logs as `drawn` returns them.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import PercentFormatter

    figure, panels = new_figure(12, 4.6, columns=3)
    for axes, (thin, bold, title) in zip(panels, _PANELS, strict=True):
        for k, (log, _) in logs.items():
            for name, style in ((thin, {"lw": 0.9, "alpha": 0.6}), (bold, {"lw": 2.2})):
                points = [(row["epoch"], row[name]) for row in log if name in row]
                marker = "o" if len(points) == 1 else None
                if points:
                    axes.plot(*zip(*points, strict=True), color=f"C{k}", marker=marker, **style)
        over_epochs(axes)
        axes.set_title(title, color=INK)
        axes.set_ylim(bottom=0)
    panels[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    peaks = [max(line.get_ydata()) for line in panels[2].lines]
    if peaks and max(peaks) > 9 * min(peaks) > 0:
        panels[2].set(yscale="log", ylim=(min(peaks) / 1000, 2 * max(peaks)))
    lines = [Line2D([], [], color=f"C{k}", lw=2.2, label=label) for k, (_, label) in logs.items()]
    longest = max((len(label) for _, label in logs.values()), default=0)
    columns = min(len(logs), max(1, 150 // (longest + 8)))  # letters that fit side by side
    figure.legend(
        handles=lines, loc="outside lower center", ncols=columns, frameon=False, labelcolor=INK
    )
    return figure


def _label(run):
    """The label of a run in a plot: its name, its network and its accuracy."""
    label = f"{short(run.path.name, 60)}: {run.config['model']}"
    last = run.log[-1].get(f"{watched(run.log[-1])}_error")
    label += f", accuracy {1 - last:.2%}" if last is not None else ""
    balanced = run.result.get("balanced_accuracy") if run.is_finished else None
    return label + (f" (balanced {balanced:.2%})" if balanced is not None else "")


def machine_of(run: RunFolder) -> str:
    """The machine and the versions of a run, in one line.

    Example:
        >>> import tempfile
        >>> from keras_preact.evaluation.runs import machine_of
        >>> from keras_preact.run import RunFolder
        >>> run = RunFolder.create(tempfile.mkdtemp() + "/mine", name="")
        >>> env = {"processors": 2, "backend": "jax", "devices": "GPU:0", "python": "3.12.1"}
        >>> run.write_json("env.json", {**env, "packages": {"keras": "3.15.1"}})
        >>> machine_of(run)
        '2 processors; jax on GPU:0; Python 3.12.1, keras 3.15.1'
    """
    env = run.read_json("env.json")
    dtype = env.get("decided", {}).get("dtype")
    versions = [f"{name} {version}" for name, version in env["packages"].items()]
    platform = [env["platform"]] if "platform" in env else []  # early versions did not say
    machine = [*platform, f"{env['processors']} processors"]
    computed = [f"{env['backend']} on {env['devices']}", *([dtype] if dtype else [])]
    return "; ".join(map(", ".join, (machine, computed, [f"Python {env['python']}", *versions])))
