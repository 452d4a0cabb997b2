"""What a network gives is read off its last layers, whoever made it, or it is refused."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_preact import load_trained
from keras_preact.errors import ConfigError
from keras_preact.rewrite import outputs_of


def ends(*last, hidden=None):
    """A function of an image's features to scores: a dense layer and what stands behind it."""

    def call(x):
        for layer in (hidden or layers.Dense(3), *last):
            x = layer(x)
        return x

    return call


def nested(activation):
    return keras.Sequential([keras.Input((3,)), layers.Dense(3, activation=activation)])


#: What networks of others end with, and what that is: `None` where only their scores can say it.
ENDS = {
    "dense": (ends(), "logits"),
    "softmax": (ends(layers.Softmax()), "probabilities"),
    "activation": (ends(layers.Activation("softmax", dtype="float32")), "probabilities"),
    "nested softmax": (ends(nested("softmax")), "probabilities"),
    "nested logits, then a softmax": (ends(nested(None), layers.Softmax()), "probabilities"),
    "softmax inside, then a dense layer": (ends(nested("softmax"), layers.Dense(3)), "logits"),
    "log-softmax": (ends(hidden=layers.Dense(3, activation="log_softmax")), "logits"),
    "log-softmax of the graph": (ends(ops.log_softmax), "logits"),
    "temperature": (ends(layers.Rescaling(0.5)), "logits"),
    "temperature of the graph": (ends(lambda x: x / 2.0), "logits"),
    "temperature, then a softmax": (ends(layers.Rescaling(0.5), layers.Softmax()), "probabilities"),
    "normalised logits": (ends(layers.BatchNormalization()), "logits"),
    "sum of logits": (lambda x: layers.Add()([layers.Dense(3)(x), layers.Dense(3)(x)]), "logits"),
    "mean of probabilities": (
        lambda x: layers.Average()([layers.Dense(3, "softmax")(x), ops.softmax(x)]),
        "probabilities",
    ),
    "sigmoids": (ends(hidden=layers.Dense(3, activation="sigmoid")), "sigmoids"),
    "sigmoids of the graph": (ends(ops.sigmoid), "sigmoids"),
    "percent": (ends(layers.Softmax(), layers.Rescaling(100.0)), None),
    "softmax over the batch": (ends(layers.Softmax(axis=0)), None),
    "softmax over the batch in the graph": (ends(lambda x: ops.softmax(x, axis=0)), None),
    "softmax of places in a row": (
        ends(layers.Reshape((2, 2)), layers.Softmax(), layers.Flatten(), hidden=layers.Dense(4)),
        None,
    ),
    "softmax of one place": (
        ends(layers.Reshape((1, 3)), layers.Softmax(), layers.Flatten()), "probabilities",
    ),
    "softplus": (ends(hidden=layers.Dense(3, activation="softplus")), None),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_the_last_layers_say_it(name, tmp_path):
    end, kind = ENDS[name]
    images = keras.Input((4, 4, 3))
    model = keras.Model(images, end(layers.GlobalAveragePooling2D()(images)))
    assert outputs_of(model) == kind
    model.save(tmp_path / "net.keras")
    if kind in (None, "sigmoids"):
        with pytest.raises(ConfigError, match=r"which gives s(cores|igmoids)"):
            load_trained(tmp_path / "net.keras")
        return
    x = np.random.default_rng(0).random((2, 4, 4, 3), "float32")
    expected, opened = model.predict_on_batch(x), load_trained(tmp_path / "net.keras")
    if kind == "logits":
        assert opened.notes == ("Its scores are logits; a softmax was added.",)
        expected = keras.activations.softmax(ops.convert_to_tensor(expected))
    np.testing.assert_allclose(opened.model.predict_on_batch(x), expected, atol=1e-6)
