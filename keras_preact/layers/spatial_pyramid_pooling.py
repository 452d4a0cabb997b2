"""`SpatialPyramidPooling`: maps of any size to vectors of one length; also in a moving window."""

import keras

from keras_preact.checked import is_whole, require
from keras_preact.errors import quoted


@keras.saving.register_keras_serializable("keras_preact")
class SpatialPyramidPooling(keras.layers.Layer):
    """Max pooling of a map of any size into n x n bins, for several n, as one vector.

    He et al., Spatial Pyramid Pooling in Deep Convolutional Networks (2014), as Delving Deep into
    Rectifiers, section 2.3, uses it. On a map of `size` pixels a side, bin i of n reaches from
    `floor(i * size / n)` to `ceil((i + 1) * size / n)`: bins overlap by at most a pixel, and a map
    smaller than the bins gives its pixels several times. Dense layers behind it fit images of any
    size.

    Args:
        bins: Bins a side of each level, such as `(7, 3, 2, 1)`.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras's global setting.
        **kwargs: Arguments of `keras.layers.Layer`.

    Returns:
        When called on a tensor `(batch, height, width, channels)`, or channels first, one of shape
        `(batch, sum(n * n) * channels)`: level by level, in each the bins row by row, in each bin
        the channels. The order is the same in both data formats.

    Raises:
        ConfigError: For bins that are no whole numbers of at least 1, and for other data formats.

    Example:
        >>> import keras
        >>> from keras_preact.layers import SpatialPyramidPooling
        >>> layer = SpatialPyramidPooling((2, 1), data_format="channels_last")
        >>> layer(keras.Input((None, None, 8))).shape
        (None, 40)
    """

    def __init__(self, bins, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.bins = _whole_numbers("bins", bins)
        self.data_format = keras.config.image_data_format() if data_format is None else data_format
        formats = ("channels_last", "channels_first")
        expected = f"one of {quoted(formats)}, or None"
        require(self.data_format in formats, "data_format", data_format, expected)

    def compute_output_shape(self, input_shape):
        channels = input_shape[1 if self.data_format == "channels_first" else -1]
        return (input_shape[0], sum(n * n for n in self.bins) * channels)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), self.compute_dtype)

    def call(self, inputs):
        rows, columns = (2, 3) if self.data_format == "channels_first" else (1, 2)
        levels = []
        for n in self.bins:
            # Rows first: the maximum over a bin is that over its columns of that over its rows.
            pooled = _bin_maxima(_bin_maxima(inputs, n, rows), n, columns)
            if self.data_format == "channels_first":
                pooled = keras.ops.transpose(pooled, (0, 2, 3, 1))
            channels = pooled.shape[-1]
            levels.append(keras.ops.reshape(pooled, (-1, n * n * channels)))
        return keras.ops.concatenate(levels, axis=1)

    def get_config(self):
        return {**super().get_config(), "bins": self.bins, "data_format": self.data_format}


@keras.saving.register_keras_serializable("keras_preact")
class SlidingPyramidPooling(keras.layers.Layer):
    """`SpatialPyramidPooling` of a window of one size at every position of a larger map.

    Delving Deep into Rectifiers, section 3: the dense test. All windows are pooled at once: the
    maxima over a bin's rectangle at all places are one max pooling of stride 1, and what the
    windows take of it is a part of that map.

    Args:
        bins: Bins a side of each level, such as `(7, 3, 2, 1)`.
        window: Height and width of the window.
        **kwargs: Arguments of `keras.layers.Layer`.

    Returns:
        When called on a tensor `(batch, height, width, channels)`, one of shape
        `(batch, height - h + 1, width - w + 1, sum(n * n) * channels)` for a window `(h, w)`.

    Raises:
        ConfigError: For bins and windows that are no whole numbers of at least 1, and for a map
            that is known to be smaller than the window.

    Example:
        >>> import keras
        >>> from keras_preact.layers import SlidingPyramidPooling
        >>> SlidingPyramidPooling((2, 1), (14, 14))(keras.Input((16, 20, 8))).shape
        (None, 3, 7, 40)
    """

    def __init__(self, bins, window, **kwargs):
        super().__init__(**kwargs)
        self.bins = _whole_numbers("bins", bins)
        self.window = _whole_numbers("window", window)

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        for size, side in zip(sizes, self.window, strict=True):
            expected = f"at least as large as the window, {self.window[0]} x {self.window[1]}"
            require(size is None or size >= side, "map", tuple(sizes), expected)
        positions = [
            size and size - side + 1 for size, side in zip(sizes, self.window, strict=True)
        ]
        return (batch, *positions, sum(n * n for n in self.bins) * channels)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), self.compute_dtype)

    def call(self, inputs):
        self.compute_output_shape(inputs.shape)  # says what is wrong with a map of known size
        (height, width), maxima, found = self.window, {}, []
        sizes = keras.ops.shape(inputs)
        down, across = sizes[1] - height + 1, sizes[2] - width + 1
        for n in self.bins:
            for top, bottom in bin_edges(height, n):
                for left, right in bin_edges(width, n):
                    size = (bottom - top, right - left)
                    if size not in maxima:
                        maxima[size] = keras.ops.max_pool(
                            inputs, size, 1, "valid", data_format="channels_last"
                        )
                    found.append(maxima[size][:, top : top + down, left : left + across])
        return keras.ops.concatenate(found, axis=-1)

    def get_config(self):
        return {**super().get_config(), "bins": self.bins, "window": self.window}


def _whole_numbers(name, values):
    listed = isinstance(values, (list, tuple)) and len(values) > 0
    fine = listed and all(is_whole(n) and n >= 1 for n in values)
    require(fine, name, values, "a list of whole numbers of at least 1")
    return tuple(int(n) for n in values)


def bin_edges(size, n):
    """`(first, end)` of each of `n` bins along a side; `size` may be a scalar tensor.

    Example:
        >>> from keras_preact.layers.spatial_pyramid_pooling import bin_edges
        >>> bin_edges(14, 3)
        [(0, 5), (4, 10), (9, 14)]
    """
    return [(i * size // n, ((i + 1) * size + n - 1) // n) for i in range(n)]


def _bin_maxima(x, n, axis):
    """Maxima of `x` over `n` bins along an axis."""
    edges = bin_edges(keras.ops.shape(x)[axis], n)  # of numbers, or tensors where not yet known
    before = (slice(None),) * axis
    parts = [x[(*before, slice(first, end))] for first, end in edges]
    return keras.ops.stack([keras.ops.max(part, axis=axis) for part in parts], axis=axis)
