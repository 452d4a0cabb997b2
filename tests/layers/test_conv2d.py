"""Convolutions in groups against Keras's own: outputs and gradients, on whichever kernels."""

import keras
import numpy as np
import pytest

from keras_preact import accelerate
from keras_preact.layers import Conv2D

TOLERANCE = {"float32": 1e-5, "bfloat16": 0.02}


def pair(data_format, dtype="float32", **arguments):
    """Keras's layer and ours, with the same weights."""
    shape = (None, 12, 9, 8) if data_format == "channels_first" else (None, 9, 8, 12)
    layers = [
        cls(8, 3, groups=4, data_format=data_format, dtype=dtype, **arguments)
        for cls in (keras.layers.Conv2D, Conv2D)
    ]
    for layer in layers:
        layer.build(shape)
    layers[1].set_weights(layers[0].get_weights())
    x = np.random.default_rng(0).normal(size=(2, *shape[1:]))
    return layers, keras.ops.convert_to_tensor(x, dtype)


def numpy(x):
    return keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))


@pytest.mark.tensorflow
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("arguments", [{}, {"strides": 2, "padding": "same"}], ids=str)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.sample(3)
def test_outputs_and_gradients_are_kerass(data_format, arguments, dtype):
    import tensorflow as tf

    layers, x = pair(data_format, dtype, **arguments)
    found = []
    for layer in layers:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(tf.cast(y, "float32") ** 2)
        found.append([y, *tape.gradient(loss, [x, layer.kernel.value])])
    for stock, ours in zip(*found, strict=True):
        assert stock.dtype == ours.dtype
        largest = np.abs(numpy(stock)).max()
        np.testing.assert_allclose(
            numpy(ours) / largest, numpy(stock) / largest, atol=TOLERANCE[dtype]
        )


@pytest.mark.tensorflow
def test_where_there_are_no_kernels_it_computes_as_keras_does(monkeypatch):
    from keras_preact.layers import kernels_tf

    (stock, ours), x = pair("channels_last")
    if kernels_tf.has_groups("float32", "channels_last"):
        assert numpy(kernels_tf.convolution(
            x, ours.kernel, (1, 1), "valid", "channels_last")).shape == (2, 7, 6, 8)  # fmt: skip
    monkeypatch.setattr(kernels_tf, "has_groups", lambda *_: False)
    monkeypatch.delattr(kernels_tf, "convolution")
    np.testing.assert_array_equal(numpy(ours(x)), numpy(stock(x)))


def test_each_group_sees_its_own_channels():
    (_, ours), x = pair("channels_last")
    kernel, whole = numpy(ours.kernel), numpy(ours(x))
    for k in range(4):
        own = {"channels": slice(3 * k, 3 * k + 3), "filters": slice(2 * k, 2 * k + 2)}
        part = keras.ops.conv(x[..., own["channels"]], kernel[..., own["filters"]], 1, "valid")
        np.testing.assert_allclose(whole[..., own["filters"]], numpy(part), atol=1e-5)


def test_accelerate_takes_it_for_groups_only():
    inputs = keras.Input((6, 6, 4))
    x = keras.layers.Conv2D(4, 3, groups=2, name="groups")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="plain")(x))
    faster = accelerate(model)
    assert type(faster.get_layer("groups")) is Conv2D
    assert type(faster.get_layer("plain")) is keras.layers.Conv2D
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype("float32")
    np.testing.assert_allclose(numpy(faster(x)), numpy(model(x)), atol=1e-5)
