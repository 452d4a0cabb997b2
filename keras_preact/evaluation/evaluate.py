"""How good a network is on labelled images."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, repr=False)
class Evaluation:
    """Scores of a network on labelled images, and what follows from them.

    Attributes:
        scores: float32 `[n, classes]`.
        labels: int32 `[n]`.
        class_names: Names in the order of the labels.
    """

    scores: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    @property
    def predictions(self) -> np.ndarray:
        """The most likely class of each image, `[n]`."""
        return self.scores.argmax(axis=1)

    @property
    def correct(self) -> int:
        """How many images are classified correctly."""
        return int((self.predictions == self.labels).sum())

    @property
    def loss(self) -> float:
        """Mean cross-entropy."""
        import keras

        losses = keras.losses.sparse_categorical_crossentropy(self.labels, self.scores)
        return float(np.mean(keras.ops.convert_to_numpy(losses)))

    @property
    def accuracy(self) -> float:
        """Share of the images that are classified correctly."""
        return self.correct / len(self.labels)

    def confusion_matrix(self) -> np.ndarray:
        """Images by true class (rows) and predicted class (columns)."""
        from sklearn.metrics import confusion_matrix

        known = range(len(self.class_names))
        return confusion_matrix(self.labels, self.predictions, labels=known)

    def __repr__(self) -> str:
        return f"<Evaluation: {self.correct} of {len(self.labels)} correct, {self.accuracy:.2%}>"


def evaluate(model, split, class_names, batch_size: int = 256) -> Evaluation:
    """Classifies every image of a split once.

    Args:
        model: A `keras.Model` that takes raw images, values 0 to 255, and gives scores, or a
            function that does: `[n, h, w, c]` to `[n, classes]`.
        split: A part of a data set (`ImageData.test`).
        class_names: Names in the order of the labels.
        batch_size: Images in a step.

    Returns:
        An `Evaluation`.

    Example:
        >>> from keras_preact import create_model, load_data
        >>> from keras_preact.evaluation import evaluate
        >>> data = load_data("digits")
        >>> model = create_model("resnet8v2", input_shape=(8, 8, 1), classes=10)
        >>> len(evaluate(model, data.test, data.class_names).labels)
        360
    """
    from keras_preact.data import Batches, prefetched

    predict = getattr(model, "predict_on_batch", model)
    batches = prefetched(Batches(split, batch_size))
    scores, labels = zip(*((predict(images), labels) for images, labels in batches), strict=True)
    scores = np.concatenate(scores).astype(np.float32)
    return Evaluation(scores, np.concatenate(labels), tuple(class_names))
