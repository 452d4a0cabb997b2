"""The gate biases of the 2016 paper, and how far a search agrees with them."""

from typing import NamedTuple

import numpy as np

from keras_preact.papers.tables import paper_rows
from keras_preact.tuning.state import read_outcome

#: Test error (%) of ResNet-110 on CIFAR-10 by shortcut and the gates' initial bias: Table 1 of the
#: 2016 paper. From 0 to -5 exclusive gating "fails", which stands here as `FAILS`.
GATE_BIAS: dict[str, dict[float, float]] = {}
for _row in paper_rows("he2016-table1", "*gating*"):
    _biases = GATE_BIAS.setdefault(_row.settings["network.shortcut"], {})
    _biases[float(_row.settings["network.gate_bias"])] = _row.error

_SAMPLES = 10_000


class Agreement(NamedTuple):
    """How a search's order of gate biases compares with the paper's.

    Attributes:
        spearman: Rank correlation of the mean errors.
        low, high: Its 95 % interval, from drawing the trainings anew.
        biases: At how many biases both have an error.
        word: `"agrees"` (all of the interval is above 0), `"disagrees"` (below) or `"undecided"`.
    """

    spearman: float
    low: float
    high: float
    biases: int
    word: str


def agreement(frame, shortcut: str) -> Agreement | None:
    """Compares the gate biases of a search with those of the paper.

    Args:
        frame: `trials_frame` of a search of `network.gate_bias`.
        shortcut: The gating that was searched.

    Returns:
        An `Agreement`; `None` with fewer than two biases that the paper has.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.tuning.paper import agreement
        >>> agreement(pd.DataFrame({"network.gate_bias": [], "status": []}), "exclusive_gating")
    """
    paper = GATE_BIAS.get(shortcut, {})
    errors = {}
    for _, row in frame[frame["status"] == "finished"].iterrows():
        bias = float(row["network.gate_bias"])
        if bias in paper:
            errors.setdefault(bias, []).extend(errors_of(row["folder"]))
    if len(errors) < 2:
        return None
    theirs = [paper[bias] for bias in errors]
    rank = _spearman(np.array([[np.mean(found) for found in errors.values()]]), theirs)[0]
    low, high = -1.0, 1.0
    if all(len(found) > 1 for found in errors.values()):
        draw = np.random.default_rng(0)
        drawn = [draw.choice(found, (_SAMPLES, len(found))).mean(1) for found in errors.values()]
        low, high = np.percentile(_spearman(np.stack(drawn, 1), theirs), [2.5, 97.5])
    word = "agrees" if low > 0 else "disagrees" if high < 0 else "undecided"
    return Agreement(float(rank), float(low), float(high), len(errors), word)


def errors_of(folder) -> list[float]:
    """Validation error of each training of the trial in a folder."""
    return [run["error"] for run in read_outcome(folder).get("runs", [])]


def _spearman(mine, theirs):
    """Rank correlation of each row with `theirs`; 0 where one of the two has no order."""
    from scipy.stats import rankdata

    ranks = rankdata(mine, axis=1)
    ranks -= ranks.mean(1, keepdims=True)
    wanted = rankdata(theirs) - (len(theirs) + 1) / 2
    sizes = np.sqrt((ranks**2).sum(1) * (wanted**2).sum())
    return np.where(sizes > 0, ranks @ wanted / np.where(sizes > 0, sizes, 1), 0.0)
