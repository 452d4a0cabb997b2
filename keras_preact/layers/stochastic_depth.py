"""`StochasticDepth`: the branch of a residual unit, left out at random."""

import contextlib
import types
from collections.abc import Iterator, Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable("keras_preact")
class StochasticDepth(keras.layers.Dropout):
    """The branch of a residual unit, left out at random in training (Huang et al. 2016).

    "Deep Networks with Stochastic Depth" (arXiv 1603.09382). It is Keras's `Dropout` of a whole
    mini-batch or image at once. What is kept is divided by the probability that it is kept, where
    the paper multiplies by it at inference: expectations are the same, and inference has no factor.

    Args:
        rate: Probability that the branch is left out, in [0, 1).
        noise_shape: `(1, 1, 1, 1)`: for a mini-batch at a time, as in the paper;
            `(None, 1, 1, 1)`: for an image at a time.
        seed: As in `keras.layers.Dropout`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Returns:
        When called on a tensor `(batch, height, width, channels)`, a tensor of the same shape.

    Example:
        >>> import numpy as np
        >>> from keras_preact.layers import StochasticDepth
        >>> layer = StochasticDepth(0.5, noise_shape=(None, 1, 1, 1), seed=0)
        >>> kept = np.asarray(layer(np.ones((1000, 2, 2, 1), "float32"), training=True))
        >>> sorted({float(x) for x in kept.ravel()}), bool(0.4 < (kept > 0).mean() < 0.6)
        ([0.0, 2.0], True)
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] = (1, 1, 1, 1),
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(rate, noise_shape=noise_shape, seed=seed, **kwargs)
        self._drawn = types.SimpleNamespace(factor=None)

    @property
    def by_batch(self) -> bool:
        """Whether all images of a mini-batch lose their branch together, which saves its time."""
        return self.noise_shape[0] == 1

    @contextlib.contextmanager
    def given(self, factor: Any) -> Iterator[None]:
        """Multiplies by a factor that a loop over units has drawn, instead of drawing one."""
        self._drawn.factor = factor
        try:
            yield
        finally:
            self._drawn.factor = None

    def call(self, inputs: Any, training: bool | None = False) -> Any:
        if training and self._drawn.factor is not None:
            return inputs * keras.ops.cast(self._drawn.factor, inputs.dtype)
        return super().call(inputs, training=training)


def branch_factors(rates: Sequence[float], images: Any, seed: Any) -> Any:
    """The factors of several units at once: 0, or 1 divided by the probability of being kept.

    Args:
        rates: Probability for each unit that its branch is left out.
        images: How many images are drawn for; 1 for a mini-batch at a time.
        seed: A `keras.random.SeedGenerator`.

    Returns:
        A tensor `(units, images, 1, 1, 1)`.
    """
    kept = keras.ops.reshape([1 - rate for rate in rates], (-1, 1, 1, 1, 1))
    drawn = keras.random.uniform((len(rates), images, 1, 1, 1), dtype="float32", seed=seed)
    return keras.ops.cast(drawn < kept, "float32") / kept
