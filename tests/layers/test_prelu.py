"""The compiled rectifier against Keras's own: outputs and gradients, slopes of every shape."""

import keras
import numpy as np
import pytest

from keras_preact.layers import PReLU

#: Shape of an example, and the axes that share a slope.
CASES = [
    ((4, 5, 3), [1, 2]),
    ((3, 4, 5), [2, 3]),
    ((4, 5, 3), [1, 2, 3]),
    ((4, 5, 3), None),
    ((7,), None),
    ((2, 3, 4, 2), [1, 2, 3]),
]
TOLERANCE = {"float32": 1e-5, "mixed_bfloat16": 0.02}


def pair(shape, axes, dtype):
    layers = [cls(shared_axes=axes, dtype=dtype) for cls in (keras.layers.PReLU, PReLU)]
    for layer in layers:
        layer.build((None, *shape))
        layer.alpha.assign(np.random.default_rng(1).normal(0, 1, layer.alpha.shape))
    return layers


def values(shape):
    x = np.random.default_rng(0).normal(size=(6, *shape)).astype("float32")
    x.flat[:3] = 0.0  # where the gradient is a convention
    return x


def numpy(x):
    return keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("shape", "axes"), CASES)
def test_outputs_are_kerass_and_the_formulas(shape, axes, dtype, training):
    stock, ours = pair(shape, axes, dtype)
    x = values(shape)
    y = ours(x, training=training)
    assert y.dtype == stock(x).dtype
    np.testing.assert_allclose(numpy(y), numpy(stock(x)), atol=TOLERANCE[dtype], rtol=1e-6)
    if dtype == "float32":
        alpha = numpy(ours.alpha)
        np.testing.assert_allclose(y, np.maximum(x, 0) + alpha * np.minimum(x, 0), rtol=1e-6)


@pytest.mark.tensorflow
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("shape", "axes"), CASES)
@pytest.mark.sample(4)
def test_gradients_are_kerass(shape, axes, dtype):
    import tensorflow as tf

    found = []
    for layer in pair(shape, axes, dtype):
        x = tf.cast(values(shape), layer.compute_dtype)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.cast(layer(x, training=True), tf.float32)
            weights = tf.cos(tf.range(tf.size(y), dtype="float32"))
            loss = tf.reduce_sum(tf.reshape(y, [-1]) * weights)
        found.append(tape.gradient(loss, [x, layer.alpha.value]))
    for a, b in zip(*found, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        scale = np.abs(numpy(a)).max()
        np.testing.assert_allclose(numpy(a) / scale, numpy(b) / scale, atol=TOLERANCE[dtype])


@pytest.mark.tensorflow
def test_graphs_for_inference_hold_plain_operations():
    import tensorflow as tf

    layer = PReLU(shared_axes=[1, 2])
    call = tf.function(lambda x: layer(x, training=False))
    graph = call.get_concrete_function(tf.TensorSpec((None, 4, 4, 3))).graph
    kinds = {op.type for op in graph.get_operations()}
    assert "Relu" in kinds
    assert not any("Call" in kind for kind in kinds)


def test_files_hold_it(tmp_path):
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, PReLU(shared_axes=[1, 2], name="act")(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").get_layer("act")
    assert type(again) is PReLU
    assert again.get_config() == model.get_layer("act").get_config()
