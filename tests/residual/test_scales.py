"""Scales of branches, and networks without batch normalisation: formulas and what is refused."""

import keras
import numpy as np
import pytest

from keras_preact import ResNetConfig, build_network, fold_batch_norm, residual_unit
from keras_preact.analysis import deepen
from keras_preact.config import KERNELS
from keras_preact.errors import ConfigError
from keras_preact.layers import StandardizedConv2D
from keras_preact.weights import load_weights_by_layer, weights_by_layer

SMALL = ResNetConfig(units=(1, 3), filters=(4, 8), stem_filters=4, norm_groups=2)
IMAGES = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")
ZERO = [{"residual_scale": "learned"}, {"zero_init": True}, {"normalization": "fixup"}]
SKIP_INIT = {"residual_scale": "learned", "normalization": "none", "conv_bias": "without_norm"}


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def network(config, **arguments):
    return build_network(config, input_shape=(8, 8, 3), classes=3, **arguments)


@pytest.mark.parametrize("placement", ["full_preactivation", "original", "last_bn"])
@pytest.mark.parametrize("fields", [*ZERO, SKIP_INIT], ids=str)
@pytest.mark.parametrize("block", ["basic", "bottleneck", "single"])
@pytest.mark.sample(5)
def test_a_unit_that_starts_at_0_is_the_identity(block, fields, placement):
    x = inputs = keras.Input((6, 6, 8))
    filters = 2 if block == "bottleneck" else 8
    y = residual_unit(x, filters, block=block, placement=placement, **fields)
    images = np.random.default_rng(1).normal(size=(2, 6, 6, 8)).astype("float32")
    expected = np.maximum(images, 0) if placement == "original" else images
    np.testing.assert_array_equal(numpy(keras.Model(inputs, y)(images)), expected)


@pytest.mark.parametrize(("scale", "factor"), [(0.25, 0.25), ("inverse_sqrt_units", 4**-0.5)])
@pytest.mark.sample(2)
def test_a_fixed_scale(scale, factor, randomize):
    config = SMALL.replace(units=(4,), filters=(4,))
    without = randomize(network(config, include_top=False))
    scaled = network(config.replace(residual_scale=scale), include_top=False)
    load_weights_by_layer(scaled, weights_by_layer(without))

    def of_first_unit(model):
        layer = model.get_layer
        ends = [layer("stem_act").output, layer("stage1_unit1_add").output]
        return map(numpy, keras.Model(model.input, ends)(IMAGES))

    (x, y), (_, z) = of_first_unit(without), of_first_unit(scaled)
    np.testing.assert_allclose(z - x, factor * (y - x), atol=1e-5)


@pytest.mark.parametrize("block", ["basic", "bottleneck", "single"])
@pytest.mark.sample(3)
def test_fixup_starts_as_its_paper_says(block):
    """Zhang et al. 2019, section 3: kernels times L^(-1/(2m - 2)), the last ones and the head 0."""
    projection = "B" if block == "bottleneck" else "A"
    config = SMALL.replace(block=block, normalization="fixup", projection=projection)
    model, convolutions, units = network(config), len(KERNELS[block]), sum(config.units)
    for unit in ("stage1_unit1", "stage2_unit3"):
        *first, last = (model.get_layer(f"{unit}_conv{k + 1}") for k in range(convolutions))
        assert not numpy(last.kernel).any()
        for conv in first:
            factor = units ** (-1 / (2 * convolutions - 2))
            assert conv.kernel_initializer.scale == pytest.approx(2 * factor**2)
    assert model.get_layer("stem_conv").kernel_initializer.scale == 2
    assert not numpy(model.get_layer("predictions").kernel).any()
    plain = network(config.replace(normalization="none"))
    layers = [layer.name for layer in model.layers]
    before = [name for name in layers if f"{name}_offset" in layers]
    kinds = (keras.layers.Conv2D, keras.layers.Activation, keras.layers.Dense)
    assert before == [layer.name for layer in model.layers if isinstance(layer, kinds)]
    assert model.count_params() == plain.count_params() + len(before) + units


@pytest.mark.parametrize("placement", ["full_preactivation", "original", "last_bn"])
def test_what_starts_at_0_of_a_branch(placement):
    model = network(SMALL.replace(placement=placement, zero_init=True))
    for unit in ("stage2_unit1", "stage2_unit2"):
        found = {
            f"{layer.name.removeprefix(unit)}"
            for layer in model.layers
            if layer.name.startswith(unit) and layer.weights and not numpy(layer.weights[0]).any()
        }
        ends = {"full_preactivation": "_conv2", "original": "_norm2", "last_bn": "_norm3"}
        assert found == {ends[placement]}


@pytest.mark.parametrize("fields", [{}, {"placement": "original"}], ids=str)
@pytest.mark.sample(2)
def test_folded_kernels_are_standardized(fields, randomize):
    model = randomize(network(SMALL.replace(weight_standardization=True, **fields)))
    folded = fold_batch_norm(model)
    np.testing.assert_allclose(numpy(folded(IMAGES)), numpy(model(IMAGES)), rtol=1e-4, atol=1e-5)
    left = [layer.name for layer in folded.layers if isinstance(layer, StandardizedConv2D)]
    assert all(name.endswith(("conv2", "shortcut_conv")) and not fields for name in left)


@pytest.mark.parametrize("slope", [0.0, 0.25, 1.0])
def test_standardized_kernels_keep_the_variance(slope):
    fields = {"activation": "leaky_relu", "negative_slope": slope, "normalization": "none"}
    config = ResNetConfig(units=(1,), filters=(512,), stem_filters=512, stem_kernel=1, **fields)
    model = network(config.replace(weight_standardization=True, block="bottleneck", filters=(128,)))
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 512)).astype("float32")
    branch = keras.Model(
        model.get_layer("stem_act").input, model.get_layer("stage1_unit1_conv1").output
    )
    assert numpy(branch(x)).var() == pytest.approx(1, rel=0.1)


def test_groups_of_channels(randomize):
    model = network(SMALL.replace(normalization="group"))
    norm = model.get_layer("stage2_unit1_norm2")
    x = np.random.default_rng(2).normal(1, 2, size=(3, 5, 5, 8)).astype("float32")
    groups = x.reshape(3, 5, 5, 2, 4)
    axes = {"axis": (1, 2, 4), "keepdims": True}
    expected = (groups - groups.mean(**axes)) / np.sqrt(groups.var(**axes) + 1e-5)
    np.testing.assert_allclose(numpy(norm(x)), expected.reshape(x.shape), atol=1e-4)


@pytest.mark.parametrize("fields", [{}, *ZERO, SKIP_INIT, {"normalization": "group"}], ids=str)
@pytest.mark.sample(6)
def test_networks_are_deepened(fields, randomize):
    model = randomize(network(SMALL.replace(**fields)))
    deeper = deepen(model, (2, 4), SMALL.replace(**fields))
    np.testing.assert_allclose(numpy(deeper(IMAGES)), numpy(model(IMAGES)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"residual_scale": "half"}, "a finite number, 'inverse_sqrt_units', 'learned'"),
        ({"residual_scale": 0}, "`residual_scale` must be above 0"),
        ({"residual_scale": "learned", "zero_init": True}, "in two ways never learns"),
        ({"normalization": "fixup", "zero_init": True}, "in two ways never learns"),
        ({"normalization": "fixup", "residual_scale": 0.5}, "needs residual_scale=1"),
        ({"zero_init": True, "placement": "relu_before_addition"}, "ends with an activation"),
        ({"normalization": "fixup", "placement": "bn_after_addition"}, "'batch' or 'group'"),
        ({"normalization": "group", "norm_groups": 3}, "`norm_groups` must divide the channels"),
        ({"norm_groups": 0}, "`norm_groups` must be at least 1"),
        *(
            ({"shortcut": "none", "placement": "original", **fields}, "has no branches")
            for fields in (*ZERO, {"residual_scale": 0.5})
        ),
    ],
    ids=str,
)
def test_what_does_not_go_together(fields, said):
    with pytest.raises(ConfigError, match=said) as raised:
        SMALL.replace(**fields)
    assert "Received: " in str(raised.value)
