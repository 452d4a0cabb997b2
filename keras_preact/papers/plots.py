"""Plots: errors and curves of a reproduced table, and of `init_study`."""

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_preact.evaluation.plots import INK, new_figure, over_epochs, plain_text
from keras_preact.papers.results import diverged, errors, trained_layers
from keras_preact.papers.tables import FAILS
from keras_preact.run import watched

if TYPE_CHECKING:
    import matplotlib.figure

#: This package's and the paper's; He's initialisation and Xavier's.
_OURS, _PAPER = "#0b3d91", "#c62828"

#: Parts of a short training, each a point of the curve of its loss.
_PARTS = 40


@plain_text
def plot_errors(runs: Any) -> "matplotlib.figure.Figure":
    """The test error of each run by row, and the paper's value.

    Args:
        runs: Pairs of `PaperRow` and its `RunFolder`s, as `runs_by_row` gives them.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    figure, axes = new_figure(9, 1.2 + 0.32 * len(runs))
    places = np.arange(len(runs))[::-1]
    labels = {"this package": True, "paper": True, "paper: fails, above 20 %": True}

    def scatter(values, place, label, **style):
        named = label if labels.pop(label, False) else None
        axes.scatter(values, [place] * len(values), label=named, zorder=3, **style)

    for (row, of_row), place in zip(runs, places, strict=True):
        found = errors(row, of_row)
        if found:
            scatter(found, place, "this package", color=_OURS, s=28, alpha=0.75)
        if row.value == "fail":
            scatter([FAILS], place, "paper: fails, above 20 %", color=_PAPER, marker=">")
        elif row.value is not None:
            scatter([row.value], place, "paper", color=_PAPER, marker="D", s=28)
    axes.set_yticks(places, [_label(row, of_row) for row, of_row in runs])
    axes.set_xlabel("test error (%)")
    axes.set_xlim(left=0)
    axes.set_ylim(-0.7, len(runs) - 0.3)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, labelcolor=INK, loc="outside upper right", ncols=3)
    return figure


@plain_text
def plot_training(runs: Any) -> "matplotlib.figure.Figure":
    """Training loss and test error by epoch, the median over each row's runs.

    Args:
        runs: Pairs of `PaperRow` and its `RunFolder`s, as `runs_by_row` gives them.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib import colormaps
    from matplotlib.ticker import LogLocator, PercentFormatter

    drawn = {}  # rows that differ in the test only have the same runs, which are drawn once
    for row, of_row in runs:
        if kept := [run for run in of_row if not diverged(run)]:
            drawn.setdefault(kept[0].path, (row, kept))
    figure, (left, right) = new_figure(10, 4.2 + 0.08 * len(drawn), columns=2)
    colors = colormaps["tab20" if len(drawn) > 10 else "tab10"].colors
    for k, (row, of_row) in enumerate(drawn.values()):
        logs, color = [run.log for run in of_row], colors[k % len(colors)]
        losses = np.array(_losses(of_row))
        dot = "o" if losses.shape[-1] == 1 else None
        left.plot(*np.median(losses, axis=0), color=color, lw=1.3, marker=dot)
        errors = np.median(
            [[line[f"{watched(line)}_error"] for line in log] for log in logs], axis=0
        )
        epochs = [line["epoch"] for line in logs[0]]
        marker = "o" if len(epochs) < 6 else None
        right.plot(epochs, errors, color=color, lw=1.8, marker=marker, label=row.row)
    left.set_ylabel("training loss")
    left.set_yscale("log")
    left.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter("{x:g}")
    right.set_ylabel("test error")
    right.set_ylim(bottom=0)
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in (left, right):
        over_epochs(axes)
    if drawn:
        figure.legend(frameon=False, labelcolor=INK, loc="outside lower center", ncols=3)
    return figure


def _label(row, runs):
    """A row's name, and the layers that were trained where they are not the paper's."""
    layers = trained_layers(runs) if runs else row.network.depth
    return row.row if layers == row.network.depth else f"{row.row} ({layers} layers)"


def _losses(runs):
    """Epochs and training losses of each run; of trainings of few epochs those of its parts."""
    steps = [run.steps if len(run.log) < _PARTS else [] for run in runs]
    if min(map(len, steps)) < _PARTS:
        return [
            ([line["epoch"] for line in run.log], [line["loss"] for line in run.log])
            for run in runs
        ]
    return [_by_parts(lines, len(run.log)) for run, lines in zip(runs, steps, strict=True)]


def _by_parts(steps, epochs):
    places = np.arange(1, len(steps) + 1) * epochs / len(steps)
    values = [line["loss"] for line in steps]
    return [[part.mean() for part in np.array_split(x, _PARTS)] for x in (places, values)]


@plain_text
def plot_study(
    curves: dict[tuple[int, str], list[list[float]]], title: str
) -> "matplotlib.figure.Figure":
    """The training losses, a panel for each number of layers: seeds thin, their mean bold.

    Args:
        curves: As `InitStudy.curves`.
        title: Headline of the figure.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> from keras_preact.papers import plot_study
        >>> from keras_preact.papers.initialization import PAPER
        >>> len(plot_study({key: [[1.0, 0.5]] for key in PAPER}, "digits").axes)
        2
    """
    figure, panels = new_figure(10, 4.2, columns=2)
    depths = dict.fromkeys(layers for layers, _ in curves)
    for axes, layers in zip(panels, depths, strict=True):
        axes.axhline(1.0, color="#999999", lw=1, ls="--", label="ln K (guessing)")
        for kind, color in (("He", _OURS), ("Xavier", _PAPER)):
            seeds = curves[layers, kind]
            length = max(map(len, seeds))
            table = np.full((len(seeds), length), np.nan)
            for row, losses in zip(table, seeds, strict=True):
                row[: len(losses)] = losses
            epochs = np.arange(1, length + 1)
            marker = "o" if length == 1 else None
            axes.plot(epochs, table.T, color=color, lw=0.9, alpha=0.45, marker=marker)
            axes.plot(epochs, table.mean(axis=0), color=color, lw=2.4, label=kind, marker=marker)
        axes.set_title(f"{layers} layers", color=INK)
        over_epochs(axes)
        axes.set_ylim(0, 1.15)
        axes.legend(frameon=False, labelcolor=INK, loc="center right", bbox_to_anchor=(1, 0.68))
    panels[0].set_ylabel("training loss / ln K")
    figure.suptitle(f"{title}: mean bold, each seed thin", color=INK)
    return figure
