"""The plot of the loss's curvature."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from keras_preact.analysis.curvature import density
from keras_preact.analysis.series import PAPER, finished, groups, plain
from keras_preact.evaluation.plots import new_figure, plain_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Densities below this are not shown: they are tails of the nodes' own width.
_LEAST = 1e-6


@plain_text
def plot_curvature(tables: "Mapping[str, pd.DataFrame]") -> "Figure":
    """Plots the spectral density of the loss's Hessian, and its extreme eigenvalues.

    Args:
        tables: `Analysis.tables` with `spectrum` and `eigenvalues`; with `curvature_steps`, the
            largest eigenvalue along the training as well.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis import plot_curvature
        >>> of = {"network": "net", "state": "initial", "eigenvalue": [0.0, 8.0]}
        >>> spectrum = pd.DataFrame({**of, "draw": 0, "weight": [0.9, 0.1]})
        >>> eigenvalues = pd.DataFrame({**of, "rank": [-1, 1], "error": 0.1})
        >>> len(plot_curvature({"spectrum": spectrum, "eigenvalues": eigenvalues}).axes)
        2
    """
    steps = tables.get("curvature_steps")
    columns = 2 if steps is None else 3
    figure, (left, right, *others) = new_figure(5.5 * columns, 4, columns=columns)
    for label, table, style in groups(tables["spectrum"]):
        found = density(table)
        shown = found["density"].where(found["density"] > _LEAST)
        left.semilogy(found["eigenvalue"], shown, label=label, **style)
    for _, table, style in groups(tables["eigenvalues"]):
        color, filled = style["color"], "none" if style["ls"] == "--" else "full"
        bars = {"color": color, "fmt": "o", "fillstyle": filled, "capsize": 3}
        right.errorbar(table["rank"], table["eigenvalue"], table["error"], **bars)
    right.axhline(0, color=PAPER, lw=1, zorder=0)
    left.set_xlabel("eigenvalue")
    left.set_ylabel("density")
    right.set_xlabel("rank (-1: smallest; bars: error bound)")
    right.set_ylabel("eigenvalue of the Hessian of the loss")
    for axes in (left, right):
        limits = axes.get_xlim()
        plain(axes)
        axes.set_xlim(limits)
    right.set_xticks(sorted(tables["eigenvalues"]["rank"].unique()))
    left.set_ylim(bottom=_LEAST)
    for axes in others:
        for _, table, style in groups(steps):
            axes.plot(table["name"], table["largest"], marker="o", **{**style, "ls": "-"})
        axes.set_ylabel("largest eigenvalue")
        axes.tick_params(axis="x", rotation=30)
        plain(axes)
    return finished(figure, tables["spectrum"], "Curvature of the loss")
