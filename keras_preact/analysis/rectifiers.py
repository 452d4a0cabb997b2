"""Learned slopes of PReLU, compared with those of the rectifier paper."""

import csv
import importlib.resources
from typing import Any

import pandas as pd


def _table_1():
    slopes = {}
    # As data, not by `papers`: that imports this package, for what its reports say of a run.
    rows = importlib.resources.files("keras_preact") / "papers" / "rows.csv"
    with rows.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["table"] == "he2015-rectifiers-table1":
                layer, kind = row["row"].split(", ")
                slopes.setdefault(layer, {})[kind.replace("-", "_")] = float(row["value"])
    return pd.DataFrame.from_dict(slopes, orient="index").rename_axis("layer").reset_index()


#: Delving Deep into Rectifiers, Table 1: the layers of the 14-layer model with their learned
#: slopes, one per layer (channel-shared), and the mean of one per channel (channel-wise).
TABLE_1 = _table_1()


def learned_slopes(activations: pd.DataFrame) -> pd.DataFrame:
    """The slopes of a network's PReLU layers by depth, with those of the paper's Table 1.

    Args:
        activations: `Signals.activations` of one network.

    Returns:
        One row per PReLU layer: `layer`, `slope_count`, `slope_mean`, `slope_std`, `slope_min`,
        `slope_max` over its channels, `depth` from 0 (first) to 1 (last), and `paper`, the paper's
        slope of the layer nearest to that depth (channel-shared, or the mean of channel-wise ones,
        like those of the network). Empty for networks without PReLU.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis.rectifiers import learned_slopes
        >>> found = {"layer": ["act1", "act2"], "slope_mean": [0.5, 0.1], "slope_count": [16, 16]}
        >>> learned_slopes(pd.DataFrame(found))["paper"].tolist()
        [0.596, 0.075]
    """
    if "slope_mean" not in activations:
        return activations.iloc[:0]
    slopes: Any = activations[activations["slope_mean"].notna()].reset_index(drop=True)
    slopes["depth"] = slopes.index / max(len(slopes) - 1, 1)
    places = (slopes["depth"] * (len(TABLE_1) - 1)).round().astype(int)
    slopes["paper"] = paper_slopes(slopes).to_numpy()[places]
    return slopes


def paper_slopes(slopes: pd.DataFrame) -> pd.Series:
    """The column of Table 1 for a network: channel-shared if its own slopes are, or channel-wise.

    Args:
        slopes: Rows of PReLU layers, as in `learned_slopes`.
    """
    is_shared = bool((slopes["slope_count"] == 1).all())
    column: Any = TABLE_1["channel_shared" if is_shared else "channel_wise"]
    return column
