"""Pictures of what is in a network: responses, variances by the theory, gates, rectifiers, chains.

Each function takes a table of `Analysis`, with the columns `network` and `state`: a colour a
network, initial weights dashed, trained ones solid.
"""

import numpy as np

from keras_preact.analysis.rectifiers import TABLE_1, learned_slopes
from keras_preact.analysis.series import COLORS, PAPER, finished, groups, lines, plain
from keras_preact.analysis.signals import QUANTILES
from keras_preact.evaluation.plots import INK, new_figure, plain_text


@plain_text
def plot_responses(responses):
    """Standard deviations of the layers' responses, in order and by size.

    Deep Residual Learning, Figure 7: responses are taken after normalisation, where it directly
    follows the layer, and before the activation; residual networks have smaller ones.

    Args:
        responses: `Analysis.tables["responses"]`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    figure, (left, right) = new_figure(11, 4, columns=2)
    for label, table, style in groups(responses):
        deviations = table["std"].to_numpy()
        places = np.arange(1, len(deviations) + 1)
        left.plot(places, deviations, label=label, **style)
        right.plot(places, np.sort(deviations)[::-1], label=label, **style)
    left.set_xlabel("layer, in order")
    right.set_xlabel("layer, by size of its response")
    for axes in (left, right):
        axes.set_ylabel("standard deviation of the response")
        axes.set_ylim(bottom=0)
        plain(axes)
    return finished(figure, responses, "Responses of the layers (2015, Figure 7)")


@plain_text
def plot_variance(variance):
    """What the initialisation does to signals and gradients over depth, beside He's and Xavier's.

    Delving Deep into Rectifiers, section 2.2: in a plain net without norms the standard deviation
    of the responses is multiplied by the root of ½ (1 + a²) n Var[w] in each layer, and that of the
    gradients by the root of ½ (1 + a²) n̂ Var[w].

    Args:
        variance: `Analysis.tables["variance"]`, of plain nets.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    variance = variance[variance["state"] == "initial"]
    figure, (left, right) = new_figure(11, 4, columns=2)
    for label, table, style in groups(variance):
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
            axes.semilogy(places, theirs, color=style["color"], ls=":", label=f"{label}: Xavier's")
    for axes in (left, right):
        axes.axhline(1, color=PAPER, lw=1, zorder=0, label="He's: 1")
        axes.set_xlabel("layer")
        plain(axes)
    points = " (points: measured)" if variance["response_std"].notna().any() else ""
    left.set_ylabel(f"standard deviation of the response\nover the first layer's{points}")
    right.set_ylabel("standard deviation of the gradient\nthat the initialisation alone makes")
    return finished(figure, variance, "Variance by the theory (rectifier paper, section 2.2)")


@plain_text
def plot_gates(gates):
    """How g is spread in every gated unit, beside what its initial bias alone would make it.

    Args:
        gates: `Analysis.tables["gates"]`.

    Returns:
        A `matplotlib.figure.Figure`.
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
    axes.set_ylabel("gate g (bands: half of it, nine tenths of it)")
    plain(axes)
    return finished(figure, gates, "Gates")


@plain_text
def plot_rectifiers(activations):
    """Share of each activation's inputs that are not positive, and of channels that never are.

    Args:
        activations: `Analysis.tables["activations"]`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib.ticker import PercentFormatter

    figure, (left, right) = new_figure(11, 4, columns=2)
    lines(left, activations, "inactive", marker=".")
    lines(right, activations, "dead", marker=".")
    left.set_ylabel("share of inputs at or below 0")
    right.set_ylabel("share of channels that are never positive")
    for axes in (left, right):
        axes.set_xlabel("activation, in order")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    left.set_ylim(0, 1)
    right.set_ylim(-0.01, max(0.1, right.get_ylim()[1]))
    return finished(figure, activations, "Rectifiers")


@plain_text
def plot_slopes(activations):
    """Learned slopes of PReLU by depth, mean and range over channels, beside the paper's.

    Delving Deep into Rectifiers, Table 1: larger slopes in the first layer, smaller in deep ones.

    Args:
        activations: `Analysis.tables["activations"]`, of networks with PReLU.

    Returns:
        A `matplotlib.figure.Figure`.
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
        label = f"paper's Table 1, {words[name]}"
        axes.plot(depth, TABLE_1[name], marker=marker, lw=0, ms=5, color=PAPER, label=label)
    axes.set_xlabel("depth, from the first activation (0) to the last (1)")
    axes.set_ylabel("slope for negative inputs")
    plain(axes)
    return finished(figure, activations, "Learned slopes of PReLU")


@plain_text
def plot_chain(chains):
    """The gradient of each weight of scalar chains, such as one with and one without a shortcut.

    Args:
        chains: `{label: frame of chain}`.

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
    axes.set_ylabel("size of its weight's gradient")
    axes.legend(frameon=False, labelcolor=INK)
    plain(axes)
    return figure
