"""`Hessian`: the second derivative of a network's loss by its weights, as an operator."""

import keras
import numpy as np

from keras_preact.analysis.linearize import compiled, linearize
from keras_preact.analysis.loss import Loss, joined, split
from keras_preact.rewrite import portable


class Hessian:
    """The Hessian of the mean loss on some images, known by its products with vectors.

    The network is taken in float32 and in Keras's own layers, units in a row: this package's own
    gradients and loops say nothing of second derivatives. Each product is exact: the derivative of
    the gradient along the vector.

    Args:
        model: A network of any packaging and dtype, from images to logits or a softmax.
        batches: Mini-batches, pairs (images, labels), labels whole numbers.
        training: Whether norms take the statistics of each mini-batch, as in a training step.

    Attributes:
        size: How many weights there are.

    Raises:
        ConfigError: For networks that give anything else, and labels that they do not have.

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

    def __init__(self, model, batches, training=True):
        self._loss = Loss(_with_logits(portable(model)), training)
        self._loss.refuse_other_labels(batches)
        self._batches = batches
        self._images = sum(len(labels) for _, labels in batches)
        self.size = self._loss.size
        self._weights, self._held = self._loss.weights, self._loss.held
        self._product = compiled(self._of_batch)

    def times(self, vector) -> np.ndarray:
        """The product with a vector of `size` numbers, float64."""
        vector = split(vector, self._weights)
        total = np.zeros(self.size)
        for images, labels in self._batches:
            images, labels = map(keras.ops.convert_to_tensor, (images, labels))
            found = self._product(self._weights, self._held, vector, images, labels)
            total += joined(found)
        return total / self._images

    def _of_batch(self, weights, held, vector, images, labels):
        def gradient(*weights):
            losses = lambda *w: [self._loss.on(w, images, labels, held)[0]]  # noqa: E731
            (total,), pull = linearize(losses, *weights)
            return pull(keras.ops.ones_like(total))

        _, pull = linearize(gradient, *weights)  # the Hessian is its own transpose
        return pull(*vector)


def _with_logits(model):
    """The model, a copy, less a softmax in its last layer: exact where that is 0 or 1."""
    last = model.layers[-1]
    if getattr(last, "activation", None) is keras.activations.softmax:
        last.activation = keras.activations.linear
    return model
