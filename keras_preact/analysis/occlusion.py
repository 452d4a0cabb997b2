"""`occlusion`: the decrease of a score when a part of the image is covered, for any network."""

from collections.abc import Callable
from typing import Any

import numpy as np

#: Images per batch.
_BATCH = 32


def occlusion(
    predict: Callable[[np.ndarray], Any],
    image: np.ndarray,
    label: int,
    square: int | None = None,
    batch_size: int = _BATCH,
) -> tuple[np.ndarray, np.ndarray]:
    """Measures the decrease of a class's score when a square of the image is covered.

    Zeiler and Fergus (2014), section 4.2. The squares have the mean colour of the image; each
    begins half its side after the one before it.

    Args:
        predict: Function from images `[n, h, w, c]` to scores `[n, classes]`.
        image: An image, `[h, w, c]`.
        label: Label of the class.
        square: Side of the squares in pixels; by default a quarter of the image's shorter side.
        batch_size: Images per batch.

    Returns:
        The decrease for each square, float32 `[rows, columns]`; and for each pixel the mean over
        the squares that cover it, float32 `[h, w]`.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis.occlusion import occlusion
        >>> image = np.zeros((8, 8, 1), "uint8")
        >>> image[:2, :2] = 255  # the score is the brightness of this corner
        >>> scores = lambda images: images[:, :2, :2].mean((1, 2)) / 255.0
        >>> falls, heat = occlusion(scores, image, 0, square=2)
        >>> falls.shape, int(heat.argmax())
        ((7, 7), 0)
    """
    height, width = image.shape[:2]
    side = square or max(min(height, width) // 4, 1)
    side = min(side, height, width)
    rows, columns = (_places(length, side) for length in (height, width))
    colour = image.mean((0, 1), dtype=np.float64).astype(image.dtype)
    boxes = [(slice(y, y + side), slice(x, x + side)) for y in rows for x in columns]
    whole, falls = predict(image[None])[0, label], []
    for first in range(0, len(boxes), batch_size):
        part = boxes[first : first + batch_size]
        covered = np.repeat(image[None], len(part), axis=0)
        for one, box in zip(covered, part, strict=True):
            one[box] = colour
        falls.extend(whole - predict(covered)[:, label])
    total, times = np.zeros((height, width)), np.zeros((height, width))
    for box, fall in zip(boxes, falls, strict=True):
        total[box] += fall
        times[box] += 1
    grid = np.reshape(falls, (len(rows), len(columns))).astype(np.float32)
    return grid, (total / times).astype(np.float32)


def _places(length, side):
    """The positions of squares along a side, so that the last one ends with it."""
    return [*range(0, length - side, max(side // 2, 1)), length - side]
