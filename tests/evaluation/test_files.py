"""Predictions for image files: what can be read is classified, what cannot is named (R10)."""

import csv
import gc
import io
import json
import re
import shutil
import weakref

import keras
import numpy as np
import pytest
from PIL import Image

from keras_preact import create_model, feature_extractor, load_trained
from keras_preact.cli import main
from keras_preact.console import visible
from keras_preact.data import Geometry, decode
from keras_preact.data.picture import Picture
from keras_preact.data.reading import Reading
from keras_preact.data.tree import list_folder
from keras_preact.errors import ConfigError, shown
from keras_preact.evaluation import Evaluation, classify_files


def small(input_shape, classes=4, **fields):
    fields = {"units": (1,), "filters": (4,), "stem_filters": 4, **fields}
    return create_model("resnet8v2", input_shape=input_shape, classes=classes, **fields)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "mine.keras"
    keras.utils.set_random_seed(0)
    small((8, 8, 3)).save(path)
    path.with_name("classes.json").write_text('["ant", "bee", "cow", "dog"]')
    return path


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "inner").mkdir()
    for name, size in {"a.png": (8, 8), "b.jpg": (20, 9), "inner/c.PNG": (8, 8)}.items():
        pixels = random.integers(0, 256, (*size, 3), "uint8")
        Image.fromarray(pixels).save(tmp_path / name)
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "grey.png")
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "cmyk.jpg")
    return tmp_path


BAD = {
    "empty.jpg": b"",
    "text.jpg": b"no image",
    "pdf.png": b"%PDF-1.7",
    "cut.png": b"\x89PNG\r\n\x1a\n",
}


def test_each_image_is_classified_as_alone(network, folder):
    trained = load_trained(network)
    found, unreadable = classify_files(trained, [folder], top=4, batch_size=2)
    assert not unreadable and found["file"].nunique() == 5
    for file, rows in found.groupby("file"):
        alone, _ = classify_files(trained, [file], top=4)
        together, alone = (part.set_index("label")["probability"] for part in (rows, alone))
        np.testing.assert_allclose(together, alone[together.index], atol=1e-5)  # other kernels
        assert rows["probability"].is_monotonic_decreasing
        assert rows["probability"].sum() == pytest.approx(1, abs=1e-5)


def test_a_network_of_any_size_takes_images_as_they_are(folder, tmp_path):
    path = tmp_path / "free.keras"
    small((None, None, 3)).save(path)
    found, _ = classify_files(load_trained(path), [folder], top=1)
    assert len(found) == 5


def scores_of(found):
    return found.set_index("label")["probability"].sort_index().to_numpy()


def test_or_as_it_is_remembered_or_said(folder, tmp_path, capsys):
    path, file = tmp_path / "free.keras", str(folder / "b.jpg")
    model = small((None, None, 3))
    head = model.get_layer("predictions").kernel
    head.assign(head * 0.01)  # scores that are not all or nothing
    model.save(path)
    trained = load_trained(path)
    assert main(["predict", str(path), file, "--csv"]) == 0
    assert "images: original size; --size 224 would" in capsys.readouterr().err
    geometry = Geometry(8, 9, "bicubic")
    Image.fromarray(geometry.fit(Picture(file, 3))).save(tmp_path / "fitted.png")
    expected, _ = classify_files(trained, [tmp_path / "fitted.png"], top=4)
    path.with_name("free.geometry.json").write_text(geometry.to_json())
    remembered, _ = classify_files(load_trained(path), [file], top=4)
    said, _ = classify_files(trained.fitted(8, 9, "bicubic"), [file], top=4)
    whole, _ = classify_files(trained, [file], top=4)
    for found in (remembered, said):
        np.testing.assert_allclose(scores_of(found), scores_of(expected), atol=1e-6)
    assert np.abs(scores_of(whole) - scores_of(expected)).max() > 1e-5
    asked = ["predict", str(path), file, "--size", "16", "--interpolation", "nearest"]
    assert main(asked) == 0
    line = "images: shorter side resized to 18 pixels (nearest), centre crop 16 x 16"
    assert line in " ".join(capsys.readouterr().err.split())
    assert main([*asked, "--shorter", "10"]) == 2
    assert "`shorter` must be at least 16" in capsys.readouterr().err


def test_no_image_is_held_when_it_is_classified(network, folder):
    pictures, seen = weakref.WeakSet(), []
    opened = Picture.__init__

    def counted(self, *arguments, **options):
        opened(self, *arguments, **options)
        pictures.add(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Picture, "__init__", counted)
        classify_files(load_trained(network), [folder], look=seen.append)
    assert len(seen) == 5 and {header.orientation for header in seen} == {1}
    gc.collect()
    assert not [*pictures]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.sample(2)
def test_files_are_read_as_the_images_of_the_run(early, trained_run, tmp_path, capsys):
    """And not as they would be without its options, which give other scores."""
    pixels = np.random.default_rng(0).integers(0, 128, (8, 8), "uint8")
    image = Image.fromarray(pixels).convert("LA")
    image.putalpha(Image.fromarray(pixels + 60))
    image.getexif()[0x0112] = 6
    image.save(tmp_path / "a.png", exif=image.getexif())
    options = {"range": [0, 100], "alpha": "white", "orientation": "apply"}
    seen = decode(tmp_path / "a.png", how=Reading((0, 100), "white", "apply"))
    Image.fromarray(seen[..., 0]).save(tmp_path / "seen.png")
    run = shutil.copytree(trained_run, tmp_path / "run")
    small((8, 8, 1), classes=10).save(run / "model.keras")
    trained = load_trained(run)
    expected, _ = classify_files(trained, [tmp_path / "seen.png"])
    plain, _ = classify_files(trained, [tmp_path / "a.png"])
    if early:  # as a run before it wrote a geometry
        (run / "geometry.json").unlink()
        resolved = json.loads((run / "resolved.json").read_text())
        resolved["data"] |= options
        (run / "resolved.json").write_text(json.dumps(resolved))
    else:
        (run / "geometry.json").write_text(json.dumps({"size": [8, 8], "reading": options}))
    found, _ = classify_files(load_trained(run), [tmp_path / "a.png"])
    assert found["probability"].tolist() == expected["probability"].tolist()
    assert found["probability"].tolist() != plain["probability"].tolist()
    assert main(["predict", str(run), str(tmp_path / "a.png"), "--json"]) == 0
    assert "1 image is rotated" in capsys.readouterr().err
    alone = shutil.copy(run / "model.keras", tmp_path / "alone.keras")
    shutil.copy(run / "geometry.json", tmp_path) if not early else None
    found, _ = classify_files(load_trained(alone), [tmp_path / "a.png"])
    assert (found["probability"].tolist() == expected["probability"].tolist()) is not early


@pytest.mark.parametrize("shape", [(8, 12), (12, 8)])
def test_a_network_of_oblong_images(shape, folder, tmp_path):
    path = tmp_path / "oblong.keras"
    small((*shape, 3)).save(path)
    found, unreadable = classify_files(load_trained(path), [folder], top=1)
    assert len(found) == 5 and not unreadable


def test_unreadable_files_are_named_and_the_rest_is_done(network, folder, capsys):
    for name, data in BAD.items():
        (folder / name).write_bytes(data)
    assert main(["predict", str(network), str(folder), "--json"]) == 3
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert len(lines) == 5 and set(lines[0]["scores"]) <= {"ant", "bee", "cow", "dog"}
    for name in BAD:
        assert str(folder / name) in captured.err
    assert "4 of 9 files cannot be read" in captured.err


def test_as_a_table_and_as_csv(network, folder, capsys):
    assert main(["predict", str(network), str(folder / "a.png"), "--top", "2"]) == 0
    assert "most likely" in capsys.readouterr().out
    assert main(["predict", str(network), str(folder / "a.png"), "--csv"]) == 0
    rows = [*csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert [row["rank"] for row in rows] == ["1", "2", "3"]


def test_what_is_not_there_is_named_and_the_rest_is_done(network, folder, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "a.heic").touch()
    (tmp_path / "half.jpg").write_bytes((folder / "b.jpg").read_bytes()[:400])
    (tmp_path / "404.jpg").write_text("<!DOCTYPE html>")
    wrong = {
        tmp_path / "none.png": "No such file",
        tmp_path / "*.heic": "No such file",
        tmp_path / "half.jpg": "(image file is truncated|Truncated File Read)",
        tmp_path / "404.jpg": "no image, neither JPEG",
        network: "no image, neither JPEG",
        tmp_path / "half.jpg" / "a.png": "Not a directory",
        "http://example.com/a.png": "a URL: download the image first",
        "null\0.png": "embedded null byte",
        empty: r"a folder without images \(left out: 1",
    }
    named = map(str, (folder / "a.png", *wrong, folder / "b.jpg"))
    assert main(["predict", str(network), *named, "--json"]) == 3
    said = capsys.readouterr()
    files = [json.loads(line)["file"] for line in said.out.splitlines()]
    assert files == [str(folder / "a.png"), str(folder / "b.jpg")]
    for path, words in wrong.items():
        assert re.search(f"{re.escape(visible(shown(path)))}: {words}", said.err)
    assert "9 of 11 files cannot be read" in said.err


@pytest.mark.parametrize(
    ("names", "told_apart"),
    [
        (["crane", "crane", "dog", "owl"], ["crane #0", "crane #1", "dog", "owl"]),
        (["7", "007", "seven", "7 "], ["7 #0", "007 #1", "seven", "7  #3"]),
        (["crane", "crane #0", "crane", "a,b"], ["crane #0 #0", "crane #0 #1", "crane #2", "a,b"]),
    ],
)
@pytest.mark.sample(3)
def test_names_that_repeat_lose_no_class(names, told_apart, network, folder, tmp_path, capsys):
    file = shutil.copy(network, tmp_path / "net.keras")
    (tmp_path / "net.classes.json").write_text(json.dumps(names))
    asked = ["predict", str(file), str(folder / "a.png"), "--top", "4"]
    assert main([*asked, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert {*scores} == {*told_apart} and sum(scores.values()) == pytest.approx(1, abs=1e-5)
    assert main([*asked, "--csv"]) == 0
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert [row["label"] for row in rows] == [*scores]
    evaluation = Evaluation(np.eye(4)[[0, 0, 2, 3]], np.arange(4), load_trained(file).class_names)
    assert evaluation.per_class()["class"].tolist() == told_apart
    assert evaluation.worst_class == (told_apart[1], 0.0)


def test_a_file_that_is_named_twice_is_one(network, folder, capsys):
    named = [str(folder / name) for name in ("a.png", "a.png", ".", "none.png", "none.png")]
    assert main(["predict", str(network), *named, "--csv"]) == 3
    said = capsys.readouterr()
    files = [row["file"] for row in csv.DictReader(io.StringIO(said.out)) if row["rank"] == "1"]
    assert files[0] == named[0] and len({*files}) == len(files)
    assert "1 of 6 files cannot be read" in said.err
    assert main(["predict", str(network), named[0], named[0]]) == 0
    assert capsys.readouterr().out.count("%") == 3
    assert main(["predict", str(network), named[-1]]) == 3
    assert not capsys.readouterr().out  # no empty table


def test_the_files_of_a_folder_are_those_that_a_training_takes(network, tmp_path, capsys):
    """A Mac's halves, a notebook's, a NAS's thumbnails, a folder called x.jpg, other formats."""
    for name in ("cat/1.png", "cat/._1.png", "cat/.ipynb_checkpoints/2.png", "dog/2.png",
                 "dog/@eaDir/2.png/SYNO_THUMB_M.jpg", "__MACOSX/cat/1.png", "dog/x.jpg/3.png",
                 "dog/4.ppm"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    expected = [str(tmp_path / name) for name in ("cat/1.png", "dog/2.png", "dog/x.jpg/3.png")]
    assert main(["predict", str(network), str(tmp_path), "--json"]) == 0
    said = capsys.readouterr()
    assert [json.loads(line)["file"] for line in said.out.splitlines()] == expected
    assert "left out: 5 (" in said.err and ".ppm 1" in said.err and "hidden 2" in said.err
    folder = list_folder(str(tmp_path))
    assert folder.parts["all"].paths == expected and folder.class_names == ("cat", "dog")
    assert "left out: 5 (" in folder.notes()[0]


def of_two_inputs():
    images = [keras.Input((8, 8, 3)) for _ in range(2)]
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()(images))
    return keras.Model(images, keras.layers.Dense(2)(x))


def two_maps():
    model = small((8, 8, 3), units=(1, 1), filters=(16, 32))
    return feature_extractor(model, ["stage1", "stage2"])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)]), r"\(None, 8\)"),
        (lambda: small((8, 8, 3), classes=1), "for two or more classes"),
        (lambda: small((8, 8, 3), include_top=False), "to .*8, 8, 4"),
        (lambda: small((8, 8, 3), include_top=False, pooling="avg"), "do not sum to 1"),
        (lambda: small((None, 8, 3)), "of a fixed or any size"),
        (lambda: small((8, 8, 4)), r"1 or 3\)"),
        (lambda: small((3, 8, 8), data_format="channels_first"), r"1 or 3\)"),
        (of_two_inputs, "from .*8, 8, 3.*8, 8, 3"),
        (two_maps, "to .*16.*32"),
    ],
)
@pytest.mark.sample(9)
def test_models_that_give_no_scores_of_images_are_refused(build, words, tmp_path):
    build().save(tmp_path / "other.keras")
    with pytest.raises(ConfigError, match=words):
        load_trained(tmp_path / "other.keras")
