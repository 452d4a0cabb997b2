"""Pictures of an analysis, with the paper's line where there is one.

Each function takes a table of `Analysis`, with the columns `network` and `state`: a colour a
network, initial weights dashed, trained ones solid.
"""

import numpy as np

from keras_preact.analysis.rectifiers import TABLE_1, learned_slopes
from keras_preact.analysis.signals import QUANTILES
from keras_preact.analysis.variance import of_plain_nets
from keras_preact.evaluation.plots import INK, new_figure, plain_text

#: Colours that those who do not see some of them still tell apart (Okabe and Ito, 2008).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
PAPER = "#777777"


@plain_text
def plot_signals(signals):
    """Second moment, mean and negative share of what each unit hands on.

    Identity Mappings, section 4: a signal that is never negative and grows with every unit is what
    ReLU before the addition makes; after the addition it cuts off what is negative.

    Args:
        signals: `Analysis.tables["signals"]`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib.ticker import PercentFormatter

    figure, (left, middle, right) = new_figure(13, 4, columns=3)
    _lines(left, signals, "output_second_moment", log=True)
    _lines(middle, signals, "output_mean")
    _lines(right, signals, "negative")
    left.set_ylabel("second moment of the unit's output")
    middle.set_ylabel("mean of the unit's output")
    right.set_ylabel("share of the output below 0")
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.set_ylim(-0.02, max(0.6, right.get_ylim()[1]))
    return _finished(figure, signals, "Signals")


@plain_text
def plot_equation_4(signals):
    """How much each unit adds, what is cut off after, and how far equation 4 is from holding.

    Identity Mappings, equation 4: x_L = x_l plus the sum of the branches between.

    Args:
        signals: `Analysis.tables["signals"]`, of residual networks.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib.ticker import PercentFormatter

    figure, (left, middle, right) = new_figure(13, 4, columns=3)
    _lines(left, signals, "adds")
    _lines(middle, signals, "equation4_error")
    _lines(right, signals, "cut_off")
    left.set_ylabel("size of the branch / size of the input")
    middle.set_ylabel("distance of the output from\nan earlier one plus the branches between")
    right.set_ylabel("energy that is cut off after the addition")
    left.set_ylim(bottom=0)
    for axes in (middle, right):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(-0.02 * max(0.05, axes.get_ylim()[1]), max(0.05, axes.get_ylim()[1]))
    return _finished(figure, signals, "What each unit adds (2016, equation 4)")


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
    for label, table, style in _groups(responses):
        deviations = table["std"].to_numpy()
        places = np.arange(1, len(deviations) + 1)
        left.plot(places, deviations, label=label, **style)
        right.plot(places, np.sort(deviations)[::-1], label=label, **style)
    left.set_xlabel("layer, in order")
    right.set_xlabel("layer, by size of its response")
    for axes in (left, right):
        axes.set_ylabel("standard deviation of the response")
        axes.set_ylim(bottom=0)
        _plain(axes)
    return _finished(figure, responses, "Responses of the layers (2015, Figure 7)")


@plain_text
def plot_gradients(gradients):
    """Norm of the loss's gradient at the input of every unit, and over that of the last unit.

    Args:
        gradients: `Analysis.tables["gradients"]`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    units = gradients[gradients["unit"] != "head"]
    figure, (left, right) = new_figure(11, 4, columns=2)
    _lines(left, units, "gradient", log=True)
    _lines(right, units, "relative", log=True)
    right.axhline(1, color=PAPER, lw=1, zorder=0)
    left.set_ylabel("norm of the gradient at the unit's input")
    right.set_ylabel("the same / that at the last unit")
    return _finished(figure, units, "Gradients on their way back")


@plain_text
def plot_equation_5(gradients):
    """The gradient's two parts, through shortcuts and through weights, and the weight term.

    Identity Mappings, equation 5: the gradient vanishes only where the weight term is -1.

    Args:
        gradients: `Analysis.tables["gradients"]`, of residual networks.

    Returns:
        A `matplotlib.figure.Figure`: a column a network and state.
    """
    units = gradients[gradients["unit"] != "head"]
    units = units.groupby(["network", "state"]).filter(lambda rows: rows["direct"].any())
    groups = [*_groups(units)]
    figure, grid = new_figure(1 + 4.2 * len(groups), 6.4, rows=2, columns=len(groups))
    for (label, table, _), (top, bottom) in zip(groups, np.reshape(grid, (2, -1)).T, strict=True):
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
            _plain(axes)
    first = np.reshape(grid, (2, -1))[:, 0]
    first[0].set_ylabel("norm of the gradient")
    first[1].set_ylabel("weight term, mean and range\nover mini-batches")
    figure.suptitle("The gradient in two parts (2016, equation 5)", color=INK)
    return figure


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
    figure, (left, right) = new_figure(11, 4, columns=2)
    for label, table, style in _groups(variance):
        places = np.arange(1, len(table) + 1)
        forward, backward = (np.sqrt(table[f"{way}_product"]) for way in ("forward", "backward"))
        left.semilogy(places, forward / forward.iloc[0], label=label, **style)
        right.semilogy(places, backward / backward.iloc[-1], label=label, **style)
        measured = table["response_std"] / table["response_std"].iloc[0]
        left.semilogy(places, measured, marker=".", lw=0, color=style["color"], label="_measured")
    ratio = (table["xavier"] / table["std"]) ** 2
    for axes, way, name in ((left, "forward", "Xavier"), (right, "backward", "_")):
        product = (table[way] * ratio)[:: 1 if way == "forward" else -1].cumprod()
        axes.axhline(1, color=PAPER, lw=1, zorder=0, label="He: 1" if name[0] != "_" else name)
        axes.semilogy(
            product.index - product.index.min() + 1,
            np.sqrt(product / product.iloc[0]),
            color=PAPER,
            ls=":",
            label=name,
        )
        axes.set_xlabel("layer")
        _plain(axes)
    points = " (points: measured)" if variance["response_std"].notna().any() else ""
    left.set_ylabel(f"standard deviation of the response\nover the first layer's{points}")
    right.set_ylabel("standard deviation of the gradient\nthat the initialisation alone makes")
    return _finished(figure, variance, "Variance by the theory (rectifier paper, section 2.2)")


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
    for label, table, style in _groups(gates):
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
        axes.annotate(text, (1, value), (2, 3), textcoords="offset points", fontsize=8, color=INK)
    axes.set_xlabel("unit")
    axes.set_ylabel("gate g (bands: half of it, nine tenths of it)")
    _plain(axes)
    return _finished(figure, gates, "Gates")


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
    _lines(left, activations, "inactive", marker=".")
    _lines(right, activations, "dead", marker=".")
    left.set_ylabel("share of inputs at or below 0")
    right.set_ylabel("share of channels that are never positive")
    for axes in (left, right):
        axes.set_xlabel("activation, in order")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    left.set_ylim(0, 1)
    right.set_ylim(-0.01, max(0.1, right.get_ylim()[1]))
    return _finished(figure, activations, "Rectifiers")


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
    for label, table, style in _groups(activations):
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
    _plain(axes)
    return _finished(figure, activations, "Learned slopes of PReLU")


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
    _plain(axes)
    return figure


def pictures(tables) -> dict:
    """The pictures that the tables of an `Analysis` have something to show in, by file name."""
    signals, gradients = tables["signals"], tables["gradients"]
    residual = "adds" in signals and signals["adds"].notna().any()
    direct = gradients["direct"][gradients["unit"] != "head"].any()
    sloped = "slope_mean" in tables["activations"]
    plain = of_plain_nets(tables)
    found = {
        "signals": plot_signals(signals),
        "equation_4": plot_equation_4(signals) if residual else None,
        "responses": plot_responses(tables["responses"]),
        "gradients": plot_gradients(gradients),
        "variance": plot_variance(plain) if len(plain) else None,
        "equation_5": plot_equation_5(gradients) if direct else None,
        "gates": plot_gates(tables["gates"]) if len(tables["gates"]) else None,
        "rectifiers": plot_rectifiers(tables["activations"]),
        "slopes": plot_slopes(tables["activations"]) if sloped else None,
    }
    return {name: figure for name, figure in found.items() if figure}


def _groups(table):
    """(label, rows, style of the line) of each network and state."""
    networks = [*table["network"].unique()]
    states = table["state"].nunique()
    for (network, state), rows in table.groupby(["network", "state"], sort=False):
        color = COLORS[networks.index(network) % len(COLORS)]
        dashed = states > 1 and state == "initial"
        label = f"{network}, {state}" if states > 1 or len(networks) == 1 else network
        yield label, rows, {"color": color, "ls": "--" if dashed else "-", "lw": 1.8}


def _lines(axes, table, name, log=False, marker=None):
    """A line a network and state; with a marker points, for neighbours of two kinds."""
    for label, rows, style in _groups(table):
        if rows[name].isna().all():
            continue
        if marker:
            style |= {"lw": 0, "fillstyle": "none" if style["ls"] == "--" else "full"}
        shown = marker or ("o" if len(rows) < 4 else None)
        axes.plot(np.arange(1, len(rows) + 1), rows[name], label=label, marker=shown, **style)
    if log:
        axes.set_yscale("log")
    axes.set_xlabel("unit")
    _plain(axes)


def _plain(axes):
    from matplotlib.ticker import LogFormatter, MaxNLocator

    if axes.get_yscale() == "log":  # as plain text, since names are shown as they are
        axes.yaxis.set_major_formatter(LogFormatter())
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    if axes.get_xlim()[1] > 1.5:  # units and layers, counted from 1
        axes.set_xlim(left=0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _finished(figure, table, title):
    """With one legend below, and a title that names the state where all have the same."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = 3 if figure.get_figwidth() > 10 else 2
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, labelcolor=INK
    )
    states = table["state"].unique()
    figure.suptitle(f"{title}, {states[0]} weights" if len(states) == 1 else title, color=INK)
    return figure
