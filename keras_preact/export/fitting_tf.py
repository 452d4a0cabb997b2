"""`Geometry.fit` in TensorFlow operations, for a SavedModel that takes image files."""

import math

import tensorflow as tf

from keras_preact.data.geometry import WHOLE, Geometry

#: TensorFlow's kernels that equal Pillow's interpolations, and their radius in pixels.
_KERNELS = {"bilinear": ("triangle", 1), "bicubic": ("keyscubic", 2)}


def decoded(file: tf.Tensor, channels: int) -> tf.Tensor:
    """The pixels of a JPEG or PNG file, as `keras_preact.data.decode` returns them."""
    return tf.cond(
        tf.io.is_jpeg(file),
        lambda: tf.io.decode_jpeg(file, channels, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(file, channels),
    )


def fit(image: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    """Resizes and crops an image; the result equals `Geometry.fit` to within two grey levels.

    For `"nearest"` it is equal. It differs by more than two only for large JPEG files, which are
    reduced while they are decoded, and for `"bicubic"` at edges from black to white with Pillow
    before version 13. Pixels outside the crop are not computed.

    Args:
        image: uint8 tensor `[h, w, c]`.
        geometry: A `Geometry`.

    Returns:
        uint8 tensor of the geometry's height and width.

    Example:
        >>> import tensorflow as tf
        >>> from keras_preact.data import Geometry
        >>> from keras_preact.export.fitting_tf import fit
        >>> fit(tf.zeros((1, 20_000, 3), tf.uint8), Geometry(224)).shape
        TensorShape([224, 224, 3])
    """
    if geometry.size is None:
        return image
    height, width = geometry.size
    image.set_shape((None, None, image.shape[2]))

    def scaled():
        shape = tf.cast(tf.shape(image)[:2], tf.int64)
        scaled, starts, ends = _window(shape, geometry)
        if geometry.interpolation == "nearest":
            rows = _nearest(image, 0, starts[0], ends[0], height)
            return _nearest(rows, 1, starts[1], ends[1], width)

        def along(image, axis):
            ends_here = starts[axis], ends[axis], geometry.size[axis]
            return _along(image, axis, *ends_here, geometry.interpolation)

        # The order of Pillow, which rounds in between, for the cases that `fit` scales by Pillow.
        whole = geometry.interpolation == "bicubic"
        whole &= tf.reduce_prod(scaled) <= WHOLE * math.prod(geometry.size)
        less = shape - tf.where(whole, scaled, tf.constant(geometry.size, tf.int64))
        return tf.cond(
            (less[0] > 0) & (less[0] > 2 * less[1]),
            lambda: along(along(image, 0), 1),
            lambda: along(along(image, 1), 0),
        )

    if geometry.shorter is None:
        same = tf.reduce_all(tf.shape(image)[:2] == geometry.size)
        pixels = tf.cond(same, lambda: image, scaled)
    else:
        pixels = scaled()
    return tf.ensure_shape(pixels, (height, width, image.shape[2]))


def _window(shape, geometry):
    """The size that an image is scaled to, and where in its pixels the crop begins and ends."""
    size = tf.constant(geometry.size, tf.int64)
    if geometry.crop == "squash":
        scaled = tf.constant(geometry.squashed(), tf.int64)
    else:
        shorter = geometry.shorter or max(geometry.size)
        scaled = shorter * shape // tf.reduce_min(shape)
    step = _divided(shape, scaled)
    rounded = tf.floor if geometry.crop == "center_floor" else tf.round  # to the even side
    first = rounded(tf.cast(scaled - size, tf.float64) / 2)
    ends = (first + tf.cast(size, tf.float64)) * step
    return scaled, first * step, tf.minimum(ends, tf.cast(shape, tf.float64))


def _nearest(image, axis, start, end, length):
    """One axis of an image scaled like Pillow's `"nearest"`, which adds up steps one by one."""
    start, end = tf.cast(start, tf.float32), tf.cast(end, tf.float32)  # as Pillow keeps a box
    step = _divided(end - start, length)
    first = tf.cast(start, tf.float64) + step / 2
    places = tf.cumsum(tf.concat([[first], tf.fill([length - 1], step)], 0))
    places = tf.minimum(tf.cast(places, tf.int32), tf.shape(image)[axis] - 1)
    return tf.gather(image, places, axis=axis)


def _along(image, axis, start, end, length, interpolation):
    """One axis of an image from `start` to `end` scaled to a length, uint8."""
    if axis == 1:
        turned = _along(_turned(image), 0, start, end, length, interpolation)
        return _turned(turned)
    kernel, reach = _KERNELS[interpolation]
    scale = length / (end - start)
    reach = reach * tf.maximum(1 / scale, 1) + 1
    first = tf.cast(tf.maximum(start - reach, 0), tf.int32)  # no more than is needed
    image = image[first : tf.cast(end + reach, tf.int32) + 1]
    move = (tf.cast(first, tf.float64) - start) * scale
    pixels = tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=[length, tf.shape(image)[1]],
        scale=tf.cast([scale, 1], tf.float32),
        translation=tf.cast([move, 0], tf.float32),
        kernel_type=kernel,
        antialias=True,
    )[0]
    return tf.cast(tf.clip_by_value(tf.floor(pixels + 0.5), 0, 255), tf.uint8)


def _divided(value, by):
    """A quotient in float64; graphs are optimized to multiply by the inverse of a constant."""
    return tf.math.divide_no_nan(tf.cast(value, tf.float64), tf.cast(by, tf.float64))


def _turned(image):
    return tf.transpose(image, [1, 0, 2])
