"""Plots of the signals and gradients of a network, and of equations 4 and 5.

Each function takes a table of `Analysis`, with the columns `network` and `state`. Each network has
a colour; lines are dashed for initial weights and solid for trained ones.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from keras_preact.analysis.curvature_plots import plot_curvature
from keras_preact.analysis.layer_plots import (
    plot_gates,
    plot_rectifiers,
    plot_responses,
    plot_slopes,
    plot_variance,
)
from keras_preact.analysis.lesion_plots import plot_lesions, plot_path_lengths
from keras_preact.analysis.refinement_plots import plot_refinement
from keras_preact.analysis.series import COLORS, PAPER, finished, groups, lines, plain
from keras_preact.analysis.surface_plots import plot_between, plot_surface, plot_trajectory
from keras_preact.analysis.variance import of_plain_nets
from keras_preact.evaluation.plots import INK, new_figure, plain_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@plain_text
def plot_signals(signals: "pd.DataFrame") -> "Figure":
    """Plots the second moment, the mean and the negative share of the output of each unit.

    Identity Mappings, section 4: with ReLU before the addition, the signal is never negative and
    grows with every unit; with ReLU after the addition, negative values are cut off.

    Args:
        signals: `Analysis.tables["signals"]`.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis import plot_signals
        >>> table = {"output_second_moment": [1.0, 2.0], "output_mean": 0.1, "negative": 0.5}
        >>> figure = plot_signals(pd.DataFrame(table).assign(network="net", state="initial"))
        >>> figure.axes[0].get_ylabel()
        "second moment of the unit's output"
    """
    from matplotlib.ticker import PercentFormatter

    figure, (left, middle, right) = new_figure(13, 4, columns=3)
    lines(left, signals, "output_second_moment", log=True)
    lines(middle, signals, "output_mean")
    lines(right, signals, "negative")
    left.set_ylabel("second moment of the unit's output")
    middle.set_ylabel("mean of the unit's output")
    right.set_ylabel("negative share of the unit's output")
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.set_ylim(-0.02, max(0.6, right.get_ylim()[1]))
    return finished(figure, signals, "Signals")


@plain_text
def plot_propagation(signals: "pd.DataFrame") -> "Figure":
    """Plots the squared mean and the variance of channels, of each output and of each branch.

    Brock, De and Smith 2021 (arXiv 2101.08692), Figure 1.

    Args:
        signals: `Analysis.tables["signals"]`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    figure, (left, middle, right) = new_figure(13, 4, columns=3)
    lines(left, signals, "output_channel_mean_squared", log=True)
    lines(middle, signals, "output_channel_variance", log=True)
    if "branch_channel_variance" in signals:
        lines(right, signals, "branch_channel_variance", log=True)
    left.set_ylabel("squared mean of a channel, averaged")
    middle.set_ylabel("variance of a channel, averaged")
    right.set_ylabel("the same at the end of the branch")
    return finished(figure, signals, "Signal propagation (Brock et al. 2021)")


@plain_text
def plot_equation_4(signals: "pd.DataFrame") -> "Figure":
    """Plots how much each unit adds, the error of equation 4, and the energy that is cut off.

    Identity Mappings, equation 4: x_L = x_l plus the sum of the branches between.

    Args:
        signals: `Analysis.tables["signals"]`, of residual networks.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis import plot_equation_4
        >>> table = {"adds": [0.5, 0.4], "equation4_error": 0.0, "cut_off": 0.0}
        >>> figure = plot_equation_4(pd.DataFrame(table).assign(network="net", state="initial"))
        >>> len(figure.axes)
        3
    """
    from matplotlib.ticker import PercentFormatter

    figure, (left, middle, right) = new_figure(13, 4, columns=3)
    lines(left, signals, "adds")
    lines(middle, signals, "equation4_error")
    lines(right, signals, "cut_off")
    left.set_ylabel("branch / input (root mean square)")
    middle.set_ylabel("relative error of equation 4")
    right.set_ylabel("energy cut off after the addition")
    left.set_ylim(bottom=0)
    for axes in (middle, right):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(-0.02 * max(0.05, axes.get_ylim()[1]), max(0.05, axes.get_ylim()[1]))
    return finished(figure, signals, "Contribution of each unit (2016, equation 4)")


@plain_text
def plot_gradients(gradients: "pd.DataFrame") -> "Figure":
    """Plots the norm of the gradient at the input of every unit, absolute and relative.

    Args:
        gradients: `Analysis.tables["gradients"]`.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis import plot_gradients
        >>> table = {"unit": ["stage1_unit1", "head"], "gradient": [2, 1], "relative": [2, 1]}
        >>> figure = plot_gradients(pd.DataFrame(table).assign(network="net", state="initial"))
        >>> len(figure.axes)
        2
    """
    units = gradients[gradients["unit"] != "head"]
    figure, (left, right) = new_figure(11, 4, columns=2)
    lines(left, units, "gradient", log=True)
    lines(right, units, "relative", log=True)
    right.axhline(1, color=PAPER, lw=1, zorder=0)
    left.set_ylabel("norm of the gradient at the unit's input")
    right.set_ylabel("norm relative to the last unit")
    return finished(figure, units, "Backpropagated gradients")


@plain_text
def plot_equation_5(gradients: "pd.DataFrame") -> "Figure":
    """Plots the two parts of the gradient, through shortcuts and weights, and the weight term.

    Identity Mappings, equation 5: the gradient vanishes only if the weight term is -1.

    Args:
        gradients: `Analysis.tables["gradients"]`, of residual networks.

    Returns:
        A `matplotlib.figure.Figure` with one column per network and state.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis import dissect, gradient_propagation, plot_equation_5
        >>> from keras_preact.applications import ResNet8V2
        >>> images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
        >>> table = gradient_propagation(dissect(ResNet8V2()), [(images, np.arange(4))])
        >>> figure = plot_equation_5(table.assign(network="resnet8v2", state="initial"))
        >>> len(figure.axes)
        2
    """
    units = gradients[gradients["unit"] != "head"]
    units = units.groupby(["network", "state"]).filter(lambda rows: rows["direct"].any())
    columns = [*groups(units)]
    figure, grid = new_figure(1 + 4.2 * len(columns), 6.4, rows=2, columns=len(columns))
    for (label, table, _), (top, bottom) in zip(columns, np.reshape(grid, (2, -1)).T, strict=True):
        places = np.arange(1, len(table) + 1)
        for name, text, color in (
            ("gradient", "whole gradient", COLORS[6]),
            ("weights", "through weights", COLORS[1]),
            ("direct", "through shortcuts alone", COLORS[0]),
        ):
            top.semilogy(places, table[name], color=color, lw=1.8, label=text)
        top.set_title(label, color=INK, fontsize=10)
        top.legend(frameon=False, fontsize=9)
        low, high = table["weight_term_min"], table["weight_term_max"]
        bottom.fill_between(places, low, high, color=COLORS[1], alpha=0.25, lw=0)
        bottom.plot(places, table["weight_term"], color=COLORS[1], lw=1.8)
        bottom.axhline(-1, color=COLORS[6], lw=1.2, ls="--")
        bottom.annotate(
            "-1: the gradient vanishes along the shortcuts",
            (places[0], -1),
            (2, 4),
            textcoords="offset points",
            fontsize=8,
            color=INK,
        )
        least, most = np.nanquantile(low, 0.05), np.nanquantile(high, 0.95)
        bottom.set_ylim(min(-1.4, least), max(0.6, most))
        for axes in (top, bottom):
            axes.set_xlabel("unit")
            plain(axes)
    first = np.reshape(grid, (2, -1))[:, 0]
    first[0].set_ylabel("norm of the gradient")
    first[1].set_ylabel("weight term, mean and range\nover mini-batches")
    figure.suptitle("Two parts of the gradient (2016, equation 5)", color=INK)
    return figure


def pictures(tables: "Mapping[str, pd.DataFrame]") -> "dict[str, Figure]":
    """The plots for the tables of an `Analysis`, by file name; empty plots are omitted.

    Args:
        tables: Tables of an `Analysis`; those of every analysis together, or not at all.
    """
    found = _of_every_analysis(tables) if "signals" in tables else {}
    found |= {
        "lesions": plot_lesions(tables) if "lesions" in tables else None,
        "refinement": plot_refinement(tables) if "cosines" in tables else None,
        "surface": plot_surface(tables["surface"]) if "surface" in tables else None,
        "trajectory": plot_trajectory(tables["trajectory"], tables["trajectory_surface"])
        if "trajectory" in tables
        else None,
        "lines": plot_between(tables["lines"]) if "lines" in tables else None,
        "curvature": plot_curvature(tables) if "spectrum" in tables else None,
        "path_lengths": plot_path_lengths(tables["paths"])
        if len(tables.get("paths", ()))
        else None,
    }
    return {name: figure for name, figure in found.items() if figure}


def _of_every_analysis(tables):
    signals, gradients = tables["signals"], tables["gradients"]
    residual = "adds" in signals and signals["adds"].notna().any()
    direct = gradients["direct"][gradients["unit"] != "head"].any()
    sloped = "slope_mean" in tables["activations"]
    plain = of_plain_nets(tables)
    return {
        "signals": plot_signals(signals),
        "propagation": plot_propagation(signals),
        "equation_4": plot_equation_4(signals) if residual else None,
        "responses": plot_responses(tables["responses"]),
        "gradients": plot_gradients(gradients),
        "variance": plot_variance(plain) if len(plain) else None,
        "equation_5": plot_equation_5(gradients) if direct else None,
        "gates": plot_gates(tables["gates"]) if len(tables["gates"]) else None,
        "rectifiers": plot_rectifiers(tables["activations"]),
        "slopes": plot_slopes(tables["activations"]) if sloped else None,
    }
