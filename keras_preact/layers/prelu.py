"""`PReLU`: Keras's layer with one compiled pass over memory each way."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("keras_preact")
class PReLU(keras.layers.PReLU):
    """Keras's PReLU, trained with one pass over memory forward and one backward.

    Delving Deep into Rectifiers, equation 1: f(y) = max(0, y) + a min(0, y), with the gradients of
    equation 8. Arguments, weights, config and results are those of `keras.layers.PReLU`, which
    needs five passes over memory. The passes are compiled once per shape and used in training on
    TensorFlow; at inference, and on other backends, the layer computes as Keras's does, so that
    exported graphs contain only standard operations.

    Args:
        *args, **kwargs: Arguments of `keras.layers.PReLU`; with `shared_axes=[1, 2]` images in
            channels-last format have one slope per channel, as in the paper.

    Returns:
        When called on a tensor `(batch, ...)`, a tensor of the same shape.

    Raises:
        ValueError: As `keras.layers.PReLU` does.

    Example:
        >>> import numpy as np
        >>> from keras_preact.layers import PReLU
        >>> layer = PReLU("ones", shared_axes=[1, 2])
        >>> float(np.min(layer(np.full((1, 2, 2, 3), -1.0, "float32"), training=True)))
        -1.0
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if not training or keras.backend.backend() != "tensorflow":
            return super().call(inputs)
        from keras_preact.layers import kernels_tf

        return kernels_tf.prelu(inputs, self.alpha)
