"""Weights under names that a person can read: the same in every packaging, all or some."""

import keras
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from keras_preact import ResNetConfig, build_network, create_model
from keras_preact.errors import ConfigError, SaveError
from keras_preact.weights import (
    load_named,
    read_config,
    read_weights,
    save_named,
    weights_by_layer,
    write_weights,
)

CONFIG = ResNetConfig(units=(1, 4), filters=(4, 8), stem_filters=4, activation="prelu")


def network(packaging="flat", classes=3, config=CONFIG):
    return build_network(
        config, input_shape=(8, 8, 3), classes=classes, packaging=packaging, name="mine"
    )


def values(model):
    found = weights_by_layer(model)
    return {f"{layer}.{k}": array for layer, arrays in found.items() for k, array in arrays.items()}


def same(found, expected):
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array)


@pytest.fixture
def file(tmp_path, randomize):
    """A file of weights, and the network that they are of."""
    model = randomize(network("nested"))
    save_named(model, tmp_path / "net.safetensors", CONFIG)
    return tmp_path / "net.safetensors", model


@pytest.mark.thorough
def test_names_are_for_people_and_the_same_in_every_packaging(tmp_path):
    keys = []
    for packaging in ("flat", "nested", "repeated"):
        save_named(network(packaging), tmp_path / "net.safetensors")
        keys.append(load_file(tmp_path / "net.safetensors").keys())
    assert keys[0] == keys[1] == keys[2]
    assert {
        "stem_conv/kernel",
        "stage1_unit1_norm1/moving_variance",
        "stage2_unit3_act1/alpha",
        "predictions/bias",
    } <= keys[0]


@pytest.mark.parametrize("packaging", ["flat", "nested", "repeated"])
@pytest.mark.sample(3)
@pytest.mark.thorough
def test_values_fit_every_packaging(packaging, file):
    path, source = file
    target = network(packaging)
    report = load_named(target, path)
    same(values(target), values(source))
    assert set(report.loaded) == set(read_weights(path))
    assert report.skipped == report.missing == report.unused == ()
    again = create_model("resnet8v2", input_shape=(8, 8, 3), classes=3, weights=path,
                         packaging=packaging, **CONFIG.to_dict())  # fmt: skip
    same(values(again), values(source))


def test_the_header_says_what_network_it_is(file, tmp_path):
    assert read_config(file[0]) == CONFIG
    with safe_open(file[0], "np") as header:
        assert header.metadata()["name"] == "mine"
    save_named(network(), tmp_path / "plain.safetensors")
    assert read_config(tmp_path / "plain.safetensors") is None
    assert read_config(tmp_path) is None


def test_a_new_head_and_skipped_layers_keep_their_weights(file):
    path, source = file
    target = network("repeated", classes=5)
    before = values(target)
    report = load_named(target, path, skip=["predictions", "stage2_unit[34]_*"])
    for key, array in values(target).items():
        kept = key.startswith(("predictions", "stage2_unit3", "stage2_unit4"))
        np.testing.assert_array_equal(array, before[key] if kept else values(source)[key])
        assert (key.partition(".")[0] in report.skipped) == kept
    assert not report.missing


@pytest.mark.thorough
def test_some_of_the_layers(file):
    path, source = file
    longer = network(config=CONFIG.replace(units=(1, 5)))
    before = values(longer)
    with pytest.raises(ConfigError, match="they have no 'stage2_unit5_act1'"):
        load_named(longer, path)
    same(values(longer), before)
    report = load_named(longer, path, partial=True)
    assert all(layer.startswith("stage2_unit5") for layer in report.missing)
    assert len(report.missing) == 6
    same({**values(longer), **values(source)}, values(longer))
    shorter = network(config=CONFIG.replace(units=(1, 3)))
    with pytest.raises(ConfigError, match=r"'stage2_unit4_act1', .* are not in the network"):
        load_named(shorter, path)
    assert len(load_named(shorter, path, partial=True).unused) == 6


def test_nothing_is_set_unless_all_fits(file):
    target = network(classes=5)
    before = values(target)
    with pytest.raises(ConfigError, match="'predictions' has the shapes"):
        load_named(target, file[0], partial=True)
    same(values(target), before)
    with pytest.raises(ConfigError, match="Did you mean 'predictions'"):
        load_named(target, file[0], skip="prediction")


def test_any_model_of_keras(tmp_path, randomize):
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.BatchNormalization(scale=False, name="norm")(inputs)
    x = keras.layers.SeparableConv2D(3, 3, name="separable")(x)
    model = randomize(keras.Model(inputs, x))
    save_named(model, tmp_path / "net.safetensors")
    keys = set(load_file(tmp_path / "net.safetensors"))
    assert {"norm/beta", "norm/moving_mean", "separable/0", "separable/2"} <= keys
    expected = values(model)
    load_named(randomize(model, seed=1), tmp_path / "net.safetensors")
    same(values(model), expected)


def test_weights_of_other_names_are_refused(file, tmp_path):
    path, model = file
    arrays = load_file(path)
    arrays["head_norm/bias"] = arrays.pop("head_norm/beta")  # as many, and of the same shapes
    save_file(arrays, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match="'head_norm' has 'gamma', 'beta'"):
        load_named(model, tmp_path / "other.safetensors")


def test_numbers_without_a_dimension_come_back(tmp_path):
    images = keras.Input((4, 4, 3))
    layer = keras.layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(size=(8, 4, 4, 3)))
    model = keras.Model(images, layer(images))
    save_named(model, tmp_path / "net.safetensors")
    assert load_named(model, tmp_path / "net.safetensors").loaded == (layer.name,)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(SaveError, match="could not be written"):
        save_named(create_model("resnet8v2"), tmp_path / "none" / "net.safetensors")


@pytest.mark.parametrize("suffix", [".weights.h5", ".safetensors"])
def test_bfloat16_is_read_as_float32(suffix, tmp_path):
    images = keras.Input((4,))
    model = keras.Model(images, keras.layers.Dense(3, dtype="bfloat16", name="dense")(images))
    path = tmp_path / f"net{suffix}"
    if suffix == ".safetensors":
        save_named(model, path)
    else:
        model.save_weights(path)
    kernel = read_weights(path)["dense"]["0"]
    assert kernel.dtype == np.float32
    expected = keras.ops.convert_to_numpy(keras.ops.cast(model.weights[0], "float32"))
    np.testing.assert_array_equal(kernel, expected)
    write_weights(tmp_path / "again.weights.h5", weights_by_layer(model))
    np.testing.assert_array_equal(
        read_weights(tmp_path / "again.weights.h5")["dense"]["0"], expected
    )


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"`path` must be a `\.safetensors` file"):
        save_named(network(), tmp_path / "net.h5")
    save_file({"conv1.weight": np.zeros(3)}, tmp_path / "theirs.safetensors")
    with pytest.raises(ConfigError, match=r"Received: the key 'conv1.weight'.*convert"):
        read_weights(tmp_path / "theirs.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"no header")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_named(network(), tmp_path / "damaged.safetensors")
    assert read_config(tmp_path / "damaged.safetensors") is None
