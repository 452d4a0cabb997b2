"""`deepen`: the same function, more layers, and all of them learn."""

import keras
import numpy as np
import pytest

from keras_preact import ResNetConfig, build_network, create_model
from keras_preact.analysis import deepen
from keras_preact.analysis.linearize import linearize
from keras_preact.errors import ConfigError

SAME = {
    "full pre-activation": {},
    "original": {"placement": "original"},
    "ReLU only": {"placement": "relu_only_preactivation", "block": "bottleneck", "projection": "B"},
    "no norms": {"normalization": "none", "conv_bias": "always", "placement": "original"},
    "PReLU": {"activation": "prelu", "block": "single"},
    "dropout": {"shortcut": "dropout"},
    "plain": {"shortcut": "none", "placement": "original"},
    "plain without norms": {
        "shortcut": "none",
        "placement": "original",
        "normalization": "none",
        "conv_bias": "always",
    },
    "last unit strides": {"downsample_at": "last_unit", "projection": "B", "units": (2, 2)},
}


PAIRS_OF_2X2 = {
    "block": "basic2x2",
    "placement": "original",
    "shortcut": "none",
    "downsample_by": "max_pool",
}


@pytest.mark.parametrize("fields", SAME.values(), ids=SAME)
@pytest.mark.sample(3)
def test_the_function_stays_and_the_new_layers_learn(fields, randomize):
    config = ResNetConfig(units=(1, 2), filters=(4, 8), stem_filters=4).replace(**fields)
    model = randomize(build_network(config, input_shape=(8, 8, 2), classes=3))
    images = np.random.default_rng(0).normal(size=(5, 8, 8, 2)).astype("float32")
    deeper = deepen(model, (3, 3), config)
    assert len(deeper.layers) > len(model.layers)
    np.testing.assert_allclose(deeper(images), model(images), rtol=1e-4, atol=1e-5)
    if fields.get("shortcut") == "dropout":
        return
    weights = [weight.value for weight in deeper.trainable_weights]

    def loss(*weights):
        others = deeper.non_trainable_variables
        scores, _ = deeper.stateless_call(list(weights), others, images, training=True)
        return [keras.ops.mean(scores[:, 0] ** 2)]

    (mean,), pull = linearize(loss, *weights)
    gradients = pull(keras.ops.ones_like(mean))
    first = [k for k, w in enumerate(deeper.trainable_weights) if "stage1_unit2" in w.path]
    assert any(np.any(keras.ops.convert_to_numpy(gradients[k]) != 0) for k in first)


def test_a_registered_network_needs_no_config():
    model = create_model("resnet8v2", input_shape=(8, 8, 1), classes=4)
    assert deepen(model).count_params() > model.count_params()
    assert deepen(model).output_shape == (None, 4)


@pytest.mark.parametrize(
    ("fields", "units", "message"),
    [
        ({}, (0, 1, 1), "`units` must be as many whole numbers as stages, at least"),
        ({}, (2, 2), "`units` must be"),
        ({"shortcut": "exclusive_gating"}, None, "Received: shortcut='exclusive_gating'"),
        ({"shortcut": "constant_scaling"}, None, "Received: shortcut='constant_scaling'"),
        ({"downsample_at": "last_unit"}, None, "at least 2 in each stage"),
        ({"projection": "C"}, None, "projection='C'"),
        ({"placement": "relu_before_addition"}, None, "placement='relu_before_addition'"),
        ({"placement": "original", "activation": "prelu"}, None, "activation='prelu'"),
        (PAIRS_OF_2X2, None, "block='basic2x2'"),  # one alone cannot keep the map's border
    ],
)
def test_what_cannot_be_an_identity_is_refused(fields, units, message):
    config = ResNetConfig(units=(1, 1, 1)).replace(**fields)
    model = build_network(config, input_shape=(8, 8, 3))
    with pytest.raises(ConfigError, match=message):
        deepen(model, units, config)


def test_what_prepares_images_is_not_dropped_in_silence():
    inputs = keras.Input((8, 8, 3))
    config = ResNetConfig(units=(1, 1, 1))
    model = build_network(config, input_tensor=keras.layers.Rescaling(0.1)(inputs))
    with pytest.raises(ConfigError, match=r"begins with its stem.*'rescaling'"):
        deepen(model, config=config)
