"""He's initialisation in the forms of the papers, and Xavier's as the rectifier paper has it."""

import keras


class _ScaledNormal(keras.initializers.VarianceScaling):
    """A normal distribution whose variance is `scale` divided by a fan."""

    def __init__(self, scale, mode, truncated, seed):
        distribution = "truncated_normal" if truncated else "untruncated_normal"
        super().__init__(scale=scale, mode=mode, distribution=distribution, seed=seed)
        self.truncated = truncated

    def get_config(self):
        seed = keras.saving.serialize_keras_object(self._init_seed)
        return {"mode": self.mode, "truncated": self.truncated, "seed": seed}


@keras.saving.register_keras_serializable("keras_preact")
class HeNormal(_ScaledNormal):
    """Normal with variance 2 / ((1 + slope²) n) (Delving Deep into Rectifiers, section 2.2).

    The defaults are the authors' code: n = kernel height x width x filters (equation 14, fan out)
    and no truncation. Keras's own `HeNormal` is fan in and truncated.

    Args:
        mode: `"fan_out"` (equation 14), `"fan_in"` (equation 10) or `"fan_avg"`.
        truncated: Cut at two standard deviations, with the variance kept.
        slope: Negative slope of the activation (equation 15); 0 for ReLU.
        seed: Integer, `keras.random.SeedGenerator` or `None`.

    Example:
        >>> from keras_preact.initializers import HeNormal
        >>> HeNormal(seed=0)((3, 3, 16, 32)).shape == (3, 3, 16, 32)
        True
    """

    def __init__(self, mode="fan_out", truncated=False, slope=0.0, seed=None):
        super().__init__(2.0 / (1.0 + slope**2), mode, truncated, seed)
        self.slope = slope

    def get_config(self):
        return {**super().get_config(), "slope": self.slope}


@keras.saving.register_keras_serializable("keras_preact")
class XavierNormal(_ScaledNormal):
    """Normal with variance 1 / n, the form that the rectifier paper compares with (section 2.2).

    Keras's `GlorotNormal` is `XavierNormal("fan_avg", truncated=True)`.

    Args:
        mode: `"fan_in"` (the paper's forward case), `"fan_out"` or `"fan_avg"`.
        truncated: Cut at two standard deviations, with the variance kept.
        seed: Integer, `keras.random.SeedGenerator` or `None`.

    Example:
        >>> from keras_preact.initializers import XavierNormal
        >>> XavierNormal(seed=0)((3, 3, 16, 32)).shape == (3, 3, 16, 32)
        True
    """

    def __init__(self, mode="fan_in", truncated=False, seed=None):
        super().__init__(1.0, mode, truncated, seed)
