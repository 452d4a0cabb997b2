"""Random changes to training images, each a pure function of (seed, epoch, index of the image)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from keras_preact.checked import Checked, require
from keras_preact.data.draws import (
    aspect_window,
    crop_draws,
    erased_boxes,
    jitter_draws,
    policy_draws,
    scale_window,
    window_draws,
)
from keras_preact.data.geometry import Geometry
from keras_preact.data.picture import Picture, as_array
from keras_preact.data.splits import Split, changed


@dataclass(frozen=True)
class Augmentation(Checked):
    """Random augmentation of training images.

    The order is: crop and flip, policy, jitter, colour, erasing, cutout.

    Args:
        kind: `"crop"` (default): the image is padded on all sides, cropped at random to its own
            size, and flipped at random (CIFAR; He et al. 2015b, sec. 4.2). `"imagenet"`: the
            shorter side is resized to a random length, a random crop of the data set's
            `image_shape` is flipped at random, and its colours are shifted (He et al. 2015b, sec.
            3.4). `"none"`: the image as it is.
        pad: pixels added on each side for `"crop"`; `None` (default): 1/8 of the shorter side,
            at least 1 (4 for 32x32).
        flip: whether to flip horizontally; `None` (default): if that preserves the labels of the
            data set.
        scale: for `"imagenet"`, smallest and largest shorter side in pixels; `None` (default):
            `(256, 480)` for crops of 224, in proportion for others.
        aspect: for `"imagenet"`, crop 8 to 100 % of the image's area at an aspect ratio of 3/4 to
            4/3 instead, and resize it (scale and aspect ratio augmentation, He et al. 2016, table
            5). Default `False`.
        colour: for `"imagenet"`, the standard deviation of the shift along the principal
            components of ImageNet's colours (Krizhevsky et al. 2012); 0 for none. Default 0.1.
        policy: `"rand_augment"`: `operations` of 14, each at the same strength (Cubuk et al. 2020);
            `"trivial_augment"`: one of them, at any strength of a wide range (Mueller and Hutter
            2021); `None` (default): none. Some operations rotate, shear or translate, none flips;
            `keras_preact.data.operations` lists them.
        operations: RandAugment's number of operations per image, from 1 to 14. Default 2.
        magnitude: their strength, from 0 to 30. Default 9.
        jitter: brightness, contrast and saturation are multiplied, in a random order, by factors
            from `1 - jitter` to `1 + jitter` (fb.resnet.torch: 0.4); in [0, 1]. Default 0.
        erasing: probability of erasing a box of 2 to 40 % of the area (random erasing, Zhong et al.
            2020: 0.5). Default 0.
        cutout: side in pixels of a square, centred on a random pixel, that is erased from each
            image (DeVries and Taylor 2017: 16 for CIFAR-10, 8 for CIFAR-100). Default 0. Erased
            pixels and padding have the mean colour.

    Example:
        >>> from keras_preact.data import Augmentation
        >>> Augmentation("crop", pad=4, flip=True).padding((32, 32, 3))
        4
        >>> strong = Augmentation("imagenet", aspect=True, policy="trivial_augment", erasing=0.1)
        >>> strong.follows
        True
    """

    kind: Literal["none", "crop", "imagenet"] = "crop"
    pad: int | None = None
    flip: bool | None = None
    scale: tuple[int, ...] | None = None
    aspect: bool = False
    colour: float = 0.1
    policy: Literal["rand_augment", "trivial_augment"] | None = None
    operations: int = 2
    magnitude: int = 9
    jitter: float = 0.0
    erasing: float = 0.0
    cutout: int = 0

    def check(self) -> None:
        require(self.pad is None or self.pad >= 0, "pad", self.pad, "at least 0, or None")
        for name in ("colour", "cutout"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        for name, least, most in (
            ("operations", 1, 14),
            ("magnitude", 0, 30),
            ("jitter", 0, 1),
            ("erasing", 0, 1),
        ):
            value = getattr(self, name)
            require(least <= value <= most, name, value, f"from {least} to {most}")
        scale = self.scale
        ordered = scale is None or (len(scale) == 2 and 1 <= scale[0] <= scale[1])
        require(ordered, "scale", scale, "two lengths, the smaller first, or None")

    @property
    def follows(self) -> bool:
        """Whether anything but a shift of colours is done after window and mirror."""
        return bool(self.policy or self.jitter or self.erasing or self.cutout)

    def fills(self, image_shape: tuple[int, ...]) -> bool:
        """Whether images of this shape may get pixels that have the value of the padding."""
        return bool(self.padding(image_shape) or self.policy or self.erasing or self.cutout)

    def padding(self, image_shape: tuple[int, ...]) -> int:
        """How many pixels are added on each side of an image of this shape."""
        if self.kind != "crop":
            return 0
        return self.pad if self.pad is not None else max(1, min(image_shape[:2]) // 8)

    def scales(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """Least and greatest length of the shorter side for windows of this shape."""
        side = min(image_shape[:2])
        least, most = self.scale or (round(side * 256 / 224), round(side * 480 / 224))
        fix = "Use a smaller image_size or a larger scale."
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
    """Randomly augmented images of a split, and their labels.

    Within an epoch, the changes to an image do not depend on its batch. For a split held in memory,
    `"imagenet"` takes the images as stored: already cropped.

    Args:
        split: where the images are.
        indices: integer array `[n]`, the images; an image `k` that is drawn again has the index `k
            + len(split)`, then `k + 2 * len(split)`, and is changed differently.
        augmentation: the augmentation.
        seed, epoch: whole numbers from 0.
        flip: whether flipping preserves the labels; used if `augmentation.flip` is `None`.
        fill: value of padding and erased pixels, one for all channels or one per channel, 0 to 255
            (default 0). The papers' zeros after mean subtraction correspond to the mean.

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
    shape, places = split.image_shape, indices % len(split)
    fill = np.broadcast_to(np.asarray(fill, np.uint8), shape[2:])
    paint = _painter(indices, augmentation, seed, epoch, fill)
    if augmentation.kind == "imagenet":
        change = _windows(indices, augmentation, shape, seed, epoch, flip, paint)
        images, labels = split.examples(places, change)
    else:
        images, labels = split.examples(places)
        if augmentation.kind == "crop":
            pad = augmentation.padding(shape)
            offsets, mirrored = crop_draws(indices, augmentation, pad, seed, epoch, flip)
            images = shift_and_flip(images, offsets, mirrored, pad, fill)
        if paint:
            images = changed(images, lambda k, picture: as_array(paint(k, picture.image())))
    boxes = erased_boxes(indices, augmentation, shape, seed, epoch)
    for position, (top, left, bottom, right) in boxes:
        images[position, top:bottom, left:right] = fill
    return images, labels


def _windows(indices, augmentation, shape, seed, epoch, flip, paint):
    """`Split.examples`'s `change` for `"imagenet"`."""
    window = _aspect_window if augmentation.aspect else _scale_window
    scales = augmentation.scales(shape)
    numbers, mirrored, shifts = window_draws(indices, augmentation, shape, seed, epoch, flip)

    def change(position: int, picture: Picture) -> np.ndarray:
        image = window(picture, shape, numbers[position], scales, bool(mirrored[position]))
        image = as_array(paint(position, image) if paint else image)
        return image if shifts is None else shift_colours(image, shifts[position])

    return change


def _painter(indices, augmentation, seed, epoch, fill):
    """What policy and jitter make of a Pillow image at a position; `None` if there are none."""
    policy, jitter = augmentation.policy, augmentation.jitter
    if not (policy or jitter):
        return None
    from keras_preact.data.operations import chosen, jittered

    fill = tuple(fill.tolist()) if len(fill) > 1 else int(fill[0])
    if policy:
        numbers = policy_draws(indices, augmentation, seed, epoch)
        operations = chosen(policy, numbers, augmentation.magnitude)
    if jitter:
        factors, orders = jitter_draws(indices, augmentation, seed, epoch)

    def paint(position, image):
        for change, amount in operations[position] if policy else ():
            image = change(image, amount, fill)
        return jittered(image, factors[position], orders[position]) if jitter else image

    return paint


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
    some = chosen[mirrored]
    turned = np.empty_like(some)
    for channel in range(channels):  # five times as fast as all in one
        turned[..., channel] = some[:, :, ::-1, channel]
    chosen[mirrored] = turned
    return chosen


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


def _scale_window(picture, shape, numbers, scales, mirror):
    scaled, crop = scale_window(picture.shape, shape, numbers, scales)
    return picture.window(scaled, crop, mirror=mirror)


def _aspect_window(picture, shape, numbers, scales, mirror):
    region = aspect_window(picture.shape, numbers)
    if region:
        return picture.window(shape[:2], region=region, mirror=mirror)
    image = Geometry(shape[:2]).fit(picture)
    return Picture(image[:, ::-1] if mirror else image).image()
