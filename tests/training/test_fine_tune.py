"""New heads, frozen stages, and weights from elsewhere."""

import pathlib

import keras
import numpy as np
import pytest
from PIL import Image

from keras_preact import TrainConfig, convert, create_model, load_trained, model_info, train
from keras_preact.errors import ConfigError
from keras_preact.layers import BatchNormalization
from keras_preact.training import freeze, replace_head, start_from
from keras_preact.training.fine_tune import read_start
from keras_preact.weights import PREPROCESSINGS, read_source, read_weights, save_named

GOLDEN = pathlib.Path(__file__).parents[1] / "weights" / "golden"
UNITS = {"units": (1, 4), "filters": (4, 4), "stem_filters": 4}


def network(packaging="flat", classes=10, **fields):
    return create_model(
        "resnet8v2", input_shape=(8, 8, 3), classes=classes, packaging=packaging, **UNITS, **fields
    )


def test_a_new_head_shares_all_other_layers():
    model = network()
    new = replace_head(model, 3)
    assert new.output_shape == (None, 3)
    assert new.layers[:-1] == model.layers[:-1]
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(keras.ops.sum(new(images), -1), [1, 1], rtol=1e-5)
    assert replace_head(model, 3, activation=None).layers[-1].activation is keras.activations.linear


def test_heads_of_keras_applications():
    model = keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3), alpha=0.25)
    with pytest.raises(ConfigError, match="must end with a Dense classifier"):
        replace_head(model, 3)
    model = keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), alpha=0.35)
    assert replace_head(model, 3).output_shape == (None, 3)


@pytest.mark.parametrize(
    "packaging", ["flat", pytest.param("nested", marks=pytest.mark.slow), "repeated"]
)
@pytest.mark.sample(4)
def test_frozen_stages_and_their_statistics_stay(packaging):
    model = network(packaging, activation="prelu")
    frozen = freeze(model, "stage1")
    assert "stem_conv" in frozen and not any("stage2" in name for name in frozen)
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = {w.path: keras.ops.convert_to_numpy(w) for w in model.weights}
    images = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype("float32")
    model.fit(images, np.arange(16) % 10, epochs=1, verbose=0)
    for weight in model.weights:
        changed = not np.array_equal(before[weight.path], keras.ops.convert_to_numpy(weight))
        late = any(part in weight.path for part in ("stage2", "head", "predictions"))
        assert changed == late, weight.path


def test_unknown_layers_are_refused():
    with pytest.raises(ConfigError, match=r"such as 'stage1', 'stage2'.*Did you mean 'stage2'"):
        freeze(network(), "stage_2")


def nested(kind, include_top=False):
    """A network with a backbone, or a whole network, as a sub-model of its own name."""
    fields = {"packaging": "nested", "name": "backbone", "include_top": include_top}
    backbone = create_model("resnet8v2", input_shape=(8, 8, 3), **UNITS, **fields)
    inputs = keras.Input((8, 8, 3))
    pool, head = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5, name="mine")
    after = [] if include_top else [pool, head]
    if kind == "sequential":
        return keras.Sequential([inputs, backbone, *after])
    if kind == "within":  # one more around it
        backbone = keras.Sequential([keras.Input((8, 8, 3)), backbone], name="around")
    x = backbone(keras.layers.Rescaling(1 / 255)(inputs))
    for layer in after:
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    ("kind", "up_to"),
    [
        ("sequential", "backbone"),
        ("functional", "stage1"),
        ("within", "stage1_unit1"),
        ("sequential", "stage1_unit1_conv1"),
    ],
)
@pytest.mark.sample(4)
def test_layers_in_sub_models_freeze(kind, up_to):
    model = nested(kind)
    frozen = freeze(model, up_to)
    late = [name for name in frozen if "stage2" in name or "head" in name]
    assert frozen[0] == "stem_conv" and bool(late) == (up_to == "backbone")
    assert ("stage1_unit1_conv2" in frozen) == (up_to != "stage1_unit1_conv1")
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    images = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype("float32")
    model.fit(images, np.arange(16) % 5, epochs=1, verbose=0)
    for old, weight in zip(before, model.weights, strict=True):
        changed = not np.array_equal(old, keras.ops.convert_to_numpy(weight))
        assert changed == (weight.path.split("/")[-2] not in frozen), weight.path


def test_a_name_that_two_sub_models_have_is_refused():
    inputs = keras.Input((8, 8, 3))
    two = [create_model("resnet8v2", input_shape=(8, 8, 3), **UNITS, name=name) for name in "ab"]
    model = keras.Model(inputs, keras.layers.Average()([each(inputs) for each in two]))
    with pytest.raises(ConfigError, match=r"'a', 'b' each have one\. Received: up_to='stage1'"):
        freeze(model, "stage1")
    assert "predictions" in freeze(model, "a") and all(w.trainable for w in two[1].weights[:3])


@pytest.mark.parametrize("kind", ["sequential", "functional", "within"])
@pytest.mark.parametrize("include_top", [False, True])
@pytest.mark.sample(4)
def test_heads_of_networks_with_sub_models(kind, include_top):
    model = nested(kind, include_top)
    new = replace_head(model, 3)
    assert new.output_shape == (None, 3)
    shared = {id(weight) for weight in model.weights} & {id(weight) for weight in new.weights}
    assert len(shared) == len(model.weights) - 2  # all but the head's
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(keras.ops.sum(new(images), -1), [1, 1], rtol=1e-5)
    assert freeze(new, "stage2")[0] == "stem_conv"


@pytest.mark.parametrize(
    ("suffix", "packaging"),
    [
        (".keras", "repeated"),
        (".weights.h5", "flat"),
        (".safetensors", "repeated"),
        pytest.param(".keras", "flat", marks=pytest.mark.slow),
        pytest.param(".weights.h5", "repeated", marks=pytest.mark.slow),
        pytest.param(".safetensors", "flat", marks=pytest.mark.slow),
    ],
)
@pytest.mark.sample(3)
@pytest.mark.thorough
def test_weights_of_a_file_in_another_packaging(suffix, packaging, tmp_path):
    source, path = network("nested"), f"{tmp_path}/net{suffix}"
    save = {
        ".keras": source.save,
        ".weights.h5": source.save_weights,
        ".safetensors": lambda path: save_named(source, path),
    }
    save[suffix](path)
    target = network(packaging)
    assert start_from(target, path) == []
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(target(images), source(images), atol=1e-5)
    other = network(packaging, classes=3)
    assert start_from(other, path) == ["predictions"]
    norms = [layer for layer in other.layers if isinstance(layer, BatchNormalization)]
    assert norms


def test_an_adapted_preprocessing_is_taken_with_its_numbers(tmp_path):
    inputs, layer = keras.Input((8, 8, 3)), keras.layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(100, 20, (64, 8, 8, 3)).astype("float32"))
    keras.Model(inputs, network()(layer(inputs))).save(tmp_path / "net.keras")
    start = read_start(tmp_path / "net.keras", "resnet8v2")
    assert start.into(network()) == []  # the numbers are no weights of the network
    taken = start.preprocessing
    np.testing.assert_allclose(taken["mean"], np.ravel(layer.mean), rtol=1e-6)
    images = np.random.default_rng(1).normal(100, 20, (2, 8, 8, 3)).astype("float32")
    again = keras.layers.Normalization.from_config(taken)
    np.testing.assert_allclose(again(images), layer(images), rtol=1e-4, atol=1e-5)


def test_what_is_no_file_of_weights_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"a run folder, a \.keras, \.weights\.h5 or \.safetensors file"
    ):
        start_from(network(), str(tmp_path / "none.keras"))
    network().save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(ConfigError, match="those of this network"):
        start_from(create_model("resnet14v2"), str(tmp_path / "net.weights.h5"))


def test_a_converted_backbone_is_tuned_on_a_folder_of_images(tmp_path):
    """From a ResNet of torchvision to one's own classes, its first stage frozen."""
    with np.load(GOLDEN / "torchvision_basic.npz") as tensors:
        source = read_source({key: tensors[key] for key in tensors if key != "outputs"})
    backbone, bgr = convert(source, include_top=False), PREPROCESSINGS["caffe"]
    save_named(backbone, tmp_path / "backbone.safetensors", source.config, bgr)
    for name, grey in (("black", 0), ("white", 255)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for k in range(6):
            pixels = np.full((16, 16, 3), abs(grey - k), "uint8")
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{k}.png")
    differences = model_info("resnet18").config.differences(source.config)
    settings = {f"network.{name}": value for name, value in differences.items()}
    config = TrainConfig(
        "resnet18",
        data=f"folder:{tmp_path}/images",
        recipe="fine_tune",
        epochs=1,
        batch_size=4,
        dtype="float32",
        init=str(tmp_path / "backbone.safetensors"),
        freeze_to="stage1",
        saved_model=False,
        out=str(tmp_path / "run"),
        settings=settings,
    )
    result = train(config)
    trained = read_weights(f"{result.run}/model.keras")
    layer = load_trained(result.run).model.get_layer("preprocessing")
    assert layer.get_config()["mean"] == [*bgr.mean]
    for layer, values in bgr.rgb(read_weights(config.init)).items():
        frozen = layer.startswith(("stem", "stage1"))
        assert np.array_equal(values["0"], trained[layer]["0"]) == frozen, layer
    assert trained["predictions"]["0"].shape == (16, 2)
    del settings["network.stride_on"]
    for init in (config.init, result.run):
        other = config.replace(settings=settings, init=init, out=str(tmp_path / "other"))
        with pytest.raises(ConfigError, match=r"stride_on differ.*--set network.stride_on=3x3"):
            train(other)
