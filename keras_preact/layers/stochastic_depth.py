"""`StochasticDepth`: the branch of a residual unit, left out at random."""

import contextlib
import types
from collections.abc import Iterator, Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable("keras_preact")
class StochasticDepth(keras.layers.Dropout):
    """The branch of a residual unit, left out at random in training (Huang et al. 2016).

    "Deep Networks with Stochastic Depth" (arXiv 1603.09382, equations 2 and 5). It is Keras's
    `Dropout` of a whole mini-batch or image at once, with the factor where the paper has it or
    where `Dropout` has it. Both give inference the mean of training, but a deep branch left out at
    a rate of 0.5 would enter training twice as large as without it, and training by mini-batches
    then starts badly.

    Args:
        rate: Probability that the branch is left out, in [0, 1).
        noise_shape: `(1, 1, 1, 1)`: for a mini-batch at a time, as in the paper;
            `(None, 1, 1, 1)`: for an image at a time.
        seed: As in `keras.layers.Dropout`.
        scale_at_inference: Whether inference multiplies by the probability that the branch is
            kept, as in the paper; otherwise training divides by it, as in later codes.
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
        scale_at_inference: bool = False,
        **kwargs: Any,
    ):
        super().__init__(rate, noise_shape=noise_shape, seed=seed, **kwargs)
        self.scale_at_inference = scale_at_inference
        self._drawn = types.SimpleNamespace(factor=None)

    @property
    def by_batch(self) -> bool:
        """Whether all images of a mini-batch lose their branch together, which saves its time."""
        return self.noise_shape[0] == 1

    @contextlib.contextmanager
    def given(self, factor: Any) -> Iterator[None]:
        """Multiplies by a factor that a loop over units has, instead of drawing one."""
        self._drawn.factor = factor
        try:
            yield
        finally:
            self._drawn.factor = None

    def call(self, inputs: Any, training: bool | None = False) -> Any:
        if self._drawn.factor is not None:
            return inputs * keras.ops.cast(self._drawn.factor, inputs.dtype)
        outputs = super().call(inputs, training=training)
        return outputs * (1 - self.rate) if self.scale_at_inference else outputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale_at_inference": self.scale_at_inference}


def branch_factors(rates: Sequence[float], images: Any, seed: Any) -> Any:
    """Whether the branches of several units are kept in a step of training: 1, or else 0.

    Args:
        rates: Probability for each unit that its branch is left out.
        images: How many images are drawn for; 1 for a mini-batch at a time.
        seed: A `keras.random.SeedGenerator`.

    Returns:
        A tensor `(units, images, 1, 1, 1)`.
    """
    drawn = keras.random.uniform((len(rates), images, 1, 1, 1), dtype="float32", seed=seed)
    return keras.ops.cast(drawn < kept_probabilities(rates), "float32")


def kept_probabilities(rates: Sequence[float]) -> Any:
    """One minus each rate, as a tensor `(units, 1, 1, 1, 1)`."""
    return keras.ops.reshape([1 - rate for rate in rates], (-1, 1, 1, 1, 1))
