"""The forms of the rectifier paper's networks, narrow: layers, sizes, packagings, exports."""

import keras
import numpy as np
import pytest

from keras_preact import (
    ResNetConfig,
    accelerate,
    applications,
    build_network,
    count_multiply_adds,
    portable,
    residual_unit,
)
from keras_preact.errors import ConfigError
from keras_preact.layers import SpatialPyramidPooling
from keras_preact.rewrite import any_size
from keras_preact.weights import load_weights_by_layer, weights_by_layer


def narrow(name, **fields):
    """A network of the paper with few filters."""
    config = applications.model_info(name).config
    filters = [4 + 2 * k for k in range(len(config.filters))]
    small = {"filters": filters, "stem_filters": 4, "dense": (6, 5), "activation": "prelu"}
    return config.replace(**{**small, **fields})


FORMS = {
    "rectifierneta": {"units": (1, 3, 1)},
    "rectifiernet14": {},
    "vgg19": {"units": (1, 1, 1, 1, 1)},
}
SIZE = 48


def build(name, size=SIZE, fields=(), **arguments):
    shape = (3, size, size) if arguments.get("data_format") == "channels_first" else (size, size, 3)
    config = narrow(name, **FORMS[name], **dict(fields))
    return build_network(config, input_shape=shape, classes=3, **arguments)


def images(count=2, height=SIZE, width=SIZE):
    shape = (count, height, width, 3)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def scores(model, x):
    return keras.ops.convert_to_numpy(model(x))


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.sample(3)
def test_packagings_are_one_network(name, randomize):
    flat = randomize(build(name, packaging="flat"))
    expected = scores(flat, images())
    assert expected.std() > 0
    for packaging in ("nested", "repeated"):
        model = build(name, packaging=packaging)
        load_weights_by_layer(model, weights_by_layer(flat))
        np.testing.assert_allclose(scores(model, images()), expected, rtol=1e-4, atol=1e-6)
        assert count_multiply_adds(model) == count_multiply_adds(flat)
        assert model.count_params() == flat.count_params()


@pytest.mark.parametrize("name", FORMS)
def test_channels_first_is_the_same_network(name):
    last, first = (build(name, data_format=f) for f in ("channels_last", "channels_first"))
    assert first.count_params() == last.count_params()
    assert count_multiply_adds(first) == count_multiply_adds(last)
    if keras.backend.backend() == "tensorflow":
        return  # TensorFlow's CPU kernels are channels last
    first.set_weights([
        w.reshape(target.shape) for w, target in zip(last.get_weights(), first.weights, strict=True)
    ])  # fmt: skip
    y = scores(first, np.moveaxis(images(), -1, 1))
    np.testing.assert_allclose(y, scores(last, images()), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.sample(3)
def test_images_of_any_size(name, randomize):
    model = randomize(build(name))
    free = build(name, size=None)
    free.set_weights(model.get_weights())
    np.testing.assert_allclose(scores(free, images()), scores(model, images()), atol=1e-6)
    wide = images(1, 40, 61)
    assert scores(free, wide).shape == (1, 3)
    np.testing.assert_allclose(scores(any_size(model), wide), scores(free, wide), atol=1e-6)
    np.testing.assert_allclose(
        scores(any_size(portable(model)), wide), scores(free, wide), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ConfigError, match=r"any size has no equivalent.*fixed `input_shape`"):
        portable(free)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.sample(3)
@pytest.mark.thorough
def test_stock_layers_compute_the_same_and_are_read_back(name, randomize, tmp_path):
    model = randomize(build(name))
    stock = portable(model)
    assert "keras_preact>" not in stock.to_json()
    np.testing.assert_allclose(scores(stock, images()), scores(model, images()), rtol=1e-5)
    stock.save(tmp_path / "stock.keras")
    again = accelerate(keras.models.load_model(tmp_path / "stock.keras"))
    pyramid = again.get_layer("pyramid")
    assert isinstance(pyramid, SpatialPyramidPooling)
    assert pyramid.bins == model.get_layer("pyramid").bins
    np.testing.assert_allclose(scores(again, images()), scores(model, images()), rtol=1e-5)


def test_the_classifier_is_float32_under_bfloat16():
    model = build("rectifierneta", dtype="mixed_bfloat16")
    dtypes = {name: model.get_layer(name).compute_dtype for name in ("pyramid", "fc1", "fc2_act")}
    assert set(dtypes.values()) == {"bfloat16"}
    assert model.get_layer("predictions").compute_dtype == "float32"
    assert np.isfinite(scores(model, images())).all()


@pytest.mark.slow
def test_every_weight_learns():
    # A max pooling behind the stem would leave its rectifier few negative values, or none.
    fields = {"stem_pool": False, "activation": "prelu_shared", "dense_dropout": 0.0}
    fields |= {"dense_stddev": None}
    model = build("rectifiernet14", fields=fields)
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    before = [weight.copy() for weight in model.get_weights()]
    model.fit(images(8), np.arange(8) % 3, batch_size=8, verbose=0)
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert (keras.ops.convert_to_numpy(weight) != old).any(), weight.path


def test_a_pair_of_2x2_convolutions_keeps_the_map(randomize):
    inputs = keras.Input((6, 7, 3))
    fields = {"block": "basic2x2", "shortcut": "none", "placement": "original"}
    fields |= {"downsample_by": "max_pool", "normalization": "none", "activation": "linear"}
    model = keras.Model(inputs, residual_unit(inputs, 4, name="unit", **fields))
    assert model.output_shape == (None, 6, 7, 4)
    first, second = randomize(model).get_weights()
    x = np.random.default_rng(0).normal(size=(2, 6, 7, 3))

    def convolved(x, kernel):
        down, across = x.shape[1] - 1, x.shape[2] - 1
        return sum(
            x[:, i : i + down, j : j + across] @ kernel[i, j] for i in (0, 1) for j in (0, 1)
        )

    margin = [(0, 0), (1, 1), (1, 1), (0, 0)]
    expected = convolved(np.pad(convolved(x, first), margin), second)
    np.testing.assert_allclose(scores(model, x), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="goes with stride=1"):
        residual_unit(inputs, 4, stride=2, **fields)


def test_residual_nets_may_be_pooled_between_stages():
    config = ResNetConfig(units=(1, 2), filters=(4, 8), stem_filters=4, downsample_by="max_pool")
    model = build_network(config, input_shape=(9, 7, 3), include_top=False)
    assert model.output_shape == (None, 5, 4, 8)
    assert model.get_layer("stage2_unit1_conv1").strides == (1, 1)


def test_a_hidden_dense_layer_may_follow_average_pooling():
    model = build_network(ResNetConfig(dense=(12,)), input_shape=(8, 8, 3))
    names = [layer.name for layer in model.layers]
    assert names[-5:] == ["avg_pool", "fc1", "fc1_act", "fc1_dropout", "predictions"]
    assert model.get_layer("fc1_dropout").rate == 0.5


@pytest.mark.thorough
def test_dense_layers_start_as_the_paper_says():
    fields = {"dense": (300, 200), "dense_stddev": 0.02}
    model = build_network(narrow("rectifierneta", **fields), input_shape=(32, 32, 3), classes=100)
    for layer, stddev in {"fc1": 0.02, "fc2": 0.02, "predictions": 0.002}.items():
        kernel, bias = model.get_layer(layer).get_weights()
        assert kernel.std() == pytest.approx(stddev, rel=0.03)
        assert not bias.any()
    like_convolutions = narrow("rectifierneta", **{**fields, "dense_stddev": None})
    model = build_network(like_convolutions, input_shape=(32, 32, 3), classes=100)
    kernel, _ = model.get_layer("fc2").get_weights()
    assert kernel.std() == pytest.approx(np.sqrt(2 / 200), rel=0.03)  # equation 14


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [("rectifiernet14", 6, "stem_conv"), ("rectifiernet14", 9, "stem_pool"),
     ("rectifiernet14", 11, "stage1_unit1_conv1")],
)  # fmt: skip
def test_an_image_that_is_too_small_is_refused(name, size, layer):
    with pytest.raises(ConfigError, match=f"too small.*'{layer}'") as caught:
        build(name, size=size)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_vgg_19_is_that_of_keras():
    theirs = keras.applications.VGG19(weights=None, input_shape=(32, 32, 3), classes=5)
    # Keras fits its dense layers to the image; 32 pixels leave a map of 1 x 1.
    ours = applications.VGG19(input_shape=(32, 32, 3), classes=5, pyramid=(1,))
    assert ours.count_params() == theirs.count_params()
    ours.set_weights(theirs.get_weights())
    x = 1000 * images(2, 32, 32)
    expected = scores(theirs, x)
    np.testing.assert_allclose(scores(ours, x), expected, atol=1e-5)
    assert expected.std() > 1e-3


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "format",
    ["litert", *(pytest.param(f, marks=pytest.mark.slow) for f in ("saved_model", "onnx"))],
)
def test_exports(format, randomize, tmp_path):
    from keras_preact.export import export

    if format == "onnx":
        pytest.importorskip("tf2onnx")
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 64, -2.0)(inputs)
    model = build_network(narrow("rectifiernet14"), input_tensor=x, classes=3)
    for weight in model.weights:
        if len(weight.shape) > 1:
            weight.assign(10 * weight if "predictions" in weight.path else 2 * weight)
    model.save(tmp_path / "model.keras")
    assert export(tmp_path / "model.keras", format, tmp_path / "out").difference < 1e-4
