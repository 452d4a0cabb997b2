"""How good a network is on labelled images."""

import dataclasses
import functools

import numpy as np

from keras_preact.errors import ConfigError
from keras_preact.evaluation.classes import BY_CLASS, MACRO

#: Images whose views are in memory at the same time.
_IMAGES = 64


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
    def finite(self) -> np.ndarray:
        """Whether the scores of each image are finite numbers, bool `[n]`."""
        return np.isfinite(self.scores).all(axis=1)

    @property
    def predictions(self) -> np.ndarray:
        """The most likely class of each image, `[n]`; -1 where its scores are not finite."""
        return np.where(self.finite, self.scores.argmax(axis=1), -1)

    @property
    def mistakes(self) -> np.ndarray:
        """The images that are classified wrongly, those first in which it was most sure."""
        wrong = np.flatnonzero(self.predictions != self.labels)
        sure = np.where(self.finite, self.scores.max(axis=1), -1)[wrong]
        return wrong[np.argsort(-sure, kind="stable")]

    @property
    def correct(self) -> int:
        """How many images are classified correctly."""
        return int((self.predictions == self.labels).sum())

    def correct_at(self, k: int) -> int:
        """How many images have their class among the `k` most likely ones (top-k)."""
        from sklearn.metrics import top_k_accuracy_score

        known = np.arange(len(self.class_names))
        here = self.finite
        if k == 1 or k >= len(known):  # where scikit-learn has other rules for two classes
            return self.correct if k == 1 else int(here.sum())
        if not here.any():
            return 0
        labels, scores = self.labels[here], self.scores[here]
        return int(top_k_accuracy_score(labels, scores, k=k, normalize=False, labels=known))

    @property
    def loss(self) -> float:
        """Mean cross-entropy; NaN where scores are."""
        import keras

        losses = keras.losses.sparse_categorical_crossentropy(self.labels, self.scores)
        return float(np.mean(keras.ops.convert_to_numpy(losses)))

    @property
    def accuracy(self) -> float:
        """Share of the images that are classified correctly."""
        return self.correct / len(self.labels)

    @property
    def balanced_accuracy(self) -> float:
        """The mean of the classes' recalls, whatever their number of images (those with any)."""
        classes = self.per_class()
        return float(classes["recall"][classes["images"] > 0].mean())

    @property
    def macro_f1(self) -> float:
        """The mean of the classes' F1, whatever their number of images (those with any)."""
        classes = self.per_class()
        return float(classes["f1"][classes["images"] > 0].mean())

    @property
    def roc_auc(self) -> float:
        """Area under the ROC curve of each class's score, against the rest: the mean.

        Over images with finite scores, and classes of which there are such images and others; NaN
        without any.
        """
        return self._against_the_rest[0]

    @property
    def average_precision(self) -> float:
        """Average precision of each class's score, against the rest: the mean, as `roc_auc`."""
        return self._against_the_rest[1]

    @functools.cached_property
    def _against_the_rest(self):
        """`roc_auc` and `average_precision`.

        They are scikit-learn's, tested to be, of where a class's own scores stand among all, which
        are sorted once: 0.6 s for 1,000 classes and 50,000 images, where its functions take 17.
        """
        here = self.finite
        labels, scores = self.labels[here], self.scores[here]
        classes = np.unique(labels)
        if len(classes) < 2:
            return float("nan"), float("nan")
        found = []
        for k in classes:
            every, own = np.sort(scores[:, k]), np.sort(scores[labels == k, k])
            below, own_below = (np.searchsorted(part, own) for part in (every, own))
            upto, own_upto = (np.searchsorted(part, own, "right") for part in (every, own))
            # Of the rest those with a lower score, and half of those with the same.
            lower = (below - own_below + upto - own_upto) / 2
            precision = (len(own) - own_below) / (len(every) - below)
            found.append((lower.mean() / (len(every) - len(own)), precision.mean()))
        return tuple(map(float, np.mean(found, axis=0)))

    @property
    def worst_class(self) -> tuple[str, float]:
        """The class with the lowest recall, of those with images, and that."""
        classes = self.per_class()
        classes = classes[classes["images"] > 0]
        row = classes.loc[classes["recall"].idxmin()]
        return row["class"], float(row["recall"])

    def confusion_matrix(self) -> np.ndarray:
        """Images with finite scores by true class (rows) and predicted class (columns)."""
        from sklearn.metrics import confusion_matrix

        known = range(len(self.class_names))
        return confusion_matrix(self.labels, self.predictions, labels=known)

    def per_class(self):
        """Precision, recall and F1 of each class, and how many images it has.

        Returns:
            A `pandas.DataFrame` with a row a class: `class`, `precision`, `recall`, `f1`, `images`.
        """
        import pandas as pd
        from sklearn.metrics import precision_recall_fscore_support

        known = range(len(self.class_names))
        found = precision_recall_fscore_support(
            self.labels, self.predictions, labels=known, zero_division=0
        )
        columns = dict(zip(("precision", "recall", "f1", "images"), found, strict=True))
        return pd.DataFrame({"class": self.class_names, **columns})

    def calibration(self, bins: int = 10):
        """How often the network is right where it says how sure it is.

        Args:
            bins: Equal parts of the confidences from 0 to 1.

        Returns:
            A `pandas.DataFrame` with a row for each part that has images: mean `confidence` (score
            of the predicted class), `accuracy` and the number of `images` with finite scores.
        """
        import pandas as pd

        here = self.finite
        confidence = self.scores[here].max(axis=1)
        right = (self.predictions == self.labels)[here]
        place = np.minimum((confidence * bins).astype(int), bins - 1)
        frame = pd.DataFrame({"bin": place, "confidence": confidence, "accuracy": right})
        grouped = frame.groupby("bin")
        means = grouped[["confidence", "accuracy"]].mean()
        return means.assign(images=grouped.size()).reset_index(drop=True)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error (Guo et al. 2017): how far confidence and accuracy part.

        Over images with finite scores; NaN without any.
        """
        frame = self.calibration(15)
        if frame.empty:
            return float("nan")
        gaps = (frame["confidence"] - frame["accuracy"]).abs()
        return float((gaps * frame["images"]).sum() / frame["images"].sum())

    def summary(self) -> dict[str, float | int | str | None]:
        """What `keras-preact evaluate` says: shares and counts by the name of each.

        Returns:
            `images`, `top1_error`, `top1_correct`, `top5_error`, `top5_correct`, what `by_class`
            says, `classes_without_images`, `images_without_scores` (not finite) and
            `calibration_error`; `None` where it takes scores that are not there.
        """
        images = len(self.labels)
        return {
            "images": images,
            "top1_error": 1 - self.accuracy,
            "top1_correct": self.correct,
            "top5_error": 1 - self.correct_at(5) / images,
            "top5_correct": self.correct_at(5),
            **self.by_class(),
            "classes_without_images": len(self.class_names) - len(np.unique(self.labels)),
            "images_without_scores": int((~self.finite).sum()),
            "calibration_error": _or_none(self.calibration_error),
        }

    def by_class(self) -> dict[str, float | str | None]:
        """`BY_CLASS` and `MACRO` by name, of the classes with images.

        Returns:
            `None` for what takes scores, or two classes, that are not there.
        """
        found = dict(zip(BY_CLASS, (self.balanced_accuracy, *self.worst_class), strict=True))
        return {**found, **{name: _or_none(getattr(self, name)) for name in MACRO}}

    def __repr__(self) -> str:
        return f"<Evaluation: {self.correct} of {len(self.labels)} correct, {self.accuracy:.2%}>"


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def ensemble(evaluations) -> Evaluation:
    """Several networks as one, by the mean of their scores (2015, Table 5).

    Args:
        evaluations: An `Evaluation` of each network on the same images.

    Returns:
        An `Evaluation`.

    Raises:
        ConfigError: When they are not of the same images and classes.

    Example:
        >>> import numpy as np
        >>> from keras_preact.evaluation import Evaluation, ensemble
        >>> one = Evaluation(np.array([[0.6, 0.4]]), np.array([1]), ("cat", "dog"))
        >>> other = Evaluation(np.array([[0.1, 0.9]]), np.array([1]), ("cat", "dog"))
        >>> ensemble([one, other]).correct
        1
    """
    first = evaluations[0]
    for other in evaluations[1:]:
        same = other.class_names == first.class_names
        if not same or not np.array_equal(other.labels, first.labels):
            raise ConfigError(
                "Networks of an ensemble must be evaluated on the same images and have the same "
                f"classes. Received: {first.class_names} and {other.class_names}, "
                f"{len(first.labels)} and {len(other.labels)} images."
            )
    scores = np.mean([evaluation.scores for evaluation in evaluations], axis=0)
    return Evaluation(scores, first.labels, first.class_names)


def evaluate(model, split, class_names, batch_size: int = 256, views=None) -> Evaluation:
    """Classifies every image of a split once.

    Args:
        model: A `keras.Model` that takes raw images, values 0 to 255, and gives scores, or a
            function that does: `[n, h, w, c]` to `[n, classes]`.
        split: A part of a data set (`ImageData.test`).
        class_names: Names in the order of the labels.
        batch_size: Images in a step, at most; large ones come in smaller steps.
        views: How each image is looked at, such as `ten_crop(224)`, from the image before it was
            scaled and cropped; its scores are the mean over its views.

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
    from keras_preact.data.threads import threaded
    from keras_preact.evaluation.views import mean_over_views, step_of

    predict = getattr(model, "predict_on_batch", model)
    if views:
        parts = [range(len(split))[k : k + _IMAGES] for k in range(0, len(split), _IMAGES)]
        images = (threaded(split.raw, part, chunk=4) for part in parts)
        scores = [mean_over_views(predict, part, views, batch_size) for part in images]
        labels = [split.labels]
    else:
        step = step_of(batch_size, *split.image_shape[:2])
        batches = prefetched(Batches(split, step))
        scores, labels = zip(*((predict(x), y) for x, y in batches), strict=True)
    scores = np.concatenate(scores).astype(np.float32)
    return Evaluation(scores, np.concatenate(labels), tuple(class_names))
