"""`Preprocessing`: how raw images are scaled for a network, as in its training."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from keras_preact.checked import Checked, require

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Preprocessing(Checked):
    """Preprocessing of raw images with values from 0 to 255: `(image - mean) / deviation`.

    Args:
        mean: One number per channel, on the scale 0 to 255, red first; or one per pixel and
            channel, as in the 2015 paper.
        deviation: Standard deviation, one number for each of `mean`, on the same scale.
        bgr: Whether the network takes the channels in the order blue, green, red.
        shape: `(height, width, channels)` if there is one number per pixel and channel, in
            row-major order; empty if there is one per channel.

    Raises:
        ConfigError: If the lengths differ, a deviation is not positive, or `bgr` is True and the
            images do not have 3 channels.

    Example:
        >>> from keras_preact.weights import PREPROCESSINGS
        >>> print(PREPROCESSINGS["caffe"])
        (image - (123.68, 116.779, 103.939)) / (1, 1, 1), channels as blue, green, red
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    bgr: bool = False
    shape: tuple[int, ...] = ()

    def check(self) -> None:
        """Rules between fields."""
        whole = not self.shape or math.prod(self.shape) == len(self.mean)
        require(whole, "shape", self.shape, f"empty, or a shape of {len(self.mean)} numbers")
        fits = len(self.deviation) == len(self.mean) > 0 and min(self.deviation) > 0
        expected = f"{len(self.mean)} positive numbers, one for each of `mean`"
        require(fits, "deviation", self.deviation, expected)
        expected = "False unless there are 3 channels"
        require(not self.bgr or self.channels == 3, "bgr", self.bgr, expected)

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return self.shape[-1] if self.shape else len(self.mean)

    def layer(self, data_format: str = "channels_last") -> "keras.layers.Normalization":
        """A Keras layer for it, without the order of the channels; see `rgb`."""
        import keras
        import numpy as np

        first = data_format == "channels_first"
        mean, deviation = (np.array(numbers) for numbers in (self.mean, self.deviation))
        axis: Any = 1 if first else -1
        if self.shape:
            order, axis = (2, 0, 1) if first else (0, 1, 2), (1, 2, 3)
            mean, deviation = (
                values.reshape(self.shape).transpose(order) for values in (mean, deviation)
            )
        return keras.layers.Normalization(
            axis=axis, mean=mean, variance=deviation**2, dtype="float32", name="preprocessing"
        )

    def rgb(self, weights: dict[str, Any]) -> dict[str, Any]:
        """The weights by layer, with a stem that takes red, green, blue.

        A convolution sums over its channels, so reversing its kernel reverses their order.
        """
        if not self.bgr or "stem_conv" not in weights:
            return weights
        stem = weights["stem_conv"]
        return {**weights, "stem_conv": {**stem, "0": stem["0"][:, :, ::-1]}}

    def __str__(self) -> str:
        if self.shape:
            return f"image - mean, per pixel of {self.shape[0]} x {self.shape[1]}"
        mean, deviation = (
            f"({', '.join(f'{value:.7g}' for value in values)})"
            for values in (self.mean, self.deviation)
        )
        return f"(image - {mean}) / {deviation}" + ", channels as blue, green, red" * self.bgr


def _of_unit_scale(mean, deviation):
    """The preprocessing with statistics of images from 0 to 1."""
    scaled = (tuple(255 * value for value in values) for values in (mean, deviation))
    return Preprocessing(*scaled)


#: By the names in `TrainedWeights.preprocessing`. The first three are those of
#: `keras.applications`. Then the statistics of CIFAR-10's training images, from fb.resnet.torch
#: (datasets/cifar10.lua), and after they were stored as JPEG files; those of Fashion-MNIST; and
#: those of osmr/imgclsmob for CIFAR and SVHN (tensorflow2/datasets/cifar10_cls_dataset.py).
PREPROCESSINGS: dict[str, Preprocessing] = {
    "caffe": Preprocessing((123.68, 116.779, 103.939), (1.0, 1.0, 1.0), bgr=True),
    "tf": Preprocessing((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "torch": _of_unit_scale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": Preprocessing((125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
    "cifar10-jpeg": Preprocessing((125.2688, 122.9330, 113.8628), (62.5341, 61.9092, 66.4603)),
    "fashion-mnist": Preprocessing((77.2857,), (68.7920,)),
    "imgclsmob": _of_unit_scale((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
}


def by_scale_and_offset(scale: Any, offset: Any, channels: int) -> Preprocessing | None:
    """The preprocessing `image * scale + offset`, with numbers or lists; `None` if not valid.

    Example:
        >>> from keras_preact.weights.preprocessing import by_scale_and_offset
        >>> print(by_scale_and_offset(1 / 127.5, -1, channels=1))
        (image - (127.5)) / (127.5)
    """

    def listed(values, default):
        values = default if values is None else values
        return list(values) if isinstance(values, (list, tuple)) else [values] * channels

    scales, offsets = listed(scale, 1.0), listed(offset, 0.0)
    numbers = [
        isinstance(value, (int, float)) and math.isfinite(value) for value in (*scales, *offsets)
    ]
    if len(scales) != channels or len(offsets) != channels or not all(numbers) or min(scales) <= 0:
        return None
    mean = tuple(-shift / factor for factor, shift in zip(scales, offsets, strict=True))
    return Preprocessing(mean, tuple(1 / factor for factor in scales))
