"""Mixup and CutMix: images blended with their neighbours in a batch, and their labels with them."""

from typing import Any

import keras
import numpy as np

from keras_preact.data.random import uniform

_FIRST = 1000  # place in an image's sequence of random numbers, beyond those of `draws`


def blend_draws(
    seed: int,
    epoch: int,
    first: np.ndarray,
    mixup: float,
    cutmix: float,
    image_shape: tuple[int, ...],
) -> np.ndarray | None:
    """How the pairs of neighbours in a batch are blended.

    Mixup (Zhang et al. 2018) draws a share from Beta(`mixup`, `mixup`). CutMix (Yun et al. 2019)
    draws one from Beta(`cutmix`, `cutmix`) and exchanges a box of the rest of the area, in the
    image's own aspect ratio and around any of its pixels; what lies outside is cut off, and the
    area that is left makes the share. Where both are above 0, each has half of the pairs.

    Args:
        seed, epoch: whole numbers from 0.
        first: places of the pairs' first images in their split, integers `[n / 2]`.
        mixup, cutmix: parameters of the Beta distributions; 0 for none.
        image_shape: height and width of the images, and more.

    Returns:
        float32 `[n]`, the share of itself that each image keeps; with CutMix `[n, 5]`, the share
        and the box, `(top, left, bottom, right)`, which is empty where all pixels are mixed.
        `None` for neither.
    """
    if not (mixup or cutmix):
        return None
    from scipy.stats import beta  # scikit-learn depends on it

    numbers = uniform(seed, epoch, first, 4, first=_FIRST).T
    if not cutmix:
        return np.repeat(beta.ppf(numbers[0], mixup, mixup), 2).astype(np.float32)
    cuts = (numbers[1] < 0.5) | (not mixup)
    parameter = np.where(cuts, cutmix, mixup)
    share = beta.ppf(numbers[0], parameter, parameter)
    sides = np.array(image_shape[:2])[:, None]
    half = (sides * np.sqrt(1 - share)).astype(int) // 2 * cuts
    centre = (sides * numbers[2:]).astype(int)
    low, high = np.maximum(centre - half, 0), np.minimum(centre + half, sides)
    share = np.where(cuts, 1 - (high - low).prod(0) / sides.prod(), share)
    return np.repeat([share, *low, *high], 2, axis=1).T.astype(np.float32)


def unblended(blend: np.ndarray) -> np.ndarray:
    """The same for a batch whose images stay whole.

    Args:
        blend: what `blend_draws` gave.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data.blend import unblended
        >>> unblended(np.float32([[0.75, 0, 0, 8, 8]])).tolist()
        [[1.0, 0.0, 0.0, 0.0, 0.0]]
    """
    whole = np.zeros_like(blend)
    whole.reshape(len(whole), -1)[:, 0] = 1
    return whole


def blended(images: Any, targets: Any, blend: Any) -> tuple[Any, Any]:
    """Images and targets of a batch, blended with those of their neighbours.

    The order of an epoch is random already, so that a neighbour is any image.

    Args:
        images: `[n, height, width, channels]`, floats of the backend; `n` even.
        targets: `[n, classes]`.
        blend: what `blend_draws` gave.

    Returns:
        Images and targets.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_preact.data.blend import blended
        >>> images = np.float32([0, 1]).reshape(2, 1, 1, 1)
        >>> images, targets = blended(images, np.eye(2, dtype="float32"), np.float32([0.75, 0.75]))
        >>> keras.ops.convert_to_numpy(targets).tolist()
        [[0.75, 0.25], [0.25, 0.75]]
    """
    ops = keras.ops
    share = blend if len(blend.shape) == 1 else blend[:, 0]
    own = share[:, None, None, None]
    if len(blend.shape) == 2:
        top, left, bottom, right = (blend[:, k, None, None, None] for k in range(1, 5))
        rows = ops.arange(images.shape[1], dtype="float32")[:, None, None]
        columns = ops.arange(images.shape[2], dtype="float32")[:, None]
        box = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
        whole = (bottom > top) & (right > left)
        own = ops.where(box, 0.0, ops.where(whole, 1.0, own))
    return _mixed(images, own), _mixed(targets, share[:, None])


def _mixed(values, own):
    pairs = keras.ops.reshape(values, (-1, 2, *values.shape[1:]))
    neighbours = keras.ops.reshape(keras.ops.flip(pairs, 1), (-1, *values.shape[1:]))
    return own * values + (1 - own) * neighbours
