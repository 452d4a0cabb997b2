"""Multiply-adds of a network, counted as the papers print them."""

import math

import keras

from keras_preact.errors import ConfigError
from keras_preact.layers import Repeat


def count_multiply_adds(model: keras.Model) -> int:
    """Counts the multiply-adds of the convolutions and dense layers for one image.

    Table 1 of the 2015 paper prints this number as FLOPs. As there, normalisation, activations,
    additions and pooling are not counted.

    Args:
        model: A functional `keras.Model` with a fixed input size; nested models are included.

    Returns:
        The number of multiply-adds of one forward pass.

    Raises:
        ConfigError: If the output size of a convolution is unknown (height or width `None`).

    Example:
        >>> from keras_preact.applications import ResNet20
        >>> from keras_preact.residual import count_multiply_adds
        >>> count_multiply_adds(ResNet20())
        40551040
    """
    return sum(_multiply_adds(layer) for layer in model.layers)


def _multiply_adds(layer) -> int:
    if isinstance(layer, keras.Model):
        return count_multiply_adds(layer)
    if isinstance(layer, Repeat):
        return len(layer.names) * count_multiply_adds(layer.template())
    if isinstance(layer, keras.layers.Dense):
        return math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Conv2D):
        shape = list(layer.output.shape[1:])
        del shape[0 if layer.data_format == "channels_first" else -1]
        if None in shape:
            raise ConfigError(
                "Multiply-adds depend on the image size: build the network with a fixed "
                f"`input_shape`. Received: layer {layer.name!r} with output {layer.output.shape}."
            )
        return math.prod(shape) * math.prod(layer.kernel.shape)
    return 0
