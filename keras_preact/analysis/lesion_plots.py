"""Plots of lesions and path lengths, with a colour per network as in `analysis.plots`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from keras_preact.analysis.series import PAPER, finished, groups, lines, plain
from keras_preact.evaluation.plots import new_figure, plain_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@plain_text
def plot_lesions(tables: "Mapping[str, pd.DataFrame]") -> "Figure":
    """Plots the error with one unit removed, with several removed, and with units reordered.

    Veit et al. 2016, Figures 3 and 5.

    Args:
        tables: `Analysis.tables` with `lesions`, `removals` and `orders`.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis import plot_lesions
        >>> of = {"network": "net", "state": "trained", "error": [0.1, 0.2]}
        >>> tables = {
        ...     "lesions": pd.DataFrame(of),
        ...     "removals": pd.DataFrame({**of, "removed": [0, 1]}),
        ...     "orders": pd.DataFrame({**of, "kendall_tau": [0.9, 0.8]}),
        ... }
        >>> len(plot_lesions(tables).axes)
        3
    """
    from matplotlib.ticker import PercentFormatter

    units, removals, orders = (tables[name] for name in ("lesions", "removals", "orders"))
    figure, (left, middle, right) = new_figure(13, 4, columns=3)
    lines(left, units, "error", marker="o")
    for label, table, style in groups(removals):
        whole = table["error"][table["removed"] == 0].iloc[0]
        for axes in (left, middle, right):
            axes.axhline(whole, color=style["color"], lw=1, ls=":", zorder=0)
        errors = table.groupby("removed")["error"]
        middle.plot(errors.median().index, errors.median(), label=label, **style)
        spread = {"color": style["color"], "alpha": 0.15, "lw": 0}
        middle.fill_between(errors.min().index, errors.min(), errors.max(), **spread)
    for label, table, style in groups(orders):
        color = style["color"]
        right.plot(table["kendall_tau"], table["error"], "o", ms=3, color=color, label=label)
    left.set_xlabel("removed unit")
    middle.set_xlabel("number of removed units (line: median, band: range)")
    right.set_xlabel("Kendall's tau of the order of units")
    left.set_ylabel("error (dotted: whole network)")
    for axes in (middle, right):
        axes.set_ylabel("error")
        plain(axes)
    most = max(units["error"].max(), removals["error"].max(), orders["error"].max())
    for axes in (left, middle, right):
        axes.set_ylim(0, np.nanmax([most, 0.1]) * 1.05)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    middle.set_xlim(left=0)
    least = orders["kendall_tau"].min() if len(orders) else 0
    right.set_xlim(1 + 0.02 * (1 - least), least - 0.02 * (1 - least))
    return finished(figure, units, "Lesions (Veit et al. 2016)")


@plain_text
def plot_path_lengths(paths: "pd.DataFrame") -> "Figure":
    """Plots the number of paths by length, the norm of the gradient along one, and the product.

    Veit et al. 2016, Figure 6.

    Args:
        paths: `Analysis.tables["paths"]`.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis import plot_path_lengths
        >>> table = {"length": [0, 1], "paths": [1.0, 1.0], "norm": [1.0, 0.5], "share": [0.7, 0.3]}
        >>> figure = plot_path_lengths(pd.DataFrame(table).assign(network="net", state="initial"))
        >>> len(figure.axes)
        3
    """
    figure, (left, middle, right) = new_figure(13, 4, columns=3)
    for label, table, style in groups(paths):
        left.plot(table["length"], table["paths"] / table["paths"].sum(), label=label, **style)
        norm = table["norm"].where(table["norm"] > 0)  # 0 is an underflow of float32
        middle.semilogy(table["length"], norm, **style)
        right.plot(table["length"], table["share"], **style)
    right.axhline(0, color=PAPER, lw=1, zorder=0)
    left.set_ylabel("share of the paths")
    middle.set_ylabel("norm of the gradient along one path")
    right.set_ylabel("share of the gradient\n(number of paths times norm)")
    for axes in (left, middle, right):
        axes.set_xlabel("path length (number of branches)")
        plain(axes)
        axes.set_xlim(left=-0.5)
    return finished(figure, paths, "Gradient by path length (Veit et al. 2016)")
