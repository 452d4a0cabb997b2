"""Run folders side by side: a table of them, and their curves in one picture."""

from keras_preact.errors import ConfigError, damaged
from keras_preact.evaluation.plots import INK, new_figure, plain_text
from keras_preact.evaluation.scores import BY_CLASS
from keras_preact.files import check_row
from keras_preact.run import RunFolder, runs_in


def runs_frame(parent="runs"):
    """The runs in a folder as a table.

    Args:
        parent: The folder that holds the run folders.

    Returns:
        A `pandas.DataFrame` with a row a run, the oldest first: `run`, `state` (`finished`,
        `running` or `interrupted`), `model`, `data`, `recipe`, `epochs` done, `epochs_planned`,
        `test_accuracy` of the last epoch, of a finished run `balanced_accuracy` and the
        `worst_class` with its `worst_recall`, `best_accuracy`, `images_per_second`, `seconds` of
        training.

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
    "best_accuracy": "float64",
    "images_per_second": "float64",
    "seconds": "float64",
}


def _row(run: RunFolder):
    try:
        with damaged(run.path):
            return check_row(_facts(run), _COLUMNS)
    except ConfigError:  # killed before it was described, or damaged
        return None


def _facts(run):
    config, log = run.config, run.log
    planned = run.read_json("resolved.json")["recipe"]["epochs"]
    result = run.result if run.is_finished else {}
    state = "interrupted"
    if run.is_finished or run.is_locked:
        state = "finished" if run.is_finished else "running"
    accuracies = [1 - row["test_error"] for row in log]
    return {
        "run": str(run.path),
        "state": state,
        **{name: config[name] for name in ("model", "data", "recipe")},
        "epochs": len(log),
        "epochs_planned": planned,
        "test_accuracy": accuracies[-1] if log else None,
        **{name: result.get(name) for name in BY_CLASS},
        "best_accuracy": max(accuracies, default=None),
        "images_per_second": log[-1]["images_per_second"] if log else None,
        "seconds": sum(row["seconds"] for row in log),
    }


@plain_text
def plot_runs(paths):
    """Test error of several runs over their epochs, training error thin.

    Args:
        paths: Run folders, at least one epoch long.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ConfigError: For a folder that is no run, or has no epoch yet.

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
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure, axes = new_figure(9, 5)
    for k, path in enumerate(paths):
        run = RunFolder(path)
        log = run.log
        if not log:
            raise ConfigError(f"A run to be compared has at least one epoch. Received: {path}.")
        epochs, color = [row["epoch"] for row in log], f"C{k}"
        label = f"{run.path.name}: {run.config['model']}, {1 - log[-1]['test_error']:.2%} correct"
        balanced = run.result.get("balanced_accuracy") if run.is_finished else None
        label += f" (balanced {balanced:.2%})" if balanced is not None else ""
        marker = "o" if len(log) == 1 else None
        axes.plot(epochs, [r["error"] for r in log], color=color, lw=0.9, alpha=0.6, marker=marker)
        errors = [row["test_error"] for row in log]
        axes.plot(epochs, errors, color=color, lw=2.2, label=label, marker=marker)
    axes.set_xlabel("epoch")
    axes.set_ylabel("top-1 error; bold: test, thin: training")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    longest = max(map(len, axes.get_legend_handles_labels()[1]))
    columns = 2 if longest < 60 else 1  # letters that fit side by side
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, labelcolor=INK)
    return figure
