"""The dense test of the rectifier paper against a loop over windows, at any size."""

import json

import keras
import numpy as np
import pytest

from keras_preact import ResNetConfig, applications, build_network, load_data, portable
from keras_preact.cli import main
from keras_preact.errors import ConfigError
from keras_preact.evaluation import evaluate, multi_scale
from keras_preact.layers import SlidingPyramidPooling, SpatialPyramidPooling
from keras_preact.rewrite import any_size, dense
from keras_preact.weights import load_weights_by_layer, weights_by_layer


def config(activation="prelu", pyramid=(3, 2, 1)):
    """Two pixels a place of the map: 8 x 8 for images of 16 x 16."""
    return ResNetConfig(
        block="single", units=(1, 3), filters=(6, 8), stem_filters=4, placement="original",
        shortcut="none", downsample_by="max_pool", normalization="none", conv_bias="always",
        pyramid=pyramid, dense=(7, 6), activation=activation,
    )  # fmt: skip


def network(activation="prelu", packaging="flat"):
    """As a run has it: raw images, of which a mean is taken pixel by pixel."""
    inputs = keras.Input((16, 16, 3))
    mean, variance = np.full((16, 16, 3), 0.3), np.full((16, 16, 3), 4.0)
    x = keras.layers.Normalization(mean=mean, variance=variance, axis=(1, 2, 3))(inputs)
    return build_network(config(activation), input_tensor=x, classes=5, packaging=packaging)


def images(height, width, count=2):
    return np.random.default_rng(0).normal(size=(count, height, width, 3)).astype("float32")


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def by_loop(model, activation, x):
    """Convolutions on the whole image, then pyramid and dense layers window by window."""
    weights = weights_by_layer(model)
    whole = build_network(config(activation), input_shape=(16, 16, 3), classes=5)
    load_weights_by_layer(whole, weights)
    body = build_network(config(activation), input_shape=(None, None, 3), include_top=False)
    load_weights_by_layer(body, {name: weights[name] for name in weights_by_layer(body)})
    head = keras.Model(whole.get_layer("stage2").output, whole.output)
    found = []
    for view in (x, x[:, :, ::-1]):
        map = numpy(body(view))
        for top in range(map.shape[1] - 7):
            for left in range(map.shape[2] - 7):
                found.append(numpy(head(map[:, top : top + 8, left : left + 8])))
    return np.mean(found, axis=0)


@pytest.mark.parametrize("activation", ["prelu", "prelu_shared"])
@pytest.mark.sample(2)
@pytest.mark.thorough
def test_it_is_the_loop_over_windows(activation, randomize):
    model = randomize(network(activation))
    for height, width in ((16, 16), (20, 25)):
        x = images(height, width)
        expected = by_loop(model, activation, (x - 0.3) / 2.0)
        assert expected.std() > 0.01
        np.testing.assert_allclose(numpy(dense(model)(x)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.thorough
def test_packagings_stock_layers_and_files_are_the_same(randomize, tmp_path):
    model = randomize(network())
    x = images(20, 22)
    expected = dense(model).predict(x, verbose=0)
    np.testing.assert_allclose(expected.sum(axis=1), 1.0, rtol=1e-5)
    portable(model).save(tmp_path / "trained.keras")  # as a run holds it
    again = keras.models.load_model(tmp_path / "trained.keras")
    np.testing.assert_allclose(dense(again)(x), expected, rtol=1e-4, atol=1e-6)
    dense(model).save(tmp_path / "dense.keras")
    saved = keras.models.load_model(tmp_path / "dense.keras")
    np.testing.assert_allclose(saved.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
    # The compiled function takes further sizes.
    assert np.isfinite(saved.predict(images(24, 20), verbose=0)).all()


def test_a_window_of_the_maps_size_is_the_layer_without_windows():
    x = images(9, 11)
    y = SlidingPyramidPooling((4, 3, 1), (9, 11))(x)
    assert y.shape == (2, 1, 1, 26 * 3)
    np.testing.assert_array_equal(
        numpy(y)[:, 0, 0], SpatialPyramidPooling((4, 3, 1), data_format="channels_last")(x)
    )


def test_what_has_no_windows_is_refused():
    with pytest.raises(ConfigError, match=r"one spatial pyramid pooling.*'resnet8v2'"):
        dense(applications.ResNet8V2())
    with pytest.raises(ConfigError, match="must end with probabilities"):
        dense(build_network(config(), input_shape=(16, 16, 3), classifier_activation=None))
    with pytest.raises(ConfigError, match="must have a fixed image size"):
        dense(build_network(config(), input_shape=(None, None, 3)))
    with pytest.raises(ConfigError, match="at least as large as the window, 8 x 8"):
        dense(network())(images(12, 20))


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_command_on_one_device_and_two(randomize, tmp_path, capsys):
    model = build_network(config("relu", (2, 1)), input_shape=(8, 8, 1))
    path = str(tmp_path / "trained.keras")
    portable(randomize(model)).save(path)
    data = load_data("digits")
    views = multi_scale((8, 11))
    expected = evaluate(dense(model), data.test, data.class_names, views=views).correct
    for devices in ("cpu:0", "cpu:0,cpu:1"):
        options = ["--data", "digits", "--scales", "8,11", "--dense", "--devices", devices]
        assert main(["evaluate", path, *options, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["top1_correct"] == expected
    for options, words in ((["--dense"], "--scales"), (["--scales", "6,8", "--dense"], "least 8")):
        assert main(["evaluate", path, *options]) == 2
        assert words in capsys.readouterr().err


def test_channels_first_are_refused():
    first = applications.create_model(
        "resnet8v2", input_shape=(3, 32, 32), data_format="channels_first"
    )
    with pytest.raises(ConfigError, match="'resnet8v2', whose layers take channels first"):
        any_size(first)
