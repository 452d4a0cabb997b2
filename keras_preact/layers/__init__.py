"""Layers that are faster than Keras's, or that Keras does not have."""

from keras_preact.layers.batch_normalization import BatchNormalization
from keras_preact.layers.conv2d import Conv2D
from keras_preact.layers.prelu import PReLU
from keras_preact.layers.repeat import Repeat
from keras_preact.layers.scalar_affine import ScalarAffine
from keras_preact.layers.spatial_pyramid_pooling import (
    SlidingPyramidPooling,
    SpatialPyramidPooling,
)
from keras_preact.layers.standardized_conv import StandardizedConv2D
from keras_preact.layers.stochastic_depth import StochasticDepth

__all__ = [
    "BatchNormalization",
    "Conv2D",
    "PReLU",
    "Repeat",
    "ScalarAffine",
    "SlidingPyramidPooling",
    "SpatialPyramidPooling",
    "StandardizedConv2D",
    "StochasticDepth",
]
