"""The Hub, by a server on this machine: what is pushed comes back, and nothing else is taken."""

import json
import os
import pathlib
import random
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from keras_preact import ResNetConfig, build_network, convert, create_model, load_trained
from keras_preact.card import model_card
from keras_preact.cli import main
from keras_preact.data import Geometry
from keras_preact.errors import ConfigError, ExportError, SaveError
from keras_preact.export import push
from keras_preact.export.hub import write_repository
from keras_preact.training.fine_tune import read_start
from keras_preact.weights import Preprocessing, read_source, save_named
from keras_preact.weights.hub import WANTED, address_of, pull

GOLDEN = pathlib.Path(__file__).parent / "golden"
NAME, ADDRESS = "some-one/a.net_1", "hf://some-one/a.net_1"


CONFIG = ResNetConfig(units=(1,), filters=(4,), stem_filters=4, activation="prelu")
KNOWN = Preprocessing([120.0, 110.0, 100.0], [60.0, 61.0, 62.0])


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A `.keras` file of a network with all that is known beside it, small enough for a test."""
    folder = tmp_path_factory.mktemp("own")
    keras.utils.set_random_seed(0)
    images = keras.Input((12, 12, 3))
    model = build_network(CONFIG, input_tensor=KNOWN.layer()(images), classes=3)
    model.save(folder / "mine.keras")
    (folder / "mine.classes.json").write_text('["ant", "bee", "cow"]')
    (folder / "mine.geometry.json").write_text(Geometry(12, 14, "bicubic").to_json())
    return folder / "mine.keras"


@pytest.fixture(scope="module")
def written(own, tmp_path_factory):
    """The files that are pushed of it."""
    folder = tmp_path_factory.mktemp("written")
    write_repository(load_trained(own, "float32"), folder, NAME)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def pushed(hub, written):
    """The Hub has it."""
    hub.repos[NAME] = dict(written)


@pytest.mark.thorough
def test_what_is_pushed_comes_back(own, hub, written, tmp_path):
    where = push(own, ADDRESS)
    assert where.startswith(f"{hub.url}/{NAME}/commit/") and NAME in hub.private
    ((name, message, files),) = hub.commits
    assert (name, message) == (NAME, "mine of keras_preact")
    same = {file for file in written if files[file] == written[file]}
    assert {*same, "model.safetensors"} == {*files}  # whose header is in any order
    assert {*written} == {"README.md", "classes.json", "config.json", "geometry.json",
                          "model.safetensors"}  # fmt: skip
    source = read_source(ADDRESS)
    assert source.config == CONFIG and source.preprocessing == KNOWN
    assert source.class_names == ("ant", "bee", "cow")
    assert source.geometry == Geometry(12, 14, "bicubic")
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3)).astype("float32")
    expected = load_trained(own).model(images)
    made = convert(ADDRESS, include_preprocessing=True)
    np.testing.assert_allclose(made(images), expected, atol=1e-6)
    start = read_start(ADDRESS, "resnet8v2")
    assert start.config == CONFIG and start.preprocessing == KNOWN.layer().get_config()
    out = tmp_path / "again.keras"
    assert main(["convert", ADDRESS, "--out", str(out)]) == 0
    again = load_trained(out)
    assert again.class_names == ("ant", "bee", "cow")
    assert again.geometry == Geometry(12, 14, "bicubic")
    np.testing.assert_allclose(again.model(images), expected, atol=1e-6)


def test_it_is_used_as_any_trained_network(own, pushed, hub, tmp_path, capsys, monkeypatch):
    """From the Hub, and from its file alone: the same scores as before, and the same files fit."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 20, 3), "uint8")).save("a.png")
    said = []
    (tmp_path / "net.safetensors").write_bytes(hub.repos[NAME]["model.safetensors"])
    (tmp_path / "net.classes.json").write_bytes(hub.repos[NAME]["classes.json"])
    for network in (str(own), ADDRESS, "net.safetensors"):
        assert main(["predict", network, "a.png", "--json"]) == 0
        out, err = capsys.readouterr()
        said.append(json.loads(out)["scores"])
        assert "shorter side resized to 14 pixels (bicubic), centre crop 12 x 12" in err
    assert {*said[0]} == {"ant", "bee", "cow"}
    for scores in said[1:]:
        assert scores == pytest.approx(said[0], abs=1e-6)
    assert main(["explain", ADDRESS, "a.png"]) == 0
    assert (tmp_path / "some-one--a-explained" / "a-cam.png").is_file()
    save_named(convert("net.safetensors"), "bare.safetensors", read_source(ADDRESS).config)
    assert main(["predict", "bare.safetensors", "a.png"]) == 2
    assert "weights that say how images are preprocessed" in capsys.readouterr().err


def test_a_builder_takes_it_and_says_how_it_differs(hub, tmp_path, randomize):
    fields = {"activation": "prelu", "classes": 3, "input_shape": (16, 16, 3)}
    model = randomize(create_model("resnet8v2", **fields))
    model.save(tmp_path / "mine.keras")
    assert main(["push", str(tmp_path / "mine.keras"), ADDRESS, "--public"]) == 0
    assert NAME not in hub.private
    with pytest.warns(UserWarning, match=r"activation='prelu', not activation='relu'"):
        found = create_model("resnet8v2", weights=ADDRESS)
    assert found.input_shape == model.input_shape
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    np.testing.assert_allclose(found(images), model(images), atol=1e-5)
    for name, changes, words in (
        ("resnet8v2", {"classes": 4}, "`classes` must be 3 for weights='hf://"),
        ("resnet8v2", {"activation": "relu"}, "were trained with activation='prelu'"),
        ("resnet20v2", {}, r"Received: 'hf://.*units=\(1, 1, 1\)\. Use keras_preact\.convert"),
    ):
        with pytest.raises(ConfigError, match=words):
            create_model(name, weights=ADDRESS, **changes)


def test_networks_of_others(hub):
    """A repository as timm leaves it, whose outputs are known."""
    with np.load(GOLDEN / "torchvision_basic.npz") as arrays:
        tensors = dict(arrays)
    expected = tensors.pop("outputs")
    folder = pathlib.Path(os.environ["HF_HOME"])
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    config = {"architecture": "resnet18", "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    hub.repos[NAME] = {
        "model.safetensors": (folder / "model.safetensors").read_bytes(),
        "config.json": json.dumps(config).encode(),
        "pytorch_model.bin": b"cos\nsystem\n(S'touch pwned'\ntR.",
        "run_me.py": b"1 / 0",
        "sub/config.json": b"{}",
    }
    images = np.load(GOLDEN / "images.npy")
    made = convert(ADDRESS, classifier_activation=None)
    np.testing.assert_allclose(made(images), expected, atol=1e-4)
    assert read_source(ADDRESS).preprocessing == Preprocessing([127.5] * 3, [63.75] * 3)
    names = {path.name for path in pull(ADDRESS).rglob("*")}
    assert names == {"commit.txt", "config.json", "model.safetensors"}


def test_a_revision_is_downloaded_once_and_a_new_one_is_seen(pushed, hub):
    folder = pull(ADDRESS)
    sent, sha = hub.sent, hub.sha(NAME)
    assert pull(ADDRESS) == folder and hub.sent == sent
    hub.repos[NAME]["classes.json"] = b'["a", "b", "c"]'
    assert read_source(ADDRESS).class_names == ("a", "b", "c") and hub.sent > sent
    with pytest.raises(ConfigError, match="no such repository or revision"):
        pull(f"{ADDRESS}@{sha}")
    hub.status = 503  # the way to it may come back: what was pulled is used, and that is said
    with pytest.warns(UserWarning, match="The copy in the cache is used"):
        assert pull(ADDRESS) == folder
    with pytest.raises(ConfigError, match="answered 503"):
        pull("hf://some-one/other")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (None, "does not exist or is private"),
        ({}, "A repository must have a model.safetensors"),
        ({"pytorch_model.bin": b"1", "tf_model.h5": b"2"}, "Received: .*pytorch_model.bin"),
        ({"model.safetensors": b"1"}, "must have a config.json|a folder with a config.json"),
        ({"model.safetensors": b"1", "config.json": b"{}"}, "must have a config.json with one of"),
        ({"model.safetensors": b"1", "config.json": b'{"architecture": "resnet18"}'},
         "a complete `.safetensors` file"),
        ({"model.weights.h5": b"1", "config.json": b'{"registered_name": "x"}'},
         "that of a ResNetBackbone"),
    ],
)  # fmt: skip
def test_what_is_no_network_is_refused(files, words, hub):
    if files is not None:
        hub.repos[NAME] = files
    with pytest.raises(ConfigError, match=words):
        read_source(ADDRESS)


def test_a_file_that_was_changed_on_the_way_is_refused(pushed, hub):
    data = bytearray(hub.repos[NAME]["model.safetensors"])
    data[-3] ^= 1
    hub.repos[NAME]["model.safetensors"] = bytes(data)
    with pytest.raises(ConfigError, match="SHA-256"):
        read_source(ADDRESS)


def test_files_that_are_too_large_are_not_taken(pushed, hub, monkeypatch):
    monkeypatch.setattr("keras_preact.weights.hub.LARGEST", 1000)
    with pytest.raises(ConfigError, match=r"whose (config\.json|model\.safetensors) has"):
        pull(ADDRESS)
    assert hub.sent == 0


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://net", "hf://a/b/c", "hf://a/../b", "hf://a/b@", "hf://-a/b", "hf://a/b@../x"],
)
def test_addresses(text):
    with pytest.raises(ConfigError, match="hf://user/name"):
        address_of(text)


def test_what_cannot_be_reached_is_said_in_a_line(hub, own, capsys, monkeypatch):
    hub.status = 403
    assert main(["push", str(own), ADDRESS]) == 2
    assert "your token has no write permission" in capsys.readouterr().err
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for command in (["push", str(own), ADDRESS], ["convert", ADDRESS, "--out", "x.keras"]):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert "The Hub cannot be reached" in err and len(err.splitlines()) == 1


def test_nothing_is_pushed_that_computes_something_else(hub, own, monkeypatch):
    monkeypatch.setattr(
        "keras_preact.export.hub.call", lambda model, images: np.random.default_rng().random((3, 3))
    )
    with pytest.raises(ExportError, match="Nothing was pushed"):
        push(own, ADDRESS)
    assert not hub.asked


def test_the_hubs_own_reader_finds_the_results(trained_run, tmp_path):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    trained = load_trained(trained_run)
    card = huggingface_hub.ModelCard(model_card(trained, hub=ADDRESS))
    (result,) = card.data.eval_results
    assert (result.task_type, result.metric_type) == ("image-classification", "accuracy")
    assert result.dataset_name == "digits"
    assert result.metric_value == pytest.approx(trained.run.result["test_accuracy"], abs=1e-6)
    assert card.data.to_dict()["library_name"] == "keras"
    assert f'convert("{ADDRESS}", include_preprocessing=True)' in card.text


def test_a_disk_that_cannot_be_written_is_said(pushed, tmp_path, monkeypatch):
    (tmp_path / "keras").rename(tmp_path / "elsewhere") if (tmp_path / "keras").exists() else None
    (tmp_path / "keras").write_text("no folder")
    with pytest.raises(SaveError):
        pull(ADDRESS)


CHILD = "import sys; from keras_preact.weights.hub import pull; print(pull(sys.argv[1]))"


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.thorough
def test_a_pull_that_is_killed_is_whole_or_not_there(kills, hub, monkeypatch):
    """At a byte on the way, or a moment after the last one; the next pull has all of it."""
    drawn = random.Random(0)
    rng = np.random.default_rng(0)
    files = {name: rng.bytes(40_000) for name in WANTED}
    hub.repos[NAME] = files
    total, child = sum(map(len, files.values())), []
    models = pathlib.Path(os.environ["KERAS_HOME"]) / "models"
    folder, before, whole = models / "hub-some-one--a.net_1--main", None, 0
    for kill in range(kills):
        hub.repos[NAME]["config.json"] = f"{kill}".encode()  # another commit
        now = {**hub.repos[NAME], "commit.txt": hub.sha(NAME).encode()}
        hub.sent, child[:] = 0, []
        limit = drawn.choice([drawn.randrange(total - 40_000), None])

        def on_piece(sent, limit=limit):
            if limit is not None and sent >= limit:
                child[0].kill()

        hub.on_piece = on_piece
        command = [sys.executable, "-c", CHILD, ADDRESS]
        child.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        if limit is None:
            while hub.sent < total - 80_000 and child[0].poll() is None:
                time.sleep(0.001)
            time.sleep(drawn.random() * 0.05)
            child[0].kill()
        child[0].wait()
        hub.on_piece = lambda sent: None
        found = contents(folder)
        assert found in (before, now)
        whole += found == now
        before = contents(pull(ADDRESS))
        assert before == now
        left = {path.name for path in models.iterdir() if path.name.startswith(".partial")}
        assert all(name.endswith(".lock") for name in left)
    assert whole < kills


def contents(folder):
    if not folder.is_dir():
        return None
    return {path.name: path.read_bytes() for path in folder.iterdir()}
