"""HyperModels in KerasTuner's own tuners."""

import keras_tuner
import numpy as np
import pytest

from keras_preact import create_model
from keras_preact.errors import ConfigError
from keras_preact.tuning import Depth, GatingBias, ResidualVariant, TrainingHyperModel

pytestmark = pytest.mark.tensorflow


def test_spaces():
    hp = keras_tuner.HyperParameters()
    GatingBias(depth=[8, 14], learning_rate=[0.1, 0.01]).train_config(hp)
    assert {*hp.values} == {
        "network.gate_bias",
        "network.shortcut",
        "depth",
        "recipe.learning_rate",
    }
    hp = keras_tuner.HyperParameters()
    ResidualVariant().train_config(hp)
    assert len(hp.space) == 7
    hp = keras_tuner.HyperParameters()
    hp.Fixed("units_per_stage", 2)
    network = Depth(units_per_stage=[1, 2], width=2).train_config(hp).resolve().network
    assert network.units == (2, 2, 2) and network.filters == (32, 64, 128)


@pytest.mark.thorough
def test_every_value_of_the_variants_makes_a_network():
    small = {"network.units": [1, 1], "network.filters": [16, 32]}
    variant = ResidualVariant(training={"settings": small}, input_shape=(8, 8, 3))
    for dimension in variant.config.dimensions():
        _, _, field = dimension.name.partition(".")
        for code in dimension.codes():
            hp = keras_tuner.HyperParameters()
            hp.Fixed(dimension.name, code)
            network = variant.train_config(hp).resolve().network
            assert getattr(network, field) == dimension.decode(code)
            assert variant.build(hp).output_shape == (None, 10)


def test_every_part_of_a_network_is_that_of_its_values():
    hp = keras_tuner.HyperParameters()
    space = {"network.gate_bias": [-3.0], "network.shortcut": ["shortcut_only_gating"]}
    hyper = TrainingHyperModel(space, {"model": "resnet8", "learning_rate": 0.02}, classes=3)
    model = hyper.build(hp)
    assert model.output_shape == (None, 3)
    np.testing.assert_array_equal(model.get_layer("stage1_unit1_gate").bias, [-3.0] * 16)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.02)


@pytest.mark.slow
def test_what_a_network_starts_from_and_how_it_is_trained(tmp_path):
    path = str(tmp_path / "trained.weights.h5")
    trained = create_model("resnet8v2")
    trained.save_weights(path)
    training = {"model": "resnet8v2", "dtype": "mixed_bfloat16", "init": path}
    training |= {"freeze_to": "stage1", "epochs": 2}
    hyper = TrainingHyperModel({"batch_size": [4]}, training, classes=3)
    hp = keras_tuner.HyperParameters()
    model = hyper.build(hp)
    for name, frozen in {
        "stem_conv": True,
        "stage1_unit1_conv1": True,
        "predictions": False,
    }.items():
        assert model.get_layer(name).trainable is not frozen
    stem = model.get_layer("stem_conv")
    assert stem.compute_dtype == "bfloat16"
    np.testing.assert_array_equal(stem.kernel, trained.get_layer("stem_conv").kernel)
    images, labels = np.zeros((8, 32, 32, 3)), np.zeros(8)
    assert hyper.fit(hp, model, images, labels, verbose=0).params == {
        "verbose": 0, "epochs": 2, "steps": 2
    }  # fmt: skip
    assert hyper.fit(hp, model, images, labels, epochs=1, verbose=0).params["epochs"] == 1
    with pytest.raises(ConfigError, match="multiply_adds, parameters or None"):
        TrainingHyperModel({"batch_size": [4]}, budget="seconds", budget_amount=5)


@pytest.mark.thorough
def test_in_a_tuner_of_ones_own(tmp_path):
    """Fails where TensorBoard is missing, which KerasTuner needs and does not declare."""
    hyper = GatingBias(biases=[0.0, -6.0], depth=8, input_shape=(8, 8, 1))
    draw = np.random.default_rng(0)
    images, labels = draw.normal(size=(16, 8, 8, 1)), draw.integers(0, 10, 16)
    tuner = keras_tuner.GridSearch(hyper, objective="val_accuracy", directory=str(tmp_path))
    tuner.search(images, labels, validation_data=(images, labels), epochs=1, verbose=0)
    found = {hp["network.gate_bias"] for hp in tuner.get_best_hyperparameters(2)}
    assert found == {0.0, -6.0}
