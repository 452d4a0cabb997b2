"""`Loss`: a network's loss as a function of its weights, on any backend."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_preact.checked import require
from keras_preact.rewrite import outputs_of


class Loss:
    """The cross-entropy of a network on labelled images, as a function of its weights.

    Args:
        model: A network that ends with logits or a softmax.
        training: Whether norms use the statistics of the batch, as in a training step, instead of
            their moving statistics. These are not updated; dropout drops the same values at every
            call.

    Raises:
        ConfigError: If the network ends otherwise.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis.loss import Loss
        >>> from keras_preact.applications import ResNet8V2
        >>> loss = Loss(ResNet8V2())
        >>> total, wrong = loss.on(loss.weights, np.ones((2, 32, 32, 3), "float32"), [3, 4])
        >>> int(wrong) > 0  # the images are equal
        True
    """

    def __init__(self, model: keras.Model, training: bool = False):
        kind, shape = outputs_of(model), model.output_shape
        fits = kind in ("logits", "probabilities") and len(shape) == 2
        require(fits, "model", model.name, "a network that ends with logits or a softmax")
        self.model, self.training = model, training
        self.are_logits, self.classes = kind == "logits", shape[-1]
        self.variables = [*model.trainable_variables]

    @property
    def weights(self) -> list[Any]:
        """The values of the trainable variables, tensors."""
        return [keras.ops.convert_to_tensor(variable) for variable in self.variables]

    @property
    def held(self) -> list[Any]:
        """The values of the non-trainable variables, such as the moving statistics of norms."""
        return [keras.ops.convert_to_tensor(v) for v in self.model.non_trainable_variables]

    def on(
        self, weights: list[Any], images: Any, labels: Any, held: list[Any] | None = None
    ) -> tuple[Any, Any]:
        """The sum of the losses, and the number of misclassified images.

        Args:
            weights: Tensors in place of `weights`.
            images: A mini-batch.
            labels: Integers.
            held: Tensors in place of `held`.
        """
        held = self.held if held is None else held
        answer: Any = self.model.stateless_call(weights, held, images, training=self.training)
        scores, _ = answer
        wrong = keras.ops.argmax(scores, axis=-1) != keras.ops.cast(labels, "int32")
        losses = cross_entropies(scores, labels, self.are_logits)
        return keras.ops.sum(losses), keras.ops.sum(keras.ops.cast(wrong, "int32"))

    @property
    def size(self) -> int:
        """Number of values in `weights`."""
        return sum(int(np.prod(variable.shape, dtype=int)) for variable in self.variables)

    def refuse_other_labels(self, batches: Iterable[tuple[Any, Any]]) -> None:
        """Raises `ConfigError` for labels that are not classes of the network."""
        for _, labels in batches:
            refuse_other_labels(labels, self.classes)


def split(vector: np.ndarray, like: Sequence[Any]) -> list[Any]:
    """A vector split into consecutive tensors with the shapes of others."""
    shapes = [tuple(tensor.shape) for tensor in like]
    cuts = np.cumsum([int(np.prod(shape, dtype=int)) for shape in shapes])[:-1]
    parts = zip(np.split(np.asarray(vector, np.float32), cuts), shapes, strict=True)
    return [keras.ops.convert_to_tensor(part.reshape(shape)) for part, shape in parts]


def joined(tensors: Iterable[Any]) -> np.ndarray:
    """Tensors concatenated to one float64 vector."""
    parts = [np.asarray(keras.ops.convert_to_numpy(tensor)).ravel() for tensor in tensors]
    return np.concatenate(parts).astype(np.float64)


def cross_entropies(scores: Any, labels: Any, are_logits: bool | None) -> Any:
    """The cross-entropy of each image, from scores that are logits or a softmax."""
    ops: Any = keras.ops
    scores = scores if ops.dtype(scores) == "float64" else ops.cast(scores, "float32")
    scores = ops.log_softmax(scores) if are_logits else scores
    own = ops.sum(ops.one_hot(labels, scores.shape[-1], dtype=scores.dtype) * scores, axis=-1)
    return -own if are_logits else -ops.log(own)  # other classes' probabilities may be 0


def refuse_other_labels(labels: Any, classes: int) -> None:
    """Raises `ConfigError` for labels that are not from 0 to the number of classes less 1."""
    least, greatest = int(np.min(labels)), int(np.max(labels))
    fits = least >= 0 and greatest < classes
    expected = f"from 0 to {classes - 1}, the classes of the network"
    require(fits, "labels", (least, greatest), expected)
