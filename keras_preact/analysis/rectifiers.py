"""PReLU's learned slopes beside those of the rectifier paper."""

import pandas as pd

#: Delving Deep into Rectifiers, Table 1: the layers of the 14-layer model with the slopes they
#: learned, one a layer (channel-shared), and the mean of one a channel (channel-wise).
TABLE_1 = pd.DataFrame(
    [
        ("conv1", 0.681, 0.596),
        ("conv2_1", 0.103, 0.321),
        ("conv2_2", 0.099, 0.204),
        ("conv2_3", 0.228, 0.294),
        ("conv2_4", 0.561, 0.464),
        ("conv3_1", 0.126, 0.196),
        ("conv3_2", 0.089, 0.152),
        ("conv3_3", 0.124, 0.145),
        ("conv3_4", 0.062, 0.124),
        ("conv3_5", 0.008, 0.134),
        ("conv3_6", 0.210, 0.198),
        ("fc1", 0.063, 0.074),
        ("fc2", 0.031, 0.075),
    ],
    columns=["layer", "channel_shared", "channel_wise"],
)


def learned_slopes(activations: pd.DataFrame) -> pd.DataFrame:
    """The slopes of a network's PReLU layers in order of depth, beside the paper's Table 1.

    Args:
        activations: Table of `Signals` of one network.

    Returns:
        A row a PReLU layer: `layer`, `slope_mean`, `slope_std`, `slope_min`, `slope_max` over its
        channels, `depth` from 0 (first) to 1 (last), and `paper`, the paper's channel-wise mean at
        that depth, where it has a layer nearest. Empty for networks without PReLU.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis.rectifiers import learned_slopes
        >>> found = pd.DataFrame({"layer": ["act1", "act2"], "slope_mean": [0.5, 0.1]})
        >>> learned_slopes(found)["paper"].tolist()
        [0.596, 0.075]
    """
    if "slope_mean" not in activations:
        return activations.iloc[:0]
    slopes = activations[activations["slope_mean"].notna()].reset_index(drop=True)
    slopes["depth"] = slopes.index / max(len(slopes) - 1, 1)
    places = (slopes["depth"] * (len(TABLE_1) - 1)).round().astype(int)
    slopes["paper"] = TABLE_1["channel_wise"].to_numpy()[places]
    return slopes
