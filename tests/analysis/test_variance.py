"""Variance factors: the rectifier paper's figures, every initializer, every packaging."""

import math

import keras
import numpy as np
import pytest

from keras_preact import ResNetConfig, applications, build_network, create_model
from keras_preact.analysis import initializer_variance, variance_factors
from keras_preact.initializers import he_normal, xavier_normal

#: Section 2.2: standard deviations by equation 14 of 3x3 layers, by their filters.
PRINTED = {64: 0.059, 128: 0.042, 256: 0.029, 512: 0.021}


def vgg13(**fields):
    return create_model("vgg13", input_shape=(32, 32, 3), dense=(8, 8), **fields)


def test_the_paragraph_on_vggs_model_b():
    frame = variance_factors(vgg13())
    convolutions = frame[frame.kernel == 3]
    filters = [64, 64, 128, 128, 256, 256, 512, 512, 512, 512]
    assert convolutions.filters.to_list() == filters
    for row in convolutions.itertuples():
        assert round(row.he_backward, 3) == PRINTED[row.filters]
        assert row.std == pytest.approx(row.he_backward)
        assert row.measured_std == pytest.approx(row.std, rel=0.05)
        assert row.backward == pytest.approx(1.0)
    # With 0.01 everywhere, from conv10 to conv2: 1 / (5.9 x 4.2^2 x 2.9^2 x 2.1^4).
    ratio = math.prod(0.01 / std for std in convolutions.he_backward[1:])
    assert 1 / ratio == pytest.approx(1.7e4, rel=0.03)
    assert 1 / ratio == pytest.approx(5.9 * 4.2**2 * 2.9**2 * 2.1**4, rel=0.04)


def test_the_ratio_follows_from_the_factors():
    model = vgg13()
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel_initializer = keras.initializers.RandomNormal(stddev=0.01)
    frame = variance_factors(model)
    ends = frame.backward_product[1] / frame.backward_product[10]  # conv2 to conv10
    assert 1 / math.sqrt(ends) == pytest.approx(1.7e4, rel=0.03)


def test_xavier_halves_every_layer_but_the_first():
    fields = {"initializer": "xavier_normal", "initializer_mode": "fan_in", "dense_stddev": None}
    frame = variance_factors(vgg13(**fields))
    np.testing.assert_allclose(frame.forward[:-1], [1.0] + [0.5] * 11)
    np.testing.assert_allclose(frame["std"][:-1], frame.xavier[:-1])
    np.testing.assert_allclose(frame.forward_product[11], 0.5**11)


@pytest.mark.parametrize(
    ("activation", "slope"), [("relu", 0.0), ("prelu", 0.25), ("leaky_relu", 0.01), ("elu", None)]
)
@pytest.mark.sample(4)
def test_slopes_of_the_rectifiers(activation, slope):
    frame = variance_factors(vgg13(activation=activation, initializer_slope_aware=False))
    inner = frame.slope_before[1:]
    if slope is None:
        assert inner.isna().all() and frame.forward[1:].isna().all()
        return
    np.testing.assert_allclose(inner, slope)
    np.testing.assert_allclose(frame.slope_after[:-1], slope)
    assert frame.slope_before[0] == 1.0
    backward = (1 + slope**2) / 2 * frame.fan_out * frame["std"] ** 2
    np.testing.assert_allclose(frame.backward[:-1], backward[:-1])
    forward = (1 + slope**2) / 2 * frame.fan_in * frame["std"] ** 2
    np.testing.assert_allclose(frame.forward[1:], forward[1:])


@pytest.mark.parametrize("placement", ["original", "full_preactivation"])
@pytest.mark.parametrize("packaging", ["nested", "repeated"])
@pytest.mark.sample(2)
def test_packagings_have_the_same_rows(packaging, placement):
    from keras_preact.weights import load_weights_by_layer, weights_by_layer

    config = ResNetConfig(
        units=(1, 4), filters=(4, 8), stem_filters=4, activation="prelu", placement=placement,
        projection="B",
    )  # fmt: skip
    flat, model = (
        build_network(config, input_shape=(8, 8, 3), packaging=kind) for kind in ("flat", packaging)
    )
    slopes = np.random.default_rng(0)
    for layer in flat.layers:
        if isinstance(layer, keras.layers.PReLU):
            layer.alpha.assign(slopes.uniform(0, 1, layer.alpha.shape))
    load_weights_by_layer(model, weights_by_layer(flat))
    expected, found = (variance_factors(m).set_index("layer") for m in (flat, model))
    assert set(found.index) == set(expected.index)
    columns = [name for name in expected if not name.endswith("product")]
    np.testing.assert_allclose(found.loc[expected.index, columns], expected[columns], rtol=1e-6)
    inner = expected.loc["stage2_unit2_conv2"]
    assert 0 < inner.slope_before < 1


def test_activations_that_are_arguments_count():
    theirs = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    frame = variance_factors(theirs)
    assert frame.slope_before.to_list() == [1.0] + [0.0] * 12
    assert frame.slope_after.to_list() == [0.0] * 13


@pytest.mark.parametrize(
    "initializer",
    [
        he_normal("fan_out"),
        he_normal("fan_in", truncated=True, slope=0.25),
        xavier_normal(),
        keras.initializers.GlorotUniform(),
        keras.initializers.HeNormal(),
        keras.initializers.RandomNormal(stddev=0.01),
        keras.initializers.TruncatedNormal(stddev=0.02),
        keras.initializers.RandomUniform(-0.1, 0.3),
        keras.initializers.Zeros(),
        keras.initializers.Constant(0.3),
    ],
    ids=lambda initializer: type(initializer).__name__,
)
def test_variance_of_every_initializer_is_that_of_its_values(initializer):
    shape = (3, 3, 64, 128)
    values = keras.ops.convert_to_numpy(initializer(shape))
    expected = initializer_variance(initializer, shape)
    assert values.var() == pytest.approx(expected, rel=0.02, abs=1e-12)


def test_an_initializer_of_another_kind_has_no_known_variance():
    assert math.isnan(initializer_variance(keras.initializers.Orthogonal(), (3, 3, 4, 8)))


def test_registered_networks_of_the_paper_begin_as_it_says():
    for name in ("rectifiernet14", "rectifierneta"):
        units = (1,) * len(applications.model_info(name).config.units)
        model = create_model(name, units=units, input_shape=(32, 32, 3), dense=(8, 8))
        frame = variance_factors(model).set_index("layer")
        convolutions = frame.drop(index=["fc1", "fc2", "predictions"])
        np.testing.assert_allclose(convolutions["std"], np.sqrt(2 / convolutions.fan_out))
        assert frame["std"][["fc1", "fc2", "predictions"]].to_list() == [0.01, 0.01, 0.001]


@pytest.mark.parametrize("activation", ["relu", "prelu"])
def test_standardized_kernels_keep_the_variance(activation):
    fields = {"activation": activation, "weight_standardization": True, "normalization": "none"}
    frame = variance_factors(create_model("resnet8v2", **fields))
    inner = frame[frame["layer"].str.contains("_conv")].iloc[1:]
    np.testing.assert_allclose(inner["forward"], 1, rtol=1e-6)
    np.testing.assert_allclose(inner["measured_std"], inner["std"], rtol=1e-4)
