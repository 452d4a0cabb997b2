"""`Hessian`: the second derivative of a network's loss by its weights, as an operator."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_preact.analysis.linearize import compiled, linearize
from keras_preact.analysis.loss import Loss, joined, split
from keras_preact.rewrite import portable, unrolled, without_softmax


class Hessian:
    """The Hessian of the mean loss on some images, as matrix-vector products.

    The network is converted to float32 and to Keras's own layers without loops, because this
    package's own gradients and loops do not define second derivatives. Each product is exact: the
    derivative of the gradient along the vector. The numbers of a `ScalarAffine` are held, and
    standardised kernels are those that they become.

    Args:
        model: A network in any packaging and dtype that maps images to logits or a softmax.
        batches: Mini-batches, pairs (images, labels); labels are integers.
        training: Whether norms use the statistics of each mini-batch, as in a training step.

    Attributes:
        size: Number of weights.

    Raises:
        ConfigError: If the network does not end with logits or a softmax, or a label is not one of
            its classes.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis.hessian import Hessian
        >>> from keras_preact.applications import ResNet8V2
        >>> model = ResNet8V2(input_shape=(8, 8, 1))
        >>> images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
        >>> hessian = Hessian(model, [(images, np.arange(4))])
        >>> float(hessian.times(np.zeros(hessian.size)).sum())
        0.0
    """

    def __init__(
        self, model: keras.Model, batches: Sequence[tuple[Any, Any]], training: bool = True
    ):
        model = portable(unrolled(model, all_branches=True))
        # Logits: exact even where the softmax is 0 or 1.
        self._loss = Loss(without_softmax(model), training)
        self._loss.refuse_other_labels(batches)
        self._batches = batches
        self._images = sum(len(labels) for _, labels in batches)
        self.size = self._loss.size
        self._weights, self._held = self._loss.weights, self._loss.held
        self._product = compiled(self._of_batch)

    def times(self, vector: np.ndarray) -> np.ndarray:
        """The product with a vector of `size` numbers, float64."""
        parts = split(vector, self._weights)
        total = np.zeros(self.size)
        for images, labels in self._batches:
            images, labels = map(keras.ops.convert_to_tensor, (images, labels))
            found = self._product(self._weights, self._held, parts, images, labels)
            total += joined(found)
        return total / self._images

    def _of_batch(self, weights, held, vector, images, labels):
        def gradient(*weights):
            losses = lambda *w: [self._loss.on(w, images, labels, held)[0]]  # noqa: E731
            (total,), pull = linearize(losses, *weights)
            return pull(keras.ops.ones_like(total))

        _, pull = linearize(gradient, *weights)  # the Hessian is its own transpose
        return pull(*vector)
