"""Accelerated, portable and folded copies: the same function as the model they came from."""

import keras
import numpy as np
import pytest

from keras_preact import (
    ResNetConfig,
    accelerate,
    build_network,
    create_model,
    fold_batch_norm,
    list_models,
    model_info,
    portable,
)
from keras_preact.errors import ConfigError
from keras_preact.layers import BatchNormalization, Repeat

SMALL = ResNetConfig(units=(1, 4), filters=(4, 8), stem_filters=4, activation="prelu")
PACKAGINGS = ("flat", "nested", "repeated")


def images(model, count=4):
    return np.random.default_rng(0).normal(size=(count, *model.input_shape[1:])).astype("float32")


def assert_same_function(model, other, tolerance=1e-5):
    x = images(model)
    y, z = (keras.ops.convert_to_numpy(m(x)) for m in (model, other))
    assert y.std() > 0
    np.testing.assert_allclose(y / y.std(), z / y.std(), rtol=tolerance, atol=tolerance)


def layers_of(model):
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from layers_of(layer)


@pytest.mark.parametrize("packaging", PACKAGINGS)
@pytest.mark.parametrize("change", [accelerate, portable, fold_batch_norm])
@pytest.mark.parametrize(
    "placement", [pytest.param("original", marks=pytest.mark.thorough), "full_preactivation"]
)
@pytest.mark.sample(4)
def test_every_copy_is_the_same_function(placement, change, packaging, randomize):
    config = SMALL.replace(placement=placement, projection="B")
    model = randomize(build_network(config, input_shape=(8, 8, 3), packaging=packaging))
    changed = change(model)
    assert_same_function(model, changed, 1e-4 if change is fold_batch_norm else 1e-5)
    assert changed.name == model.name
    if change is not fold_batch_norm:
        assert changed.count_params() == model.count_params()


@pytest.mark.parametrize(
    ("change", "packaging"),
    [*zip((accelerate, portable, fold_batch_norm), PACKAGINGS, strict=True)],
)
@pytest.mark.sample(3)
@pytest.mark.thorough
def test_copies_of_networks_with_groups_and_a_deep_stem(change, packaging, randomize):
    fields = {"block": "bottleneck", "width": 2, "groups": 4, "stem": "deep", "projection": "B",
              "projection_stride": "avg_pool", "placement": "original"}  # fmt: skip
    config = SMALL.replace(**fields, branch_dropout=0.3)
    model = randomize(build_network(config, input_shape=(9, 8, 3), packaging=packaging))
    changed = change(model)
    assert_same_function(model, changed, 1e-4 if change is fold_batch_norm else 1e-5)
    if change is portable:
        assert "keras_preact" not in changed.to_json()
    if change is fold_batch_norm:
        assert "BatchNormalization" not in changed.to_json()


@pytest.mark.parametrize("packaging", [pytest.param("flat", marks=pytest.mark.slow), "repeated"])
@pytest.mark.slow
def test_a_portable_copy_opens_without_this_package(packaging, randomize, tmp_path, run_python):
    model = randomize(build_network(SMALL, input_shape=(8, 8, 3), packaging=packaging))
    portable(model).save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", images(model))
    np.save(tmp_path / "y.npy", keras.ops.convert_to_numpy(model(images(model))))
    script = (
        "import keras, numpy as np, sys\n"
        "model = keras.models.load_model('model.keras')\n"
        "y = keras.ops.convert_to_numpy(model(np.load('x.npy')))\n"
        "np.testing.assert_allclose(y, np.load('y.npy'), rtol=1e-4, atol=1e-5)\n"
        "assert 'keras_preact' not in sys.modules\n"
    )
    run_python(script, tmp_path)


PEERS = {
    "MobileNetV2": {"input_shape": (32, 32, 3)},
    "ResNet50V2": {"input_shape": (32, 32, 3), "include_top": False},
    "EfficientNetB0": {"input_shape": (32, 32, 3)},
}


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n == "MobileNetV2" else pytest.mark.slow) for n in PEERS],
)
@pytest.mark.slow
def test_networks_of_keras_applications_are_accelerated(name):
    model = getattr(keras.applications, name)(weights=None, **PEERS[name])
    fast = accelerate(model)
    norms = [layer for layer in fast.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms and all(type(norm) is BatchNormalization for norm in norms)
    for a, b in zip(model.weights, fast.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert_same_function(model, fast)


@pytest.mark.thorough
def test_training_after_the_swap_goes_as_before(randomize):
    inputs = keras.Input((8, 8, 3))
    x = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.ReLU(),
        ]
    )(inputs)
    outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    model = randomize(keras.Model(inputs, outputs))
    fast = accelerate(model)
    losses = []
    for network in (model, fast):
        network.compile(keras.optimizers.SGD(0.1), "mse")
        losses.append([network.train_on_batch(images(model), np.eye(4, 3)) for _ in range(5)])
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert losses[0][-1] < losses[0][0]


@pytest.mark.parametrize(
    ("activation", "packaging"),
    [
        pytest.param("relu", "flat", marks=pytest.mark.slow),
        pytest.param("prelu", "flat", marks=pytest.mark.slow),
        pytest.param("prelu", "repeated", marks=pytest.mark.slow),
    ],
)
def test_twenty_steps_in_stock_layers_and_in_ours_have_the_same_losses(activation, packaging):
    config = ResNetConfig(units=(1, 3), filters=(8, 16), stem_filters=8, activation=activation)
    model = build_network(config, input_shape=(12, 12, 3), packaging=packaging)
    stock = portable(model)
    random = np.random.default_rng(0)
    batches = [
        (random.normal(size=(16, 12, 12, 3)).astype("float32"), random.integers(0, 10, 16))
        for _ in range(4)
    ]
    losses = []
    for network in (model, stock):
        network.compile(keras.optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy")
        losses.append([network.train_on_batch(*batches[k % 4]) for k in range(20)])
    np.testing.assert_allclose(*losses, atol=1e-4)
    assert losses[0][-1] < losses[0][0] - 0.1


def conv_norm(conv, norm, data_format="channels_last"):
    inputs = keras.Input((9, 9, 4))
    return keras.Model(inputs, norm(conv(inputs)))


@pytest.mark.thorough
def test_folding_depthwise_and_plain_convolutions(randomize):
    layers = keras.layers
    for conv in (
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.DepthwiseConv2D(3, use_bias=False),
        layers.Conv2D(5, 3, groups=1, use_bias=False),
        layers.Conv2D(8, 3, groups=2),
    ):
        for arguments in ({}, {"scale": False}, {"center": False}):
            model = randomize(conv_norm(conv, layers.BatchNormalization(**arguments)))
            conv = type(conv).from_config(conv.get_config())
            folded = fold_batch_norm(model)
            assert [type(layer) for layer in folded.layers[1:]] == [type(conv)]
            assert_same_function(model, folded, 1e-4)


def test_a_norm_stays_where_something_else_takes_the_convolutions_output(randomize):
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    conv = layers.Conv2D(4, 3, padding="same")(inputs)
    both = layers.Add()([layers.BatchNormalization(name="norm")(conv), conv])
    active = layers.Conv2D(4, 3, activation="relu")(both)
    outputs = layers.BatchNormalization(name="after_relu")(active)
    model = randomize(keras.Model(inputs, outputs))
    folded = fold_batch_norm(model)
    assert {"norm", "after_relu"} <= {layer.name for layer in folded.layers}
    assert_same_function(model, folded, 1e-4)


#: Every family always; every network with --run-slow.
SMALLEST = ("resnet8", "resnet8v2", "plainnet20", "resnet18v2")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in SMALLEST else pytest.mark.slow)
        for name in list_models()
        if model_info(name).config.normalization == "batch"
    ],
)
@pytest.mark.sample(2)
def test_registered_networks_fold(name, randomize):
    channels = model_info(name).input_shape[2]
    model = create_model(name, input_shape=(32, 32, channels), classes=5)
    for weight in model.weights:  # random, yet so that the signal survives a thousand layers
        if weight.name in ("moving_mean", "beta"):
            weight.assign(np.random.default_rng(0).normal(0, 0.1, weight.shape))
        if weight.name in ("moving_variance", "gamma"):
            weight.assign(np.random.default_rng(1).uniform(0.8, 1.2, weight.shape))
    folded = fold_batch_norm(model)
    assert len(folded.weights) < len(model.weights)
    assert_same_function(model, folded, 1e-4)


def conv_twice(take):
    """A convolution, the norm behind it, and something else that takes the same output."""
    inputs = keras.Input((8, 8, 3))
    conv = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    return keras.Model(inputs, keras.layers.BatchNormalization(name="norm")(conv) + take(conv))


class Standardised(keras.layers.Conv2D):
    def call(self, x):
        return super().call(x) * 2.0


def awkward():
    """Models in which a norm must stay, or that hold what cannot be made again from a config."""
    layers, ops = keras.layers, keras.ops
    inputs = keras.Input((8, 8, 3))

    def model(*steps):
        x = inputs
        for step in steps:
            x = step(x)
        return keras.Model(inputs, x)

    norm, conv = layers.BatchNormalization, layers.Conv2D
    adapted = layers.Normalization()
    adapted.adapt(np.random.default_rng(0).normal(5.0, 3.0, (16, 8, 8, 3)))
    inner = keras.Sequential([keras.Input((8, 8, 3)), conv(4, 3), norm(), layers.ReLU()])
    yield "an operation beside the norm", conv_twice(lambda x: x * 2.0), False
    yield "a function beside the norm", conv_twice(ops.relu), False
    yield "a lambda", model(layers.Lambda(lambda x: x + 1.0), conv(4, 3), norm()), True
    yield "adapted", model(adapted, conv(4, 3), norm()), True
    yield "sequential inside", model(inner, conv(4, 3), norm()), True
    yield "a convolution of one's own", model(Standardised(4, 3), norm()), False
    yield "a norm that always trains", model(conv(4, 3), lambda x: norm()(x, training=True)), False
    yield "renormalised", model(conv(4, 3), norm(renorm=True)), False
    yield "by keyword", model(conv(4, 3), lambda x: norm()(inputs=x)), True
    yield "channels first", model(conv(4, 3), norm(axis=1)), False
    two = keras.Model(inputs, {"a": norm()(conv(4, 3)(inputs)), "b": layers.ReLU()(inputs)})
    yield "several outputs", two, True


AWKWARD = {name: (model, folds) for name, model, folds in awkward()}


@pytest.mark.parametrize("change", [accelerate, portable, fold_batch_norm])
@pytest.mark.parametrize("name", AWKWARD)
def test_models_of_all_kinds(name, change):
    model, folds = AWKWARD[name]
    for weight in model.weights:
        if weight.path.split("/")[-1] in ("gamma", "beta", "moving_mean", "moving_variance"):
            weight.assign(np.random.default_rng(2).uniform(0.5, 1.5, weight.shape))
    model.compile(loss=lambda y, z: 0.0)
    changed = change(model)
    assert not changed.compiled
    expected, received = model(images(model)), changed(images(model))
    tolerance = 1e-4 if change is fold_batch_norm else 1e-5
    for a, b in zip(keras.tree.flatten(expected), keras.tree.flatten(received), strict=True):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(a),
            keras.ops.convert_to_numpy(b),
            rtol=tolerance,
            atol=tolerance,
        )
    if change is fold_batch_norm:
        assert (len(changed.weights) < len(model.weights)) == folds


@pytest.mark.thorough
def test_the_loss_is_scaled_under_float16_as_before():
    model = build_network(SMALL, input_shape=(8, 8, 3), dtype="mixed_float16")
    for changed in (accelerate(model), portable(model, dtype=None)):
        changed.compile("sgd", "mse")
        assert isinstance(changed.optimizer, keras.optimizers.LossScaleOptimizer)


def test_a_layer_of_this_package_inside_another_is_no_longer_portable():
    inputs = keras.Input((2, 8, 8, 3))
    model = keras.Model(inputs, keras.layers.TimeDistributed(BatchNormalization())(inputs))
    with pytest.raises(ConfigError, match="inside another layer"):
        portable(model)


def test_what_is_not_a_graph_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    for change in (accelerate, portable, fold_batch_norm):
        with pytest.raises(ConfigError, match=r"functional Keras model.*Received: Own"):
            change(Own())


def test_repeats_are_unrolled_only_to_be_portable():
    model = build_network(SMALL, input_shape=(8, 8, 3), packaging="repeated")
    assert any(isinstance(layer, Repeat) for layer in accelerate(model).layers)
    assert not any(isinstance(layer, Repeat) for layer in layers_of(portable(model)))
    model.get_layer("stage2_units").trainable = False

    def learning(network):
        return sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)

    assert learning(accelerate(model)) == learning(portable(model)) == learning(model)
