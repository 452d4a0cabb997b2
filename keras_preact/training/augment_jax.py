"""Augmentation of images on the device, bit for bit equal to the host's.

The host decides: `draws` says of a batch where windows lie, which images are mirrored and how
colours shift, from the numbers of `keras_preact.data.draws`. The device cuts, scales and
adds: `augmented`. It scales in whole numbers, as Pillow does: across, rounded to uint8, and then
down, with weights of 22 bits.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from keras_preact.data.draws import aspect_window, crop_draws, scale_window, window_draws
from keras_preact.data.picture import box_of

_BITS = 22  # of Pillow's weights (src/libImaging/Resample.c: PRECISION_BITS)


def draws(batches: Any, indices: np.ndarray) -> dict:
    """The host's random choices for images, as input to `augmented`.

    Args:
        batches: `keras_preact.data.Batches` of a split that is held in memory.
        indices: integers `[n]`, of `Batches.draws`.

    Returns:
        Arrays `[n, ...]` by name; none for no augmentation.
    """
    augmentation, shape = batches.augmentation, batches.split.image_shape
    keys = batches.seed, batches.epoch, batches.flip
    if augmentation.kind == "none":
        return {}
    if augmentation.kind == "crop":
        offsets, mirrored = crop_draws(indices, augmentation, augmentation.padding(shape), *keys)
        return {"offsets": offsets.astype(np.int32), "mirrored": mirrored}
    numbers, mirrored, shifts = window_draws(indices, augmentation, shape, *keys)
    scales = augmentation.scales(shape)
    windows = np.array([_window(augmentation, shape, row, scales) for row in numbers])
    rows, columns = (_neighbours(*windows.T[axis::2], shape[axis]) for axis in (0, 1))
    for values in columns:
        values[mirrored] = values[mirrored, ::-1]
    drawn = {"rows": rows, "columns": columns}
    return drawn if shifts is None else {**drawn, "shifts": shifts.astype(np.int16)}


def augmented(images: jax.Array, drawn: dict, fill: jax.Array, pad: int) -> jax.Array:
    """What `keras_preact.data.augment.augment` makes of images, on the device.

    Args:
        images: uint8 `[n, height, width, channels]`.
        drawn: what `draws` gave.
        fill: uint8 `[channels]`, the value of the padding.
        pad: pixels added on each side for `"crop"`.

    Returns:
        uint8 array of the shape of `images`.
    """
    if "offsets" in drawn:
        images = _shifted(images, drawn["offsets"], drawn["mirrored"], fill, pad)
    if "rows" in drawn:  # across first: between the two, pixels are rounded
        images = _mixed(images, *drawn["columns"], axis=1)
        images = _mixed(images, *drawn["rows"], axis=0)
    if "shifts" in drawn:
        shifted = images.astype(jnp.int16) + drawn["shifts"][:, None, None, :]
        images = jnp.clip(shifted, 0, 255).astype(jnp.uint8)
    return images


def _window(augmentation, shape, numbers, scales):
    """What the host would have Pillow do with an image: pairs of numbers, down and across.

    Top left corner and size of a part of the image, and start and end of the box in that part which
    is scaled to the window.
    """
    region, scaled, crop = (0, 0, *shape[:2]), shape[:2], (0, 0, *shape[:2])
    if augmentation.aspect:
        region = aspect_window(shape, numbers) or region
    else:
        scaled, crop = scale_window(shape, shape, numbers, scales)
    left, top, right, bottom = box_of(region[2:], scaled, crop)
    return *region, top, left, bottom, right


def _neighbours(offset, side, start, end, length):
    """The two neighbours along one axis that make each pixel of the windows, and their weights.

    Pillow's arithmetic, in which a box is float32. Images have the size of the windows and are thus
    never reduced, which would mix more than two.

    Args:
        offset, side, start, end: float64 arrays `[n]`, as `_window` gives them.
        length: pixels of a window.

    Returns:
        int32 `[n, length]`, the first of the two, and int32 `[n, length, 2]`.
    """
    start, end = start.astype(np.float32), end.astype(np.float32)
    scale, side = ((end - start).astype(float) / length)[:, None], side[:, None]
    at = start.astype(float)[:, None] + (np.arange(length) + 0.5) * scale - 0.5
    lower = np.clip(np.floor(at), 0, np.maximum(side - 2, 0))
    share = np.clip(at - lower, 0, np.minimum(side - 1, 1))  # an edge goes on beyond itself
    weights = np.floor(np.stack([1 - share, share], -1) * 2**_BITS + 0.5)
    return (offset[:, None] + lower).astype(np.int32), weights.astype(np.int32)


def _mixed(images, lower, weights, axis):
    """Images with two neighbours along an axis mixed at each place, rounded to uint8."""

    def one(image, lower, weights):
        weights = weights.reshape(-1, *[1] * (2 - axis), 2)
        two = (jnp.take(image, lower + k, axis, mode="clip") * weights[..., k] for k in (0, 1))
        return ((sum(two) + (1 << _BITS - 1)) >> _BITS).astype(jnp.uint8)

    return jax.vmap(one)(images, lower, weights)


def _shifted(images, offsets, mirrored, fill, pad):
    """`keras_preact.data.augment.shift_and_flip` on the device."""
    n, height, width, channels = images.shape
    padded = jnp.broadcast_to(fill, (n, height + 2 * pad, width + 2 * pad, channels))
    padded = padded.at[:, pad : pad + height, pad : pad + width].set(images)

    def window(image, offset):
        return jax.lax.dynamic_slice(image, (*offset, 0), (height, width, channels))

    windows = jax.vmap(window)(padded, offsets)
    return jnp.where(mirrored[:, None, None, None], windows[:, :, ::-1], windows)
