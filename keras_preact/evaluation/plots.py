"""Pictures of a run: curves, confusion matrix, a sheet of images with predictions."""

import warnings

import matplotlib
import numpy as np

from keras_preact.files import save_error, suffix_of
from keras_preact.run import watched

INK, RIGHT, WRONG = "#222222", "#1a7f37", "#c62828"

#: Of the name of a class.
_LETTERS = 40

#: Names of classes and data are shown as they are: a $ in them begins no formula.
plain_text = matplotlib.rc_context({"text.parse_math": False})


@plain_text
def plot_curves(log, title):
    """Loss and error over the epochs, as the papers plot them: training thin, test bold.

    Args:
        log: One dictionary an epoch with `epoch`, `loss`, `error`, `test_loss`, `test_error`; or
            the last two of the validation part.
        title: Headline of the figure.

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
def plot_confusion_matrix(evaluation, title):
    """The confusion matrix in images and in shares of the true class, which its colours are of.

    Of more than 30 classes there are the colours alone, darker than in proportion, so that rare
    mistakes can be seen, with a bar that tells what they are.

    Args:
        evaluation: An `Evaluation`.
        title: Headline of the figure.

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
    names = None if many else [short(name) for name in evaluation.class_names]
    display = ConfusionMatrixDisplay(shares, display_labels=names)
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
    axes.set_xlabel("predicted class, by number" if many else "predicted")
    axes.set_ylabel("true class, by number" if many else "true")
    axes.set_title(f"{title}\n{evaluation.correct} of {len(evaluation.labels)} correct")
    return figure


@plain_text
def plot_predictions(evaluation, split, title, count=40):
    """A sheet of test images with their predictions: mistakes first, then others.

    Both are spread evenly over the split, in which the images of a class often lie together.

    Args:
        evaluation: An `Evaluation` of the split.
        split: Where the images are.
        title: Headline of the figure.
        count: How many images; half of them are mistakes where there are so many.

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
def plot_mistakes(evaluation, split, title, count=40):
    """A sheet of the worst mistakes: those in which the network was most sure.

    Args:
        evaluation: An `Evaluation` of the split.
        split: Where the images are.
        title: Headline of the figure.
        count: How many images, at most.

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
    headline = f"{title}: {len(worst)} of {len(evaluation.mistakes)} mistakes, the surest first"
    return _sheet(evaluation, split, worst, headline)


@plain_text
def plot_calibration(evaluation, title):
    """How often the network is right by how sure it is, and how many images there are of each.

    Args:
        evaluation: An `Evaluation`.
        title: Headline of the figure.

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
    left.plot([0, 1], [0, 1], color="#999999", lw=1, label="as sure as it is right")
    left.plot(frame["confidence"], frame["accuracy"], marker="o", color="#0b3d91", label="network")
    left.set_ylabel("share of them that is right")
    left.set_ylim(0, 1.02)
    left.legend(frameon=False, labelcolor=INK)
    sure = evaluation.scores[evaluation.finite].max(axis=1)
    right.hist(sure, bins=np.linspace(0, 1, 11), color="#6b9bd1", ec="white")
    right.set_ylabel("images")
    for axes in (left, right):
        axes.set_xlabel("score of the predicted class")
        axes.set_xlim(0, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.spines[["top", "right"]].set_visible(False)
    left.yaxis.set_major_formatter(PercentFormatter(1.0))
    error = f"expected calibration error {evaluation.calibration_error:.2%}"
    figure.suptitle(f"{title}: {error}", color=INK)
    return figure


def _sheet(evaluation, split, shown, headline):
    """Images with their predictions, eight in a row."""
    columns, down = 8, 1.45  # down: from one image's top to the next one's, in widths of an image
    rows = max(1, -(-len(shown) // columns))
    # All in one pair of axes, and without a layout, which would take most of the time.
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
            text += f"\nis {short(evaluation.class_names[true])}"
        color = RIGHT if predicted == true else WRONG
        axes.text(left + 0.5, top - 0.05, text, fontsize=9, color=color, ha="center", va="bottom")
    axes.set_xlim(-0.1, columns * 1.2 - 0.1)
    axes.set_ylim(rows * down - 0.4, -0.45)
    figure.suptitle(headline, color=INK)
    return figure


def short(name: str, letters: int = _LETTERS) -> str:
    """A name in so many letters that it leaves a picture its room."""
    return name if len(name) <= letters else f"{name[: letters - 1]}\N{HORIZONTAL ELLIPSIS}"


def _spread(places, count):
    """So many of some places, evenly apart."""
    chosen = np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)
    return places[chosen]


def save_figure(figure, path) -> None:
    """Writes a figure as `.png` (150 dots an inch), `.svg` or `.pdf`, by the path's suffix.

    Raises:
        ConfigError: For another suffix.
        SaveError: When it cannot be written.
    """
    suffix_of(path, (".png", ".svg", ".pdf"), "out")
    try:
        with warnings.catch_warnings():  # a letter that no font has is drawn as a box
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            figure.savefig(path, dpi=150)
    except OSError as error:
        raise save_error(error, "The picture", path) from error


def over_epochs(axes) -> None:
    """Gives axes that have epochs from left to right their label, whole numbers and a grid."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def new_figure(width, height, rows=1, columns=1, layout="constrained"):
    """A figure that needs no display and leaves no global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    return figure, figure.subplots(rows, columns)
