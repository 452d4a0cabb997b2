"""Spatial pyramid pooling in Keras's own layers, for maps of one size, and back."""

import re

import keras

from keras_preact.errors import ConfigError
from keras_preact.layers import SpatialPyramidPooling
from keras_preact.layers.spatial_pyramid_pooling import bin_edges


def stock_pyramid(layer: SpatialPyramidPooling) -> keras.Model:
    """A `SpatialPyramidPooling` as a nested model of Keras's cropping and max pooling layers.

    Args:
        layer: The layer, in a graph in which the size of its map is known.

    Returns:
        A functional `keras.Model` with the layer's name.

    Raises:
        ConfigError: If the size of the map is unknown.

    Example:
        >>> import keras
        >>> from keras_preact.layers import SpatialPyramidPooling
        >>> from keras_preact.rewrite.pyramid import read_pyramid, stock_pyramid
        >>> layer = SpatialPyramidPooling((3, 1))
        >>> layer(keras.Input((8, 8, 4))).shape
        (None, 40)
        >>> read_pyramid(stock_pyramid(layer)).bins
        (3, 1)
    """
    shape = layer.input.shape
    if None in shape[1:]:
        raise ConfigError(
            "Spatial pyramid pooling of maps of any size has no equivalent in Keras's own layers: "
            f"build the network with a fixed `input_shape`. Received: layer {layer.name!r} with "
            f"the input shape {shape}."
        )
    arguments = {"data_format": layer.data_format, "dtype": layer.dtype_policy}
    inputs = keras.Input(batch_shape=shape, dtype=layer.input.dtype, name=f"{layer.name}_input")
    levels = []
    for n in layer.bins:
        x = _stock_bins(_stock_bins(inputs, n, 0, arguments), n, 1, arguments)
        levels.append(keras.layers.Flatten(name=f"{layer.name}_bins{n}", **arguments)(x))
    x = levels[0]
    if len(levels) > 1:
        x = keras.layers.Concatenate(dtype=layer.dtype_policy, name=f"{layer.name}_bins")(levels)
    return keras.Model(inputs, x, name=layer.name)


def read_pyramid(graph: keras.Model) -> SpatialPyramidPooling | None:
    """The `SpatialPyramidPooling` that a nested model of `stock_pyramid` replaces, or `None`."""
    last = getattr(graph.output, "_keras_history", [None])[0]  # an operation
    levels = [last]
    if isinstance(last, keras.layers.Concatenate):
        levels = [tensor._keras_history.operation for tensor in last.input]
    named = [re.fullmatch(rf"{re.escape(graph.name)}_bins(\d+)", level.name) for level in levels]
    if not all(named):
        return None
    return SpatialPyramidPooling(
        [int(match[1]) for match in named],
        levels[0].data_format,
        dtype=levels[0].dtype_policy,
        name=graph.name,
    )


def is_stock_pyramid(graph: keras.Model) -> bool:
    """Whether a graph is a nested model of `stock_pyramid`."""
    return read_pyramid(graph) is not None


def _stock_bins(x, n, side, arguments):
    """Maxima over `n` bins along the rows (side 0) or the columns (1)."""
    axis = side + (2 if arguments["data_format"] == "channels_first" else 1)
    size = x.shape[axis]

    def pool(x, length):
        window = (length, 1) if side == 0 else (1, length)
        return keras.layers.MaxPooling2D(window, **arguments)(x)

    if size % n == 0:
        return pool(x, size // n)
    parts = []
    for first, end in bin_edges(size, n):
        cut = [(0, 0), (0, 0)]
        cut[side] = (first, size - end)
        parts.append(pool(keras.layers.Cropping2D(cut, **arguments)(x), end - first))
    return keras.layers.Concatenate(axis=axis, dtype=arguments["dtype"])(parts)
