"""How images are fitted goes with the weights: the libraries' conventions, files, headers, runs."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from keras_preact import convert, create_model, load_trained
from keras_preact.cli import main
from keras_preact.data import Geometry
from keras_preact.data.reading import Reading
from keras_preact.errors import ConfigError
from keras_preact.weights import read_geometry, read_source, read_weights, save_named

GOLDEN = pathlib.Path(__file__).parent / "golden"
TORCHVISION = Geometry(224, 256)
CONVNEXT = Geometry(224, 256, "bicubic", "center_floor")


def tensors(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file if key != "outputs"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("keras_v1", Geometry((48, 32), None, "nearest", "squash")),
        ("keras_v2", Geometry((48, 32), None, "nearest", "squash")),
        ("torchvision_basic", TORCHVISION),
        ("timm_v2_basic", TORCHVISION),
        ("transformers_basic", CONVNEXT),
    ],
)
@pytest.mark.thorough
def test_libraries_have_theirs(source, expected, keras_resnet):
    if not source.startswith("keras"):
        assert read_source(tensors(source)).geometry == expected
        return
    v2 = source.endswith("2")
    assert read_source(keras_resnet(v2, (48, 32, 3))).geometry == expected
    free = keras_resnet(v2, None, include_top=False)
    assert read_source(free).geometry == expected.of_size((224, 224))


def folder_of(kind, folder, about):
    """A folder as a library writes it, which says this of images."""
    if kind == "keras_hub":
        shutil.unpack_archive(GOLDEN / "keras_hub_basic.zip", folder)
        if about is not None:
            (folder / "image_converter.json").write_text(json.dumps({"config": about}))
        return folder
    name = {"transformers": "transformers_basic", "timm": "torchvision_basic"}[kind]
    save_file(tensors(name), folder / "model.safetensors")
    config = {"architecture": "resnet18", "pretrained_cfg": about}
    if kind == "transformers":
        config = json.loads((GOLDEN / f"{name}.json").read_text())
        if about is not None:
            (folder / "preprocessor_config.json").write_text(json.dumps(about))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


VIT = {"image_processor_type": "ViTImageProcessor"}
CLIP = {"image_processor_type": "CLIPImageProcessor", "do_center_crop": True, "resample": 2}


@pytest.mark.parametrize(
    ("kind", "about", "expected"),
    [
        ("timm", {}, Geometry(224, 256, "bicubic")),
        ("timm", None, Geometry(224, 256, "bicubic")),
        (
            "timm",
            {"input_size": [3, 288, 288], "crop_pct": 0.95, "interpolation": "bilinear"},
            Geometry(288, 303),
        ),
        (
            "timm",
            {"input_size": [3, 160, 160], "crop_pct": 0.9, "crop_mode": "squash"},
            Geometry(160, 177, "bicubic", "squash"),
        ),
        ("timm", {"crop_mode": "border"}, None),
        ("timm", {"interpolation": "lanczos"}, None),
        ("timm", {"input_size": [3, 224, 320]}, None),
        ("timm", {"crop_pct": "most"}, None),
        ("timm", {"crop_pct": 1.25}, None),
        ("transformers", None, CONVNEXT),
        (  # as the first of them were written
            "transformers",
            {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "resample": 3},
            CONVNEXT,
        ),
        (
            "transformers",
            {"size": {"shortest_edge": 288}, "crop_pct": 0.95, "resample": 2},
            Geometry(288, 303, "bilinear", "center_floor"),
        ),
        (
            "transformers",
            {"size": {"shortest_edge": 384}},
            Geometry(384, None, "bicubic", "squash"),
        ),
        ("transformers", {**VIT, "size": 224}, Geometry(224, None, "bicubic", "squash")),
        (
            "transformers",
            {**VIT, "size": {"height": 96, "width": 128}, "resample": 0},
            Geometry((96, 128), None, "nearest", "squash"),
        ),
        (
            "transformers",
            {**CLIP, "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
            Geometry(224, 256, "bilinear", "center_floor"),
        ),
        (
            "transformers",
            {**CLIP, "size": {"height": 256, "width": 256}, "crop_size": 224},
            Geometry(224, 256, "bilinear", "squash"),
        ),
        ("transformers", {"do_resize": False}, None),
        ("transformers", {"resample": 1}, None),
        ("transformers", {"size": {"longest_edge": 224}}, None),
        ("keras_hub", None, None),
        ("keras_hub", {"scale": 1.0}, None),
        ("keras_hub", {"image_size": [224, 224]}, Geometry(224)),
        (
            "keras_hub",
            {"image_size": [96, 128], "crop_to_aspect_ratio": False, "interpolation": "bicubic"},
            Geometry((96, 128), None, "bicubic", "squash"),
        ),
        ("keras_hub", {"image_size": [224, 224], "pad_to_aspect_ratio": True}, None),
        ("keras_hub", {"image_size": [224, 320]}, None),
    ],
)
def test_what_their_files_say_counts(kind, about, expected, tmp_path):
    assert read_source(folder_of(kind, tmp_path, about)).geometry == expected


def small(*size):
    fields = {"units": (1,), "filters": (4,), "stem_filters": 4}
    return create_model("resnet8v2", input_shape=(*size, 3), classes=3, **fields)


@pytest.fixture
def net(tmp_path):
    """A network of any size of this package, with nothing beside it."""
    path = tmp_path / "net.keras"
    small(None, None).save(path)
    return path


@pytest.mark.thorough
def test_it_stands_beside_a_file_or_in_its_header(net, tmp_path):
    assert read_geometry(net) is None and load_trained(net).geometry == Geometry()
    for name, known in (("geometry.json", Geometry(8)), ("net.geometry.json", CONVNEXT)):
        (tmp_path / name).write_text(known.to_json())
        assert load_trained(net).geometry == read_geometry(net) == known
        assert read_source(net).geometry == known
    source = read_source(net)
    save_named(convert(source), tmp_path / "net.safetensors", source.config, None, CONVNEXT)
    again = read_source(tmp_path / "net.safetensors")
    assert again.geometry == CONVNEXT == read_geometry(tmp_path / "net.safetensors")
    assert read_weights(tmp_path / "net.safetensors").keys() == source.weights.keys()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "geometry.json must describe how image files are fitted to net.keras"),
        ("[" * 100_000, "geometry.json must describe"),
        ("[]", "expects a JSON object"),
        ('{"size": 0}', "at least 1"),
        ('{"size": 224, "shorter": 1}', "at least 224"),
        ('{"sizes": 224}', "has the fields 'size', 'shorter'"),
    ],
)
@pytest.mark.sample(6)
def test_what_is_damaged_is_named(text, words, net, tmp_path):
    (tmp_path / "net.geometry.json").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_trained(net)


def test_a_network_of_one_size_has_that(tmp_path):
    path = tmp_path / "net.keras"
    small(8, 12).save(path)
    assert load_trained(path).geometry == read_source(path).geometry == Geometry((8, 12))
    known = Geometry(None, reading=Reading(orientation="apply"))
    (tmp_path / "geometry.json").write_text(known.to_json())
    assert load_trained(path).geometry == known.of_size((8, 12))
    (tmp_path / "geometry.json").write_text(Geometry(8).to_json())
    with pytest.raises(ConfigError, match=r"\[8, 12\].*Received: size=\[8, 8\].*geometry\.json"):
        load_trained(path)
    changed = load_trained_without(tmp_path / "geometry.json", path).fitted(16, 20, "bicubic")
    assert changed.geometry == Geometry(16, 20, "bicubic")
    assert changed.image_shape == (None, None, 3)


def load_trained_without(file, path):
    file.unlink()
    return load_trained(path)


@pytest.mark.thorough
def test_a_run_remembers_its_own(trained_run, tmp_path):
    assert load_trained(trained_run).geometry == Geometry(8)
    assert read_source(trained_run).geometry == Geometry(8)
    written = json.loads((trained_run / "geometry.json").read_text())
    assert Geometry.from_dict(written) == Geometry(8)
    early = shutil.copytree(trained_run, tmp_path / "early")  # before there was such a file
    (early / "geometry.json").unlink()
    resolved = json.loads((early / "resolved.json").read_text())
    resolved["data"] |= {"alpha": "white"}
    for name in ("shorter", "interpolation", "crop"):
        del resolved["data"][name]
    (early / "resolved.json").write_text(json.dumps(resolved))
    expected = Geometry(8, reading=Reading(alpha="white"))
    for path in (early, early / "model.keras"):
        assert load_trained(path).geometry == expected


def test_convert_says_it_and_writes_it(tmp_path, capsys):
    save_file(tensors("torchvision_basic"), tmp_path / "net.safetensors")
    command = ["convert", str(tmp_path / "net.safetensors"), "--out"]
    out = tmp_path / "mine.keras"
    assert main([*command, str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"their size: {TORCHVISION}" in said and "mine.geometry.json, how images" in said
    assert load_trained(out).geometry == TORCHVISION
    assert main([*command, str(out), "--size", "32", "--interpolation", "bicubic"]) == 0
    assert load_trained(out).geometry == Geometry(32, 36, "bicubic")
    again = str(tmp_path / "again.safetensors")
    assert main(["convert", str(out), "--out", again]) == 0
    assert read_geometry(again) == Geometry(32, 36, "bicubic")
    assert main([*command, str(tmp_path / "mine.weights.h5")]) == 0
    assert "which a .weights.h5 file cannot store" in " ".join(capsys.readouterr().out.split())
    folder = tmp_path / "hub"
    folder.mkdir()
    assert main(["convert", str(folder_of("keras_hub", folder, None)), "--out", str(out)]) == 0
    assert "does not say how images are resized; set it with --size" in capsys.readouterr().out
    assert not (tmp_path / "mine.geometry.json").exists()  # that of the file that was there
    assert main([*command, str(out), "--interpolation", "cubic"]) == 2
    assert "one of 'nearest', 'bilinear', 'bicubic'" in capsys.readouterr().err
    assert main([*command, str(out), "--size", "0"]) == 2
    assert "of at least 1" in capsys.readouterr().err
