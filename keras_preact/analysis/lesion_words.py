"""What the tables of lesions and of path lengths say, in plain words."""

import numpy as np


def of_units(table) -> str | None:
    """A sentence on `Lesions.units`."""
    known = table.dropna(subset="error")
    if not len(known):
        return None
    whole = (known["error"] - known["rise"]).iloc[0]
    worst = known.loc[known["error"].idxmax()]
    text = (
        f"with one unit left out the error goes from {whole:.1%} to {known['error'].median():.1%} "
        f"in the median of {len(known)} units, {known['error'].min():.1%} to "
        f"{worst['error']:.1%} (without {worst['unit']})"
    )
    kept = len(table) - len(known)
    if kept:
        text += f"; {kept} that change the shape have no shortcut and stay"
    return f"{text}."


def of_removals(table) -> str | None:
    """A sentence on `Lesions.removals`."""
    drawn = table[table["removed"] > 0]
    if not len(drawn):
        return None
    parts = []
    for removed in dict.fromkeys(np.quantile(drawn["removed"], [0, 0.5, 1], method="lower")):
        errors = drawn["error"][drawn["removed"] == removed]
        parts.append(
            f"{removed} of them {errors.median():.1%} ({errors.min():.1%} to {errors.max():.1%})"
        )
    draws = drawn.groupby("removed").size().max()
    return f"without {', without '.join(parts)}, medians and ranges of {draws} draws each."


def of_orders(table) -> str | None:
    """A sentence on `Lesions.orders`, in which a rank correlation may be undecided."""
    from scipy.stats import spearmanr

    if table["kendall_tau"].nunique() < 2 or table["error"].nunique() < 2:
        return None
    found = spearmanr(table["kendall_tau"], table["error"])
    least = table.loc[table["kendall_tau"].idxmin()]
    rises = "rises" if found.statistic < 0 else "falls"
    says = f"the error {rises} with disorder" if found.pvalue < 0.05 else "undecided"
    return (
        f"{says}: Spearman's correlation of Kendall's tau and the error over {len(table)} orders "
        f"is {found.statistic:+.2f} (by chance {found.pvalue:.1g}); the order least like its own, "
        f"tau {least['kendall_tau']:.2f}, has an error of {least['error']:.1%}."
    )


def of_paths(table) -> str:
    """A sentence on what `path_lengths` gives."""
    longest = table["length"].max()
    ranges = [_middle(table, name) for name in ("product", "paths")]
    shorter = "shorter" if ranges[0][1] < ranges[1][1] else "not shorter"
    return (
        f"nine tenths of the gradient, by number of paths times norm, come over {ranges[0][0]} to "
        f"{ranges[0][2]} branches, {ranges[0][1]} in the median, of {longest}; nine tenths of the "
        f"paths pass {ranges[1][0]} to {ranges[1][2]}, {ranges[1][1]} in the median: the paths "
        f"that count are {shorter} than most."
    )


def _middle(table, name):
    """Between which lengths nine tenths of a column are, and where the half is."""
    total = np.cumsum(table[name] / table[name].sum())
    low, half, high = (int(np.searchsorted(total, q)) for q in (0.05, 0.5, 0.95))
    return low, half, min(high, int(table["length"].max()))
