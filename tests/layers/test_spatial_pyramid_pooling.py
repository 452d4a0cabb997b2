"""Spatial pyramid pooling against a loop over bins: any size, dtype, layout; gradients; files."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_preact.errors import ConfigError
from keras_preact.layers import SlidingPyramidPooling, SpatialPyramidPooling

PAPERS = (7, 3, 2, 1)


def pooled(x, bins):
    """The definition, bin by bin, on `(batch, height, width, channels)`."""
    (_, height, width, _), found = x.shape, []
    for n in bins:
        for i in range(n):
            for j in range(n):
                rows = slice(math.floor(i * height / n), math.ceil((i + 1) * height / n))
                columns = slice(math.floor(j * width / n), math.ceil((j + 1) * width / n))
                found.append(x[:, rows, columns].max(axis=(1, 2)))
    return np.concatenate(found, axis=1)


def maps(*shape, dtype="float32"):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def numpy(x):
    return keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))


@settings(max_examples=12)
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.lists(st.integers(1, 8), min_size=1, max_size=3),
)
def test_it_is_the_definition_at_every_size(height, width, bins):
    x = maps(2, height, width, 3)
    np.testing.assert_array_equal(SpatialPyramidPooling(bins)(x), pooled(x, bins))
    first = SpatialPyramidPooling(bins, data_format="channels_first")(np.moveaxis(x, -1, 1))
    np.testing.assert_array_equal(first, pooled(x, bins))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.sample(2)
@pytest.mark.thorough
def test_one_network_takes_maps_of_all_sizes(data_format):
    last = data_format == "channels_last"
    inputs = keras.Input((None, None, 3) if last else (3, None, None))
    model = keras.Model(inputs, SpatialPyramidPooling(PAPERS, data_format=data_format)(inputs))
    assert model.output_shape == (None, 63 * 3)
    for size in ((14, 14), (5, 30), (2, 3)):
        x = maps(2, *size, 3)
        y = model.predict(x if last else np.moveaxis(x, -1, 1), verbose=0)
        np.testing.assert_array_equal(y, pooled(x, PAPERS))


def test_bfloat16_is_exact_too():
    x = keras.ops.cast(maps(2, 9, 9, 3), "bfloat16")
    layer = SpatialPyramidPooling(PAPERS, dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(layer(x).dtype) == "bfloat16"
    np.testing.assert_array_equal(numpy(layer(x)), pooled(numpy(x), PAPERS))


def test_the_gradient_goes_to_the_greatest_of_each_bin():
    x, weights = maps(2, 9, 7, 3), maps(2, 14 * 3)
    inputs = keras.Input((9, 7, 3))
    # The kernel of a layer that is added is the map itself: its step is the gradient.
    model = keras.Model(inputs, SpatialPyramidPooling((3, 2, 1))(Shifted()(inputs)))
    model.compile(keras.optimizers.SGD(1.0), lambda y, z: keras.ops.sum(y * z))
    model.train_on_batch(x, weights)
    expected, k = np.zeros((9, 7, 3)), 0
    for n in (3, 2, 1):
        for i in range(n):
            for j in range(n):
                top, left = math.floor(i * 9 / n), math.floor(j * 7 / n)
                bin = x[:, top : math.ceil((i + 1) * 9 / n), left : math.ceil((j + 1) * 7 / n)]
                for b in range(2):
                    for c in range(3):
                        place = np.unravel_index(bin[b, ..., c].argmax(), bin.shape[1:3])
                        expected[top + place[0], left + place[1], c] += weights[b, 3 * k + c]
                k += 1
    (shift,) = model.get_weights()
    np.testing.assert_allclose(-shift, expected, rtol=1e-5, atol=1e-6)


@keras.saving.register_keras_serializable("tests")
class Shifted(keras.layers.Layer):
    def build(self, shape):
        self.shift = self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, x):
        return x + self.shift


def test_files_hold_it(tmp_path):
    inputs = keras.Input((9, 9, 3))
    model = keras.Model(inputs, SpatialPyramidPooling((2, 1), name="pyramid")(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("pyramid").get_config() == model.get_layer("pyramid").get_config()
    np.testing.assert_array_equal(again(maps(1, 9, 9, 3)), model(maps(1, 9, 9, 3)))


@pytest.mark.parametrize("bins", [(), (0,), (2.5,), 3, (True,)])
def test_bins_are_whole_numbers(bins):
    for layer in (SpatialPyramidPooling, lambda bins: SlidingPyramidPooling(bins, (4, 4))):
        with pytest.raises(ConfigError, match="whole numbers of at least 1"):
            layer(bins)


def test_a_data_format_is_not_guessed():
    with pytest.raises(ConfigError, match="'channels_last', 'channels_first'"):
        SpatialPyramidPooling((2, 1), data_format="channels")
