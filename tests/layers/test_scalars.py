"""`ScalarAffine` and `StandardizedConv2D`: their formulas, dtypes, files and forms in Keras."""

import keras
import numpy as np
import pytest

from keras_preact import portable
from keras_preact.layers import ScalarAffine, StandardizedConv2D

IMAGES = np.random.default_rng(0).normal(size=(2, 5, 6, 4)).astype("float32")


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def standardized(kernel, gain):
    """Brock et al. 2021, equation 1, filter by filter."""
    filters = np.moveaxis(kernel, -1, 0)
    made = [gain * (k - k.mean()) / (k.std() * np.sqrt(k.size)) for k in filters]
    return np.moveaxis(np.stack(made), 0, -1)


@pytest.mark.parametrize(("scale", "bias"), [(2.0, None), (None, -1.0), (0.5, 3.0), (None, None)])
def test_a_factor_and_an_offset(scale, bias):
    layer = ScalarAffine(scale, bias)
    expected = IMAGES * (1 if scale is None else scale) + (bias or 0)
    np.testing.assert_allclose(numpy(layer(IMAGES)), expected, rtol=1e-6)
    assert [w.shape for w in layer.weights] == [()] * ((scale is not None) + (bias is not None))
    assert ScalarAffine.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_kernels_are_standardized(padding):
    layer = StandardizedConv2D(8, 3, strides=2, padding=padding, gain=1.7)
    found = numpy(layer(IMAGES))
    plain = keras.layers.Conv2D(8, 3, strides=2, padding=padding)
    plain.build(IMAGES.shape)
    kernel, bias = layer.get_weights()
    plain.set_weights([standardized(kernel, 1.7), bias])
    np.testing.assert_allclose(found, numpy(plain(IMAGES)), rtol=1e-4, atol=1e-5)
    # A factor on a kernel or a number added to it changes nothing.
    layer.set_weights([3 * kernel + 0.2, bias])
    np.testing.assert_allclose(numpy(layer(IMAGES)), found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_they_compute_in_16_bits(dtype):
    layers = [ScalarAffine(0.5, 1.0, dtype=dtype), StandardizedConv2D(3, 3, dtype=dtype)]
    for layer in layers:
        y = layer(IMAGES)
        assert keras.backend.standardize_dtype(y.dtype) == dtype.removeprefix("mixed_")
        assert {weight.dtype for weight in layer.weights} == {"float32"}
        wide = type(layer).from_config({**layer.get_config(), "dtype": "float32"})
        wide.build(IMAGES.shape)
        wide.set_weights(layer.get_weights())
        np.testing.assert_allclose(numpy(y).astype("float32"), numpy(wide(IMAGES)), atol=0.03)


def test_in_files_and_in_keras_own_layers(randomize, tmp_path):
    x = inputs = keras.Input(IMAGES.shape[1:])
    x = StandardizedConv2D(4, 3, padding="same", gain=2.0)(x)
    x = ScalarAffine(0.0, 0.0)(x)
    model = randomize(keras.Model(inputs, keras.layers.Add()([x, inputs])))
    expected = numpy(model(IMAGES))
    model.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(numpy(again(IMAGES)), expected)
    np.testing.assert_allclose(numpy(portable(model)(IMAGES)), expected, rtol=1e-4, atol=1e-5)
