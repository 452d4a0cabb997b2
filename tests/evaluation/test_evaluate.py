"""Counts are exact, for any number of images and any batch."""

import keras
import numpy as np
import pytest

from keras_preact.data.splits import ArraySplit
from keras_preact.evaluation import (
    Evaluation,
    evaluate,
    plot_confusion_matrix,
    plot_curves,
    plot_predictions,
    save_figure,
)


def by_first_pixel(classes):
    """A model whose class is the image's first pixel."""
    inputs = keras.Input((2, 2, 1))
    x = keras.ops.one_hot(keras.ops.cast(inputs[:, 0, 0, 0], "int32"), classes)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 16, 17])
def test_every_image_counts_once(n):
    labels = np.arange(n) % 3
    images = np.zeros((n, 2, 2, 1), "uint8")
    images[:, 0, 0, 0] = np.where(np.arange(n) % 4 == 3, (labels + 1) % 3, labels)
    result = evaluate(by_first_pixel(3), ArraySplit(images, labels), "abc", batch_size=8)
    assert result.correct == n - n // 4
    assert result.accuracy == (n - n // 4) / n
    matrix = result.confusion_matrix()
    assert matrix.shape == (3, 3)
    assert (matrix.sum(), np.trace(matrix)) == (n, result.correct)


@pytest.mark.parametrize("classes", [2, 10, 40])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_for_few_and_many_classes(classes, channels, tmp_path):
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, 50)
    scores = random.dirichlet(np.ones(classes), 50).astype("float32")
    names = tuple(f"class {k}" for k in range(classes))
    result = Evaluation(scores, labels.astype("int32"), names)
    split = ArraySplit(random.integers(0, 256, (50, 6, 6, channels)).astype("uint8"), labels)
    figures = [plot_confusion_matrix(result, "t"), plot_predictions(result, split, "t")]
    row = {"epoch": 1, "loss": 1.0, "error": 0.5, "test_loss": 1.1, "test_error": 0.6}
    figures.append(plot_curves([row], "t"))
    for figure in figures:
        save_figure(figure, tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 5000


def test_the_sheet_shows_mistakes_first():
    labels = np.arange(20) % 2
    predicted = labels.copy()
    predicted[[3, 17]] ^= 1
    result = Evaluation(np.eye(2, dtype="float32")[predicted], labels, ("no", "yes"))
    figure = plot_predictions(result, ArraySplit(np.zeros((20, 4, 4, 1), "uint8"), labels), "t", 6)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert [("is" in title) for title in titles] == [True, True, False, False, False, False]
