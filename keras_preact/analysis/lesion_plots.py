"""Pictures of lesions and path lengths: a colour a network, as in `keras_preact.analysis.plots`."""

import numpy as np

from keras_preact.analysis.series import PAPER, finished, groups, lines, plain
from keras_preact.evaluation.plots import new_figure, plain_text


@plain_text
def plot_lesions(tables):
    """The error with each unit left out, with several left out, and with units in another order.

    Veit et al. 2016, Figures 3 and 5.

    Args:
        tables: `Analysis.tables` with `lesions`, `removals` and `orders`.

    Returns:
        A `matplotlib.figure.Figure`.
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
    left.set_xlabel("unit that is left out")
    middle.set_xlabel("units left out (line: median, band: range)")
    right.set_xlabel("Kendall's tau of the units' order")
    left.set_ylabel("error (dotted: of the whole network)")
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
def plot_path_lengths(paths):
    """How many paths there are of each length, the gradient's norm along one, and the product.

    Veit et al. 2016, Figure 6.

    Args:
        paths: `Analysis.tables["paths"]`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    figure, (left, middle, right) = new_figure(13, 4, columns=3)
    for label, table, style in groups(paths):
        left.plot(table["length"], table["paths"] / table["paths"].sum(), label=label, **style)
        norm = table["norm"].where(table["norm"] > 0)  # less than a float32 holds
        middle.semilogy(table["length"], norm, **style)
        right.plot(table["length"], table["share"], **style)
    right.axhline(0, color=PAPER, lw=1, zorder=0)
    left.set_ylabel("share of the paths")
    middle.set_ylabel("norm of the gradient along one")
    right.set_ylabel("share of the gradient\n(number of paths times norm)")
    for axes in (left, middle, right):
        axes.set_xlabel("branches that a path passes")
        plain(axes)
        axes.set_xlim(left=-0.5)
    return finished(figure, paths, "The gradient by path length (Veit et al. 2016)")
