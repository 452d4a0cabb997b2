"""Class activation maps are the logits taken apart, exactly, in every network that ends so."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_preact import ResNetConfig, build_network, create_model, fold_batch_norm, portable
from keras_preact.errors import ConfigError
from keras_preact.rewrite import split_at_maps, with_maps, with_temperature, without_softmax

SMALL = ResNetConfig(units=(3, 1), filters=(4, 6), stem_filters=4)


def small(shape=(12, 12, 3), **arguments):
    return build_network(SMALL, input_shape=shape, classes=5, **arguments)


def of_parts(body, *head, shape=(12, 12, 3)):
    return keras.Sequential([keras.Input(shape), body, *head])


def channels_first():
    """Of layers that a CPU computes so."""
    images = keras.Input((3, 12, 12))
    x = layers.PReLU(shared_axes=[2, 3])(images)
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    return keras.Model(images, layers.Dense(5, "softmax")(x))


def on_features(*head):
    return of_parts(small(include_top=False), layers.GlobalAveragePooling2D(), *head)


#: Networks that end with an average over all places and a dense layer, and their images.
ENDINGS = {
    "flat": (small, (12, 12, 3)),
    "nested": (lambda: small(packaging="nested"), (12, 12, 3)),
    "repeated": (lambda: small(packaging="repeated"), (12, 12, 3)),
    "logits": (lambda: small(classifier_activation=None), (12, 12, 3)),
    "any size": (lambda: small((None, None, 3)), (20, 13, 3)),
    "grey": (lambda: small((9, 12, 1)), (9, 12, 1)),
    "one place": (lambda: small((2, 2, 1)), (2, 2, 1)),
    "channels first": (channels_first, (3, 12, 12)),
    "original units": (lambda: create_model("resnet8", classes=3), (32, 32, 3)),
    "in a network": (lambda: of_parts(layers.Rescaling(1 / 255), small()), (12, 12, 3)),
    "in two": (lambda: of_parts(of_parts(layers.Rescaling(0.1), small())), (12, 12, 3)),
    "logits inside, softmax behind": (
        lambda: of_parts(small(classifier_activation=None), layers.Softmax()), (12, 12, 3),
    ),
    "head of one's own": (
        lambda: on_features(layers.Dropout(0.5), layers.Dense(5), layers.Activation("softmax")),
        (12, 12, 3),
    ),
    "places kept": (
        lambda: of_parts(
            small(include_top=False),
            layers.GlobalAveragePooling2D(keepdims=True),
            layers.Flatten(),
            layers.Dense(5, "softmax"),
        ),
        (12, 12, 3),
    ),
    "calibrated": (lambda: with_temperature(small(), 1.7), (12, 12, 3)),
    "exported": (lambda: fold_batch_norm(portable(small(packaging="repeated"))), (12, 12, 3)),
}  # fmt: skip


def call(model, images):
    found = model(keras.ops.convert_to_tensor(images), training=False)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, found)


def dense_of(model):
    *_, found = (layer for layer in model._flatten_layers() if isinstance(layer, layers.Dense))
    return found


@pytest.fixture
def made(request, randomize):
    """A network with random weights, and images."""
    build, shape = ENDINGS[request.param]
    images = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    return randomize(build()), images


@pytest.mark.parametrize("made", ENDINGS, indirect=True)
@pytest.mark.sample(16)
def test_the_mean_of_a_map_and_the_bias_are_the_logit(made):
    model, images = made
    found = call(with_maps(model), images)
    logits = call(without_softmax(model), images)
    bias = np.asarray(dense_of(model).bias)
    assert np.abs(found["maps"] - found["maps"].mean((1, 2), keepdims=True)).max() > 0.01 or (
        found["maps"].shape[1:3] == (1, 1)
    )
    scale = np.abs(found["maps"]).max()
    np.testing.assert_allclose(found["maps"].mean((1, 2)) + bias, logits, atol=1e-6 * scale)
    np.testing.assert_allclose(found["scores"], call(model, images), atol=1e-6 * scale)


def test_in_16_bits_maps_and_logits_are_of_the_same_features(randomize):
    model = randomize(small(dtype="mixed_bfloat16"))
    images = np.random.default_rng(0).normal(size=(3, 12, 12, 3)).astype("float32")
    maps = call(with_maps(model), images)["maps"]
    logits = call(without_softmax(model), images)
    assert maps.dtype == np.float32
    expected = logits - np.asarray(dense_of(model).bias)
    np.testing.assert_allclose(maps.mean((1, 2)), expected, atol=1e-5 * np.abs(maps).max())


def rectifier_net():
    arguments = {"input_shape": (32, 32, 3), "dense": (8,), "classes": 3}
    return create_model("rectifiernet14", **arguments, filters=(4, 4), stem_filters=4)


def of_two_maps():
    images = keras.Input((8, 8, 3))
    parts = (layers.Conv2D(4, k, padding="same")(images) for k in (1, 3))
    pooled = [layers.GlobalAveragePooling2D()(one) for one in parts]
    return keras.Model(images, layers.Dense(3)(layers.Concatenate()(pooled)))


def of_no_maps():
    return keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(3)])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (rectifier_net, "SpatialPyramidPooling -> Dense -> .*'grad_cam'"),
        (lambda: portable(rectifier_net()), "Dense -> PReLU -> .*'grad_cam'"),
        (lambda: on_features(layers.Dense(4, "relu"), layers.Dense(5)), "Dense -> Dense"),
        (lambda: on_features(layers.Dense(5), layers.Rescaling(2.0)), "Dense -> Rescaling"),
        (lambda: of_parts(small(include_top=False), layers.GlobalMaxPooling2D(), layers.Dense(5)),
         "GlobalMaxPooling2D -> Dense"),
        (of_two_maps, "maps of one layer"),
        (of_no_maps, "maps of one layer"),
    ],
)  # fmt: skip
def test_networks_that_end_otherwise_are_refused(build, words):
    with pytest.raises(ConfigError, match=words):
        with_maps(build())


@pytest.mark.parametrize("build", [rectifier_net, lambda: portable(rectifier_net()), small])
@pytest.mark.sample(3)
def test_both_parts_are_the_whole(build, randomize):
    model = randomize(build())
    images = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype("float32")
    front, back = split_at_maps(model)
    scores = call(back, call(front, images))
    assert len(front.output_shape) == 4 and front.output_shape[1] > 1
    np.testing.assert_allclose(scores, call(model, images), atol=1e-5)


def test_a_layer_can_be_named():
    front, back = split_at_maps(small(), "stage1")
    assert (front.output_shape, back.output_shape) == ((None, 12, 12, 4), (None, 5))
    for name in ("stage9", "predictions"):
        with pytest.raises(ConfigError, match="returns maps, such as"):
            split_at_maps(small(), name)
