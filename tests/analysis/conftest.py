"""Small networks and images that the tests of this room share."""

import keras
import numpy as np
import pytest

from keras_preact import ResNetConfig, build_network


@pytest.fixture
def batches():
    """Two mini-batches of noise with labels."""
    random = np.random.default_rng(0)
    images = random.normal(size=(2, 6, 8, 8, 2)).astype("float32")
    return [(batch, random.integers(0, 3, 6)) for batch in images]


@pytest.fixture
def network():
    """A function of fields of a config to a network of two stages."""

    def build(packaging="flat", classifier_activation=None, include_top=True, **fields):
        keras.utils.set_random_seed(1)
        config = ResNetConfig(units=(1, 2), filters=(4, 8), stem_filters=4).replace(**fields)
        return build_network(
            config,
            input_shape=(8, 8, 2),
            classes=3,
            packaging=packaging,
            include_top=include_top,
            classifier_activation=classifier_activation,
        )

    return build
