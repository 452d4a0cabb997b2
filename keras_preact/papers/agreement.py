"""How well a ranking of errors agrees with a paper's."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

_SAMPLES = 10_000


class Agreement(NamedTuple):
    """How a ranking of errors compares with a paper's.

    Attributes:
        spearman: Rank correlation of the median errors with the paper's.
        low, high: Its 95 % interval when the runs are resampled (bootstrap).
        chance: Probability of a correlation at least as far from 0, on either side, for a random
            ranking.
        places: Number of errors that both have.
        word: `"agrees"` if so close a ranking has at most 5 % probability by chance and the
            interval lies above 0; `"disagrees"` for the reverse; else `"undecided"`.
    """

    spearman: float
    low: float
    high: float
    chance: float
    places: int
    word: str

    def __str__(self) -> str:
        return (
            f"{self.word}; Spearman {self.spearman:+.2f} [{self.low:+.2f}, {self.high:+.2f}], by "
            f"chance {self.chance:.2g}"
        )


def rank_agreement(
    errors: Sequence[Sequence[float]],
    theirs: Sequence[float],
    groups: Sequence[Any] | np.ndarray | None = None,
) -> Agreement | None:
    """Compares a ranking of errors with a paper's.

    Args:
        errors: The errors of the runs, a list for each of the paper's values.
        theirs: The paper's values; infinite for a failed run.
        groups: Group of each value, such as a data set; only errors within a group are ranked
            together. One group if not given.

    Returns:
        An `Agreement`, undecided if anything was trained only once; `None` if no group has two
        values.

    Example:
        >>> from keras_preact.papers.agreement import rank_agreement
        >>> mine = [[0.8, 0.9], [0.6, 0.7], [0.5, 0.4], [0.3, 0.2], [0.1, 0.2]]
        >>> print(rank_agreement(mine, [9.0, 7.0, 6.5, 6.0, 5.0]))
        agrees; Spearman +1.00 [+0.97, +1.00], by chance 0.017
    """
    groups = np.zeros(len(errors)) if groups is None else np.array(groups)
    if len(np.unique(groups)) == len(errors):
        return None
    mine = _ranks(np.array([[np.median(found) for found in errors]]), groups)
    wanted = _ranks(np.array(theirs), groups)
    rank = _correlation(mine, wanted)[0]
    orders, places = _orders(groups)
    others = _correlation(mine[0][orders], wanted[places])
    chance = np.mean(abs(others) >= abs(rank) - 1e-9)
    low, high = -1.0, 1.0
    if all(len(found) > 1 for found in errors):
        draw = np.random.default_rng(0)
        drawn = [np.median(draw.choice(found, (_SAMPLES, len(found))), 1) for found in errors]
        ranks = _ranks(np.stack(drawn, 1), groups)
        low, high = np.percentile(_correlation(ranks, wanted), [2.5, 97.5])
    word = "agrees" if low > 0 else "disagrees" if high < 0 else "undecided"
    word = word if chance <= 0.05 else "undecided"
    return Agreement(float(rank), float(low), float(high), float(chance), len(errors), word)


class Pairs(NamedTuple):
    """How often pairs of runs of two rows are in the claimed order.

    Attributes:
        in_order: Pairs in that order; ties count one half.
        pairs: All pairs.
        chance: Probability of at least as many if the rows do not differ (Mann-Whitney test,
            exact).
    """

    in_order: float
    pairs: int
    chance: float


def pairs_in_order(lesser: Sequence[float], greater: Sequence[float]) -> Pairs:
    """Compares each run of one row with each run of another.

    Args:
        lesser: The measure for each run of the row that has less of it, by the claim.
        greater: The same for the row that has more of it.

    Returns:
        A `Pairs`.

    Example:
        >>> from keras_preact.papers.agreement import pairs_in_order
        >>> found = pairs_in_order([0.4, 0.5], [0.6, 0.7])
        >>> found.in_order, found.pairs, round(found.chance, 4)
        (4.0, 4, 0.1667)
    """
    found = _in_order(lesser, greater)
    return Pairs(found, len(lesser) * len(greater), _chance(lesser, greater, found))


def _chance(lesser, greater, found):
    """Share of the ways to deal the runs out that have as many pairs in order."""
    from scipy.stats import mannwhitneyu

    runs, count = np.array([*lesser, *greater]), len(lesser)
    if math.comb(len(runs), count) > _SAMPLES:  # of many runs the normal approximation is good
        test = mannwhitneyu(greater, lesser, alternative="greater", method="asymptotic")
        return float(test.pvalue)
    ways = itertools.combinations(range(len(runs)), count)
    dealt = [_in_order(runs[[*way]], np.delete(runs, way)) for way in ways]
    return float(np.mean(np.array(dealt) >= found))


def _in_order(lesser, greater):
    small, large = np.asarray(lesser)[:, None], np.asarray(greater)
    return float(np.sum(small < large) + 0.5 * np.sum(small == large))


def _ranks(values, groups):
    """Ranks along the last axis among those of the same group, less their mean."""
    from scipy.stats import rankdata

    ranks = np.empty(values.shape)
    for group in np.unique(groups):
        same = groups == group
        ranks[..., same] = rankdata(values[..., same], axis=-1) - (same.sum() + 1) / 2
    return ranks


def _orders(groups):
    """All orders of places within their groups, or enough of them; and the places themselves."""
    places = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    if math.prod(math.factorial(len(group)) for group in places) <= _SAMPLES:
        ways = itertools.product(*map(itertools.permutations, places))
        orders = np.array([np.concatenate(way) for way in ways])
    else:
        draw = np.random.default_rng(0)
        drawn = [draw.permuted(np.tile(group, (_SAMPLES - 1, 1)), axis=1) for group in places]
        own = np.concatenate(places)[None]  # which is one of them, so that none is impossible
        orders = np.concatenate([own, np.concatenate(drawn, axis=1)])
    return orders, np.concatenate(places)


def _correlation(ranks, wanted):
    """Of each row with `wanted`; 0 where one of the two has no order."""
    sizes = np.sqrt((ranks**2).sum(1) * (wanted**2).sum())
    return np.where(sizes > 0, ranks @ wanted / np.where(sizes > 0, sizes, 1), 0.0)
