"""Random changes to training images, each a pure function of (seed, epoch, index of the image)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from keras_preact.checked import Checked, require
from keras_preact.data.geometry import Geometry
from keras_preact.data.images import scaled_shape
from keras_preact.data.picture import Picture
from keras_preact.data.random import normal, uniform
from keras_preact.data.splits import Split

# Principal components of the colours of ImageNet's training images, on the scale 0 to 1, as in
# facebookarchive/fb.resnet.torch (datasets/imagenet.lua); rows: red, green, blue.
_COMPONENTS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_DEVIATIONS = np.array([0.2175, 0.0188, 0.0045])
_TRIES = 10
_DRAWS = 2 + 4 * _TRIES  # the same for all kinds: flip, scale, then the window


@dataclass(frozen=True)
class Augmentation(Checked):
    """What is done to training images.

    Args:
        kind: `"crop"` (default): the image is padded on all sides, a window of its own size is
            cut out at random, and it is mirrored at random (CIFAR; He et al. 2015b, sec. 4.2).
            `"imagenet"`: the shorter side is scaled to a random length, a window of the data
            set's `image_shape` is cut out at random, mirrored, and its colours are shifted (He et
            al. 2015b, sec. 3.4). `"none"`: nothing.
        pad: pixels added on each side for `"crop"`; `None` (default): 1/8 of the shorter side,
            at least 1 (4 for 32x32).
        flip: whether to mirror; `None` (default): if that keeps the labels of the data set.
        scale: for `"imagenet"`, least and greatest length of the shorter side in pixels; `None`
            (default): `(256, 480)` for a window of 224, in proportion for others.
        aspect: for `"imagenet"`, cut a window of 8 to 100 % of the image's area and an aspect
            ratio of 3/4 to 4/3 instead, scaled to the shape (scale and aspect ratio augmentation,
            He et al. 2016, table 5). Default `False`.
        colour: for `"imagenet"`, the standard deviation of the shift along the principal
            components of ImageNet's colours (Krizhevsky et al. 2012); 0 for none. Default 0.1.

    Example:
        >>> from keras_preact.data import Augmentation
        >>> Augmentation("crop", pad=4, flip=True).padding((32, 32, 3))
        4
    """

    kind: Literal["none", "crop", "imagenet"] = "crop"
    pad: int | None = None
    flip: bool | None = None
    scale: tuple[int, ...] | None = None
    aspect: bool = False
    colour: float = 0.1

    def check(self) -> None:
        require(self.pad is None or self.pad >= 0, "pad", self.pad, "at least 0, or None")
        require(self.colour >= 0, "colour", self.colour, "at least 0")
        scale = self.scale
        ordered = scale is None or (len(scale) == 2 and 1 <= scale[0] <= scale[1])
        require(ordered, "scale", scale, "two lengths, the lesser first, or None")

    def padding(self, image_shape: tuple[int, ...]) -> int:
        """How many pixels are added on each side of an image of this shape."""
        if self.kind != "crop":
            return 0
        return self.pad if self.pad is not None else max(1, min(image_shape[:2]) // 8)

    def scales(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """Least and greatest length of the shorter side for windows of this shape."""
        side = min(image_shape[:2])
        least, most = self.scale or (round(side * 256 / 224), round(side * 480 / 224))
        fix = "Give a smaller image_size or a greater scale."
        require(least >= side, "scale", (least, most), f"at least {side}, the image's side", fix)
        return least, most


def augment(
    split: Split,
    indices: np.ndarray,
    augmentation: Augmentation,
    *,
    seed: int,
    epoch: int,
    flip: bool,
    fill: Sequence[int] | np.ndarray = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Images of a split, changed at random, and their labels.

    An image is changed in the same way in an epoch whatever the batch it is in. Of a split that
    is held in memory, `"imagenet"` takes the images as they are held: already cropped.

    Args:
        split: where the images are.
        indices: integer array `[n]`, which of them.
        augmentation: what is done.
        seed, epoch: whole numbers from 0.
        flip: whether mirroring keeps the labels; used where `augmentation.flip` is `None`.
        fill: the value that padding has, one for all channels or one for each, 0 to 255 (default
            0). The papers pad zeros after subtracting the mean: that is the mean.

    Returns:
        uint8 `[n, height, width, channels]` and int32 `[n]`.

    Example:
        >>> from keras_preact.data import Augmentation, load_data
        >>> from keras_preact.data.augment import augment
        >>> split = load_data("digits").train
        >>> images, labels = augment(split, [0, 1], Augmentation(), seed=0, epoch=0, flip=False)
        >>> images.shape
        (2, 8, 8, 1)
    """
    indices = np.asarray(indices)
    if augmentation.kind == "none":
        return split.examples(indices)
    if augmentation.kind == "crop":
        images, labels = split.examples(indices)
        pad = augmentation.padding(split.image_shape)
        offsets, mirrored = crop_draws(indices, augmentation, pad, seed, epoch, flip)
        return shift_and_flip(images, offsets, mirrored, pad, fill), labels
    window = _aspect_window if augmentation.aspect else _scale_window
    shape, scales = split.image_shape, augmentation.scales(split.image_shape)
    numbers, mirrored, shifts = window_draws(indices, augmentation, shape, seed, epoch, flip)

    def change(position: int, picture: Picture) -> np.ndarray:
        image = window(picture, shape, numbers[position], scales, bool(mirrored[position]))
        return image if shifts is None else shift_colours(image, shifts[position])

    return split.examples(indices, change)


def crop_draws(
    indices: np.ndarray,
    augmentation: Augmentation,
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
    augmentation: Augmentation,
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


def scale_window(image_shape, shape, numbers, scales) -> tuple[tuple, tuple]:
    """A window of `shape` at random, after scaling the shorter side to a random length.

    Returns:
        Height and width of the whole image, scaled, and `(top, left, height, width)` of the
        window in it, as `Picture.scaled` takes them.
    """
    shorter = int(scales[0] + numbers[0] * (scales[1] - scales[0] + 1))
    scaled = scaled_shape(image_shape, shorter)
    top, left = (
        int(number * (a - b + 1)) for number, a, b in zip(numbers[1:3], scaled, shape, strict=False)
    )
    return scaled, (top, left, *shape[:2])


def aspect_window(image_shape, numbers) -> tuple[int, int, int, int] | None:
    """A part of random area and aspect ratio, as fb.resnet.torch draws it.

    Returns:
        `(top, left, height, width)` in the image; `None` if no draw lies in it.
    """
    height, width = image_shape[:2]
    for area, ratio, down, across in numbers[1:].reshape(_TRIES, 4):
        area = (0.08 + 0.92 * area) * height * width
        ratio = 3 / 4 + ratio * (4 / 3 - 3 / 4)
        tall, wide = round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
        if 1 <= tall <= height and 1 <= wide <= width:
            return int(down * (height - tall + 1)), int(across * (width - wide + 1)), tall, wide
    return None


def _mirrored(numbers: np.ndarray, augmentation: Augmentation, flip: bool) -> np.ndarray:
    return (numbers[:, 0] < 0.5) & (flip if augmentation.flip is None else augmentation.flip)


def shift_and_flip(
    images: np.ndarray,
    offsets: np.ndarray,
    mirrored: np.ndarray,
    pad: int,
    fill: Sequence[int] | np.ndarray = 0,
) -> np.ndarray:
    """Pads images on all sides, cuts a window of the old size out of each, mirrors some.

    Args:
        images: uint8 `[n, height, width, channels]`.
        offsets: integers `[n, 2]` from 0 to `2 * pad`, top and left of the windows.
        mirrored: bool `[n]`.
        pad: pixels added on each side.
        fill: the value of the padding, one or one for each channel.

    Returns:
        uint8 array of the shape of `images`.
    """
    n, height, width, channels = images.shape
    row = np.broadcast_to(np.asarray(fill, np.uint8), (width + 2 * pad, channels)).reshape(-1)
    padded = np.empty((n, height + 2 * pad, row.size), np.uint8)
    padded[:] = row
    inside = slice(channels * pad, channels * (pad + width))
    padded[:, pad : pad + height, inside] = images.reshape(n, height, -1)
    windows = sliding_window_view(padded, (height, channels * width), axis=(1, 2))
    chosen = windows[np.arange(n), offsets[:, 0], channels * offsets[:, 1]].reshape(images.shape)
    chosen[mirrored] = chosen[mirrored, :, ::-1]
    return chosen


def colour_shifts(amounts: np.ndarray) -> np.ndarray:
    """What multiples of the components of ImageNet's colours are in grey levels.

    Args:
        amounts: `[n, 3]`, for each component the multiple of its standard deviation (Krizhevsky et
            al. 2012).

    Returns:
        int array `[n, 3]`, for red, green and blue.
    """
    return np.rint(255 * (amounts * _DEVIATIONS) @ _COMPONENTS.T).astype(int)


def shift_colours(image: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Adds a number to each channel, cut off at 0 and 255.

    Args:
        image: uint8 `[height, width, channels]`.
        shift: whole numbers `[channels]`.

    Returns:
        uint8 array of the shape of `image`.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data.augment import shift_colours
        >>> shift_colours(np.full((1, 1, 3), 250, np.uint8), np.array([3, 9, -9])).tolist()
        [[[253, 255, 241]]]
    """
    height, width, _ = image.shape
    shift = np.tile(np.clip(shift, -255, 255), width)  # along whole rows: 20 times as fast
    low, high = np.maximum(-shift, 0), 255 - np.maximum(shift, 0)
    rows = np.maximum(image.reshape(height, -1), low.astype(np.uint8))
    np.minimum(rows, high.astype(np.uint8), out=rows)
    rows += shift.astype(np.uint8)  # modulo 256, so that it subtracts too
    return rows.reshape(image.shape)


def _scale_window(picture, shape, numbers, scales, mirror) -> np.ndarray:
    scaled, crop = scale_window(picture.shape, shape, numbers, scales)
    return picture.scaled(scaled, crop, mirror=mirror)


def _aspect_window(picture, shape, numbers, scales, mirror) -> np.ndarray:
    region = aspect_window(picture.shape, numbers)
    if region:
        return picture.scaled(shape[:2], region=region, mirror=mirror)
    image = Geometry(shape[:2]).fit(picture)
    return image[:, ::-1] if mirror else image
