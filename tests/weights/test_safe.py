"""Model files of unknown origin: refused before anything in them runs or fills the memory (R17)."""

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
    ("weights", "message"),
    [
        (lambda f: f.create_dataset("huge", (10**6, 10**6)), "0 bytes are there"),
        (lambda f: f.create_dataset("packed", (10**6, 10**3), compression="gzip"), "0 bytes are"),
        (lambda f: f.create_dataset("text", data=["a"], dtype=h5py.string_dtype()), "of type"),
        (lambda f: f.__setitem__("again", f["layers"]), "a second name at"),
        (lambda f: f.__setitem__("kind", np.dtype("f4")), "a Datatype at"),
        (lambda f: f.__setitem__("none", h5py.Empty("f4")), "of type"),
        (lambda f: f.__setitem__("texts", np.array([b"abc"])), "of type"),
    ],
)
def test_arrays_that_are_not_in_the_file(weights, message, good, tmp_path):
    path = changed(good, tmp_path, weights=weights)
    for opened in (load_trained, read_weights):
        with pytest.raises(ConfigError, match=message):
            opened(path)


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
