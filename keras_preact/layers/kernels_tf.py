"""TensorFlow's fused kernels, and loops over stacked weights, as plain functions."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def normalize_batch(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float, data_format: str
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Batch normalisation by the batch's own statistics.

    Args:
        x: Images, `(batch, height, width, channels)` or channels first; float32, bfloat16, float16.
        gamma: Scale, `(channels,)`, float32.
        beta: Offset, `(channels,)`, float32.
        epsilon: Added to the variance.
        data_format: `"NHWC"` or `"NCHW"`.

    Returns:
        The normalised images; mean and (biased) variance, float32 `(channels,)`; and the number of
        values, float32, that each was taken over.
    """
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=gamma,
        offset=beta,
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=epsilon,
        exponential_avg_factor=1.0,
        data_format=data_format,
        is_training=True,
    )
    axis = data_format.index("C")
    count = tf.cast(tf.size(x, out_type=tf.int64) // x.shape[axis], tf.float32)
    # The kernel gives the unbiased variance; Keras keeps the biased one.
    return y, mean, variance * tf.maximum(count - 1.0, 0.0) / tf.maximum(count, 1.0), count


def normalize(
    x: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    epsilon: float,
    data_format: str,
) -> tf.Tensor:
    """Batch normalisation by given statistics; arguments as in `normalize_batch`."""
    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        data_format=data_format,
        is_training=False,
    )[0]


def scan(
    body: Callable[..., tuple[Any, list[Any]]],
    x: tf.Tensor,
    stacks: Sequence[tf.Tensor],
    extra: Sequence[Any],
    count: int,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """`x, extra = body(x, *values)` for each entry of the stacks, as one loop.

    Args:
        body: Function that takes `x` and one entry of each stack, and returns a tensor like `x`
            and a list of further tensors.
        x: Tensor.
        stacks: Tensors whose first axis has the size `count`.
        extra: Tensors with the dtypes and shapes of the list that `body` returns.
        count: Number of repetitions.

    Returns:
        The last `x`, and the lists that `body` returned, stacked over the repetitions.
    """

    def array(dtype, shape):
        # Reading an array is three times as fast as slicing a tensor.
        return tf.TensorArray(dtype, count, element_shape=shape, clear_after_read=False)

    inputs = [array(stack.dtype, stack.shape[1:]).unstack(stack) for stack in stacks]

    def step(index, x, outputs):
        y, new = body(x, *(values.read(index) for values in inputs))
        written = [out.write(index, value) for out, value in zip(outputs, new, strict=True)]
        return index + 1, tf.ensure_shape(y, x.shape), written

    _, x, outputs = tf.while_loop(
        lambda index, *_: index < count,
        step,
        (0, x, [array(value.dtype, value.shape) for value in extra]),
        maximum_iterations=count,
        parallel_iterations=1,
    )
    return x, [out.stack() for out in outputs]


def convolution(
    x: tf.Tensor,
    kernel: tf.Tensor,
    strides: Sequence[int],
    padding: str,
    data_format: str,
    dilation_rate: Sequence[int] = (1, 1),
) -> tf.Tensor:
    """TensorFlow's convolution, also in groups; arguments as in `keras.ops.conv`."""
    layout = "NCHW" if data_format == "channels_first" else "NHWC"
    return tf.nn.convolution(
        x, kernel, [*strides], padding.upper(), data_format=layout, dilations=[*dilation_rate]
    )


@functools.cache
def has_groups(dtype: str, data_format: str) -> bool:
    """Whether TensorFlow has kernels here for convolutions in groups and for their gradients.

    On a CPU those are oneDNN's, which are not on all processors.
    """
    layout = "NCHW" if data_format == "channels_first" else "NHWC"
    with tf.init_scope():  # which records no gradients
        x = tf.ones((1, 4, 3, 3) if layout == "NCHW" else (1, 3, 3, 4), dtype)
        kernel, same = tf.ones((3, 3, 2, 4), dtype), {"strides": [1] * 4, "padding": "SAME"}
        try:
            tf.raw_ops.Conv2D(input=x, filter=kernel, data_format=layout, **same)
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=x.shape, filter=kernel, out_backprop=x, data_format=layout, **same
            )
            tf.raw_ops.Conv2DBackpropFilter(
                input=x, filter_sizes=kernel.shape, out_backprop=x, data_format=layout, **same
            )
        except tf.errors.OpError:
            return False
    return True


def prelu(x: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """max(0, x) + alpha min(0, x) in one compiled pass over memory, forward and backward.

    Args:
        x: Tensor `(batch, ...)`.
        alpha: Slopes, of the shape of one example; an axis of size 1 is shared.

    Returns:
        Tensor of the shape of `x`.
    """
    return _prelu(x, tf.cast(alpha, x.dtype))


@tf.custom_gradient
def _prelu(x, alpha) -> Any:
    shared = [0, *(axis for axis, size in enumerate(alpha.shape, 1) if size == 1)]

    def gradient(dy):
        dx, dalpha = _prelu_backward(x, alpha, dy, tuple(shared))
        return dx, tf.reshape(dalpha, alpha.shape)

    return _prelu_forward(x, alpha), gradient


@tf.function(jit_compile=True)
def _prelu_forward(x, alpha):
    return tf.where(x > 0, x, alpha * x)


@tf.function(jit_compile=True)
def _prelu_backward(x, alpha, dy, shared):
    zero = tf.zeros_like(dy)
    dx = tf.where(x > 0, dy, tf.where(x < 0, alpha * dy, zero))  # 0 at 0, as Keras has it
    wide = tf.float32 if x.dtype.size == 2 else x.dtype
    products = tf.cast(tf.where(x < 0, x * dy, zero), wide)
    return dx, tf.cast(tf.reduce_sum(products, axis=shared), alpha.dtype)
