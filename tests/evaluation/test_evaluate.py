"""Counts are exact, for any number of images and any batch."""

import keras
import numpy as np
import pytest
from sklearn import metrics

from keras_preact import create_model
from keras_preact.data.splits import ArraySplit
from keras_preact.errors import ConfigError
from keras_preact.evaluation import (
    Evaluation,
    center_crop,
    ensemble,
    evaluate,
    multi_scale,
    plot_calibration,
    plot_confusion_matrix,
    plot_curves,
    plot_mistakes,
    plot_predictions,
    save_figure,
    ten_crop,
)
from keras_preact.evaluation.classes import BY_CLASS, MACRO, classes_in_words
from keras_preact.evaluation.views import mean_over_views
from keras_preact.rewrite import any_size


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


@pytest.mark.drawn
@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (10, 3), (40, 1)])
@pytest.mark.sample(3)
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


@pytest.mark.parametrize("classes", [3, 31])
def test_the_confusion_matrix_is_in_shares_of_each_row(classes):
    """Seven images of the first class, of which one is taken for the second, and one of another."""
    names = tuple(map(str, range(classes)))
    labels, predicted = np.array([0] * 7 + [2]), np.array([0] * 6 + [1, 2])
    figure = plot_confusion_matrix(Evaluation(np.eye(classes)[predicted], labels, names), "t")
    image = figure.axes[0].images[0]
    np.testing.assert_allclose(image.get_array()[:3, :2], [[6 / 7, 1 / 7], [0, 0], [0, 0]])
    assert image.get_clim() == (0, 1), "a colour is the same share in each picture"
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == (["6\n86%", "1\n14%", "1\n100%"] if classes == 3 else [])
    assert len(figure.axes) == (1 if classes == 3 else 2)  # with a bar of colours


def test_the_sheet_shows_mistakes_first():
    labels = np.arange(20) % 2
    predicted = labels.copy()
    predicted[[3, 17]] ^= 1
    result = Evaluation(np.eye(2, dtype="float32")[predicted], labels, ("no", "yes"))
    figure = plot_predictions(result, ArraySplit(np.zeros((20, 4, 4, 1), "uint8"), labels), "t", 6)
    titles = [text.get_text() for text in figure.axes[0].texts]
    assert [("true:" in title) for title in titles] == [True, True, False, False, False, False]


@pytest.mark.drawn
def test_scores_that_are_no_numbers_are_wrong(tmp_path):
    names, labels = tuple("abcdefg"), np.zeros(6, "int32")
    scores = np.full((6, 7), 0.1, "float32")
    scores[:, 0] = 0.4
    sure = Evaluation(scores.copy(), labels, names)
    scores[1:3] = np.nan
    scores[3, 5] = np.inf
    result = Evaluation(scores, labels, names)
    assert result.finite.tolist() == [True, False, False, False, True, True]
    assert result.predictions.tolist() == [0, -1, -1, -1, 0, 0]
    assert (result.correct, result.correct_at(5), result.correct_at(7)) == (3, 3, 3)
    assert result.confusion_matrix().sum() == 3 and result.calibration()["images"].sum() == 3
    assert result.per_class()["recall"][0] == 0.5
    assert result.calibration_error == pytest.approx(sure.calibration_error)
    lost = Evaluation(np.full((6, 7), np.nan), labels, names)
    assert (lost.correct, lost.correct_at(5)) == (0, 0) and np.isnan(lost.calibration_error)
    split = ArraySplit(np.zeros((6, 4, 4, 1), "uint8"), labels)
    for evaluation in (result, lost):
        (axes,) = plot_mistakes(evaluation, split, "t").axes
        titles = [text.get_text() for text in axes.texts]
        wrong = 6 - evaluation.correct
        assert titles[-wrong:] == ["no score\ntrue: a"] * wrong  # the surest come first
        for figure in (plot_calibration(evaluation, "t"), plot_confusion_matrix(evaluation, "t")):
            save_figure(figure, tmp_path / "figure.png")


def test_sheets_show_images_of_the_whole_split():
    predicted = np.repeat(np.arange(10), 40)  # the images of a class together, the first half right
    labels = np.where(np.arange(400) % 40 < 20, predicted, (predicted + 1) % 10)
    result = Evaluation(np.eye(10, dtype="float32")[predicted], labels, tuple("abcdefghij"))
    figure = plot_predictions(
        result, ArraySplit(np.zeros((400, 4, 6, 1), "uint8"), labels), "t", 40
    )
    (axes,) = figure.axes
    assert len(axes.images) == 40
    for texts in (axes.texts[:20], axes.texts[20:]):  # mistakes, and the others
        assert [text.get_text()[0] for text in texts] == sorted([*"abcdefghij"] * 2)


def some(classes=5, n=60, seed=0):
    random = np.random.default_rng(seed)
    scores = random.dirichlet(np.ones(classes), n).astype("float32")
    names = tuple(f"class {k}" for k in range(classes))
    return Evaluation(scores, random.integers(0, classes, n).astype("int32"), names)


@pytest.mark.parametrize("classes", [2, 5, 12])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k(classes, k):
    result = some(classes)
    ranked = np.argsort(-result.scores, axis=1)[:, :k]
    correct = (ranked == result.labels[:, None]).any(axis=1).sum()
    assert result.correct_at(k) == correct
    assert k == 2 or result.summary()[f"top{k}_error"] == pytest.approx(1 - correct / 60)


def test_metrics_of_each_class():
    result = some()
    frame = result.per_class()
    matrix = result.confusion_matrix()
    np.testing.assert_allclose(frame["recall"], np.diag(matrix) / matrix.sum(1))
    np.testing.assert_allclose(frame["precision"], np.diag(matrix) / matrix.sum(0))
    assert frame["images"].tolist() == matrix.sum(1).tolist()


@pytest.mark.parametrize("classes", [2, 5])
def test_means_over_classes_are_the_formulas(classes):
    """Pairs in the right order, and precision at each image of the class, counted one by one."""
    found, areas, precisions = some(classes), [], []
    for k in range(classes):
        mine, scores = found.labels == k, found.scores[:, k]
        areas.append(np.mean(scores[mine][:, None] > scores[~mine]))
        ranked = mine[np.argsort(-scores)]
        precisions.append((np.cumsum(ranked) / np.arange(1, 61))[ranked].mean())
    frame = found.per_class()
    f1 = 2 * frame["precision"] * frame["recall"] / (frame["precision"] + frame["recall"])
    assert found.macro_f1 == pytest.approx(f1.fillna(0).mean())
    assert found.roc_auc == pytest.approx(np.mean(areas))
    assert found.average_precision == pytest.approx(np.mean(precisions))
    # One more class without images, and images without scores, change nothing.
    scores = np.pad(found.scores, ((0, 3), (0, 1)))
    scores[-3:] = np.nan
    labels = np.concatenate([found.labels, [0, 0, 1]])
    more = Evaluation(scores, labels, (*found.class_names, "none")).summary()
    means = ("macro_f1", "roc_auc", "average_precision")
    assert [more[key] for key in means[1:]] == [found.summary()[key] for key in means[1:]]
    assert (more["classes_without_images"], more["images_without_scores"]) == (1, 3)
    assert found.summary()["classes_without_images"] == 0
    lost = Evaluation(np.full((2, 2), np.nan), np.array([0, 1]), ("a", "b")).summary()
    assert [lost[key] for key in means] == [0, None, None]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("classes", [2, 5, 12])
def test_means_over_classes_are_those_of_scikit_learn(classes):
    """Where many images share their scores as well."""
    made = some(classes, n=300)
    scores, own = np.round(made.scores, 1), np.eye(classes)[made.labels]
    more = np.pad(scores, ((0, 0), (0, 1)))  # and a class without images
    found = Evaluation(more, made.labels, (*made.class_names, "none"))
    expected = {
        "macro_f1": metrics.f1_score(made.labels, scores.argmax(1), average="macro"),
        "roc_auc": metrics.roc_auc_score(own, scores, average="macro"),
        "average_precision": metrics.average_precision_score(own, scores, average="macro"),
    }
    means = {name: found.by_class()[name] for name in MACRO}
    assert means == pytest.approx(expected, rel=1e-12)


@pytest.mark.filterwarnings("error")
def test_means_that_one_class_alone_does_not_have_are_none():
    one = Evaluation(np.eye(3)[[0, 1]], np.array([0, 0]), ("a", "b", "c")).by_class()
    assert one == {
        **dict(zip(BY_CLASS, (0.5, "a", 0.5), strict=True)),
        **dict(zip(MACRO, (pytest.approx(2 / 3), None, None), strict=True)),
    }


def test_calibration():
    frame = some().calibration()
    assert frame["images"].sum() == 60
    sure = Evaluation(np.eye(2)[[0, 0, 1, 1]], np.array([0, 1, 1, 1]), ("a", "b"))
    assert sure.calibration_error == pytest.approx(0.25)
    assert sure.calibration().to_dict("records") == [
        {"confidence": 1.0, "accuracy": 0.75, "images": 4}
    ]
    # The last part holds its end, 1.
    sure = Evaluation(np.array([[1.0, 0.0], [0.0, 1.0], [0.92, 0.08]]), sure.labels[:3], "ab")
    frame = sure.calibration()
    assert frame["images"].tolist() == [3] and frame["confidence"][0] == pytest.approx(2.92 / 3)


def test_an_ensemble_is_the_mean_of_scores():
    one, other = some(seed=0), some(seed=1)
    other = Evaluation(other.scores, one.labels, one.class_names)
    np.testing.assert_allclose(ensemble([one, other]).scores, (one.scores + other.scores) / 2)
    renamed = Evaluation(one.scores, one.labels, ("z", *one.class_names[1:]))
    for others in ([one, some(n=7)], [one, renamed], [renamed, one]):
        with pytest.raises(ConfigError, match="the same images"):
            ensemble(others)


def test_the_worst_mistakes_come_first():
    result = some()
    split = ArraySplit(np.zeros((60, 4, 4, 1), "uint8"), result.labels)
    figure = plot_mistakes(result, split, "t", 4)
    shown = [text.get_text() for text in figure.axes[0].texts]
    wrong = result.predictions != result.labels
    surest = int((result.scores.max(1) * wrong).argmax())
    assert shown[0].startswith(f"class {result.predictions[surest]} (")
    assert len(shown) == 4
    assert plot_calibration(result, "t").axes[0].get_xlabel().startswith("confidence")


def test_ten_crops_are_corners_and_centre_each_mirrored():
    image = np.arange(6 * 8, dtype="uint8").reshape(6, 8, 1)
    crops = ten_crop(4, shorter=6)(image)
    assert [int(crop[0, 0, 0]) for crop in crops[:5]] == [0, 4, 16, 20, 10]
    for crop, mirrored in zip(crops[:5], crops[5:], strict=True):
        np.testing.assert_array_equal(crop[:, ::-1], mirrored)
    np.testing.assert_array_equal(center_crop(4, shorter=6)(image)[0], crops[4])
    with pytest.raises(ConfigError, match="at least the side of the crop, 4"):
        ten_crop(4, shorter=3)


@pytest.mark.parametrize("views", [center_crop(4), ten_crop(4, 5), multi_scale((4, 6, 9))])
def test_scores_are_means_over_views(views):
    """With images of several sizes, one at a time and all together."""
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (h, w, 1), "uint8") for h, w in [(5, 7), (9, 6), (5, 7)]]
    inputs = keras.Input((None, None, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3, padding="same")(inputs))
    model = keras.Model(inputs, keras.layers.Softmax()(x))

    class Split(ArraySplit):
        def __init__(self):
            self.labels = np.array([0, 1, 2], np.int32)

        def __len__(self):
            return 3

        def raw(self, index):
            return images[index]

    result = evaluate(model, Split(), "abc", batch_size=2, views=views)
    for image, scores in zip(images, result.scores, strict=True):
        expected = np.mean([model(v[None].astype("float32"))[0] for v in views(image)], axis=0)
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_large_views_come_in_smaller_steps():
    steps = []

    def predict(batch):
        steps.append(batch.shape[:3])
        return np.ones((len(batch), 2))

    images = [np.zeros((4, 8, 1), "uint8")] * 70
    scores = mean_over_views(predict, images, multi_scale((4, 448)), batch_size=256)
    np.testing.assert_array_equal(scores, np.ones((70, 2)))
    assert {(count, h) for count, h, _ in steps} == {(70, 4), (8, 448), (6, 448)}


def test_a_network_for_one_size_becomes_one_for_any():
    """The function stays; a mean image becomes a mean colour."""
    inputs = keras.Input((8, 8, 3))
    mean = np.random.default_rng(0).uniform(90, 110, (8, 8, 3)).astype("float32")
    prepare = keras.layers.Normalization((1, 2, 3), mean, np.ones_like(mean))
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype("float32")
    model = create_model("resnet8v2", input_shape=(8, 8, 3), packaging="nested")
    free = any_size(model)
    np.testing.assert_allclose(free(images), model(images), atol=1e-6)
    assert free(np.zeros((1, 13, 9, 3), "float32")).shape == (1, 10)
    colour = any_size(keras.Model(inputs, prepare(inputs)))
    np.testing.assert_allclose(colour(images), images - mean.mean((0, 1)), rtol=1e-4)
    flat = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    with pytest.raises(ConfigError, match="takes images of any size"):
        any_size(flat)


def test_classes_count_alike_beside_the_accuracy():
    """95 images of one class and 5 of another, of which the network knows the first alone."""
    labels = np.repeat([0, 1], [95, 5])
    scores = np.tile([[0.9, 0.1, 0.0]], (100, 1))
    found = Evaluation(scores, labels, ("often", "rare", "never"))
    assert found.accuracy == 0.95 and found.balanced_accuracy == 0.5
    assert found.worst_class == ("rare", 0.0)  # a class without test images has no recall
    summary = found.summary()
    assert (summary["balanced_accuracy"], summary["worst_recall"]) == (0.5, 0.0)
    words = classes_in_words(found.accuracy, found.balanced_accuracy, *found.worst_class)
    assert "50.00%" in words and "'rare'" in words and "dominate the accuracy" in words
    assert "hide" not in classes_in_words(0.95, 0.93, "rare", 0.9)


@pytest.mark.drawn
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["x" * 255, "\N{CAT FACE}", "a\nb\tc\x07", "$x_{", "\u202ecat"])
@pytest.mark.sample(5)
def test_names_of_any_kind_leave_pictures_their_room(name, tmp_path):
    found = Evaluation(np.eye(2, dtype="float32"), np.array([0, 1]), (name, "dog"))
    split = ArraySplit(np.zeros((2, 8, 8, 1), "uint8"), found.labels)
    figures = (plot_confusion_matrix(found, "them"), plot_predictions(found, split, "them"))
    for k, figure in enumerate(figures):
        save_figure(figure, tmp_path / f"{k}.png")
        assert (tmp_path / f"{k}.png").stat().st_size > 5000
