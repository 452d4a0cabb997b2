"""A picture of iterative inference: a colour a network, as in `keras_preact.analysis.plots`."""

import numpy as np

from keras_preact.analysis.series import PAPER, finished, groups, plain
from keras_preact.evaluation.plots import new_figure, plain_text


@plain_text
def plot_refinement(tables):
    """The cosine of branch and negative gradient, and the error of linear probes, unit by unit.

    Jastrzebski et al. 2018, Figures 3 and 4.

    Args:
        tables: `Analysis.tables` with `cosines` and `probes`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib.ticker import PercentFormatter

    figure, (left, right) = new_figure(11, 4, columns=2)
    probed = tables["probes"]
    for axes, table, name in (
        (right, probed[probed["unit"] != "head"], "error"),
        (left, tables["cosines"], "cosine"),
    ):
        for label, rows, style in groups(table):
            places = np.arange(1, len(rows) + 1)
            axes.plot(places, rows[name], label=label, marker="o", ms=3, **style)
            ends = rows[f"{name}_low"], rows[f"{name}_high"]
            axes.fill_between(places, *ends, color=style["color"], alpha=0.15, lw=0)
        axes.set_xlabel("unit")
        plain(axes)
    for _, rows, style in groups(probed[probed["unit"] == "head"]):
        right.axhline(rows["error"].iloc[0], color=style["color"], lw=1, ls=":", zorder=0)
    left.axhline(0, color=PAPER, lw=1, zorder=0)
    left.set_ylabel("cosine of the branch\nand the negative gradient")
    right.set_ylabel("error of a linear probe\n(dotted: of the network)")
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.set_ylim(bottom=0)
    figure_of = probed[probed["unit"] != "head"]
    return finished(figure, figure_of, "Iterative inference (Jastrzebski et al. 2018)")
