"""Temperature scaling: the least cross-entropy, found back where it is known, and refused."""

import keras
import numpy as np
import pytest

from keras_preact.errors import ConfigError, DataError
from keras_preact.evaluation import Evaluation, at_temperature, fit_temperature
from keras_preact.rewrite import with_temperature


def drawn(temperature, n=20_000, classes=5):
    """Logits, and labels that are as likely as softmax(logits / temperature) says."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 4, (n, classes))
    noise = random.gumbel(size=logits.shape)
    labels = (logits / temperature + noise).argmax(axis=1)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Evaluation(scores.astype("float32"), labels, tuple("abcde"[:classes]))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found_back(temperature):
    found = drawn(temperature)
    fitted = fit_temperature(found)
    assert fitted == pytest.approx(temperature, rel=0.03)
    near = [at_temperature(found, fitted * factor).loss for factor in (0.98, 1.0, 1.02)]
    assert near[1] == min(near)
    calibrated = at_temperature(found, fitted)
    assert calibrated.calibration_error < 0.01
    np.testing.assert_array_equal(calibrated.predictions, found.predictions)
    lost = Evaluation(found.scores.copy(), found.labels, found.class_names)
    lost.scores[::2] = np.nan
    even = Evaluation(found.scores[1::2], found.labels[1::2], found.class_names)
    assert fit_temperature(lost) == fit_temperature(even)


@pytest.mark.parametrize("scores", [[[1, 0], [0.1, 0.9]], [[0.2, 0.8], [0.7, 0.3]], [[np.nan] * 2]])
def test_where_there_is_none_it_is_said(scores):
    labels = np.arange(len(scores))
    with pytest.raises(DataError, match=f"of {len(scores)} validation images .* Use more"):
        fit_temperature(Evaluation(np.array(scores, "float32"), labels, ("a", "b")))


def test_the_scores_of_a_network_at_a_temperature():
    images = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(images)
    logits = keras.Model(images, keras.layers.Dense(3)(x))
    dense = keras.layers.Dense(3, activation="softmax")
    network = keras.Model(images, dense(x))
    dense.set_weights([value + 0.1 for value in logits.get_weights()])
    logits.set_weights(dense.get_weights())
    x = np.random.default_rng(0).normal(size=(5, 4, 4, 1)).astype("float32")
    before = network.predict_on_batch(x)
    expected = keras.ops.softmax(logits(x) / 2.5)
    found = with_temperature(network, 2.5).predict_on_batch(x)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(network.predict_on_batch(x), before)
    as_scores = at_temperature(Evaluation(before, np.zeros(5, int), tuple("abc")), 2.5).scores
    np.testing.assert_allclose(found, as_scores, rtol=1e-4)
    for other, words in ((logits, "with softmax activation"), (network, "above 0")):
        with pytest.raises(ConfigError, match=words):
            with_temperature(other, -1 if other is network else 2)
