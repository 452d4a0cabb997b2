"""Imbalanced classes: sample weights, balanced sampling, logit adjustment."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_preact.data.random import epoch_order, hashed
from keras_preact.errors import DataError, some


def checked_weights(values: Any, what: str) -> list[float]:
    """Sample weights as numbers.

    Args:
        values: Numbers or strings from a source.
        what: Their place, for messages.

    Raises:
        DataError: For values that are not finite or below 0; names them.

    Example:
        >>> from keras_preact.data.balance import checked_weights
        >>> checked_weights(["1", 0.5], "The column 'weight'")
        [1.0, 0.5]
    """
    weights = [_number(value) for value in values]
    wrong = [value for value, w in zip(values, weights, strict=True) if not 0 <= w < np.inf]
    if wrong:
        raise DataError(
            f"{what} must hold sample weights, finite and at least 0. "
            f"Received: {some(map(str, wrong))}. Rename it if it is not a weight."
        )
    return weights


def _number(value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def image_weights(split: Any, balanced: bool = False) -> np.ndarray | None:
    """Sample weights for the loss, with mean 1 over the split.

    Args:
        split: the training part; its column `"weight"` holds a weight per image.
        balanced: whether to weight classes equally: each image by n / (classes * images of its
            class).

    Returns:
        float32 `[n]`, the product of both; `None` if all are equal.

    Raises:
        DataError: all weights of the column are 0.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data.balance import image_weights
        >>> from keras_preact.data.splits import ArraySplit
        >>> split = ArraySplit(np.zeros((5, 2, 2, 1), "uint8"), np.array([0, 1, 1, 1, 1]))
        >>> image_weights(split, balanced=True).tolist()
        [2.5, 0.625, 0.625, 0.625, 0.625]
    """
    own = split.columns.get("weight")
    if own is None and not balanced:
        return None
    weights = np.ones(len(split)) if own is None else np.asarray(own, float)
    if balanced:
        _, labels, counts = np.unique(split.labels, return_inverse=True, return_counts=True)
        weights = weights * (len(labels) / (len(counts) * counts))[labels]
    if not weights.any():
        raise DataError(
            f"Sample weights must not all be 0. Received: 0 for all {len(split):,} training images."
        )
    return (weights / weights.mean()).astype(np.float32)


def log_shares(labels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """The logarithm of each class's frequency, float32 `[classes]`.

    Added to the logits in the training loss only, it makes the network's scores optimal for equally
    frequent classes (Menon et al.: Long-Tail Learning via Logit Adjustment, 2021, with a tau of 1).

    Raises:
        DataError: a class has no image.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data.balance import log_shares
        >>> np.exp(log_shares(np.array([0, 1, 1, 1]), ("cat", "dog"))).tolist()
        [0.25, 0.75]
    """
    counts = np.bincount(labels, minlength=len(class_names))
    if not counts.all():
        none = class_names[counts.argmin()]
        raise DataError(
            "recipe.balance='logit_adjustment' needs training images of every class. "
            f"Received: none of class {none!r}. Use recipe.balance='weights'."
        )
    return np.log(counts / counts.sum()).astype(np.float32)


def balanced_draws(seed: int, epoch: int, labels: np.ndarray) -> np.ndarray:
    """Balanced sampling: draws `n` images so that all classes are equally frequent (to one image).

    Classes take turns; each gives its images in an order of the epoch, repeatedly if it has fewer
    than its turns. The result is shuffled. A pure function of its arguments.

    Args:
        seed, epoch: whole numbers from 0.
        labels: integer array `[n]`.

    Returns:
        int64 `[n]`: the place of the image, and for one drawn `k` times before `place + k * n`,
        so that each time it can be changed in another way.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data.balance import balanced_draws
        >>> labels = np.array([0, 1, 1, 1, 1, 1])
        >>> labels[balanced_draws(0, 0, labels) % 6].tolist().count(0)
        3
    """
    n = len(labels)
    _, labels, counts = np.unique(labels, return_inverse=True, return_counts=True)
    members = np.lexsort((hashed(seed, epoch, np.arange(n)), labels))  # class after class
    first = np.cumsum(counts) - counts
    # Each epoch begins with another class: where turns do not come out even, those of all do.
    turn, kind = np.arange(n) // len(counts), (np.arange(n) + epoch) % len(counts)
    again, place = np.divmod(turn, counts[kind])
    return (members[first[kind] + place] + again * n)[epoch_order(seed, epoch, n)]
