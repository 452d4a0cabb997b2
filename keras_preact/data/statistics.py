"""Mean and standard deviation of the training images."""

from typing import Literal

import numpy as np

from keras_preact.checked import require
from keras_preact.data.random import epoch_order
from keras_preact.data.splits import Split

SAMPLE = 10_000


def image_mean(
    split: Split, kind: Literal["pixel", "channel"] = "channel"
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the pixel values, on the scale 0 to 255.

    The papers subtract the mean of each pixel (He et al. 2015b, sec. 4.2), their Torch code the
    mean of each channel. Of images that are not in memory a fixed sample of 10,000 is read.

    Args:
        split: the training part.
        kind: `"pixel"`: one value for each place and channel; `"channel"` (default): one for each
            channel.

    Returns:
        Mean and standard deviation, float32 `[height, width, channels]` or `[channels]`.

    Example:
        >>> from keras_preact.data import image_mean, load_data
        >>> mean, std = image_mean(load_data("digits").train)
        >>> mean.shape, std.shape
        ((1,), (1,))
    """
    require(kind in ("pixel", "channel"), "kind", kind, "one of 'pixel', 'channel'")
    order = np.arange(len(split))
    if split.streams and len(split) > SAMPLE:
        order = np.sort(epoch_order(0, 0, len(split))[:SAMPLE])
    total = np.zeros(split.image_shape, np.int64)  # exact sums: the order does not matter
    squares = np.zeros(split.image_shape, np.int64)
    for start in range(0, len(order), 256):
        images = split.images(order[start : start + 256]).astype(np.uint32)
        total += images.sum(0, dtype=np.int64)
        images *= images
        squares += images.sum(0, dtype=np.int64)
    count = len(order)
    if kind == "channel":
        count *= int(np.prod(split.image_shape[:2]))
        total, squares = total.sum((0, 1)), squares.sum((0, 1))
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
