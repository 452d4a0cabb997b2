"""He initialisation in the forms of the papers, and Xavier initialisation as in the PReLU paper.

Both are settings of Keras's `VarianceScaling`, so that saved networks open without this package.
"""

from typing import Any

import keras


def he_normal(
    mode: str = "fan_out",
    truncated: bool = False,
    slope: float = 0.0,
    seed: Any = None,
    factor: float = 1.0,
) -> keras.initializers.VarianceScaling:
    """Normal with variance 2 / ((1 + slope²) n) (Delving Deep into Rectifiers, section 2.2).

    The defaults are the authors' code: n = kernel height x width x filters (equation 14, fan out)
    and no truncation. Keras's own `HeNormal` is fan in and truncated.

    Args:
        mode: `"fan_out"` (equation 14), `"fan_in"` (equation 10) or `"fan_avg"`.
        truncated: Cut at two standard deviations, with the variance kept.
        slope: Negative slope of the activation (equation 15); 0 for ReLU.
        seed: Integer, `keras.random.SeedGenerator` or `None`.
        factor: Factor on the values, such as that of Fixup (Zhang et al. 2019).

    Returns:
        A `keras.initializers.VarianceScaling`.

    Example:
        >>> from keras_preact.initializers import he_normal
        >>> tuple(he_normal(seed=0)((3, 3, 16, 32)).shape)
        (3, 3, 16, 32)
    """
    return _normal(2.0 * factor**2 / (1.0 + slope**2), mode, truncated, seed)


def xavier_normal(
    mode: str = "fan_in", truncated: bool = False, seed: Any = None, factor: float = 1.0
) -> keras.initializers.VarianceScaling:
    """Normal with variance 1 / n, the form that the rectifier paper compares with (section 2.2).

    Keras's `GlorotNormal` is `xavier_normal("fan_avg", truncated=True)`.

    Args:
        mode: `"fan_in"` (the paper's forward case), `"fan_out"` or `"fan_avg"`.
        truncated: Cut at two standard deviations, with the variance kept.
        seed: Integer, `keras.random.SeedGenerator` or `None`.
        factor: Factor on the values.

    Returns:
        A `keras.initializers.VarianceScaling`.

    Example:
        >>> from keras_preact.initializers import xavier_normal
        >>> tuple(xavier_normal(seed=0)((3, 3, 16, 32)).shape)
        (3, 3, 16, 32)
    """
    return _normal(factor**2, mode, truncated, seed)


def _normal(scale, mode, truncated, seed):
    distribution = "truncated_normal" if truncated else "untruncated_normal"
    return keras.initializers.VarianceScaling(scale, mode, distribution, seed=seed)
