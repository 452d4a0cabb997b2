"""`Conv2D`: Keras's layer, whose convolutions in groups train at full speed."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("keras_preact")
class Conv2D(keras.layers.Conv2D):
    """Keras's Conv2D, with TensorFlow's own kernels for convolutions in groups (ResNeXt).

    Keras has XLA compile them on TensorFlow, since not all processors have gradients of them
    otherwise; on a CPU a step then takes many times as long. Where TensorFlow has its own kernels
    for both directions, this layer takes those. Arguments, weights, config and results are those
    of `keras.layers.Conv2D`; without groups, and on other backends, it computes as Keras's does.

    Args:
        *args, **kwargs: Arguments of `keras.layers.Conv2D`.

    Returns:
        When called on a tensor `(batch, height, width, channels)`, or channels first, a tensor with
        `filters` channels.

    Raises:
        ValueError: As `keras.layers.Conv2D` does.

    Example:
        >>> import numpy as np
        >>> from keras_preact.layers import Conv2D
        >>> layer = Conv2D(4, 3, padding="same", groups=2)
        >>> tuple(layer(np.ones((1, 5, 5, 6), "float32")).shape), tuple(layer.kernel.shape)
        ((1, 5, 5, 4), (3, 3, 3, 4))
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        if self.groups > 1 and keras.backend.backend() == "tensorflow":
            from keras_preact.layers import kernels_tf

            if kernels_tf.has_groups(self.compute_dtype, self.data_format):
                given = self.strides, self.padding, self.data_format, self.dilation_rate
                return kernels_tf.convolution(inputs, kernel, *given)
        return super().convolution_op(inputs, kernel)
