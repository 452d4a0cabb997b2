"""The gate biases of the 2016 paper, and how well a search agrees with them."""

import os
from typing import TYPE_CHECKING

from keras_preact.papers.agreement import Agreement, rank_agreement
from keras_preact.papers.tables import paper_rows
from keras_preact.tuning.state import read_outcome

if TYPE_CHECKING:
    import pandas

#: Test error (%) of ResNet-110 on CIFAR-10 by shortcut and the gates' initial bias: Table 1 of the
#: 2016 paper. From 0 to -5 exclusive gating "fails": infinite here.
GATE_BIAS: dict[str, dict[float, float]] = {}
for _row in paper_rows("he2016-table1", "*gating*"):
    _biases = GATE_BIAS.setdefault(_row.settings["network.shortcut"], {})
    _biases[float(_row.settings["network.gate_bias"])] = _row.error


def agreement(frame: "pandas.DataFrame", shortcut: str) -> Agreement | None:
    """Compares the gate biases of a search with those of the paper.

    Args:
        frame: `trials_frame` of a search of `network.gate_bias`.
        shortcut: The gating that was searched.

    Returns:
        An `Agreement`; `None` with fewer than two of the paper's biases.

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
    return rank_agreement([*errors.values()], [paper[bias] for bias in errors])


def errors_of(folder: str | os.PathLike[str]) -> list[float]:
    """Validation error of each training of the trial in a folder."""
    return [run["error"] for run in read_outcome(folder).get("runs", [])]
