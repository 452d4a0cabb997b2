"""Networks of `keras.applications` built from configs of ours: same parameters, same outputs."""

import keras
import numpy as np
import pytest

from keras_preact import ResNetConfig, applications, build_network
from keras_preact.applications.families import KERAS_V1, KERAS_V2


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("theirs", "ours", "fields"),
    [
        slow("ResNet50", "resnet50", KERAS_V1),
        pytest.param("ResNet50V2", "resnet50v2", KERAS_V2, marks=pytest.mark.thorough),
        slow("ResNet101", "resnet101", KERAS_V1),
        slow("ResNet101V2", "resnet101v2", KERAS_V2),
        slow("ResNet152", "resnet152", KERAS_V1),
        slow("ResNet152V2", "resnet152v2", KERAS_V2),
    ],
)
def test_same_network(theirs, ours, fields):
    theirs = getattr(keras.applications, theirs)(weights=None, input_shape=(65, 64, 3))
    ours = applications.create_model(ours, input_shape=(65, 64, 3), **fields)
    assert ours.count_params() == theirs.count_params()
    random = np.random.default_rng(0)
    for weight in theirs.weights:
        if weight.path.endswith(("moving_mean", "beta", "bias")):
            weight.assign(random.normal(0, 0.1, weight.shape))
        elif weight.path.endswith(("moving_variance", "gamma")):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    ours.set_weights(theirs.get_weights())
    x = random.normal(size=(2, 65, 64, 3)).astype("float32")
    expected = theirs.predict(x, verbose=0)
    assert expected.std() > 1e-4, "a constant output would prove nothing"
    np.testing.assert_allclose(ours.predict(x, verbose=0), expected, atol=1e-5)


@pytest.mark.thorough
def test_keras_layouts_survive_json():
    for fields in (KERAS_V1, KERAS_V2):
        config = applications.model_info("resnet50").config.replace(**{"placement":
            "full_preactivation", **fields})  # fmt: skip
        assert ResNetConfig.from_json(config.to_json()) == config
        assert build_network(config.replace(units=(1, 1, 1, 1)), input_shape=(32, 32, 3))
