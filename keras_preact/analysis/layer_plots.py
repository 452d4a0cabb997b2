"""Plots of the layers of a network: responses, predicted variances, gates, rectifiers, chains.

Each function takes a table of `Analysis`, with the columns `network` and `state`. Each network has
a colour; lines are dashed for initial weights and solid for trained ones.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_preact.analysis.rectifiers import TABLE_1, learned_slopes
from keras_preact.analysis.series import COLORS, PAPER, finished, groups, lines, plain
from keras_preact.analysis.signals import QUANTILES
from keras_preact.evaluation.plots import INK, new_figure, plain_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@plain_text
def plot_responses(responses: "pd.DataFrame") -> "Figure":
    """Plots the standard deviations of the layer responses, in order and sorted.

    Deep Residual Learning, Figure 7: responses are measured after a normalisation that directly
    follows the layer, and before the activation; residual networks have smaller responses.

    Args:
        responses: `Analysis.tables["responses"]`.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis import plot_responses
        >>> table = pd.DataFrame({"network": "net", "state": "initial", "std": [1.0, 0.9, 0.5]})
        >>> plot_responses(table).axes[0].get_xlabel()
        'layer'
    """
    figure, (left, right) = new_figure(11, 4, columns=2)
    for label, table, style in groups(responses):
        deviations = table["std"].to_numpy()
        places = np.arange(1, len(deviations) + 1)
        left.plot(places, deviations, label=label, **style)
        right.plot(places, np.sort(deviations)[::-1], label=label, **style)
    left.set_xlabel("layer")
    right.set_xlabel("layer, sorted by response")
    for axes in (left, right):
        axes.set_ylabel("standard deviation of the response")
        axes.set_ylim(bottom=0)
        plain(axes)
    return finished(figure, responses, "Layer responses (2015, Figure 7)")


@plain_text
def plot_variance(variance: "pd.DataFrame") -> "Figure":
    """Plots the effect of the initialisation on signals and gradients, with those of He and Xavier.

    Delving Deep into Rectifiers, section 2.2: in a plain net without norms, each layer multiplies
    the standard deviation of the responses by the square root of ½ (1 + a²) n Var[w], and that of
    the gradients by the square root of ½ (1 + a²) n̂ Var[w].

    Args:
        variance: `Analysis.tables["variance"]`, of plain nets.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.analysis import plot_variance, variance_factors
        >>> net = create_model("vgg13", input_shape=(32, 32, 3), dense=(8, 8))
        >>> table = variance_factors(net).assign(network="vgg13", state="initial", response_std=1.0)
        >>> len(plot_variance(table).axes)
        2
    """
    initial: Any = variance[variance["state"] == "initial"]
    figure, (left, right) = new_figure(11, 4, columns=2)
    for label, table, style in groups(initial):
        places = np.arange(1, len(table) + 1)
        forward, backward = (np.sqrt(table[f"{way}_product"]) for way in ("forward", "backward"))
        left.semilogy(places, forward / forward.iloc[0], label=label, **style)
        right.semilogy(places, backward / backward.iloc[-1], label=label, **style)
        measured = table["response_std"] / table["response_std"].iloc[0]
        left.semilogy(places, measured, marker=".", lw=0, color=style["color"], label="_measured")
        for axes, way, step in ((left, "forward", 1), (right, "backward", -1)):
            xavier = table[way].to_numpy() * (table["xavier"] / table["std"]).to_numpy() ** 2
            product = np.cumprod(xavier[::step])
            theirs = np.sqrt(product / product[0])[::step]
            axes.semilogy(places, theirs, color=style["color"], ls=":", label=f"{label}: Xavier")
    for axes in (left, right):
        axes.axhline(1, color=PAPER, lw=1, zorder=0, label="He: 1")
        axes.set_xlabel("layer")
        plain(axes)
    points = " (points: measured)" if initial["response_std"].notna().any() else ""
    left.set_ylabel(f"std of the response\nrelative to the first layer{points}")
    right.set_ylabel("std of the gradient\nrelative to the last layer")
    title = "Predicted variance (Delving Deep into Rectifiers, section 2.2)"
    return finished(figure, initial, title)


@plain_text
def plot_gates(gates: "pd.DataFrame") -> "Figure":
    """Plots the distribution of g in every gated unit, with the value of its initial bias alone.

    Args:
        gates: `Analysis.tables["gates"]`.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis import plot_gates
        >>> table = {"bias": [-6], "q5": 0.1, "q25": 0.2, "q50": 0.3, "q75": 0.4, "q95": 0.5}
        >>> figure = plot_gates(pd.DataFrame(table).assign(network="net", state="initial"))
        >>> len(figure.axes)
        1
    """
    figure, axes = new_figure(8, 4.4)
    quantiles = [f"q{q:.0%}".rstrip("%") for q in QUANTILES]
    for label, table, style in groups(gates):
        places = np.arange(1, len(table) + 1)
        low, below, middle, above, high = (table[q] for q in quantiles)
        axes.semilogy(places, middle, label=f"{label}: median", **style)
        axes.fill_between(places, below, above, color=style["color"], alpha=0.3, lw=0)
        axes.fill_between(places, low, high, color=style["color"], alpha=0.12, lw=0)
    first = gates[gates["state"] == "initial"]
    for bias in np.unique(first["bias"].round(3)):
        value = 1 / (1 + np.exp(-bias))
        axes.axhline(value, color=PAPER, lw=1, ls=":", zorder=0)
        text = f"sigmoid of the initial bias {bias:g}"
        ground = {"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1}
        place = {"textcoords": "offset points", "xytext": (2, 5), "bbox": ground}
        axes.annotate(text, (1, value), **place, fontsize=8, color=INK)
    axes.set_xlabel("unit")
    axes.set_ylabel("gate g (bands: 50 % and 90 % of the values)")
    plain(axes)
    return finished(figure, gates, "Gates")


@plain_text
def plot_rectifiers(activations: "pd.DataFrame") -> "Figure":
    """Plots the share of inactive inputs of each activation, and the share of its dead channels.

    Args:
        activations: `Analysis.tables["activations"]`.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis import plot_rectifiers
        >>> table = pd.DataFrame({"inactive": [0.5, 0.6], "dead": [0.0, 0.1]})
        >>> len(plot_rectifiers(table.assign(network="net", state="initial")).axes)
        2
    """
    from matplotlib.ticker import PercentFormatter

    figure, (left, right) = new_figure(11, 4, columns=2)
    lines(left, activations, "inactive", marker=".")
    lines(right, activations, "dead", marker=".")
    left.set_ylabel("inactive: share of inputs at or below 0")
    right.set_ylabel("dead: share of channels\nthat are never positive")
    for axes in (left, right):
        axes.set_xlabel("activation")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    left.set_ylim(0, 1)
    right.set_ylim(-0.01, max(0.1, right.get_ylim()[1]))
    return finished(figure, activations, "Rectifiers")


@plain_text
def plot_slopes(activations: "pd.DataFrame") -> "Figure":
    """Plots the learned slopes of PReLU by depth, mean and range over channels, with the paper's.

    Delving Deep into Rectifiers, Table 1: the slopes are larger in the first layer and smaller in
    deep layers.

    Args:
        activations: `Analysis.tables["activations"]`, of networks with PReLU.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis import plot_slopes
        >>> slopes = {"slope_mean": [0.5, 0.1], "slope_min": 0.0, "slope_max": 0.9}
        >>> table = pd.DataFrame(slopes).assign(slope_count=16, layer=["act1", "act2"])
        >>> len(plot_slopes(table.assign(network="net", state="trained")).axes)
        1
    """
    figure, axes = new_figure(8, 4.4)
    for label, table, style in groups(activations):
        slopes = learned_slopes(table)
        if not len(slopes):
            continue
        low, high = slopes["slope_min"], slopes["slope_max"]
        axes.fill_between(slopes["depth"], low, high, color=style["color"], alpha=0.12, lw=0)
        axes.plot(slopes["depth"], slopes["slope_mean"], label=f"{label}: mean, range", **style)
    depth = np.linspace(0, 1, len(TABLE_1))
    words = {"channel_wise": "channel-wise", "channel_shared": "channel-shared"}
    for name, marker in (("channel_wise", "D"), ("channel_shared", "x")):
        label = f"paper, Table 1, {words[name]}"
        axes.plot(depth, TABLE_1[name], marker=marker, lw=0, ms=5, color=PAPER, label=label)
    axes.set_xlabel("depth, from the first activation (0) to the last (1)")
    axes.set_ylabel("slope for negative inputs")
    plain(axes)
    return finished(figure, activations, "Learned slopes of PReLU")


@plain_text
def plot_chain(chains: "Mapping[str, pd.DataFrame]") -> "Figure":
    """Plots the gradient of each weight of scalar chains, for example with and without shortcut.

    Args:
        chains: `{label: table}`, with tables of `chain`.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> from keras_preact.analysis import chain, plot_chain
        >>> plain, residual = chain(40), chain(40, residual_weight=0.1)
        >>> len(plot_chain({"plain": plain, "with residual weights": residual}).axes[0].lines)
        2
    """
    figure, axes = new_figure(7, 4.2)
    for k, (label, frame) in enumerate(chains.items()):
        sizes = frame["weight_gradient"].abs()
        axes.semilogy(frame["layer"], sizes, color=COLORS[k], marker="o", ms=4, label=label)
    axes.set_xlabel("layer")
    axes.set_ylabel("absolute gradient of its weight")
    axes.legend(frameon=False, labelcolor=INK)
    plain(axes)
    return figure
