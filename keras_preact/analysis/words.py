"""Sentences about the tables of an analysis, with their numbers and without interpretation."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from keras_preact.analysis import (
    curvature_words,
    lesion_words,
    refinement_words,
    surface_words,
)
from keras_preact.analysis.rectifiers import learned_slopes, paper_slopes
from keras_preact.analysis.variance import of_plain_nets


def in_words(tables: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Describes the tables of an `Analysis` in sentences, by topic.

    Args:
        tables: Tables of an `Analysis`, with the columns `network` and `state`; `variance` only
            together with `signals`.

    Returns:
        `{topic: sentences}`, with one sentence per network and state; empty topics are omitted.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis.words import in_words
        >>> gates = pd.DataFrame({"network": ["net"], "state": ["initial"], "bias": [-6.0],
        ...                       "mean": [0.004], "std": [0.002], "q5": [0.001], "q95": [0.01]})
        >>> in_words({"gates": gates})["Gates"][0].startswith("net, initial: g is 0.004")
        True
    """
    topics = {
        "Signals": ("signals", _signals),
        "Signal propagation": ("signals", _propagation),
        "Forward, equation 4": ("signals", _equation_4),
        "Scaled shortcuts, equation 8": ("signals", _scaling),
        "Gradients": ("gradients", _gradients),
        "Backward, equation 5": ("gradients", _equation_5),
        "Initialisation": ("variance", _variance),
        "Gates": ("gates", _gates),
        "Rectifiers": ("activations", _rectifiers),
        "PReLU": ("activations", _slopes),
        "Lesions": ("lesions", lesion_words.of_units),
        "Random removals": ("removals", lesion_words.of_removals),
        "Reordered units": ("orders", lesion_words.of_orders),
        "Iterative inference": ("cosines", refinement_words.of_cosines),
        "Linear probes": ("probes", refinement_words.of_probes),
        "Curvature": ("eigenvalues", curvature_words.of_eigenvalues),
        "Trace of the Hessian": ("traces", curvature_words.of_traces),
        "Spectral density": ("spectrum", curvature_words.of_spectrum),
        "Curvature along the training": ("curvature_steps", curvature_words.of_steps),
        "Loss surface": ("surface", surface_words.of_surface),
        "Trajectory": ("trajectory", surface_words.of_trajectory),
        "Between two runs": ("lines", surface_words.of_lines),
        "Path lengths": ("paths", lesion_words.of_paths),
    }
    if "variance" in tables:
        tables = {**tables, "variance": of_plain_nets(tables)}
    words: dict[str, list[str]] = {}
    for topic, (name, sentence) in topics.items():
        if name not in tables:
            continue
        for (network, state), table in tables[name].groupby(["network", "state"], sort=False):
            text = sentence(table.reset_index(drop=True))
            if text:
                words.setdefault(topic, []).append(f"{network}, {state}: {text}")
    return words


def summary(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Summarises the tables of an `Analysis`: the figures to compare networks at a glance.

    Args:
        tables: Tables of an `Analysis`: at least `signals`, `gradients` and `activations`.

    Returns:
        One row per network and state: `network`, `state`, `units`, `signal_growth` (second moment
        of the last unit's output relative to the first one's input), `negative` (share of unit
        outputs below 0, mean over units), `gradient_first_over_last` (norm at the first unit's
        input relative to that at the last one's), `gradient_factor` (the same per unit), `inactive`
        (share of activation inputs at or below 0).

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis import summary
        >>> of = {"network": "net", "state": "initial"}
        >>> moments = {"input_second_moment": [1.0, 2.0], "output_second_moment": [2.0, 4.0]}
        >>> tables = {
        ...     "signals": pd.DataFrame({**of, **moments, "negative": 0.5}),
        ...     "gradients": pd.DataFrame({**of, "relative": [3.0, 1.0]}),
        ...     "activations": pd.DataFrame({**of, "inactive": [0.5, 0.5]}),
        ... }
        >>> summary(tables)["signal_growth"].tolist()
        [4.0]
    """
    keys, rows = ["network", "state"], []
    for (network, state), units in tables["signals"].groupby(keys, sort=False):
        of = {
            topic: table[(table["network"] == network) & (table["state"] == state)]
            for topic, table in tables.items()
        }
        ratio = of["gradients"]["relative"].iloc[0]
        first, last = units["input_second_moment"].iloc[0], units["output_second_moment"].iloc[-1]
        row = {"network": network, "state": state, "units": len(units)}
        row |= {"signal_growth": last / first, "negative": units["negative"].mean()}
        row |= {"gradient_first_over_last": ratio}
        row |= {"gradient_factor": ratio ** (1 / max(len(units) - 1, 1))}
        rows.append({**row, "inactive": of["activations"]["inactive"].mean()})
    return pd.DataFrame(rows)


def _signals(table):
    first, last = table["input_second_moment"].iloc[0], table["output_second_moment"].iloc[-1]
    negative = table["negative"].mean()
    text = (
        f"the second moment of the signal goes from {first:.3g} to {last:.3g} over "
        f"{len(table)} units; "
    )
    if table["negative"].max() == 0:
        return text + "no output of a unit is negative."
    return text + f"{negative:.0%} of the outputs are negative."


def _propagation(table):
    """Brock et al. 2021: the variance grows over the units of a stage and falls between stages."""
    variance, stage = table["output_channel_variance"], table["stage"]
    inside = stage.diff() == 0
    steps = variance.diff()[inside]
    if not len(steps):
        return None
    squared = table["output_channel_mean_squared"]
    text = (
        f"the variance of a channel, {variance.iloc[0]:.3g} behind the first and "
        f"{variance.iloc[-1]:.3g} behind the last unit, grows in {(steps > 0).sum()} of "
        f"{len(steps)} units that keep the shape of their stage"
    )
    between = variance.diff()[~inside].dropna()
    if len(between):
        text += f" and falls in {(between < 0).sum()} of {len(between)} that begin one"
    return (
        f"{text}; the squared mean of a channel goes from {squared.iloc[0]:.3g} to "
        f"{squared.iloc[-1]:.3g}."
    )


def _equation_4(table):
    if "equation4_error" not in table or table["equation4_error"].isna().all():
        return None
    worst, cut = table["equation4_error"].max(), table["cut_off"]
    adds = f"A branch adds {table['adds'].median():.2g} times the size of its input (median)."
    if worst < 1e-5:
        exact = f"to {worst:.0e} of its size" if worst else "exactly"
        return f"every output equals an earlier one plus the branches in between, {exact}. {adds}"
    text = f"outputs differ from an earlier one plus the branches in between by up to {worst:.0%}"
    if cut.max() > 0:
        text += f"; the activation after the addition removes {cut.mean():.1%} of the energy"
        text += f", {cut.iloc[-1]:.1%} in the last unit"
    return f"{text}. {adds}"


def _scaling(table):
    if "scaling" not in table or table["scaling"].isna().all():
        return None
    if np.allclose(table["scaling"].dropna(), 1.0):
        return None
    product = table["scaling_product"].iloc[0]
    return (
        f"a shortcut scales its input by {table['scaling'].mean():.3g} on average; over all "
        f"{len(table)} units, the product is {product:.2e}."
    )


def _gradients(table):
    units = table[table["unit"] != "head"]
    first, last = units["gradient"].iloc[0], units["gradient"].iloc[-1]
    factor = (first / last) ** (1 / max(len(units) - 1, 1))
    return (
        f"the gradient at the first unit is {first / last:.3g} times that at the last one "
        f"({first:.2e} and {last:.2e}), a factor of {factor:.3g} per unit in the backward pass."
    )


def _equation_5(table):
    units = table[(table["unit"] != "head")]
    if not units["direct"].any():
        return None
    share = units["direct"].iloc[0] / units["gradient"].iloc[0]
    near, images = units["near_minus_1"].mean(), units["images_near_minus_1"].mean()
    return (
        "the part through shortcuts and the part through weights add up to the gradient, to "
        f"{units['split_error'].max():.0e}. At the first unit, the part through shortcuts is "
        f"{share:.2g} times the whole. The weight term is {units['weight_term_min'].min():.2g} to "
        f"{units['weight_term_max'].max():.2g}; it is within 0.1 of -1 in {near:.1%} of units and "
        f"mini-batches, and in {images:.1%} of units and images."
    )


def _variance(table):
    std = table["std"]
    if std.isna().any() or table["state"].iloc[0] != "initial":  # the same in both states
        return None
    forward = np.sqrt(table["forward_product"].iloc[-1] / table["forward_product"].iloc[0])
    backward = np.sqrt(table["backward_product"].iloc[0] / table["backward_product"].iloc[-1])
    xavier = (table["xavier"] / std) ** 2 * table["forward"]
    return (
        f"over {len(table)} layers, the initialisation alone scales a signal by {forward:.2e} "
        f"and a gradient by {backward:.2e}; Xavier initialisation would scale the signal by "
        f"{np.sqrt(xavier[1:].prod()):.2e}."
    )


def _gates(table):
    start = 1 / (1 + np.exp(-table["bias"].mean()))
    return (
        f"g is {table['mean'].mean():.3g} on average, and {table['q5'].mean():.2g} to "
        f"{table['q95'].mean():.2g} for 90 % of the values; its bias of "
        f"{table['bias'].mean():.3g} alone gives g = {start:.2g}."
    )


def _rectifiers(table):
    dead = table["dead"].mean()
    text = f"{table['inactive'].mean():.0%} of the inputs of activations are not positive"
    text += f"; {dead:.1%} of the channels are dead" if dead else "; no channel is dead"
    always = table["always_on"].mean()
    return f"{text}, {always:.1%} are always on." if always else f"{text}."


def _slopes(table):
    slopes = learned_slopes(table)
    if not len(slopes):
        return None
    first, deep = [], []
    for column in (slopes["slope_mean"], paper_slopes(slopes)):
        first.append(f"{column.iloc[0]:.3f}")
        deep.append(f"{column.iloc[-max(1, len(column) // 3) :].mean():.3f}")
    return (
        f"the first slope is {first[0]} (Table 1 of the paper: {first[1]}), the mean slope of the "
        f"last third is {deep[0]} ({deep[1]})."
    )
