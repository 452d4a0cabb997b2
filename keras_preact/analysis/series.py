"""Shared parts of the plots of an analysis: a line per network and state, axes, one legend."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_preact.evaluation.plots import INK

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Colours that colour-blind readers can distinguish (Okabe and Ito, 2008).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
PAPER = "#777777"


def groups(table: "pd.DataFrame") -> "Iterator[tuple[str, pd.DataFrame, dict[str, Any]]]":
    """(label, rows, line style) of each network and state."""
    networks = [*table["network"].unique()]
    states = table["state"].nunique()
    grouped: Any = table.groupby(["network", "state"], sort=False)
    for (network, state), rows in grouped:
        number = networks.index(network)
        color = COLORS[number % len(COLORS)]
        # Lines that are drawn below others are wider, so that equal lines are visible.
        width = 1.8 + min(0.9 * (len(networks) - 1 - number), 2.7)
        dashed = states > 1 and state == "initial"
        label = f"{network}, {state}" if states > 1 or len(networks) == 1 else network
        yield label, rows, {"color": color, "ls": "--" if dashed else "-", "lw": width}


def lines(
    axes: Any, table: "pd.DataFrame", name: str, log: bool = False, marker: str | None = None
) -> None:
    """Plots a line per network and state; with a marker, points instead of lines."""
    for label, rows, style in groups(table):
        if rows[name].isna().all():
            continue
        if marker:
            style |= {"lw": 0, "fillstyle": "none" if style["ls"] == "--" else "full"}
        shown = marker or ("o" if len(rows) < 4 else None)
        axes.plot(np.arange(1, len(rows) + 1), rows[name], label=label, marker=shown, **style)
    if log:
        axes.set_yscale("log")
    axes.set_xlabel("unit")
    plain(axes)


def plain(axes: Any) -> None:
    """A light grid, no frame, ticks at whole numbers, and powers of ten as plain text."""
    from matplotlib.ticker import LogFormatter, MaxNLocator

    if axes.get_yscale() == "log":  # as plain text, since math text is turned off for names
        axes.yaxis.set_major_formatter(LogFormatter())
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    if axes.get_xlim()[1] > 1.5:  # units and layers, counted from 1
        axes.set_xlim(left=0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def finished(figure: "Figure", table: "pd.DataFrame", title: str) -> "Figure":
    """Adds one legend below, and a title, which names the state if all networks share it."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = 3 if figure.get_figwidth() > 10 else 2
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, labelcolor=INK
    )
    states = table["state"].unique()
    figure.suptitle(f"{title}, {states[0]} weights" if len(states) == 1 else title, color=INK)
    return figure
