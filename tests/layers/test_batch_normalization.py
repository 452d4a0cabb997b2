"""The fused layer against Keras's own: outputs, gradients, statistics, on every path."""

import keras
import numpy as np
import pytest

from keras_preact.layers import BatchNormalization

STOCK = keras.layers.BatchNormalization
SHAPES = {"images": (6, 5, 4, 3), "vectors": (8, 3), "volumes": (4, 3, 3, 2, 3)}
TOLERANCE = {"float32": 1e-5, "mixed_bfloat16": 0.03, "mixed_float16": 4e-3, "bfloat16": 0.03}


def pair(shape, **arguments):
    """Keras's layer and the fused one with the same random weights."""
    layers = STOCK(**arguments), BatchNormalization(**arguments)
    random = np.random.default_rng(1)
    for layer in layers:
        layer.build((None, *shape[1:]))
    for stock, fused in zip(layers[0].weights, layers[1].weights, strict=True):
        assert (stock.name, stock.shape) == (fused.name, fused.shape)
        value = random.uniform(0.5, 1.5, stock.shape)
        stock.assign(value)
        fused.assign(value)
    return layers


def assert_close(x, y, tolerance=1e-5):
    x, y = (keras.ops.convert_to_numpy(keras.ops.cast(v, "float32")) for v in (x, y))
    np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def data(shape, seed=0):
    # Far from zero mean, where a careless variance loses its digits.
    return np.random.default_rng(seed).normal(3.0, 2.0, shape).astype("float32")


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.sample(4)
def test_training_and_inference_equal_keras(kind, axis, dtype):
    shape = SHAPES[kind]
    stock, fused = pair(shape, axis=axis, momentum=0.8, epsilon=1e-3, dtype=dtype)
    for seed in range(3):
        x = data(shape, seed)
        y, z = stock(x, training=True), fused(x, training=True)
        assert y.dtype == z.dtype
        assert_close(y, z, TOLERANCE[dtype])
        for a, b in zip(stock.weights, fused.weights, strict=True):
            assert_close(
                a, b, 1e-5 if dtype == "float32" else 5e-3 if dtype != "bfloat16" else 0.02
            )
    assert_close(stock(x, training=False), fused(x, training=False), TOLERANCE[dtype])


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("center", [True, False])
def test_without_scale_or_offset(center, scale):
    stock, fused = pair(SHAPES["images"], center=center, scale=scale)
    x = data(SHAPES["images"])
    for training in (True, False):
        assert_close(stock(x, training=training), fused(x, training=training))


def test_a_frozen_layer_keeps_its_statistics():
    stock, fused = pair(SHAPES["images"], trainable=False)
    before = keras.ops.convert_to_numpy(fused.moving_mean).copy()
    x = data(SHAPES["images"])
    assert_close(stock(x, training=True), fused(x, training=True))
    np.testing.assert_array_equal(fused.moving_mean, before)


def gradients(layer, x, training):
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.cast(layer(x, training=training), tf.float32)
        loss = tf.reduce_sum(y * y * tf.reshape(tf.range(tf.size(y), dtype="float32"), y.shape))
    return tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])


@pytest.mark.tensorflow
@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_equal_keras(training, axis, trainable):
    layers = pair(SHAPES["images"], axis=axis, trainable=trainable)
    expected, received = (gradients(layer, data(SHAPES["images"]), training) for layer in layers)
    for a, b in zip(expected, received, strict=True):
        scale = np.abs(a).max()
        assert_close(a / scale, b / scale, 1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("axis", [-1, 1])
def test_images_take_the_fused_kernels(axis):
    import tensorflow as tf

    layer = BatchNormalization(axis=axis)
    for training in (True, False):
        call = tf.function(lambda x, training=training: layer(x, training=training))
        graph = call.get_concrete_function(tf.TensorSpec((None, 8, 8, 8))).graph
        assert "FusedBatchNormV3" in {op.type for op in graph.get_operations()}


@pytest.mark.tensorflow
def test_masks_and_synchronised_statistics_are_kerass_business():
    x = data((4, 6, 3))
    mask = np.arange(6)[None, :] < np.array([6, 4, 2, 5])[:, None]
    stock, fused = pair(x.shape)
    assert_close(stock(x, training=True, mask=mask), fused(x, training=True, mask=mask))
    x = data(SHAPES["images"])
    stock, fused = pair(x.shape, synchronized=True)
    assert_close(stock(x, training=True), fused(x, training=True))
    assert_close(stock.moving_variance, fused.moving_variance)


@pytest.mark.tensorflow
def test_a_batch_without_images_leaves_the_statistics():
    _, fused = pair(SHAPES["images"])
    before = [np.array(weight) for weight in fused.weights]
    assert fused(np.zeros((0, 5, 4, 3), "float32"), training=True).shape == (0, 5, 4, 3)
    for old, new in zip(before, fused.weights, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.tensorflow
def test_replicas_of_a_mirrored_strategy(strategy):
    import tensorflow as tf

    x = data((8, 5, 4, 3))
    results = []
    for cls in (STOCK, BatchNormalization):
        with strategy.scope():
            layer = cls()
            layer.build((None, 5, 4, 3))

        @tf.function
        def step(layer=layer):
            def replica():
                k = tf.distribute.get_replica_context().replica_id_in_sync_group
                return layer(tf.constant(x)[4 * k : 4 * k + 4], training=True)

            return strategy.run(replica)

        outputs = strategy.experimental_local_results(step())
        moving = strategy.experimental_local_results(layer.moving_mean.value)
        results.append([*outputs, *moving])
    for a, b in zip(*results, strict=True):
        assert_close(a, b)


def test_config_and_files_hold_kerass_arguments(tmp_path):
    inputs = keras.Input((4, 4, 3))
    layer = BatchNormalization(momentum=0.7, epsilon=1e-4, scale=False, name="norm")
    model = keras.Model(inputs, layer(inputs))
    assert (
        layer.get_config()
        == STOCK(momentum=0.7, epsilon=1e-4, scale=False, name="norm").get_config()
    )
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").get_layer("norm")
    assert type(again) is BatchNormalization
    assert again.get_config() == layer.get_config()
