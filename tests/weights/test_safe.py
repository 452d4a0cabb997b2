"""Model files of unknown origin: refused before anything in them runs or fills the memory (R17)."""

import functools
import json
import pathlib
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.applications import convnext, densenet, efficientnet, nasnet
from keras.src.backend.common import global_state

from keras_preact import create_model
from keras_preact.errors import ConfigError
from keras_preact.trained import load_trained
from keras_preact.weights import read_weights, refuse_unsafe
from keras_preact.weights.opening import open_model


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "net.keras"
    create_model("resnet8v2", input_shape=(8, 8, 1)).save(path)
    return path


def changed(good, tmp_path, change=lambda config: None, members=(), weights=None):
    """A copy of a file with another config, other members, or other weights."""
    path = tmp_path / "changed.keras"
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config)
            if name == "model.weights.h5" and weights:
                file = tmp_path / "weights.h5"
                file.write_bytes(data)
                with h5py.File(file, "a") as content:
                    weights(content)
                data = file.read_bytes()
            new.writestr(name, data)
        for member, data in members:
            new.writestr(member, data)
    return path


def layer(config, name="predictions"):
    return next(part for part in config["config"]["layers"] if part["config"]["name"] == name)


@pytest.mark.thorough
def test_what_keras_writes_is_safe(good, tmp_path):
    refuse_unsafe(good)
    refuse_unsafe(changed(good, tmp_path))
    model = load_trained(good)
    assert model.image_shape == (8, 8, 1) and model.class_names == tuple("0123456789")
    file = tmp_path / "net.weights.h5"
    model.model.save_weights(file)
    refuse_unsafe(file)


def test_code_does_not_run(tmp_path):
    canary = tmp_path / "canary"
    x, name = keras.Input((8, 8, 1)), str(canary)
    touch = keras.layers.Lambda(lambda x: (open(name, "w").close(), x)[1], output_shape=(8, 8, 1))
    y = keras.layers.Dense(2)(keras.layers.Flatten()(touch(x)))
    path = tmp_path / "code.keras"
    keras.Model(x, y).save(path)
    canary.unlink(missing_ok=True)
    with pytest.raises(ConfigError, match=r"Lambda\. It is not opened"):
        load_trained(path)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda f: f.create_dataset("huge", (10**6, 10**6)), "only 0 bytes are stored"),
        (lambda f: f.create_dataset("packed", (10**6, 10**3), compression="gzip"), "0 bytes are"),
        (lambda f: f.create_dataset("text", data=["a"], dtype=h5py.string_dtype()), "of dtype"),
        (lambda f: f.__setitem__("again", f["layers"]), "a second name at"),
        (lambda f: f.__setitem__("kind", np.dtype("f4")), "a Datatype at"),
        (lambda f: f.__setitem__("none", h5py.Empty("f4")), "of dtype"),
        (lambda f: f.__setitem__("texts", np.array([b"abc"])), "of dtype"),
    ],
)
def test_arrays_that_are_not_in_the_file(weights, message, good, tmp_path):
    path = changed(good, tmp_path, weights=weights)
    for opened in (load_trained, read_weights):
        with pytest.raises(ConfigError, match=message):
            opened(path)


@settings(max_examples=50)
@given(
    parts=st.lists(st.sampled_from(["..", "a", "assets", "", "/", "\\", "config.json"]), min_size=1)
)
@pytest.mark.thorough
def test_no_name_leads_outside(parts, good, tmp_path_factory):
    name = "/".join(parts) or "."
    target = pathlib.Path("/target")
    folder = tmp_path_factory.mktemp("names")
    path = changed(good, folder, members=[(name, b"x")])
    try:
        refuse_unsafe(path)
    except ConfigError:
        return
    finally:
        shutil.rmtree(folder)
    assert (target / name).resolve().is_relative_to(target)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["config"]["output_layers"].__setitem__(2, 99),
        lambda config: layer(config, "head_norm")["config"].__setitem__("axis", 99),
        lambda config: config.__setitem__("config", []),
    ],
)
def test_configs_that_are_damaged(change, good, tmp_path):
    with pytest.raises(ConfigError, match="Received"):
        load_trained(changed(good, tmp_path, change))


def test_damaged_within(good, tmp_path):
    """Wherever a byte of a packed archive is another, the file is refused or as good as before."""
    data = changed(good, tmp_path).read_bytes()
    path = tmp_path / "net.keras"
    refused = 0
    for place in range(50, len(data), len(data) // 40):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            refuse_unsafe(path)
        except ConfigError as error:
            refused += "cannot be read" in str(error)
    assert refused > 20


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"no archive"])
def test_damaged(data, tmp_path):
    path = tmp_path / "net.keras"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_trained(path)


def test_other_kinds(tmp_path):
    pickle = tmp_path / "net.pkl"
    pickle.write_bytes(b"cos\nsystem\n")
    kinds = r"a run folder, a \.keras or \.safetensors file, or hf://user/name"
    with pytest.raises(ConfigError, match=rf"{kinds}.*may run code"):
        load_trained(pickle)
    with pytest.raises(ConfigError, match=kinds):
        load_trained(tmp_path / "none.keras")
    texts = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    texts.save(tmp_path / "texts.keras")
    keras.Sequential([keras.layers.Dense(2)]).save(tmp_path / "unbuilt.keras")
    for name in ("texts", "unbuilt"):
        with pytest.raises(ConfigError, match="Expected a model from images"):
            load_trained(tmp_path / f"{name}.keras")


def test_names_of_classes(good, tmp_path):
    path = shutil.copy(good, tmp_path)
    names = tmp_path / "classes.json"
    names.write_text(json.dumps([f"kind {k}" for k in range(10)]))
    assert load_trained(path).class_names[3] == "kind 3"
    names.write_text('["one"]')
    with pytest.raises(ConfigError, match="a list of 10 names, one per model output"):
        load_trained(path)
    np.testing.assert_equal(load_trained(good).model.output_shape, (None, 10))


#: One network of each family of keras.applications.
FAMILIES = (
    "ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "InceptionV3",
    "InceptionResNetV2", "MobileNet", "MobileNetV2", "MobileNetV3Small", "NASNetMobile",
    "ResNet50", "ResNet50V2", "VGG16", "Xception",
)  # fmt: skip

#: Those of hundreds of layers, as Keras builds them, with few of each kind.
FEW = {
    "ConvNeXtTiny": functools.partial(convnext.ConvNeXt, [1] * 4, [8] * 4),
    "DenseNet121": functools.partial(densenet.DenseNet, [1] * 4),
    "EfficientNetB0": functools.partial(efficientnet.EfficientNet, 0.1, 0.1, 224),
    "NASNetMobile": functools.partial(
        nasnet.NASNet, penultimate_filters=96, num_blocks=1, stem_block_filters=8, default_size=224
    ),
}


#: Those that take longest to build, or to write.
_LARGE = ("InceptionResNetV2", "InceptionV3", "NASNetMobile", "VGG16")


@pytest.mark.sample(12)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in _LARGE else ()) for n in FAMILIES]
)
def test_a_network_of_each_family_opens(name, tmp_path):
    """With equal weights; what they compute is compared where all of them are opened."""
    without_top = {"include_top": False, "pooling": "avg", "input_shape": (75, 75, 3)}
    build = FEW.get(name, getattr(keras.applications, name))
    opens_as_it_was(build(weights=None, **without_top), None, tmp_path)


APPLICATIONS = [name for name in dir(keras.applications) if name[0].isupper()]


def test_every_family_of_keras_applications_is_tried():
    tried, all_ = (
        {getattr(keras.applications, name).__module__ for name in names}
        for names in (FAMILIES, APPLICATIONS)
    )
    assert tried == all_ - {"keras.src.applications.vgg19"}


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_every_network_of_keras_applications_opens(name, tmp_path):
    model = getattr(keras.applications, name)(weights=None)
    opens_as_it_was(model, noise((1, *model.input_shape[1:])), tmp_path)


def noise(shape):
    return np.random.default_rng(0).random([size or 64 for size in shape]).astype("float32")


def opens_as_it_was(model, x, folder):
    path = folder / "net.keras"
    model.save(path)
    opened = open_model(path)
    for found, expected in zip(opened.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    if x is None:
        return
    found, expected = (keras.ops.convert_to_numpy(m(x, training=False)) for m in (opened, model))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def layers_of_all_kinds(x):
    """What the list has and networks of keras.applications do not."""
    layers = keras.layers
    x = layers.RandomFlip()(layers.CenterCrop(8, 8)(layers.Resizing(12, 12)(x)))
    x = layers.Conv2DTranspose(4, 3, strides=2)(layers.UpSampling2D(2)(x))
    x = layers.GroupNormalization(2)(layers.DepthwiseConv2D(3)(x))
    x = layers.PReLU(shared_axes=(1, 2))(layers.LeakyReLU(0.2)(layers.ELU()(x)))
    x = layers.Reshape((-1, 4))(layers.MaxPooling2D(2)(x))
    x = layers.MultiHeadAttention(2, 3)(x, x)
    return layers.GlobalAveragePooling1D()(layers.RMSNormalization()(x))


def in_operations(x):
    ops = keras.ops
    x = ops.pad((x / 255.0 - 0.5)[:, ::2], ((0, 0), (1, 1), (0, 0), (0, 0)))
    x = ops.concatenate([ops.relu(x), ops.maximum(x, 0.1) ** 2], axis=-1)
    return ops.mean(ops.transpose(ops.clip(x, -1, 1), (0, 2, 1, 3)), axis=(1, 2))


HONEST = {
    "layers": layers_of_all_kinds,
    "operations": in_operations,
    "activation as a layer": lambda x: keras.layers.Dense(3, activation=keras.layers.ReLU(6.0))(
        keras.layers.Flatten()(x)
    ),
    "a model inside": lambda x: keras.Sequential(
        [keras.Input(x.shape[1:]), keras.layers.Flatten(), keras.layers.Dense(3)], name="inner"
    )(x),
    "normalization": lambda x: keras.layers.Flatten()(
        keras.layers.Normalization(mean=[3e4], variance=[1e9])(x)
    ),
}


@pytest.mark.parametrize("name", HONEST)
@pytest.mark.sample(5)
def test_honest_networks_open(name, tmp_path):
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(HONEST[name](inputs)))
    x = noise((2, 8, 8, 1))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"])
    opens_as_it_was(model, x, tmp_path)


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_quantized_networks_open(mode, tmp_path):
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential(layers)
    model.quantize(mode)
    opens_as_it_was(model, noise((2, 8, 8, 1)), tmp_path)


def test_what_is_safe_and_not_known_is_not_called_unsafe(tmp_path):
    layers = [keras.Input((8, 3)), keras.layers.LSTM(4), keras.layers.Dense(3)]
    path = tmp_path / "net.keras"
    keras.Sequential(layers).save(path)
    with pytest.raises(ConfigError, match=r"keras\.layers\.LSTM, which is safe but not supported"):
        load_trained(path)


@pytest.mark.parametrize("size", [None, 8])
def test_maps_that_no_memory_holds(size, tmp_path):
    inputs = keras.Input((size, size, 1))
    x = keras.layers.Conv2D(64, 1)(keras.layers.ZeroPadding2D(4000)(inputs))
    outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(inputs, outputs).save(tmp_path / "net.keras")
    with pytest.raises(ConfigError, match=r"Those of 'conv2d\w*' have 4,\d\d\d,\d\d\d,\d\d\d"):
        load_trained(tmp_path / "net.keras")


def test_refused_weights_take_no_memory_later(good, tmp_path):
    """What a refused config has asked for is not given memory by the next scope of Keras."""
    path = changed(good, tmp_path, lambda c: layer(c)["config"].update(units=60_000))
    with pytest.raises(ConfigError, match="It needs"):
        open_model(path)
    with keras.StatelessScope():
        pass
    assert not global_state.get_global_attribute("uninitialized_variables", [])


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "net.keras").mkdir()
    with pytest.raises(ConfigError, match=r"a run folder|not finished|finished run"):
        load_trained(tmp_path / "net.keras")
