"""`PReLU`: Keras's layer with one compiled pass over memory each way."""

import keras


@keras.saving.register_keras_serializable("keras_preact")
class PReLU(keras.layers.PReLU):
    """Keras's parametric rectifier, trained in one pass over memory forward and one backward.

    Delving Deep into Rectifiers, equation 1: f(y) = max(0, y) + a min(0, y), with the gradients of
    equation 8. Arguments, weights, config and results are those of `keras.layers.PReLU`, which
    goes over memory five times. The compiled passes are for training on TensorFlow, and are
    compiled once a shape; at inference, and on other backends, it computes as Keras's layer, so
    that exported graphs hold plain operations.

    Args:
        *args, **kwargs: Arguments of `keras.layers.PReLU`; `shared_axes=[1, 2]` gives images one
            slope a channel, as in the paper.

    Returns:
        When called on a tensor `(batch, ...)`, one of the same shape.

    Example:
        >>> import numpy as np
        >>> from keras_preact.layers import PReLU
        >>> layer = PReLU("ones", shared_axes=[1, 2])
        >>> float(np.min(layer(np.full((1, 2, 2, 3), -1.0, "float32"), training=True)))
        -1.0
    """

    def call(self, inputs, training=None):
        if not training or keras.backend.backend() != "tensorflow":
            return super().call(inputs)
        from keras_preact.layers import kernels_tf

        return kernels_tf.prelu(inputs, self.alpha)
