"""How raw images become what the stem of a network takes, by the way of those who trained it."""

import dataclasses
import math

from keras_preact.checked import Checked, require


@dataclasses.dataclass(frozen=True)
class Preprocessing(Checked):
    """What is done to raw images, values 0 to 255: `(image - mean) / deviation`.

    Args:
        mean: A number a channel, on the scale 0 to 255, red first; or one a pixel, as in the 2015
            paper.
        deviation: A number a channel, likewise.
        bgr: Whether the network then takes the channels as blue, green, red.
        shape: Height, width and channels where there is a number a pixel and channel, row by row;
            empty where there is one a channel.

    Raises:
        ConfigError: For lists of different lengths, and deviations that are not positive.

    Example:
        >>> from keras_preact.weights import PREPROCESSINGS
        >>> print(PREPROCESSINGS["caffe"])
        (image - (123.68, 116.779, 103.939)) / (1, 1, 1), as blue, green, red
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    bgr: bool = False
    shape: tuple[int, ...] = ()

    def check(self) -> None:
        whole = not self.shape or math.prod(self.shape) == len(self.mean)
        require(whole, "shape", self.shape, f"empty, or that of {len(self.mean)} numbers")
        fits = len(self.deviation) == len(self.mean) > 0 and min(self.deviation) > 0
        expected = f"{len(self.mean)} positive numbers, one for each of `mean`"
        require(fits, "deviation", self.deviation, expected)
        require(not self.bgr or self.channels == 3, "bgr", self.bgr, "False but for 3 channels")

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.shape[-1] if self.shape else len(self.mean)

    def layer(self, data_format: str = "channels_last"):
        """The layer of Keras that does it, but for the order of the channels; see `rgb`."""
        import keras
        import numpy as np

        first = data_format == "channels_first"
        mean, deviation = (np.array(numbers) for numbers in (self.mean, self.deviation))
        axis = 1 if first else -1
        if self.shape:
            order, axis = (2, 0, 1) if first else (0, 1, 2), (1, 2, 3)
            mean, deviation = (
                values.reshape(self.shape).transpose(order) for values in (mean, deviation)
            )
        return keras.layers.Normalization(
            axis=axis, mean=mean, variance=deviation**2, dtype="float32", name="preprocessing"
        )

    def rgb(self, weights: dict) -> dict:
        """Weights by layer whose stem takes red, green, blue, whatever it took before.

        A convolution adds up its channels, so their order is that of its kernel.
        """
        if not self.bgr or "stem_conv" not in weights:
            return weights
        stem = weights["stem_conv"]
        return {**weights, "stem_conv": {**stem, "0": stem["0"][:, :, ::-1]}}

    def __str__(self) -> str:
        if self.shape:
            return f"image - mean, pixel by pixel of {self.shape[0]} x {self.shape[1]}"
        mean, deviation = (
            f"({', '.join(f'{value:.7g}' for value in values)})"
            for values in (self.mean, self.deviation)
        )
        return f"(image - {mean}) / {deviation}" + ", as blue, green, red" * self.bgr


def _of_unit_scale(mean, deviation):
    """Numbers for images from 0 to 1."""
    return Preprocessing([255 * value for value in mean], [255 * value for value in deviation])


#: By the names that `TrainedWeights.preprocessing` has. The first three are those of
#: `keras.applications`. Then CIFAR-10's training images as fb.resnet.torch (datasets/cifar10.lua)
#: has them, and after they were stored as JPEG files; and what osmr/imgclsmob takes for CIFAR and
#: SVHN alike (tensorflow2/datasets/cifar10_cls_dataset.py).
PREPROCESSINGS = {
    "caffe": Preprocessing((123.68, 116.779, 103.939), (1.0, 1.0, 1.0), bgr=True),
    "tf": Preprocessing((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "torch": _of_unit_scale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": Preprocessing((125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
    "cifar10-jpeg": Preprocessing((125.2688, 122.9330, 113.8628), (62.5341, 61.9092, 66.4603)),
    "imgclsmob": _of_unit_scale((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
}


def by_scale_and_offset(scale, offset, channels: int) -> Preprocessing | None:
    """That of `image * scale + offset`, numbers or lists; `None` where these are none.

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
    mean = [-shift / factor for factor, shift in zip(scales, offsets, strict=True)]
    return Preprocessing(mean, [1 / factor for factor in scales])
