"""Plots of loss surfaces: planes as contours, lines between runs, the trajectory of a training."""

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_preact.analysis.series import COLORS, finished, groups, plain
from keras_preact.evaluation.plots import INK, new_figure, plain_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@plain_text
def plot_surface(surface: "pd.DataFrame") -> "Figure":
    """Plots the loss around a network's weights: contours of a plane, or a line.

    Li et al. 2018, Figures 2 and 5. The contours are logarithmic and the same in all planes.

    Args:
        surface: `Analysis.tables["surface"]`, or a table of `loss_surface` with the columns
            `network` and `state` added.

    Returns:
        A `matplotlib.figure.Figure`; for planes, with one column per network and state.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis import plot_surface
        >>> line = pd.DataFrame({"x": [-1, 0, 1], "loss": [2, 1, 3]})
        >>> plot_surface(line.assign(network="net", state="trained")).axes[0].get_ylabel()
        'loss'
    """
    if "y" not in surface:
        figure, axes = new_figure(7, 4.4)
        for label, table, style in groups(surface):
            axes.plot(table["x"], table["loss"], label=label, **style)
        axes.set_xlabel("distance (filter norms)")
        axes.set_ylabel("loss")
        _plain(axes)
        return finished(figure, surface, "Loss around the weights")
    columns = [*groups(surface)]
    figure, grid = new_figure(1.5 + 4.2 * len(columns), 4.2, columns=len(columns))
    levels, drawn = levels_of(surface["loss"]), None
    for (label, table, _), axes in zip(columns, np.ravel(grid), strict=True):
        drawn = _contours(axes, table, levels)
        axes.plot(0, 0, "o", ms=4, color=COLORS[1])
        axes.set_title(label, color=INK, fontsize=10)
        axes.set_xlabel("first direction (filter norms)")
    np.ravel(grid)[0].set_ylabel("second direction (filter norms)")
    _bar(figure, grid, drawn)
    figure.suptitle("Loss around the weights (Li et al. 2018)", color=INK)
    return figure


@plain_text
def plot_between(lines: "pd.DataFrame") -> "Figure":
    """Plots the loss and the error on the line between the weights of two runs.

    Args:
        lines: `Analysis.tables["lines"]`: tables of `loss_between` with the columns `network` and
            `to`, the two ends.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis import plot_between
        >>> line = {"x": [0.0, 0.5, 1.0], "loss": [1.0, 3.0, 2.0], "error": [0.1, 0.6, 0.2]}
        >>> lines = pd.DataFrame(line).assign(network="net", state="trained", to="other")
        >>> len(plot_between(lines).axes)
        2
    """
    from matplotlib.ticker import PercentFormatter

    figure, (left, right) = new_figure(11, 4, columns=2)
    pairs: Any = lines.groupby(["network", "to"], sort=False)
    for number, ((start, end), table) in enumerate(pairs):
        style = {"color": COLORS[number % len(COLORS)], "label": f"{start} (0) to {end} (1)"}
        left.semilogy(table["x"], table["loss"], **style)
        right.plot(table["x"], table["error"], **style)
    for axes, name in ((left, "loss"), (right, "error")):
        axes.set_xlabel("position on the line")
        axes.set_ylabel(name)
        _plain(axes)
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    return finished(figure, lines, "Loss between two runs")


@plain_text
def plot_trajectory(points: "pd.DataFrame", surface: "pd.DataFrame") -> "Figure":
    """Plots the trajectory of a training on the loss, in the plane of its principal directions.

    Li et al. 2018, Figure 9.

    Args:
        points: `Analysis.tables["trajectory"]`.
        surface: `Analysis.tables["trajectory_surface"]`.

    Returns:
        A `matplotlib.figure.Figure` with one column per network.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis import plot_trajectory
        >>> plane = {"x": [0, 1, 0, 1], "y": [0, 0, 1, 1], "loss": [1.0, 2.0, 4.0, 8.0]}
        >>> surface = pd.DataFrame(plane).assign(network="net", state="trained")
        >>> points = surface[:3].assign(name=["a", "b", "c"], explained_x=0.9, explained_y=0.1)
        >>> len(plot_trajectory(points, surface).axes)  # the plane and a colour bar
        2
    """
    columns = [*groups(points)]
    figure, grid = new_figure(1.5 + 4.2 * len(columns), 4.4, columns=len(columns))
    levels, drawn = levels_of(surface["loss"]), None
    for (label, way, _), axes in zip(columns, np.ravel(grid), strict=True):
        drawn = _contours(axes, surface[surface["network"] == way["network"].iloc[0]], levels)
        axes.plot(way["x"], way["y"], "o-", ms=4, lw=1.5, color=COLORS[1])
        for name, x, y in zip(way["name"], way["x"], way["y"], strict=True):
            ground = {"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1}
            place = {"textcoords": "offset points", "xytext": (5, 5), "bbox": ground}
            axes.annotate(name, (x, y), **place, fontsize=8, color=INK)
        axes.set_title(label, color=INK, fontsize=10)
        shares = way["explained_x"].iloc[0], way["explained_y"].iloc[0]
        axes.set_xlabel(f"first principal direction ({shares[0]:.1%})")
        axes.set_ylabel(f"second principal direction ({shares[1]:.1%})")
    _bar(figure, grid, drawn)
    figure.suptitle("Trajectory of a training (Li et al. 2018)", color=INK)
    return figure


def _contours(axes, table, levels):
    from matplotlib.ticker import MaxNLocator

    loss = table.pivot(index="y", columns="x", values="loss")
    shown = np.clip(np.ma.masked_invalid(loss.to_numpy()), levels[0], levels[-1])
    place = (loss.columns, loss.index, shown)
    norm = _norm(levels)
    drawn = axes.contourf(*place, levels=levels, cmap="viridis", norm=norm)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.contour(*place, levels=levels, colors="white", linewidths=0.4, norm=norm)
    return drawn


def _norm(levels):
    from matplotlib.colors import LogNorm

    return LogNorm(levels[0], levels[-1])


def levels_of(losses: "pd.Series", count: int = 24) -> np.ndarray:
    """Logarithmic levels, from the lowest finite loss to at most 1000 times it, or 10 if more."""
    finite = losses[np.isfinite(losses)]
    least = max(finite.min(), 1e-6) if len(finite) else 1e-6
    most = min(max(finite.max(), least * 1.01), max(least * 1000, 10)) if len(finite) else 1.0
    return np.geomspace(least, most, count)


def _bar(figure, grid, drawn):
    bar = figure.colorbar(drawn, ax=np.ravel(grid).tolist(), format="{x:.3g}", shrink=0.9)
    bar.set_label("loss", color=INK)


def _plain(axes):
    """As `plain`, for an x axis that does not count units."""
    limits = axes.get_xlim()
    plain(axes)
    axes.set_xlim(limits)
