"""Sentences about the tables of lesions and of path lengths."""

from typing import Any

import numpy as np
import pandas as pd


def of_units(table: pd.DataFrame) -> str | None:
    """A sentence about `Lesions.units`."""
    known = table.dropna(subset="error")
    if not len(known):
        return None
    whole = (known["error"] - known["rise"]).iloc[0]
    worst = known.loc[known["error"].idxmax()]
    text = (
        f"removing one unit changes the error from {whole:.1%} to {known['error'].median():.1%} "
        f"(median of {len(known)} units; range {known['error'].min():.1%} to "
        f"{worst['error']:.1%}, the largest without {worst['unit']})"
    )
    kept = len(table) - len(known)
    if kept:
        text += f"; {kept} units change the shape without a shortcut and cannot be removed"
    return f"{text}."


def of_removals(table: pd.DataFrame) -> str | None:
    """A sentence about `Lesions.removals`."""
    drawn = table[table["removed"] > 0]
    if not len(drawn):
        return None
    parts = []
    for removed in dict.fromkeys(np.quantile(drawn["removed"], [0, 0.5, 1], method="lower")):
        errors = drawn["error"][drawn["removed"] == removed]
        units = "1 unit" if removed == 1 else f"{removed} units"
        parts.append(
            f"{errors.median():.1%} ({errors.min():.1%} to {errors.max():.1%}) without {units}"
        )
    draws = drawn.groupby("removed").size().max()
    return f"the error is {', '.join(parts)} (medians and ranges of {draws} draws each)."


def of_orders(table: pd.DataFrame) -> str | None:
    """A sentence about `Lesions.orders`, whose rank correlation may be undecided."""
    from scipy.stats import spearmanr

    if table["kendall_tau"].nunique() < 2 or table["error"].nunique() < 2:
        return None
    found: Any = spearmanr(table["kendall_tau"], table["error"])
    least = table.loc[table["kendall_tau"].idxmin()]
    rises = "rises" if found.statistic < 0 else "falls"
    says = f"the error {rises} with disorder" if found.pvalue < 0.05 else "undecided"
    return (
        f"{says}: Spearman's correlation of Kendall's tau and the error over {len(table)} orders "
        f"is {found.statistic:+.2f} (p = {found.pvalue:.1g}); the order furthest from the "
        f"original, with tau {least['kendall_tau']:.2f}, has an error of {least['error']:.1%}."
    )


def of_paths(table: pd.DataFrame) -> str:
    """A sentence about the table of `path_lengths`."""
    longest = table["length"].max()
    ranges = [middle_lengths(table, name) for name in ("product", "paths")]
    shorter = "shorter" if ranges[0][1] < ranges[1][1] else "not shorter"
    return (
        f"90 % of the gradient (number of paths times norm) comes over {ranges[0][0]} to "
        f"{ranges[0][2]} of {longest} branches, {ranges[0][1]} in the median; 90 % of the paths "
        f"have {ranges[1][0]} to {ranges[1][2]} branches, {ranges[1][1]} in the median: the paths "
        f"that carry the gradient are {shorter} than most."
    )


def middle_lengths(table: pd.DataFrame, name: str) -> tuple[int, int, int]:
    """The lengths between which 90 % of a column of `path_lengths` are, and the median between."""
    total = np.cumsum(table[name] / table[name].sum())
    low, half, high = (int(np.searchsorted(total, q)) for q in (0.05, 0.5, 0.95))
    return low, half, min(high, int(table["length"].max()))
