"""What is drawn for each image: its numbers, as a pure function of (seed, epoch, index), and what
they mean: windows, boxes, shifts of colours.

Each image has one sequence of random numbers (`uniform`) an epoch; here stands which of them decide
what. Those of `keras_preact.data.blend` follow, from 1,000 on.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_preact.data.images import scaled_shape
from keras_preact.data.random import normal, uniform

# Principal components of the colours of ImageNet's training images, on the scale 0 to 1, as in
# facebookarchive/fb.resnet.torch (datasets/imagenet.lua); rows: red, green, blue.
_COMPONENTS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_DEVIATIONS = np.array([0.2175, 0.0188, 0.0045])
#: Share of an image's area that random erasing takes, and width to height of that (Zhong et al.
#: 2020).
ERASED_AREAS, ERASED_RATIOS = (0.02, 0.4), (0.3, 1 / 0.3)

_TRIES = 10
_DRAWS = 2 + 4 * _TRIES  # the same for all kinds: flip, scale, then the window

# Where an image's numbers for what follows the window begin; those up to 48 are the colours'.
_JITTER, _ERASING, _CUTOUT, _POLICY = 60, 70, 120, 200


def crop_draws(
    indices: np.ndarray,
    augmentation: Any,
    pad: int,
    seed: int,
    epoch: int,
    flip: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """The random part of `"crop"`: where windows lie, int64 `[n, 2]`, and which are mirrored."""
    numbers = uniform(seed, epoch, indices, 4)
    offsets = (numbers[:, 2:4] * (2 * pad + 1)).astype(np.int64)
    return offsets, _mirrored(numbers, augmentation, flip)


def window_draws(
    indices: np.ndarray,
    augmentation: Any,
    shape: tuple[int, ...],
    seed: int,
    epoch: int,
    flip: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The random part of `"imagenet"`, for windows of a `shape`.

    Returns:
        Numbers in [0, 1) that `scale_window` and `aspect_window` make windows from, one row for
        each image; which images are mirrored, bool `[n]`; and what `shift_colours` adds, or `None`
        where colours stay.
    """
    numbers = uniform(seed, epoch, indices, _DRAWS)
    shifts = None
    if augmentation.colour and shape[2] == 3:
        shifts = colour_shifts(augmentation.colour * normal(seed, epoch, indices, 3, first=_DRAWS))
    return numbers[:, 1:], _mirrored(numbers, augmentation, flip), shifts


def scale_window(
    image_shape: Sequence[int], shape: Sequence[int], numbers: np.ndarray, scales: Sequence[int]
) -> tuple[tuple, tuple]:
    """A window of `shape` at random, after scaling the shorter side to a random length.

    Where the window would not fit then, as one that is wide would not into an image that is not,
    the image is scaled until it does.

    Returns:
        Height and width of the whole image, scaled, and `(top, left, height, width)` of the
        window in it, as `Picture.scaled` takes them.
    """
    shorter = int(scales[0] + numbers[0] * (scales[1] - scales[0] + 1))
    sides = zip(shape[:2], image_shape[:2], strict=True)
    least = max(-(-side * min(image_shape[:2]) // own) for side, own in sides)
    scaled = scaled_shape(image_shape, max(shorter, least))
    top, left = (
        int(number * (a - b + 1)) for number, a, b in zip(numbers[1:3], scaled, shape, strict=False)
    )
    return scaled, (top, left, *shape[:2])


def aspect_window(
    image_shape: Sequence[int],
    numbers: np.ndarray,
    areas: Sequence[float] = (0.08, 1.0),
    ratios: Sequence[float] = (3 / 4, 4 / 3),
) -> tuple[int, int, int, int] | None:
    """A part of random area and aspect ratio, as fb.resnet.torch draws it.

    Args:
        image_shape: that of the image.
        numbers: in [0, 1); the first is not used.
        areas: least and greatest share of the image's area.
        ratios: least and greatest ratio of width to height.

    Returns:
        `(top, left, height, width)` in the image; `None` if no draw lies in it.
    """
    height, width = image_shape[:2]
    for area, ratio, down, across in numbers[1:].reshape(_TRIES, 4):
        area = (areas[0] + (areas[1] - areas[0]) * area) * height * width
        ratio = ratios[0] + ratio * (ratios[1] - ratios[0])
        tall, wide = round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
        if 1 <= tall <= height and 1 <= wide <= width:
            return int(down * (height - tall + 1)), int(across * (width - wide + 1)), tall, wide
    return None


def colour_shifts(amounts: np.ndarray) -> np.ndarray:
    """What multiples of the components of ImageNet's colours are in grey levels.

    Args:
        amounts: `[n, 3]`, for each component the multiple of its standard deviation (Krizhevsky et
            al. 2012).

    Returns:
        int array `[n, 3]`, for red, green and blue.
    """
    return np.rint(255 * (amounts * _DEVIATIONS) @ _COMPONENTS.T).astype(int)


def erased_boxes(
    indices: np.ndarray, augmentation: Any, shape: tuple[int, ...], seed: int, epoch: int
) -> list[tuple[int, tuple[int, int, int, int]]]:
    """What random erasing and cutout take out of images of a `shape`.

    Returns:
        Pairs of a position in `indices` and a box, `(top, left, bottom, right)` in pixels.
    """
    found = []
    if augmentation.erasing:
        numbers = uniform(seed, epoch, indices, 1 + 4 * _TRIES, first=_ERASING)
        for k in np.flatnonzero(numbers[:, 0] < augmentation.erasing):
            if window := aspect_window(shape, numbers[k], ERASED_AREAS, ERASED_RATIOS):
                top, left, tall, wide = window
                found.append((k, (top, left, top + tall, left + wide)))
    if side := augmentation.cutout:
        centres = uniform(seed, epoch, indices, 2, first=_CUTOUT) * shape[:2]
        tops_and_lefts = centres.astype(int) - side // 2
        low = np.maximum(tops_and_lefts, 0)
        high = np.minimum(tops_and_lefts + side, shape[:2])
        found += enumerate(np.concatenate([low, high], axis=1).tolist())
    return found


def jitter_draws(
    indices: np.ndarray, augmentation: Any, seed: int, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Factors of brightness, contrast and saturation, `[n, 3]`, and the order of the three."""
    numbers = uniform(seed, epoch, indices, 6, first=_JITTER)
    return 1 + augmentation.jitter * (2 * numbers[:, :3] - 1), numbers[:, 3:].argsort(axis=1)


def policy_draws(indices: np.ndarray, augmentation: Any, seed: int, epoch: int) -> np.ndarray:
    """Numbers in [0, 1), `[n, operations, 3]`: which operation, how strong, and its sign."""
    count = augmentation.operations if augmentation.policy == "rand_augment" else 1
    return uniform(seed, epoch, indices, 3 * count, first=_POLICY).reshape(-1, count, 3)


def _mirrored(numbers: np.ndarray, augmentation, flip: bool) -> np.ndarray:
    return (numbers[:, 0] < 0.5) & (flip if augmentation.flip is None else augmentation.flip)
