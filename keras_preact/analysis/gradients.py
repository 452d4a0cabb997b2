"""Backpropagated gradients: their norm at every unit, and their split by path."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import pandas as pd

from keras_preact.analysis.anatomy import Anatomy
from keras_preact.analysis.linearize import linearize
from keras_preact.analysis.loss import cross_entropies, refuse_other_labels
from keras_preact.analysis.signals import mean_over_batches
from keras_preact.checked import require

#: Distance from -1 within which the weight term is counted.
NEAR = 0.1


def gradient_propagation(anatomy: Anatomy, batches: Iterable[tuple[Any, Any]]) -> pd.DataFrame:
    """Measures the gradient of the loss at the input of every unit, and its split by path.

    Identity Mappings, equation 5: dE/dx_l = dE/dx_L (1 + d/dx_l of the sum of the branches). The
    part through the shortcuts alone and the part through weights are backpropagated separately from
    the end of the network; their sum is the gradient, which is computed as well. All layers on a
    shortcut belong to it, including a projection, and so does the activation after an addition; the
    value of a gate is held constant there, and the gradient through the gate itself counts as
    through weights.

    Args:
        anatomy: A network in pieces, of `dissect`, that ends with logits or a softmax.
        batches: Mini-batches, pairs (images, labels); labels are integers.

    Returns:
        One row per unit, and one for the input of the head, means over the mini-batches:
        `gradient`, the norm of dE/dx_l, where E is the mean loss of a mini-batch; `relative`, the
        same divided by that of the last unit; `direct` and `weights`, the norms of the two parts;
        `split_error`, the norm of the gradient minus both parts, relative to that of the gradient;
        `weight_term`, the component of the part through weights along the direct part, in units of
        the latter (at -1 the gradient along it vanishes); `weight_term_min` and `weight_term_max`
        over mini-batches; `near_minus_1`, the share of mini-batches in which it is within 0.1 of
        -1, and `images_near_minus_1`, the share of images. Plain nets have no direct part: values
        relative to it are NaN.

    Raises:
        ConfigError: If the network does not end with logits or a softmax, or a label is not one of
            its classes.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis import dissect, gradient_propagation
        >>> from keras_preact.applications import ResNet8V2
        >>> images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
        >>> found = gradient_propagation(dissect(ResNet8V2()), [(images, np.arange(4))])
        >>> bool((found["split_error"] < 1e-5).all())
        True
    """
    rows = [row for images, labels in batches for row in _of_batch(anatomy, images, labels)]
    frame = mean_over_batches(rows, ["unit", "stage", "number"])
    frame.insert(4, "relative", frame["gradient"] / frame["gradient"].iloc[-2])
    terms: Any = pd.DataFrame(rows).groupby("unit", sort=False)["weight_term"]
    frame["weight_term_min"], frame["weight_term_max"] = [*terms.min()], [*terms.max()]
    return frame


def _of_batch(anatomy, images, labels):
    gradient, parts = backward(anatomy, images, labels)
    direct, weights = gradient, keras.ops.zeros_like(gradient)
    rows = [_row("head", 0, 0, gradient, direct, weights)]
    for piece, whole, along, through in parts:
        weights = along(weights) + through(gradient)
        gradient, direct = whole(gradient), along(direct)
        if piece in anatomy.units:
            rows.append(_row(piece.name, piece.stage, piece.number, gradient, direct, weights))
    return reversed(rows)


def backward(
    anatomy: Anatomy, images: Any, labels: Any
) -> tuple[Any, Iterator[tuple[Any, Callable, Callable, Callable]]]:
    """Prepares the backward pass through a network.

    Returns:
        The gradient of the mean loss at the head's input, and for each piece, from the last one
        back to the first after the stem, (piece, whole, along, through), the functions of
        `Piece.split`.

    Raises:
        ConfigError: As `gradient_propagation`.
    """
    x, inputs, seen = keras.ops.convert_to_tensor(images), [], []
    for piece in anatomy.pieces[:-1]:
        inputs.append(x)
        found = piece.look(x)
        seen.append({name: found[name] for name in ("sum", "carry") if name in found})
        x = found["output"]
    head = anatomy.pieces[-1]
    (scores,), pull = head.linearize([head.source], [head.target], x)
    refuse_other_scores(anatomy, scores, labels)
    found = reversed([*zip(anatomy.pieces, inputs, seen, strict=False)][1:])
    parts = ((piece, *piece.split(x, values)) for piece, x, values in found)
    return pull(gradient_of_loss(anatomy, scores, labels))[0], parts


def refuse_other_scores(anatomy: Anatomy, scores: Any, labels: Any) -> None:
    """Raises `ConfigError` for a network without scores, and for labels that it does not have."""
    fits = anatomy.gives_logits is not None and len(scores.shape) == 2
    require(fits, "anatomy", anatomy.name, "a network that ends with logits or a softmax")
    refuse_other_labels(labels, scores.shape[-1])


def gradient_of_loss(anatomy, scores, labels):
    """The gradient of the mean cross-entropy at a network's scores."""

    def loss(scores):
        return [keras.ops.mean(cross_entropies(scores, labels, anatomy.gives_logits))]

    (mean,), pull = linearize(loss, scores)
    return pull(keras.ops.ones_like(mean))[0]


def _row(unit, stage, number, *tensors):
    gradient, direct, weights = (
        keras.ops.convert_to_numpy(tensor).astype(np.float64) for tensor in tensors
    )
    norm, square = np.linalg.norm(gradient), np.sum(direct**2)
    axes = tuple(range(1, gradient.ndim))
    squares = np.sum(direct**2, axes)
    with np.errstate(divide="ignore", invalid="ignore"):  # a plain net has no direct part
        term = np.sum(weights * direct) / square
        terms = np.sum(weights * direct, axes) / squares
        split_error = np.linalg.norm(gradient - direct - weights) / norm
    return {
        "unit": unit,
        "stage": stage,
        "number": number,
        "gradient": norm,
        "direct": np.sqrt(square),
        "weights": np.linalg.norm(weights),
        "split_error": split_error,
        "weight_term": term,
        "near_minus_1": float(abs(term + 1) < NEAR) if square else np.nan,
        "images_near_minus_1": np.mean(abs(terms + 1) < NEAR) if square else np.nan,
    }
