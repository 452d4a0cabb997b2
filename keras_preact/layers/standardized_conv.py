"""`StandardizedConv2D`: a convolution whose kernels have mean 0 and a given variance."""

from typing import Any

import keras

from keras_preact.layers.conv2d import Conv2D

#: Added to the variance of a kernel before taking its square root.
_EPSILON = 1e-10


@keras.saving.register_keras_serializable("keras_preact")
class StandardizedConv2D(Conv2D):
    """Convolution with weight standardisation (Qiao et al. 2019, arXiv 1903.10520).

    The kernel of each filter is used with its mean subtracted and divided by its standard deviation
    and the square root of its size, times `gain` (Brock et al. 2021, arXiv 2101.08692, equation 1).
    Where a norm follows, the factor has no effect; without norms it keeps the variance of signals.

    Args:
        *args: Arguments of `keras.layers.Conv2D`.
        gain: Factor on the standardised kernel.
        **kwargs: Arguments of `keras.layers.Conv2D`.

    Returns:
        When called on images, what `keras.layers.Conv2D` returns.

    Example:
        >>> import numpy as np
        >>> from keras_preact.layers import StandardizedConv2D
        >>> layer = StandardizedConv2D(8, 3, gain=2.0)
        >>> tuple(layer(np.ones((1, 5, 5, 4), "float32")).shape)
        (1, 3, 3, 8)
    """

    def __init__(self, *args: Any, gain: float = 1.0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.gain = gain

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        standard = standardized(keras.ops.cast(kernel, "float32"), self.gain)
        return super().convolution_op(inputs, keras.ops.cast(standard, kernel.dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gain": self.gain}


def standardized(kernel: Any, gain: float) -> Any:
    """The kernel that a `StandardizedConv2D` convolves with.

    Args:
        kernel: `(height, width, channels, filters)`, or a stack of such kernels.
        gain: The layer's factor.

    Returns:
        A tensor of the same shape.

    Example:
        >>> import numpy as np
        >>> from keras_preact.layers.standardized_conv import standardized
        >>> kernel = np.asarray(standardized(np.random.normal(size=(3, 3, 4, 8)), gain=2.0))
        >>> bool(np.allclose((kernel**2).sum((0, 1, 2)), 4))  # the variance is 4 / (3 * 3 * 4)
        True
    """
    ops, axes = keras.ops, (-4, -3, -2)
    mean = ops.mean(kernel, axes, keepdims=True)
    variance = ops.mean(ops.square(kernel - mean), axes, keepdims=True)
    size = kernel.shape[-4] * kernel.shape[-3] * kernel.shape[-2]
    return (kernel - mean) * (gain * ops.rsqrt((variance + _EPSILON) * size))
