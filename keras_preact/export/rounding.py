"""Int8 that keeps the accuracy: which operations have to stay float for it, and what it costs."""

import pathlib
import tempfile

import keras
import numpy as np

from keras_preact.console import say
from keras_preact.evaluation import evaluate
from keras_preact.export.elsewhere import write
from keras_preact.export.formats import FORMATS, KINDS
from keras_preact.machine import adds_in_16_bits

#: Accuracy that an int8 file may lose, and recall that a class may lose without being named.
POINT = 0.01

#: How many images fix the ranges of the integers, and on how many their cost is looked for.
CALIBRATION_IMAGES, SEARCH_IMAGES = 200, 2000


def rounded(format, model, wish, data, console=None):
    """The wish for int8 with what it takes: images, and the operations that stay float.

    Args:
        format, model, wish, console: As in `kept_float`.
        data: An `ImageData`; its test part is not looked at.
    """
    calibration = data.train.images(spread(len(data.train), CALIBRATION_IMAGES))
    wish = wish._replace(calibration=calibration)
    if wish.integers:  # nothing may stay float
        return wish
    prelu = any(isinstance(layer, keras.layers.PReLU) for layer in model._flatten_layers())
    if format == "litert" and prelu:  # in int8 such a network takes ten times as long
        wish = wish._replace(kept=("rectifiers",))
    if format == "onnx":
        bits = "7 bits, since this processor has no VNNI" if adds_in_16_bits() else "all 8 bits"
        say(console, f"int8 weights of ONNX use {bits}.")
    part = data.validation or data.train
    part = part.subset(spread(len(part), SEARCH_IMAGES))
    return wish._replace(kept=kept_float(format, model, wish, part, data.class_names, console))


def kept_float(format, model, wish, images, class_names, console=None) -> tuple[str, ...]:
    """Kinds of operations that have to stay float for an int8 file to lose no point of accuracy.

    All are rounded at first. Where that costs more than a point on these images, all kinds but the
    convolutions stay float, and one after the other is rounded after all if it costs none. (The
    other way round, from none on, ends where two kinds only help together, as in gated networks.)

    Args:
        format: One of `FORMATS`.
        model: The network in float32.
        wish: A `Wish` for int8; what it keeps already stays float in any case.
        images: A part of a data set that the network was not tested on.
        class_names: Names of its classes.
        console: Where it is said what is tried.

    Returns:
        Kinds of `KINDS`: those of the wish, and more where these lose and more helps.
    """
    before = evaluate(model, images, class_names).accuracy

    def lost(kept):
        with tempfile.TemporaryDirectory(prefix="keras_preact-") as folder:
            path = pathlib.Path(folder, FORMATS[format].file)
            write(format, model, path, wish._replace(kept=kept))
            found = before - evaluate(FORMATS[format].read(path), images, class_names).accuracy
        words = f" with {', '.join(kept)} in float" if kept else ""
        say(console, f"int8{words}: {100 * found:+.1f} points lost of {len(images):,} images")
        return found

    most = lost(wish.kept)
    if most <= POINT:
        return wish.kept
    kept = tuple(KINDS)
    fewest = lost(kept)
    if fewest >= most:
        return wish.kept
    for kind in KINDS:
        fewer = tuple(k for k in kept if k != kind)
        if kind not in wish.kept and fewer and lost(fewer) <= max(POINT, fewest):
            kept = fewer
    return kept


def classes_that_lose(before, after) -> dict[str, float]:
    """The classes whose recall falls by more than a point, and by how much.

    Args:
        before, after: An `Evaluation` of the same images each.

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


def spread(total, count):
    """At most `count` indices, spread over all, since folders are sorted by class."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).astype(int))
