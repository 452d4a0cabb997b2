"""Model files of unknown origin: refused before anything in them runs or fills the memory (R17)."""

import json
import pathlib
import shutil
import stat
import zipfile

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_preact import create_model
from keras_preact.errors import ConfigError
from keras_preact.trained import load_trained
from keras_preact.weights import read_weights, refuse_unsafe


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
    ("where", "what"),
    [
        ("activation", {"module": "os", "class_name": "function", "config": "system"}),
        ("activation", {"module": "keras.utils", "class_name": "function", "config": "get_file"}),
        ("kernel_initializer", {"module": "subprocess", "class_name": "Popen", "config": {}}),
        (
            "kernel_initializer",
            {"module": "x", "class_name": "Y", "config": {}, "registered_name": "x>Y"},
        ),
        # Keras itself would follow the dots.
        ("activation", {"module": "keras", "class_name": "function", "config": "utils.get_file"}),
        (
            "activation",
            {"module": "keras.activations", "class_name": "function", "config": "a.set_floatx"},
        ),
        ("activation", {"module": "keras", "class_name": "layers.Lambda", "config": {}}),
        ("activation", {"module": "keras", "class_name": "Lambda", "config": {}}),
    ],
)
def test_unknown_modules(where, what, good, tmp_path):
    path = changed(good, tmp_path, lambda c: layer(c)["config"].__setitem__(where, what))
    with pytest.raises(ConfigError, match=what["module"]):
        load_trained(path)


def test_a_size_that_only_fills_memory(good, tmp_path):
    path = changed(good, tmp_path, lambda c: layer(c)["config"].__setitem__("units", 10**9))
    with pytest.raises(ConfigError, match="the size 1,000,000,000"):
        load_trained(path)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda f: f.__setitem__("far", h5py.ExternalLink("/etc/passwd", "/")), "a link at"),
        (lambda f: f.__setitem__("near", h5py.SoftLink("/layers")), "a link at"),
        (lambda f: f.create_dataset("huge", (10**6, 10**6)), "0 bytes are there"),
        (lambda f: f.create_dataset("packed", (10**6, 10**3), compression="gzip"), "0 bytes are"),
        (lambda f: f.create_dataset("text", data=["a"], dtype=h5py.string_dtype()), "of type"),
        (
            lambda f: f.create_dataset("out", (2,), "f4", external=[("/etc/passwd", 0, 8)]),
            "another file",
        ),
        (lambda f: f.__setitem__("again", f["layers"]), "a second name at"),
        (lambda f: f.__setitem__("kind", np.dtype("f4")), "a Datatype at"),
        (lambda f: f.__setitem__("none", h5py.Empty("f4")), "of type"),
        (lambda f: f.__setitem__("texts", np.array([b"abc"])), "of type"),
        (
            lambda f: [
                f.create_dataset(str(k), data=np.zeros(2**18, "f4"), compression="gzip")
                for k in range(80)
            ],
            "that unpack to",
        ),
    ],
)
def test_arrays_that_are_not_in_the_file(weights, message, good, tmp_path):
    path = changed(good, tmp_path, weights=weights)
    for opened in (load_trained, read_weights):
        with pytest.raises(ConfigError, match=message):
            opened(path)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "assets/../../evil", "model.pkl"])
def test_members_outside(name, good, tmp_path):
    with pytest.raises(ConfigError, match="with the member"):
        load_trained(changed(good, tmp_path, members=[(name, b"x")]))


@settings(max_examples=50, deadline=None)
@given(
    parts=st.lists(st.sampled_from(["..", "a", "assets", "", "/", "\\", "config.json"]), min_size=1)
)
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


def test_links_and_bombs(good, tmp_path):
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(ConfigError, match="with the member"):
        load_trained(changed(good, tmp_path, members=[(link, b"/etc/passwd")]))
    for count, size in ((1, 70), (3, 40)):  # one, and several of which none is large
        members = [(f"assets/bomb{k}", bytes(size * 2**20)) for k in range(count)]
        with pytest.raises(ConfigError, match="that unpack to"):
            load_trained(changed(good, tmp_path, members=members))


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
    with pytest.raises(ConfigError, match=r"a run folder or a \.keras file.*may hold code"):
        load_trained(pickle)
    with pytest.raises(ConfigError, match=r"a run folder or a \.keras file"):
        load_trained(tmp_path / "none.keras")
    texts = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    texts.save(tmp_path / "texts.keras")
    keras.Sequential([keras.layers.Dense(2)]).save(tmp_path / "unbuilt.keras")
    for name in ("texts", "unbuilt"):
        with pytest.raises(ConfigError, match="A model from images"):
            load_trained(tmp_path / f"{name}.keras")


def test_names_of_classes(good, tmp_path):
    path = shutil.copy(good, tmp_path)
    names = tmp_path / "classes.json"
    names.write_text(json.dumps([f"kind {k}" for k in range(10)]))
    assert load_trained(path).class_names[3] == "kind 3"
    names.write_text('["one"]')
    with pytest.raises(ConfigError, match="as many names as the model has outputs, 10"):
        load_trained(path)
    np.testing.assert_equal(load_trained(good).model.output_shape, (None, 10))
