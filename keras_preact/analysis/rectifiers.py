"""PReLU's learned slopes beside those of the rectifier paper."""

import pandas as pd

from keras_preact.papers.tables import paper_rows


def _table_1():
    slopes = {}
    for row in paper_rows("he2015-rectifiers-table1"):
        layer, kind = row.row.split(", ")
        slopes.setdefault(layer, {})[kind.replace("-", "_")] = row.value
    return pd.DataFrame.from_dict(slopes, orient="index").rename_axis("layer").reset_index()


#: Delving Deep into Rectifiers, Table 1: the layers of the 14-layer model with the slopes they
#: learned, one a layer (channel-shared), and the mean of one a channel (channel-wise).
TABLE_1 = _table_1()


def learned_slopes(activations: pd.DataFrame) -> pd.DataFrame:
    """The slopes of a network's PReLU layers in order of depth, beside the paper's Table 1.

    Args:
        activations: Table of `Signals` of one network.

    Returns:
        A row a PReLU layer: `layer`, `slope_count`, `slope_mean`, `slope_std`, `slope_min`,
        `slope_max` over its channels, `depth` from 0 (first) to 1 (last), and `paper`, the paper's
        slope at that depth, where it has a layer nearest: shared, or the mean of the channels, as
        the network's are. Empty for networks without PReLU.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis.rectifiers import learned_slopes
        >>> found = {"layer": ["act1", "act2"], "slope_mean": [0.5, 0.1], "slope_count": [16, 16]}
        >>> learned_slopes(pd.DataFrame(found))["paper"].tolist()
        [0.596, 0.075]
    """
    if "slope_mean" not in activations:
        return activations.iloc[:0]
    slopes = activations[activations["slope_mean"].notna()].reset_index(drop=True)
    slopes["depth"] = slopes.index / max(len(slopes) - 1, 1)
    places = (slopes["depth"] * (len(TABLE_1) - 1)).round().astype(int)
    slopes["paper"] = paper_slopes(slopes).to_numpy()[places]
    return slopes


def paper_slopes(slopes: pd.DataFrame) -> pd.Series:
    """Table 1's column for a network: shared slopes where its own are, or means over channels.

    Args:
        slopes: Rows of PReLU layers, as in `learned_slopes`.
    """
    is_shared = (slopes["slope_count"] == 1).all()
    return TABLE_1["channel_shared" if is_shared else "channel_wise"]
