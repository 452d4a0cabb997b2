"""How far an order of errors agrees with a paper's."""

import itertools
import math
from typing import NamedTuple

import numpy as np

_SAMPLES = 10_000


class Agreement(NamedTuple):
    """How an order of errors compares with a paper's.

    Attributes:
        spearman: Rank correlation of the mean errors with the paper's.
        low, high: Its 95 % interval, from drawing the trainings anew.
        places: How many errors both have.
        word: `"agrees"` (all of the interval is above 0), `"disagrees"` (below) or `"undecided"`.
    """

    spearman: float
    low: float
    high: float
    places: int
    word: str

    def __str__(self):
        return f"{self.word}; Spearman {self.spearman:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def rank_agreement(errors, theirs, groups=None) -> Agreement | None:
    """Compares an order of errors with a paper's.

    Args:
        errors: The errors of several trainings, a list for each of the paper's figures.
        theirs: The paper's figures.
        groups: What each of them belongs to, such as a set of images; only errors of one group are
            ranked together. All of them if not given.

    Returns:
        An `Agreement`, undecided where something was trained only once; `None` with fewer than two
        figures.

    Example:
        >>> from keras_preact.papers.agreement import rank_agreement
        >>> print(rank_agreement([[0.5, 0.6], [0.3, 0.2], [0.1, 0.2]], [9.0, 7.0, 6.0]))
        agrees; Spearman +1.00 [+0.87, +1.00]
    """
    if len(errors) < 2:
        return None
    groups = np.zeros(len(errors)) if groups is None else np.array(groups)
    wanted = _ranks(np.array(theirs), groups)
    rank = _correlation(_ranks(np.array([[np.mean(found) for found in errors]]), groups), wanted)[0]
    low, high = -1.0, 1.0
    if all(len(found) > 1 for found in errors):
        draw = np.random.default_rng(0)
        drawn = [draw.choice(found, (_SAMPLES, len(found))).mean(1) for found in errors]
        ranks = _ranks(np.stack(drawn, 1), groups)
        low, high = np.percentile(_correlation(ranks, wanted), [2.5, 97.5])
    word = "agrees" if low > 0 else "disagrees" if high < 0 else "undecided"
    return Agreement(float(rank), float(low), float(high), len(errors), word)


class Pairs(NamedTuple):
    """How often a run of one row and a run of another are in the order that is claimed.

    Attributes:
        in_order: Pairs in that order; equal ones count one half.
        pairs: All pairs.
        chance: How likely so many of them are if both rows are alike, over all ways to deal the
            runs out to the two rows (Mann and Whitney's test).
    """

    in_order: float
    pairs: int
    chance: float


def pairs_in_order(lesser, greater) -> Pairs:
    """Compares each run of one row with each run of another.

    Args:
        lesser: A figure of each run of the row that has less of it, by the claim.
        greater: The same of the row that has more of it.

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


def _correlation(ranks, wanted):
    """Of each row with `wanted`; 0 where one of the two has no order."""
    sizes = np.sqrt((ranks**2).sum(1) * (wanted**2).sum())
    return np.where(sizes > 0, ranks @ wanted / np.where(sizes > 0, sizes, 1), 0.0)
