"""Plots of a run: curves, confusion matrix, a sheet of images with predictions."""

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

from keras_preact.files import save_error, suffix_of
from keras_preact.run import watched

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from keras_preact.evaluation.scores import Evaluation

INK, RIGHT, WRONG = "#222222", "#1a7f37", "#c62828"

#: Longest class name in a plot, in letters.
_LETTERS = 40

#: Class names and data names are shown as they are: a $ in them does not start a formula.
plain_text = matplotlib.rc_context({"text.parse_math": False})


@plain_text
def plot_curves(log: Sequence[Mapping[str, Any]], title: str) -> "Figure":
    """Plots loss and error over the epochs, as in the papers: training thin, test thick.

    Args:
        log: One dictionary per epoch with `epoch`, `loss`, `error`, `test_loss`, `test_error`; or
            `validation_loss`, `validation_error` in place of the last two.
        title: Title of the figure.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> from keras_preact.evaluation import plot_curves
        >>> row = {"epoch": 1, "loss": 2.0, "error": 0.5, "test_loss": 2.1, "test_error": 0.6}
        >>> len(plot_curves([row], "resnet20v2 on digits").axes)
        2
    """
    from matplotlib.ticker import PercentFormatter

    figure, (left, right) = new_figure(10, 4, columns=2)
    epochs, part = [row["epoch"] for row in log], watched(log[-1])
    for axes, quantity in ((left, "loss"), (right, "error")):
        marker = "o" if len(epochs) == 1 else None
        for name, label, width, color in (
            (quantity, "training", 1.2, "#6b9bd1"),
            (f"{part}_{quantity}", part, 2.2, "#0b3d91"),
        ):
            values = [row[name] for row in log]
            axes.plot(epochs, values, label=label, lw=width, color=color, marker=marker)
        over_epochs(axes)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
    left.set_ylabel("cross-entropy")
    right.set_ylabel("top-1 error")
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.suptitle(title, color=INK)
    return figure


@plain_text
def plot_confusion_matrix(evaluation: "Evaluation", title: str) -> "Figure":
    """Plots the confusion matrix, in images and as shares of the true class.

    The colours show the shares. With more than 30 classes, only the colours are shown, with a
    colour bar; their scale is a square root, so that rare mistakes remain visible.

    Args:
        evaluation: An `Evaluation`.
        title: Title of the figure.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import numpy as np
        >>> from keras_preact.evaluation import Evaluation, plot_confusion_matrix
        >>> result = Evaluation(np.eye(2), np.array([0, 1]), ("cat", "dog"))
        >>> len(plot_confusion_matrix(result, "cats and dogs").axes)
        1
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import MaxNLocator, PercentFormatter
    from sklearn.metrics import ConfusionMatrixDisplay

    matrix = evaluation.confusion_matrix()
    classes = len(matrix)
    many = classes > 30
    side = min(8 + 0.014 * classes, 22) if many else max(0.55 * classes + 2, 5)
    figure, axes = new_figure(side, 0.9 * side if many else side)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    names = [] if many else [short(name) for name in evaluation.class_names]
    display = ConfusionMatrixDisplay(shares, display_labels=names or None)
    norm = {"norm": PowerNorm(0.5 if many else 1, vmin=0, vmax=1)}
    display.plot(ax=axes, cmap="Blues", colorbar=False, include_values=False, im_kw=norm)
    if many:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
            axis.set_major_formatter("{x:.0f}")
        bar = figure.colorbar(display.im_, ax=axes, shrink=0.6, format=PercentFormatter(1.0))
        bar.set_label("share of the true class")
    else:
        axes.tick_params(axis="x", rotation=90 if max(map(len, names)) > 3 else 0)
        for row, column in np.argwhere(matrix):
            color = "white" if shares[row, column] > 0.5 else INK
            text = f"{matrix[row, column]}\n{shares[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
    axes.set_xlabel("label of the predicted class" if many else "predicted class")
    axes.set_ylabel("label of the true class" if many else "true class")
    axes.set_title(f"{title}\n{evaluation.correct} of {len(evaluation.labels)} correct")
    return figure


@plain_text
def plot_predictions(evaluation: "Evaluation", split: Any, title: str, count: int = 40) -> "Figure":
    """Plots a sheet of test images with their predictions: mistakes first, then correct ones.

    Both are evenly spaced over the split, in which images of the same class are often adjacent.

    Args:
        evaluation: An `Evaluation` of the split.
        split: The split of the data set (`ImageData.test`).
        title: Title of the figure.
        count: Number of images; half of them are mistakes if there are enough.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import numpy as np
        >>> from keras_preact import load_data
        >>> from keras_preact.evaluation import Evaluation, plot_predictions
        >>> data = load_data("digits")
        >>> result = Evaluation(np.eye(10)[data.test.labels], data.test.labels, data.class_names)
        >>> len(plot_predictions(result, data.test, "digits", count=8).axes[0].images)
        8
    """
    hits = evaluation.predictions == evaluation.labels
    wrong = _spread(np.flatnonzero(~hits), count // 2)
    right = _spread(np.flatnonzero(hits), count - len(wrong))
    headline = f"{title}: {len(wrong)} mistakes first"
    return _sheet(evaluation, split, np.concatenate([wrong, right]), headline)


@plain_text
def plot_mistakes(evaluation: "Evaluation", split: Any, title: str, count: int = 40) -> "Figure":
    """Plots a sheet of the worst mistakes: those with the most confident predictions.

    Args:
        evaluation: An `Evaluation` of the split.
        split: The split of the data set (`ImageData.test`).
        title: Title of the figure.
        count: Largest number of images.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import numpy as np
        >>> from keras_preact import load_data
        >>> from keras_preact.evaluation import Evaluation, plot_mistakes
        >>> data = load_data("digits")
        >>> always_3 = np.eye(10)[np.full(360, 3)]
        >>> result = Evaluation(always_3, data.test.labels, data.class_names)
        >>> len(plot_mistakes(result, data.test, "digits", count=8).axes[0].images)
        8
    """
    worst = evaluation.mistakes[:count]
    number = f"{len(worst)} of {len(evaluation.mistakes)} mistakes"
    headline = f"{title}: {number}, most confident first"
    return _sheet(evaluation, split, worst, headline)


@plain_text
def plot_calibration(evaluation: "Evaluation", title: str) -> "Figure":
    """Plots a reliability diagram (accuracy by confidence) and a histogram of the confidences.

    Args:
        evaluation: An `Evaluation`.
        title: Title of the figure.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import numpy as np
        >>> from keras_preact.evaluation import Evaluation, plot_calibration
        >>> result = Evaluation(np.eye(2), np.array([0, 1]), ("cat", "dog"))
        >>> len(plot_calibration(result, "cats and dogs").axes)
        2
    """
    from matplotlib.ticker import PercentFormatter

    figure, (left, right) = new_figure(9, 4.2, columns=2)
    frame = evaluation.calibration()
    left.plot([0, 1], [0, 1], color="#999999", lw=1, label="perfect calibration")
    left.plot(frame["confidence"], frame["accuracy"], marker="o", color="#0b3d91", label="network")
    left.set_ylabel("accuracy")
    left.set_ylim(0, 1.02)
    left.legend(frameon=False, labelcolor=INK)
    sure = evaluation.scores[evaluation.finite].max(axis=1)
    right.hist(sure, bins=np.linspace(0, 1, 11), color="#6b9bd1", ec="white")
    right.set_ylabel("number of images")
    for axes in (left, right):
        axes.set_xlabel("confidence (score of the predicted class)")
        axes.set_xlim(0, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.spines[["top", "right"]].set_visible(False)
    left.yaxis.set_major_formatter(PercentFormatter(1.0))
    error = f"expected calibration error {evaluation.calibration_error:.2%}"
    figure.suptitle(f"{title}: {error}", color=INK)
    return figure


def _sheet(evaluation, split, shown, headline):
    """Images with their predictions, eight in a row."""
    columns, down = 8, 1.45  # down: the distance between rows, in widths of an image
    rows = max(1, -(-len(shown) // columns))
    # All images in one Axes, without a layout engine, which would take most of the time.
    width, height = columns * 1.35, rows * 1.6 + 0.6
    figure, axes = new_figure(width, height, layout=None)
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.6 / height)
    axes.axis("off")
    images, predictions = split.images(shown) if len(shown) else [], evaluation.predictions
    for place, (image, k) in enumerate(zip(images, shown, strict=True)):
        left, top = place % columns * 1.2, place // columns * down
        high, wide = np.array(image.shape[:2]) / max(image.shape[:2])
        box = (left + 0.5 - wide / 2, left + 0.5 + wide / 2, top + high, top)
        gray = image.shape[2] == 1
        axes.imshow(image[:, :, 0] if gray else image, cmap="gray", vmin=0, vmax=255, extent=box)
        predicted, true = predictions[k], evaluation.labels[k]
        text = "no score"
        if predicted >= 0:
            name = short(evaluation.class_names[predicted])
            text = f"{name} ({evaluation.scores[k, predicted]:.0%})"
        if predicted != true:
            text += f"\ntrue: {short(evaluation.class_names[true])}"
        color = RIGHT if predicted == true else WRONG
        axes.text(left + 0.5, top - 0.05, text, fontsize=9, color=color, ha="center", va="bottom")
    axes.set_xlim(-0.1, columns * 1.2 - 0.1)
    axes.set_ylim(rows * down - 0.4, -0.45)
    figure.suptitle(headline, color=INK)
    return figure


def short(name: str, letters: int = _LETTERS) -> str:
    """A name cut to at most so many letters, so that it fits into a plot."""
    return name if len(name) <= letters else f"{name[: letters - 1]}\N{HORIZONTAL ELLIPSIS}"


def _spread(places, count):
    """At most `count` of the places, evenly spaced."""
    chosen = np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)
    return places[chosen]


def save_figure(figure: "Figure", path: str | os.PathLike) -> None:
    """Writes a figure as `.png` (150 dpi), `.svg` or `.pdf`.

    Args:
        figure: A `matplotlib.figure.Figure`.
        path: File to write; its suffix chooses the format.

    Raises:
        ConfigError: If the suffix is another one.
        SaveError: If the file cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> from keras_preact.evaluation import plot_curves, save_figure
        >>> row = {"epoch": 1, "loss": 2.0, "error": 0.5, "test_loss": 2.1, "test_error": 0.6}
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "curves.png"
        >>> save_figure(plot_curves([row], "resnet20v2 on digits"), path)
        >>> path.is_file()
        True
    """
    suffix_of(path, (".png", ".svg", ".pdf"), "out")
    try:
        with warnings.catch_warnings():  # a letter that no font has is drawn as a box
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            figure.savefig(path, dpi=150)
    except OSError as error:
        raise save_error(error, "The picture", path) from error


def over_epochs(axes: Any) -> None:
    """Formats the x axis for epochs: label, whole numbers and a grid."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, layout: Any = "constrained"
) -> "tuple[Figure, Any]":
    """A figure of `width` x `height` inches and its axes, without a display or global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    return figure, figure.subplots(rows, columns)
