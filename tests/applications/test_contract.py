"""What users of `keras.applications` rely on, for a network of every family and block."""

import importlib

import keras
import numpy as np
import pytest

from keras_preact import applications, feature_extractor
from keras_preact.errors import ConfigError
from keras_preact.weights import weights_by_layer

FAMILIES = ("resnet18", "resnet50v2", "resnet20", "resnet164v2", "plainnet20", "plainnet18")
NAMES = applications.list_models()


def shallow(name, **kwargs):
    """The network with one unit a stage, so that tests of the contract are fast."""
    units = (1,) * len(applications.model_info(name).config.units)
    return applications.create_model(name, units=units, **kwargs)


#: Basic and bottleneck units, a small and a large stem.
ALWAYS = ("resnet20", "resnet50v2")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in ALWAYS else pytest.mark.thorough) for n in FAMILIES]
)
class TestArguments:
    @pytest.mark.parametrize("channels", [1, pytest.param(3, marks=pytest.mark.thorough), 4])
    @pytest.mark.sample(4)
    def test_channels_odd_sizes_and_classes(self, name, channels):
        model = shallow(name, input_shape=(35, 41, channels), classes=7)
        assert model.output_shape == (None, 7)
        y = keras.ops.convert_to_numpy(model(np.ones((2, 35, 41, channels), "float32")))
        np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-5)

    @pytest.mark.sample(6)
    def test_without_top_the_size_is_free(self, name):
        model = shallow(name, include_top=False)
        assert model.input_shape == (None, None, None, 3)
        channels = applications.model_info(name).config.stage_channels[-1]
        assert model.output_shape == (None, None, None, channels)
        pooled = shallow(name, include_top=False, pooling="max")
        assert pooled.output_shape == (None, channels)

    def test_channels_first_default_shape(self, name):
        height, width, channels = applications.model_info(name).input_shape
        model = shallow(name, data_format="channels_first")
        assert model.input_shape == (None, channels, height, width)

    def test_logits(self, name):
        model = shallow(name, input_shape=(32, 32, 3), classifier_activation=None)
        assert model.get_layer("predictions").activation is keras.activations.linear

    def test_input_tensor(self, name):
        inputs = keras.Input((32, 32, 2))
        x = keras.layers.Conv2D(3, 3, padding="same")(inputs)
        model = shallow(name, input_tensor=x, classes=4)
        assert model.input_shape == (None, 32, 32, 2)
        assert model.output_shape == (None, 4)


#: A residual and a plain net, a small and a large stem.
TRAINED = ("resnet20", "plainnet18")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in TRAINED else pytest.mark.slow) for n in FAMILIES]
)
@pytest.mark.sample(2)
def test_fit_and_evaluate(name):
    model = shallow(name, input_shape=(16, 16, 3), classes=2)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32")
    history = model.fit(x, np.arange(8) % 2, batch_size=4, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])


#: Of each family one that is small; the others run with --run-slow.
ROUND_TRIPS = ("plainnet20", "resnet8", "resnet8v2")


def fast_or_slow(name):
    return pytest.param(name, marks=() if name in ROUND_TRIPS else pytest.mark.slow)


@pytest.mark.parametrize("name", [fast_or_slow(name) for name in NAMES])
@pytest.mark.sample(3)
@pytest.mark.thorough
def test_keras_round_trip(name, tmp_path):
    model = applications.create_model(name, input_shape=(32, 32, 3), classes=3)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    assert keras.Model.from_config(model.get_config()).get_config() == model.get_config()


class TestWeights:
    @pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
    @pytest.mark.sample(2)
    def test_a_file_is_loaded(self, suffix, tmp_path, randomize):
        model = randomize(shallow("resnet20v2"))
        path = tmp_path / f"file{suffix}"
        model.save_weights(path) if suffix == ".weights.h5" else model.save(path)
        for weights in (path, str(path)):
            again = shallow("resnet20v2", weights=weights)
            for mine, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
                np.testing.assert_array_equal(mine, theirs)

    def test_what_is_neither_a_tag_nor_a_file_is_refused(self):
        with pytest.raises(ConfigError, match=r"tag: 'imagenet', .*='imagnet'.*mean 'imagenet'"):
            applications.ResNet50V2(weights="imagnet")
        with pytest.raises(ConfigError, match=r"this network has none\. Received: weights='cifar"):
            applications.ResNet8(weights="cifar10")
        with pytest.raises(ConfigError, match=r"missing\.weights\.h5"):
            applications.ResNet20(weights="missing.weights.h5")
        with pytest.raises(ConfigError, match="None, a path or a tag"):
            applications.ResNet20(weights=5)

    @pytest.mark.parametrize(
        ("suffix", "packaging"),
        [
            (".keras", "flat"),
            (".weights.h5", "repeated"),
            pytest.param(".weights.h5", "flat", marks=pytest.mark.slow),
            pytest.param(".keras", "repeated", marks=pytest.mark.slow),
        ],
    )
    @pytest.mark.sample(2)
    @pytest.mark.thorough
    def test_a_file_of_another_network_is_refused_though_its_shapes_fit(
        self, suffix, packaging, tmp_path
    ):
        original = shallow("resnet20", packaging=packaging)
        original.compile("adam", "mse")
        original.optimizer.build(original.trainable_variables)  # a trained model's file
        path = tmp_path / f"original{suffix}"
        original.save_weights(path) if suffix == ".weights.h5" else original.save(path)
        for other in ("flat", "nested", "repeated"):
            again = shallow("resnet20", weights=path, packaging=other)
            for layer, values in weights_by_layer(original).items():
                for index, value in values.items():
                    np.testing.assert_array_equal(weights_by_layer(again)[layer][index], value)
        with pytest.raises(ConfigError, match=r"does not fit 'resnet20v2'.*no 'head_norm'"):
            shallow("resnet20v2", weights=path, packaging=packaging)

    def test_a_file_that_does_not_fit_is_refused(self, tmp_path):
        shallow("resnet20v2", classes=4).save_weights(tmp_path / "other.weights.h5")
        with pytest.raises(ConfigError, match="does not fit 'resnet20v2'"):
            shallow("resnet20v2", weights=tmp_path / "other.weights.h5")
        (tmp_path / "damaged.weights.h5").write_bytes(b"not an HDF5 file")
        with pytest.raises(ConfigError, match="does not fit"):
            shallow("resnet20v2", weights=tmp_path / "damaged.weights.h5")


class TestFeatures:
    @pytest.mark.parametrize("packaging", ["flat", "nested"])
    def test_stages(self, packaging):
        model = shallow("resnet18v2", input_shape=(64, 64, 3), packaging=packaging)
        features = feature_extractor(model, ["stage2", "stage4"])
        y = features(np.ones((1, 64, 64, 3), "float32"))
        assert {k: tuple(v.shape) for k, v in y.items()} == {
            "stage2": (1, 8, 8, 128),
            "stage4": (1, 2, 2, 512),
        }

    def test_any_layer_of_a_flat_network_and_errors(self):
        model = shallow("resnet20v2")
        assert list(feature_extractor(model, "stage1_unit1_conv1").output) == ["stage1_unit1_conv1"]
        with pytest.raises(ConfigError, match=r"'stage1', 'stage2', 'stage3'.*'stage5'"):
            feature_extractor(model, ["stage5"])
        nested = shallow("resnet20v2", packaging="nested")
        with pytest.raises(ConfigError, match=r"packaging='flat'.*'stage1_unit1'"):
            feature_extractor(nested, ["stage1_unit1"])


class TestPreprocessing:
    MODULES = ("resnet", "resnet_v2", "resnext", "cifar_resnet", "cifar_resnet_v2")

    @pytest.mark.parametrize("module", MODULES)
    @pytest.mark.parametrize("dtype", ["uint8", "float32"])
    def test_formula_without_changing_the_input(self, module, dtype):
        preprocess = importlib.import_module(f"keras_preact.applications.{module}").preprocess_input
        x = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3)).astype(dtype)
        kept = x.copy()
        expected = {
            "resnet": lambda v: v[..., ::-1] - [103.939, 116.779, 123.68],
            "resnet_v2": lambda v: v / 127.5 - 1,
            "resnext": lambda v: (v / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
            "cifar_resnet": lambda v: (v - [125.3, 123.0, 113.9]) / [63.0, 62.1, 66.7],
        }[module if module == "resnet_v2" else module.removesuffix("_v2")](x.astype("float64"))
        y = preprocess(x, data_format="channels_last")
        np.testing.assert_allclose(y, expected, atol=1e-4)
        np.testing.assert_array_equal(x, kept)
        first = preprocess(np.moveaxis(x, -1, 1), data_format="channels_first")
        np.testing.assert_allclose(np.moveaxis(first, 1, -1), expected, atol=1e-4)
        tensor = preprocess(keras.ops.convert_to_tensor(x), data_format="channels_last")
        np.testing.assert_allclose(keras.ops.convert_to_numpy(tensor), expected, atol=1e-4)

    @pytest.mark.parametrize("module", MODULES)
    def test_other_channels_are_refused(self, module):
        preprocess = importlib.import_module(f"keras_preact.applications.{module}").preprocess_input
        with pytest.raises(ConfigError, match="3 channels"):
            preprocess(np.zeros((2, 4, 4, 1)), data_format="channels_last")
        with pytest.raises(ConfigError, match="data_format='nhwc'"):
            preprocess(np.zeros((2, 4, 4, 3)), data_format="nhwc")


class TestDecoding:
    def test_named_classes(self):
        from keras_preact.applications.cifar_resnet import CIFAR10_CLASSES, decode_predictions

        scores = np.linspace(0, 1, 10)[None]
        assert decode_predictions(scores, 2) == decode_predictions(scores, 2, CIFAR10_CLASSES)
        (best,) = decode_predictions(scores, top=2)
        assert [(k, name) for k, name, _ in best] == [("9", "truck"), ("8", "ship")]
        assert best[0][2] == 1.0

    def test_wrong_widths_are_refused(self):
        from keras_preact.applications.resnet import decode_predictions

        with pytest.raises(ConfigError, match=r"\(batch, 1000\).*class_names"):
            decode_predictions(np.zeros((1, 10)))
        with pytest.raises(ConfigError, match=r"\(batch, 2\)"):
            decode_predictions(np.zeros((1, 10)), class_names=["a", "b"])


@pytest.mark.tensorflow
def test_building_and_training_under_mirrored_strategy(strategy):
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        model = shallow("resnet20v2", input_shape=(8, 8, 3), classes=2)
        model.compile("sgd", "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype("float32")
    history = model.fit(x, np.arange(8) % 2, batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"][0])
