"""`BatchNormalization`: Keras's layer on TensorFlow's fused kernels."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("keras_preact")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalisation, computed by TensorFlow's fused kernels.

    Ioffe and Szegedy (2015), as every unit of the residual papers uses it. Arguments, weights,
    config and results are those of `keras.layers.BatchNormalization`; the fused kernels need fewer
    passes over memory, both forward and backward. Under mixed precision, activations stay in 16
    bits while statistics are computed in float32, as in Keras's layer.

    The fused kernels take images (4-D tensors), channels first or last. In all other cases, such
    as masks, `renorm`, `synchronized=True` or other backends, the layer computes as Keras's does.

    Args:
        *args, **kwargs: Arguments of `keras.layers.BatchNormalization`.

    Returns:
        When called on a tensor `(batch, ...)`, a tensor of the same shape.

    Raises:
        ValueError: As `keras.layers.BatchNormalization` does.

    Example:
        >>> import numpy as np
        >>> from keras_preact.layers import BatchNormalization
        >>> layer = BatchNormalization(momentum=0.9, epsilon=1e-5)
        >>> y = layer(5 + np.random.normal(size=(8, 4, 4, 3)).astype("float32"), training=True)
        >>> abs(float(np.mean(y))) < 1e-5
        True
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        data_format = self._fused_data_format(inputs, mask)
        if data_format is None:
            return super().call(inputs, training=training, mask=mask)
        from keras_preact.layers import kernels_tf

        ops = keras.ops
        gamma = ops.ones_like(self.moving_mean) if self.gamma is None else self.gamma
        beta = ops.zeros_like(self.moving_mean) if self.beta is None else self.beta
        if not (training and self.trainable):
            return kernels_tf.normalize(
                inputs,
                gamma,
                beta,
                self.moving_mean,
                self.moving_variance,
                self.epsilon,
                data_format,
            )
        outputs, mean, variance, count = kernels_tf.normalize_batch(
            inputs, gamma, beta, self.epsilon, data_format
        )
        # A replica without images has no statistics to add.
        kept = ops.where(count > 0, self.momentum, 1.0)
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * kept + ops.where(count > 0, new, 0.0) * (1.0 - kept))
        return outputs

    def _fused_data_format(self, inputs: Any, mask: Any) -> str | None:
        """The kernels' name for the layout of the inputs; `None` where they do not apply."""
        fused = keras.backend.backend() == "tensorflow" and len(inputs.shape) == 4
        fused = fused and mask is None and not self.synchronized
        fused = fused and not getattr(self, "renorm", False)  # of Keras 3.14 and later
        fused = fused and self.variable_dtype == "float32"
        dtypes = ("float32", "bfloat16", "float16")
        if not fused or keras.backend.standardize_dtype(inputs.dtype) not in dtypes:
            return None
        return {1: "NCHW", 3: "NHWC"}.get(self.axis % 4)
