"""Mean and standard deviation of the training images."""

from typing import Any, Literal, NamedTuple

import numpy as np

from keras_preact.checked import require
from keras_preact.data.random import epoch_order
from keras_preact.data.splits import Split

SAMPLE = 10_000


class Statistics(NamedTuple):
    """Mean and standard deviation of images, on the scale 0 to 255.

    Attributes:
        mean, deviation: float32 `[height, width, channels]` or `[channels]`.
        images: over how many images they were taken.
    """

    mean: np.ndarray
    deviation: np.ndarray
    images: int

    @property
    def channel_mean(self) -> np.ndarray:
        """One mean for each channel, float `[channels]`."""
        return self.mean.reshape(-1, self.mean.shape[-1]).mean(axis=0, dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it, to the last bit."""
        return {**self._asdict(), "mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Statistics":
        """The inverse of `to_dict`."""
        arrays = (np.asarray(values[name], np.float32) for name in ("mean", "deviation"))
        return cls(*arrays, values["images"])


def image_mean(
    split: Split, kind: Literal["pixel", "channel"] = "channel"
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the pixel values, on the scale 0 to 255.

    The papers subtract the mean of each pixel (He et al. 2015b, sec. 4.2), their Torch code the
    mean of each channel. The former is that of all images; of images that are not decoded yet the
    latter is that of a fixed sample of 10,000.

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
    sampled = kind == "channel" and not split.decoded
    return statistics(split, kind, SAMPLE if sampled else None)[:2]


def statistics(
    split: Split, kind: Literal["pixel", "channel"], most: int | None = None
) -> Statistics:
    """What `image_mean` gives, over `most` images, a fixed sample, or (`None`, default) over all.

    Example:
        >>> from keras_preact.data import load_data
        >>> from keras_preact.data.statistics import statistics
        >>> statistics(load_data("digits").train, "channel", most=100).images
        100
    """
    order = np.arange(len(split))
    if most is not None:
        order = np.sort(epoch_order(0, 0, len(split))[:most])
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
    found = mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
    return Statistics(*found, len(order))
