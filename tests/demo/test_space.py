"""A Space's folder by itself, without this package: the scores of `predict`, and the maps."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import yaml
from PIL import Image

from keras_preact import ResNetConfig, build_network, load_trained
from keras_preact.analysis import explain
from keras_preact.cli import main
from keras_preact.data import Geometry
from keras_preact.data.picture import Picture
from keras_preact.data.reading import Reading
from keras_preact.demo import demo_of, look, write_space
from keras_preact.errors import ConfigError, ExportError
from keras_preact.evaluation import classify_files
from keras_preact.rewrite import without_softmax

pytestmark = pytest.mark.tensorflow

CONFIG = ResNetConfig(units=(3, 1), filters=(4, 6), stem_filters=4)

#: Networks, and how image files become what they take.
NETWORKS = {
    "photographs": (
        lambda: build_network(CONFIG, input_shape=(24, 32, 3), classes=3),
        Geometry((24, 32), 40, "bicubic", "center_floor", Reading(None, "white", "apply")),
    ),
    "squashed and grey, without class activation maps": (
        lambda: build_network(
            CONFIG.replace(pyramid=(2, 1), dense=(4,)), input_shape=(20, 16, 1), classes=3
        ),
        Geometry((20, 16), 24, "nearest", "squash", Reading((0, 900))),
    ),
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """One of each way in which pixels are stored."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (50, 70, 3), "uint8")
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(folder / "turned.jpg", exif=exif)
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.quantize(16).save(folder / "palette.png")
    image.resize((32, 24)).save(folder / "its_size.png")
    image.putalpha(Image.fromarray(pixels[..., 0]))
    image.save(folder / "alpha.webp", lossless=True)
    Image.fromarray(random.integers(0, 900, (40, 30), "uint16")).save(folder / "deep.tif")
    return folder


def saved(name, folder, randomize):
    build, geometry = NETWORKS[name]
    model = randomize(build())
    head, noise = (
        model.get_layer("predictions"),
        np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)),
    )
    images = noise[:, : model.input_shape[1], : model.input_shape[2], : model.input_shape[3]]
    largest = np.abs(without_softmax(model).predict_on_batch(images.astype("float32"))).max()
    head.set_weights([value / largest for value in head.get_weights()])  # no score is 0 or 1
    model.save(folder / "net.keras")
    (folder / "net.classes.json").write_text('["ant", "bee", "$x$ <b>"]')
    (folder / "net.geometry.json").write_text(geometry.to_json())
    return folder / "net.keras"


ALONE = """
import json, pathlib, sys
import numpy as np
sys.path = [path for path in sys.path if "PACKAGE" not in path]
sys.modules["keras"] = sys.modules["tensorflow"] = None
from app import look, read_folder
import keras_preact
assert pathlib.Path(keras_preact.__file__).parent.parent == pathlib.Path.cwd(), keras_preact
demo, found = read_folder("."), {}
for file in sys.argv[1:]:
    scores, label, picture = look(demo, file, 1)
    found[file] = [scores.tolist(), picture.tolist()]
print(json.dumps([demo.class_names, demo.title, found]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_space_by_itself_says_what_predict_says(name, photographs, tmp_path, randomize, capsys):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("gradio")
    network = saved(name, tmp_path, randomize)
    assert main(["demo", str(network), "--space", str(tmp_path / "space")]) == 0
    assert "run `python app.py` there" in capsys.readouterr().out
    files = sorted(map(str, photographs.iterdir()))
    root = str(pathlib.Path(__file__).parents[2])
    command = [sys.executable, "-c", ALONE.replace("PACKAGE", root), *files]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "KERAS"))}
    done = subprocess.run(
        command, cwd=tmp_path / "space", capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    names, title, found = json.loads(done.stdout)
    assert (tuple(names), title) == (("ant", "bee", "$x$ <b>"), "net")
    trained = load_trained(network)
    expected, unreadable = classify_files(trained, files, top=3)
    assert not unreadable and [*found] == files
    demo = demo_of(trained)
    for file in files:
        rows = expected[expected["file"] == file].set_index("label")["probability"]
        scores, picture = found[file]
        np.testing.assert_allclose(scores, rows[list(names)], atol=1e-4)
        assert 1e-3 < max(scores) < 0.999
        _, label, own = look(demo, file, 1)
        assert label == 1 and np.abs(own.astype(int) - np.array(picture)).max() <= 2


def test_maps_over_photographs_are_those_of_explain(photographs, tmp_path, randomize):
    trained = load_trained(saved("photographs", tmp_path, randomize))
    demo = demo_of(trained)
    picture = Picture(photographs / "turned.jpg", 3, how=trained.geometry.reading)
    image = trained.geometry.fit(picture)[None]
    found = explain(trained.model, image)
    _, maps = demo.network(image)
    np.testing.assert_allclose(maps[0, ..., found.classes[0]], found.grids[0], atol=1e-5)
    assert look(demo, photographs / "turned.jpg")[1] == found.classes[0]


def test_what_a_person_sees_is_the_part_that_the_network_sees():
    """A white square in the photograph is where it is in the network's image."""
    pixels = np.zeros((300, 500, 3), "uint8")
    pixels[100:160, 220:280] = 255
    for geometry in (Geometry(30), Geometry(30, 36), Geometry((30, 20)), Geometry((20, 30), 40),
                     Geometry(30, 36, crop="squash"), Geometry()):  # fmt: skip
        picture = Picture(pixels)
        fitted, seen = geometry.fit(picture), geometry.seen(picture, 300)
        assert max(seen.shape[:2]) == 300
        share = np.array(seen.shape[:2]) / fitted.shape[:2]
        for axis in (0, 1):
            here, there = (
                np.average(np.arange(x.shape[axis]) + 0.5, weights=x[..., 0].sum(1 - axis) + 1e-9)
                for x in (fitted, seen)
            )
            assert there == pytest.approx(here * share[axis], abs=0.6 * share[axis])
    tiny = Picture(np.arange(6, dtype="uint8").reshape(2, 3, 1))
    assert Geometry().seen(tiny, 6)[..., 0].tolist()[::2] == [
        [0, 0, 1, 1, 2, 2],
        [3, 3, 4, 4, 5, 5],
    ]


@pytest.fixture
def unwritten(monkeypatch):
    """The network is an empty file, which takes no seconds; what it is said to compute is set."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("gradio")
    pytest.importorskip("tf2onnx")
    monkeypatch.setattr(
        "keras_preact.demo.space.write", lambda _format, _model, path, _: path.touch()
    )

    def computes(network):
        found = types.SimpleNamespace(network=network)
        monkeypatch.setattr("keras_preact.demo.space.read_folder", lambda _: found)

    return computes


def test_a_spaces_readme_is_what_a_space_wants(trained_run, tmp_path, unwritten):
    unwritten(demo_of(load_trained(trained_run)).network)
    run = shutil.copytree(trained_run, tmp_path / "run")
    assert main(["demo", str(run), "--space", str(tmp_path / "space")]) == 0
    _, front, text = (tmp_path / "space" / "README.md").read_text().split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert (metadata["sdk"], metadata["app_file"]) == ("gradio", "app.py")
    assert metadata["title"] == "resnet8v2 on digits" and len(metadata["title"]) <= 60
    lines = (tmp_path / "space" / "requirements.txt").read_text().splitlines()
    assert f"gradio=={metadata['sdk_version']}" in lines
    assert all("==" in line for line in lines) and not any("keras" in line for line in lines)
    assert "of 360 test images" in text and "# resnet8v2 on digits" in text
    pictures = [path for path in (tmp_path / "space").rglob("*") if path.suffix == ".png"]
    assert not pictures  # no image of the data set


@pytest.mark.slow
def test_a_space_that_cannot_be_leaves_nothing(tmp_path, randomize, unwritten):
    trained = load_trained(saved("photographs", tmp_path, randomize))
    own, folder = demo_of(trained).network, tmp_path / "space"
    folder.mkdir()
    before = sorted(tmp_path.rglob("*"))
    for network in (
        lambda x: (own(x)[0] + 1e-3, own(x)[1]),
        lambda x: (own(x)[0], own(x)[1] * 1.001),
        lambda x: (own(x)[0], own(x)[1] * np.nan),
        lambda x: (own(x)[0], None),
    ):
        unwritten(network)
        with pytest.raises(ExportError, match="Nothing was written"):
            write_space(trained, folder)
        assert sorted(tmp_path.rglob("*")) == before
    (folder / "mine.txt").write_text("kept")
    with pytest.raises(ConfigError, match="a new folder or an empty one"):
        write_space(trained, folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
