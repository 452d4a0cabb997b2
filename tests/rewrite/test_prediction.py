"""A network as one compiled function gives what the network gives, and keeps its weights."""

import keras
import numpy as np
import pytest

from keras_preact import create_model, fold_batch_norm, predict_function
from keras_preact.errors import ConfigError
from keras_preact.rewrite import with_maps

IMAGES = np.random.default_rng(0).uniform(0, 255, (3, 16, 16, 3)).astype("float32")

#: Kinds of network whose graphs differ: loops, gates, slopes, two outputs, norms folded.
NETWORKS = {
    "flat": {},
    "nested": {"packaging": "nested"},
    "repeated": {"packaging": "repeated"},
    "gated PReLU": {"shortcut": "exclusive_gating", "activation": "prelu"},
    "any size": {"input_shape": (None, None, 3)},
    "16 bits": {"dtype": "mixed_bfloat16"},
}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.sample(8)
def test_it_gives_what_the_network_gives(kind):
    network = create_model("resnet8v2", **{"input_shape": (16, 16, 3), **NETWORKS[kind]})
    predict = predict_function(network)
    atol = 1e-2 if kind == "16 bits" else 1e-6
    images = IMAGES / 127.5 - 1  # of a size at which no score is near 0 or 1, whose bits say little
    for count in (1, 3):
        expected = network.predict_on_batch(images[:count])
        scores = predict(images[:count])
        assert 0.01 < scores.max() < 0.9
        assert isinstance(scores, np.ndarray)
        np.testing.assert_allclose(scores, np.asarray(expected, "float32"), rtol=0, atol=atol)


@pytest.mark.thorough
def test_images_may_be_whole_numbers_and_outputs_several():
    network = with_maps(fold_batch_norm(create_model("resnet8v2", input_shape=(16, 16, 3))))
    images = IMAGES.astype("uint8")
    found = predict_function(network)(images)
    for name, expected in network.predict_on_batch(images.astype("float32")).items():
        np.testing.assert_allclose(found[name], expected, atol=1e-6)


def test_what_the_network_learns_later_it_does_not_know():
    # Logits: a softmax of such images may be 0 and 1 before and after.
    network = create_model("resnet8v2", input_shape=(16, 16, 3), classifier_activation=None)
    predict = predict_function(network)
    before = predict(IMAGES)
    network.set_weights([1.1 * weight for weight in network.get_weights()])
    np.testing.assert_array_equal(predict(IMAGES), before)
    assert np.abs(network.predict_on_batch(IMAGES) - before).max() > 1e-4


def test_other_backends_are_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ConfigError, match="Received: 'torch'"):
        predict_function(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
