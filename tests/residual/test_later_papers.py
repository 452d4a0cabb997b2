"""Width, groups, dropout in the branch, and ResNet-D, against formulas and Keras's own layers."""

import keras
import numpy as np
import pytest

from keras_preact import (
    ResNetConfig,
    build_network,
    count_multiply_adds,
    portable,
    residual_unit,
)
from keras_preact.errors import ConfigError
from keras_preact.weights import load_weights_by_layer, read_source, weights_by_layer

RESNEXT = {
    "block": "bottleneck", "projection": "B", "stride_on": "3x3", "placement": "original",
    "width": 2, "groups": 4,
}  # fmt: skip
RESNET_D = {**RESNEXT, "width": 1, "groups": 1, "stem": "deep", "projection_stride": "avg_pool"}
EVERYTHING = {**RESNEXT, **RESNET_D, "width": 1.5, "groups": 3, "branch_dropout": 0.4}
SMALL = {"units": (1, 4), "filters": (8, 16), "stem_filters": 8}

numpy = keras.ops.convert_to_numpy


def network(fields, shape=(17, 14, 3), **arguments):
    config = ResNetConfig(**{**SMALL, **fields})
    return build_network(config, input_shape=shape, classes=5, **arguments)


def images(model, count=4):
    return np.random.default_rng(0).normal(size=(count, *model.input_shape[1:])).astype("float32")


def outputs(model, *names):
    graph = keras.Model(model.input, {name: model.get_layer(name).output for name in names})
    values = graph(images(model))
    return [numpy(values[name]) for name in names]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("width", [0.5, 1, 2])
def test_parameters_and_multiply_adds_of_a_bottleneck(width, groups):
    inner, size = int(8 * width), 6
    inputs = keras.Input((size, size, 32))
    unit = residual_unit(inputs, 8, name="u", **{**RESNEXT, "width": width, "groups": groups})
    model = keras.Model(inputs, unit)
    kernels = 32 * inner + 9 * inner * inner // groups + inner * 32
    assert count_multiply_adds(model) == size * size * kernels
    scales = 2 * (inner + inner + 32)
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == kernels + scales
    assert model.get_layer("u_conv2").kernel.shape == (3, 3, inner // groups, inner)
    assert [model.get_layer(f"u_conv{k}").groups for k in (1, 2, 3)] == [1, groups, 1]


def test_filters_of_a_unit_must_fit_its_groups():
    with pytest.raises(ConfigError, match=r"of `groups`\. Received: filters=6, width=1"):
        residual_unit(keras.Input((8, 8, 24)), 6, block="bottleneck", projection="B", groups=4)


@pytest.mark.parametrize("size", [(6, 8), (7, 8), (7, 5)])
def test_windows_of_the_shortcut_that_are_cut_off_average_what_they_have(size, randomize):
    inputs = keras.Input((*size, 4))
    fields = {"projection": "B", "projection_stride": "avg_pool", "placement": "original"}
    model = keras.Model(inputs, residual_unit(inputs, 8, 2, name="u", **fields))
    randomize(model)
    pooled, projected = outputs(model, "u_shortcut_avg_pool", "u_shortcut_conv")
    x = images(model)
    rows, columns = (-(-side // 2) for side in size)
    assert pooled.shape == (4, rows, columns, 4)
    for i in range(rows):
        for j in range(columns):
            window = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            np.testing.assert_allclose(pooled[:, i, j], window.mean((1, 2)), atol=1e-6)
    kernel = numpy(model.get_layer("u_shortcut_conv").kernel)[0, 0]
    np.testing.assert_allclose(projected, pooled @ kernel, atol=1e-5)


@pytest.mark.thorough
def test_only_projections_with_a_stride_are_pooled():
    names = {layer.name for layer in network(RESNET_D).layers if "avg_pool" in layer.name}
    assert names == {"stage2_unit1_shortcut_avg_pool", "avg_pool"}
    every = network({**RESNET_D, "projection": "C"})
    assert sum("shortcut_avg_pool" in layer.name for layer in every.layers) == 1


def test_the_deep_stem_is_three_convolutions(randomize):
    fields = {**RESNET_D, "stem_stride": 2, "stem_pool": True}
    model = randomize(network(fields, (18, 21, 3)))
    convs = [layer for layer in model.layers if layer.name.startswith("stem_conv")]
    convs = [layer for layer in convs if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.name for layer in convs] == ["stem_conv", "stem_conv2", "stem_conv3"]
    shapes = [layer.kernel.shape for layer in convs]
    assert shapes == [(3, 3, 3, 4), (3, 3, 4, 4), (3, 3, 4, 8)]
    assert [layer.strides for layer in convs] == [(2, 2), (1, 1), (1, 1)]
    y = np.pad(images(model), ((0, 0), (1, 1), (1, 1), (0, 0)))
    for conv, norm in zip(convs, ("stem_norm1", "stem_norm2", "stem_norm"), strict=True):
        stride, padding = conv.strides, "same" if conv is not convs[0] else "valid"
        y = keras.ops.conv(y, conv.kernel, stride, padding, data_format="channels_last")
        gamma, beta, mean, variance = model.get_layer(norm).get_weights()
        y = np.maximum((numpy(y) - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)
    np.testing.assert_allclose(outputs(model, "stem_act")[0], y, atol=1e-5)


@pytest.mark.parametrize("entry", ["stem", "unit", "branch", "both"])
@pytest.mark.sample(4)
def test_a_deep_stem_ends_as_one_convolution_does(entry):
    fields = {"first_unit_entry": entry, "conv_bias": "without_norm"}
    single, deep = (
        {layer.name: layer for layer in network({**fields, "stem": stem}).layers}
        for stem in ("conv", "deep")
    )
    between = {"stem_norm1", "stem_act1", "stem_conv2", "stem_norm2", "stem_act2", "stem_conv3"}
    assert set(deep) - set(single) == between
    assert [deep[name].use_bias for name in ("stem_conv", "stem_conv2")] == [False, False]
    assert deep["stem_conv3"].use_bias == single["stem_conv"].use_bias


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.sample(2)
@pytest.mark.thorough
def test_dropout_is_between_the_activation_and_the_last_3x3(block, randomize):
    fields = {"block": block, "projection": "B", "branch_dropout": 0.25}
    model = randomize(network(fields))
    for unit in ("stage1_unit1", "stage2_unit4"):
        names = (f"{unit}_branch_dropout", f"{unit}_conv2")
        dropout, conv = map(model.get_layer, names)
        assert conv.input is dropout.output
        assert isinstance(dropout.input._keras_history.operation, keras.layers.Activation)
        before, after = outputs(model, dropout.input._keras_history.operation.name, names[0])
        np.testing.assert_array_equal(before, after)
    graph = keras.Model(model.input, [dropout.input, dropout.output])
    before, after = map(numpy, graph(images(model, 64), training=True))
    kept = after != 0
    np.testing.assert_allclose(after[kept], before[kept] / 0.75, rtol=1e-5)
    assert kept.sum() / (before != 0).sum() == pytest.approx(0.75, abs=0.02)
    plain = network({**fields, "branch_dropout": 0.0})
    load_weights_by_layer(plain, weights_by_layer(model))
    np.testing.assert_array_equal(numpy(plain(images(model))), numpy(model(images(model))))


STANDARDIZED = {"weight_standardization": True}


@pytest.mark.parametrize(
    ("packaging", "other"), [("flat", {}), ("nested", STANDARDIZED), ("repeated", STANDARDIZED)]
)
@pytest.mark.sample(3)
@pytest.mark.thorough
def test_a_graph_gives_the_config_back(packaging, other, randomize):
    fields = {**EVERYTHING, "projection_norm": True, **other}
    model = randomize(network(fields, packaging=packaging))
    assert read_source(model).config == ResNetConfig(**{**SMALL, **fields})
    np.testing.assert_allclose(
        numpy(portable(model)(images(model))), numpy(model(images(model))), atol=1e-5
    )


def test_group_normalisation_divides_the_inner_channels_and_those_of_the_stem():
    fields = {**EVERYTHING, "normalization": "group"}
    network({**fields, "norm_groups": 4})  # 8 and 4 in the stem, 12 and 24 in the branches
    with pytest.raises(ConfigError, match=r"norm_groups=8, channels \[4, 8, 12, 24, 32, 64\]"):
        network({**fields, "norm_groups": 8})


@pytest.mark.slow
@pytest.mark.parametrize(
    "data_format", ["channels_last", pytest.param("channels_first", marks=pytest.mark.slow)]
)
def test_packagings_are_the_same_network(data_format, randomize):
    still = {**EVERYTHING, "branch_dropout": 0.0}
    shape = (17, 14, 3) if data_format == "channels_last" else (3, 17, 14)
    settings = {"data_format": data_format}
    flat = randomize(network(still, shape, **settings))
    start, x = weights_by_layer(flat), images(flat, 8)
    kinds = [("nested", False), ("repeated", False), ("repeated", True)]
    after = []
    for packaging, recompute in [("flat", False), *kinds]:
        model = network(still, shape, packaging=packaging, recompute=recompute, **settings)
        load_weights_by_layer(model, start)
        np.testing.assert_allclose(numpy(model(x)), numpy(flat(x)), atol=1e-5)
        model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
        model.train_on_batch(x, np.arange(8) % 5)
        after.append(weights_by_layer(model))
    for other in after[1:]:
        for layer, arrays in after[0].items():
            for index, array in arrays.items():
                np.testing.assert_allclose(other[layer][index], array, atol=1e-4, err_msg=layer)


@pytest.mark.thorough
def test_repeated_units_draw_their_own_masks():
    model = network({"branch_dropout": 0.5, "projection": "B"}, packaging="repeated")
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = images(model, 8)
    losses = {float(model.train_on_batch(x, np.arange(8) % 5)) for _ in range(3)}
    assert len(losses) == 3 and np.isfinite([*losses]).all()
    one, two = (numpy(model(x, training=True)) for _ in range(2))
    assert (one != two).any()
