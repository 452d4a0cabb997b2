"""Int8 that keeps the accuracy: which operations must stay float for it, and what it costs."""

import pathlib
import tempfile
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_preact.console import say
from keras_preact.evaluation import evaluate
from keras_preact.export.elsewhere import write
from keras_preact.export.formats import FORMATS, KINDS, Wish
from keras_preact.machine import adds_in_16_bits

if TYPE_CHECKING:
    from rich.console import Console

    from keras_preact.data import ImageData
    from keras_preact.evaluation import Evaluation

#: Accuracy that an int8 file may lose, and recall that a class may lose without being listed.
POINT = 0.01

#: Number of images that determine the ranges of the integers, and that measure their cost.
CALIBRATION_IMAGES, SEARCH_IMAGES = 200, 2000


def rounded(
    format: str,
    model: keras.Model,
    wish: Wish,
    data: "ImageData",
    console: "Console | None" = None,
) -> Wish:
    """The settings for int8, completed with images and the operations that stay float.

    Args:
        format, model, wish, console: As in `kept_float`.
        data: An `ImageData`; its test split is not used.
    """
    calibration = data.train.images(spread(len(data.train), CALIBRATION_IMAGES))
    wish = wish._replace(calibration=calibration)
    if wish.integers:  # nothing may stay float
        return wish
    prelu = any(isinstance(layer, keras.layers.PReLU) for layer in model._flatten_layers())
    if format == "litert" and prelu:  # in int8 such a network takes ten times as long
        wish = wish._replace(kept=("rectifiers",))
    if format == "onnx":
        bits = "7 bits, because this processor has no VNNI" if adds_in_16_bits() else "all 8 bits"
        say(console, f"The int8 weights of ONNX use {bits}.")
    part = data.validation or data.train
    part = part.subset(spread(len(part), SEARCH_IMAGES))
    return wish._replace(kept=kept_float(format, model, wish, part, data.class_names, console))


def kept_float(
    format: str,
    model: keras.Model,
    wish: Wish,
    images: Any,
    class_names: tuple[str, ...],
    console: "Console | None" = None,
) -> tuple[str, ...]:
    """The kinds of operations that must stay float, so that int8 costs at most one point.

    First, all are rounded. If that costs more than one percentage point of accuracy on these
    images, and more than one image, all kinds but the convolutions stay float, and then each in
    turn is rounded again if that costs nothing. (The opposite direction, adding kinds one by one,
    fails where two kinds only help together, as in gated networks.)

    Args:
        format: One of `FORMATS`.
        model: The network in float32.
        wish: A `Wish` for int8; its `kept` operations stay float in any case.
        images: A split of a data set on which the network is not tested.
        class_names: Its class names.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        Kinds of `KINDS`: those of the wish, and more if that helps.
    """
    before = evaluate(model, images, class_names).accuracy

    def lost(kept):
        with tempfile.TemporaryDirectory(prefix="keras_preact-") as folder:
            path = pathlib.Path(folder, FORMATS[format].file)
            write(format, model, path, wish._replace(kept=kept))
            found = before - evaluate(FORMATS[format].read(path), images, class_names).accuracy
        words = f" with {', '.join(kept)} in float" if kept else ""
        points = f"{100 * found:+.1f} percentage points"
        say(console, f"int8{words}: {points} lost on {len(images):,} images")
        return found

    point = max(POINT, 1.5 / len(images))  # a single image says nothing
    most = lost(wish.kept)
    if most <= point:
        return wish.kept
    kept = tuple(KINDS)
    fewest = lost(kept)
    if fewest >= most:
        return wish.kept
    for kind in KINDS:
        fewer = tuple(k for k in kept if k != kind)
        if kind not in wish.kept and fewer and lost(fewer) <= max(point, fewest):
            kept = fewer
    return kept


def classes_that_lose(before: "Evaluation", after: "Evaluation") -> dict[str, float]:
    """The classes whose recall falls by more than one percentage point, and by how much.

    Args:
        before, after: Two `Evaluation`s of the same images.

    Returns:
        `{class name: lost recall}`, from 0 to 1.

    Example:
        >>> import numpy as np
        >>> from keras_preact.evaluation.scores import Evaluation
        >>> from keras_preact.export.rounding import classes_that_lose
        >>> labels, scores = np.array([0, 0, 1]), np.eye(2, dtype="float32")[[0, 0, 1]]
        >>> worse = Evaluation(scores[[0, 2, 2]], labels, ("cat", "dog"))
        >>> classes_that_lose(Evaluation(scores, labels, ("cat", "dog")), worse)
        {'cat': 0.5}
    """
    recalls = (e.per_class()["recall"] for e in (before, after))
    differences = zip(before.class_names, *recalls, strict=True)
    lost = {name: round(float(old - new), 6) for name, old, new in differences}
    return {name: value for name, value in lost.items() if value > POINT}


def spread(total: int, count: int) -> np.ndarray:
    """At most `count` of `total` indices, evenly spaced, since folders are sorted by class."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).astype(int))
