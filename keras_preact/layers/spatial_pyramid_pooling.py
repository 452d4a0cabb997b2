"""`SpatialPyramidPooling`: maps of any size to vectors of one length; also in a moving window."""

from collections.abc import Sequence
from typing import Any, Literal

import keras

from keras_preact.checked import is_whole, require
from keras_preact.errors import quoted


@keras.saving.register_keras_serializable("keras_preact")
class SpatialPyramidPooling(keras.layers.Layer):
    """Max pooling of a feature map of any size into n x n bins, for several n, as one vector.

    He et al., Spatial Pyramid Pooling in Deep Convolutional Networks (2014), as used in Delving
    Deep into Rectifiers, section 2.3. On a map whose side has `size` pixels, bin i of n covers
    `floor(i * size / n)` to `ceil((i + 1) * size / n)`: neighbouring bins overlap by at most one
    pixel, and if the map is smaller than n, a pixel falls into several bins. Dense layers after it
    accept images of any size.

    Args:
        bins: Bins per side of each level, such as `(7, 3, 2, 1)`.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras's global setting.
        **kwargs: Arguments of `keras.layers.Layer`.

    Returns:
        When called on a tensor `(batch, height, width, channels)`, or channels first, a tensor
        `(batch, sum(n * n for n in bins) * channels)`: level by level, within a level bin by bin
        in row-major order, within a bin channel by channel. The order is the same in both data
        formats.

    Raises:
        ConfigError: If `bins` is not a list of whole numbers of at least 1, or the data format is
            unknown.

    Example:
        >>> import keras
        >>> from keras_preact.layers import SpatialPyramidPooling
        >>> layer = SpatialPyramidPooling((2, 1), data_format="channels_last")
        >>> layer(keras.Input((None, None, 8))).shape
        (None, 40)
    """

    def __init__(
        self,
        bins: Sequence[int],
        data_format: Literal["channels_last", "channels_first"] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.bins = _whole_numbers("bins", bins)
        self.data_format = keras.config.image_data_format() if data_format is None else data_format
        formats = ("channels_last", "channels_first")
        expected = f"one of {quoted(formats)}, or None"
        require(self.data_format in formats, "data_format", data_format, expected)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        channels = input_shape[1 if self.data_format == "channels_first" else -1]
        return (input_shape[0], sum(n * n for n in self.bins) * channels)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), self.compute_dtype)

    def call(self, inputs: Any) -> Any:
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

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bins": self.bins, "data_format": self.data_format}


@keras.saving.register_keras_serializable("keras_preact")
class SlidingPyramidPooling(keras.layers.Layer):
    """`SpatialPyramidPooling` in a window of fixed size, at every position of a larger map.

    Delving Deep into Rectifiers, section 3: dense testing. All windows are pooled at once: the
    maxima over a bin's rectangle at all positions are one max pooling of stride 1, and each bin
    takes its part of that map.

    Args:
        bins: Bins per side of each level, such as `(7, 3, 2, 1)`.
        window: `(height, width)` of the window, in pixels of the map.
        **kwargs: Arguments of `keras.layers.Layer`.

    Returns:
        When called on a tensor `(batch, height, width, channels)`, a tensor `(batch, height - h +
        1, width - w + 1, sum(n * n for n in bins) * channels)` for a window `(h, w)`.

    Raises:
        ConfigError: If `bins` or `window` is not a list of whole numbers of at least 1, or the map
            is known to be smaller than the window.

    Example:
        >>> import keras
        >>> from keras_preact.layers import SlidingPyramidPooling
        >>> SlidingPyramidPooling((2, 1), (14, 14))(keras.Input((16, 20, 8))).shape
        (None, 3, 7, 40)
    """

    def __init__(self, bins: Sequence[int], window: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.bins = _whole_numbers("bins", bins)
        self.window = _whole_numbers("window", window)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, *sizes, channels = input_shape
        for size, side in zip(sizes, self.window, strict=True):
            expected = f"at least as large as the window, {self.window[0]} x {self.window[1]}"
            require(size is None or size >= side, "map", tuple(sizes), expected)
        positions = [
            size and size - side + 1 for size, side in zip(sizes, self.window, strict=True)
        ]
        return (batch, *positions, sum(n * n for n in self.bins) * channels)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), self.compute_dtype)

    def call(self, inputs: Any) -> Any:
        self.compute_output_shape(inputs.shape)  # refuses a map that is known to be too small
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

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bins": self.bins, "window": self.window}


def _whole_numbers(name, values):
    listed = isinstance(values, (list, tuple)) and len(values) > 0
    fine = listed and all(is_whole(n) and n >= 1 for n in values)
    require(fine, name, values, "a list of whole numbers of at least 1")
    return tuple(int(n) for n in values)


def bin_edges(size: Any, n: int) -> list[tuple[Any, Any]]:
    """The pairs `(first, end)` of `n` bins along a side of `size` pixels.

    Args:
        size: Pixels of the side, a number or a scalar tensor.
        n: Number of bins.

    Returns:
        The first pixel of each bin and the one after its last.

    Example:
        >>> from keras_preact.layers.spatial_pyramid_pooling import bin_edges
        >>> bin_edges(14, 3)
        [(0, 5), (4, 10), (9, 14)]
    """
    return [(i * size // n, ((i + 1) * size + n - 1) // n) for i in range(n)]


def _bin_maxima(x, n, axis):
    """Maxima of `x` over `n` bins along an axis."""
    edges = bin_edges(keras.ops.shape(x)[axis], n)  # numbers, or tensors where not yet known
    before = (slice(None),) * axis
    parts = [x[(*before, slice(first, end))] for first, end in edges]
    return keras.ops.stack([keras.ops.max(part, axis=axis) for part in parts], axis=axis)
