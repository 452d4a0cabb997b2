"""Plots of a search: each dimension against the error, parallel coordinates, and curves."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_preact.errors import ConfigError
from keras_preact.evaluation.plots import INK, new_figure, plain_text
from keras_preact.papers.tables import FAILS
from keras_preact.run import runs_in, watched
from keras_preact.tuning.paper import GATE_BIAS, errors_of

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

_COLORS = "viridis_r"


@plain_text
def plot_dimension(
    frame: "pandas.DataFrame", name: str, shortcut: str | None = None
) -> "matplotlib.figure.Figure":
    """Validation error against the values of one dimension, one point per run.

    Args:
        frame: `trials_frame` of a search.
        name: The dimension.
        shortcut: The gating, to show the paper's points beside those of `network.gate_bias`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib.ticker import PercentFormatter

    figure, axes = new_figure(7, 4.2)
    done = frame[frame["status"] == "finished"]
    values, places, labels = _places(done[name])
    for row, place in zip(done.itertuples(), places, strict=True):
        errors = errors_of(row.folder) or [row.validation_error]
        axes.scatter([place] * len(errors), errors, color="#6b9bd1", s=22, alpha=0.7, zorder=2)
    means = [done["validation_error"][places == value].mean() for value in values]
    width = 0 if labels else 2  # names have no order to draw a line along
    axes.plot(values, means, color="#0b3d91", lw=width, marker="o", label="mean", zorder=3)
    paper = GATE_BIAS.get(shortcut, {}) if name == "network.gate_bias" else {}
    if paper:
        fails = [bias for bias, error in paper.items() if math.isinf(error)]
        points = {bias: error / 100 for bias, error in paper.items() if math.isfinite(error)}
        style = {"color": "#c62828", "zorder": 3}
        axes.scatter(
            [*points],
            [*points.values()],
            marker="D",
            label="ResNet-110, CIFAR-10 (2016, Table 1)",
            **style,
        )
        if fails:
            label = "the same, fails: above 20 %"
            axes.scatter(fails, [FAILS / 100] * len(fails), marker="^", label=label, **style)
    if paper or len(done) > len(values):
        axes.legend(frameon=False, labelcolor=INK)
    if labels:
        axes.set_xticks(values, labels, rotation=20 if max(map(len, labels)) > 8 else 0)
    axes.set_xlabel(name)
    axes.set_ylabel("validation error")
    _plain(axes)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


@plain_text
def plot_parallel(frame: "pandas.DataFrame", names: Sequence[str]) -> "matplotlib.figure.Figure":
    """Parallel coordinates: a line per trial through its values to its validation error.

    Args:
        frame: `trials_frame` of a search.
        names: The dimensions.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib import colormaps

    done = frame[frame["status"] == "finished"].sort_values("validation_error", ascending=False)
    figure, axes = new_figure(max(6, 2.2 * (len(names) + 1)), 4.6)
    errors = done["validation_error"].to_numpy()
    low, high = errors.min(), errors.max()
    heights = []
    for k, name in enumerate(names):
        values, places, labels = _places(done[name])
        labels = labels or [f"{value:g}" for value in values]
        first, last = min(values), max(values)
        scaled = lambda x, a=first, b=last: (np.asarray(x) - a) / ((b - a) or 1)  # noqa: E731
        heights.append(scaled(places))
        axes.axvline(k, color="#999999", lw=1)
        for value, label in _few(zip(values, labels, strict=True)):
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
            axes.text(k, scaled(value), f" {label}", fontsize=8, va="center", bbox=box, color=INK)
    heights.append((errors - low) / ((high - low) or 1))
    axes.axvline(len(names), color="#999999", lw=1)
    for error in np.unique([low, (low + high) / 2, high]):
        place = (error - low) / ((high - low) or 1)
        axes.text(len(names), place, f" {error:.1%}", fontsize=9, va="center", color=INK)
    shift = np.random.default_rng(0).normal(0, 0.008, (len(done), len(heights)))
    shift[:, -1] = 0
    for row, line, moved in zip(heights[-1], np.stack(heights, 1), shift, strict=True):
        axes.plot(range(len(heights)), line + moved, color=colormaps[_COLORS](1 - row), lw=1.6)
    axes.set_xticks(range(len(heights)), [*names, "validation error"])
    axes.set_xlim(-0.15, len(names) + 0.35)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return figure


@plain_text
def plot_importance(importance: "pandas.Series") -> "matplotlib.figure.Figure":
    """Importance of each dimension for the error.

    Args:
        importance: `pandas.Series` by the dimensions' names.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib.ticker import PercentFormatter

    figure, axes = new_figure(7, 0.9 + 0.45 * len(importance))
    ordered = importance.sort_values()
    axes.barh(ordered.index, ordered, color="#0b3d91", height=0.6)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("permutation importance")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


@plain_text
def plot_trials(frame: "pandas.DataFrame") -> "matplotlib.figure.Figure":
    """Validation error by epoch of all runs, with the best trial in front.

    Args:
        frame: `trials_frame` of a search.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ConfigError: When no trial has an epoch yet.
    """
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure, axes = new_figure(9, 4.6)
    ordered = frame.sort_values("validation_error", ascending=False, na_position="first")
    drawn = 0
    for place, row in enumerate(ordered.itertuples()):
        best = place == len(ordered) - 1 and row.status == "finished"
        color = "#c62828" if best else colormaps[_COLORS](1 - place / max(1, len(ordered) - 1))
        for run in runs_in(row.folder):
            log = run.log
            if not log:
                continue
            points = ((row["epoch"], row[f"{watched(row)}_error"]) for row in log)
            epochs, errors = zip(*points, strict=True)
            label = (
                f"trial {row.trial}, the best" if best and run.path.name[-5:] == "seed0" else None
            )
            marker = "o" if len(log) == 1 else None
            axes.plot(
                epochs, errors, color=color, lw=2 if best else 0.9, label=label, marker=marker
            )
            drawn += 1
    if not drawn:
        raise ConfigError("No trial of this search has trained an epoch yet.")
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation error")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(frameon=False, labelcolor=INK)
    _plain(axes)
    return figure


def _places(column):
    """Different values of a dimension, where each trial's stands, and labels unless numbers."""
    if column.dtype.kind in "if":
        return sorted({*column.astype(float)}), column.astype(float).to_numpy(), None
    names = list(dict.fromkeys(column.astype(str)))
    places = np.array([names.index(str(value)) for value in column], float)
    return [float(k) for k in range(len(names))], places, names


def _few(pairs, most=12):
    pairs = list(pairs)
    return pairs[:: -(-len(pairs) // most)]


def _plain(axes):
    highest = axes.dataLim.y1
    # A point at the top is drawn whole; where all are 0, or none is there, Matplotlib knows better.
    axes.set_ylim(0, 1.05 * highest if 0 < highest < math.inf else None)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
