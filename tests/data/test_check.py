"""What a data set is said to be before any training: twins and leaks, depths, tags, sizes."""

import json
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_preact.cli import main
from keras_preact.data import DataOptions, check_data, decode, load_data
from keras_preact.data.alike import alike, print_of
from keras_preact.evaluation.data_page import data_page


def photo(seed, size=(48, 40)):
    """A smooth random image, as a photograph is."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """20 photographs of two classes in two parts, all different."""
    for part, first, count in (("train", 0, 8), ("test", 100, 2)):
        for k, name in enumerate(("cat", "dog")):
            for n in range(count):
                save(photo(first + 50 * k + n), tmp_path / part / name / f"{n}.png")
    return tmp_path


def test_different_photographs_are_no_twins(folder):
    report = check_data(str(folder))
    assert report.ok and not report.warnings and not report.twins
    assert report.summary()[-1] == "nothing is wrong"
    assert report.formats == {"PNG": 20}


@pytest.mark.parametrize("copy", ["same file", "other quality", "other size", "PNG of a JPEG"])
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("test/cat/copy", "in both parts"),
        ("train/dog/copy", "of two classes"),
        ("train/cat/copy", "within a part"),
    ],
)
def test_a_copy_is_found_wherever_it_is(copy, place, words, folder):
    original = folder / "train" / "cat" / "0.png"
    image = Image.open(original)
    changed, suffix, options = {
        "same file": (image, ".png", {}),
        "other quality": (image, ".jpg", {"quality": 60}),
        "other size": (image.resize((96, 80)), ".png", {}),
        "PNG of a JPEG": (image, ".png", {"compress_level": 1}),
    }[copy]
    path = save(changed, (folder / place).with_suffix(suffix), **options)
    report = check_data(str(folder))
    exact = copy in ("same file", "PNG of a JPEG")
    (first, second, found) = report.twins[0]
    assert len(report.twins) == 1 and found is exact
    assert {first["image"], second["image"]} == {str(original), str(path)}
    (said,) = (line for line in report.warnings if "pairs" in line)
    assert words in said and ("to the last pixel" in said) is exact and str(path) in said


def test_twins_are_called_by_their_parts(folder):
    """And where their classes differ as well, by both."""
    for part, name in (("val/cat", 0), ("val/dog", 1)):
        save(photo(900 + name), folder / part / "0.png")
    shutil.copy(folder / "val" / "cat" / "0.png", folder / "test" / "cat" / "copy.png")
    shutil.copy(folder / "train" / "cat" / "0.png", folder / "test" / "dog" / "copy.png")
    shutil.copy(folder / "train" / "cat" / "1.png", folder / "val" / "cat" / "copy.png")
    said = [line.partition(", equal")[0] for line in check_data(str(folder)).warnings]
    across = "pairs of images in the {} and the {} part"
    assert said == [
        "pairs of images in both parts",
        across.format("training", "validation"),
        across.format("validation", "test"),
        "pairs of images of two classes",
    ]


def test_flat_images_are_not_all_alike():
    prints = [print_of(np.full((20, 20, 3), k, "uint8")) for k in range(0, 200, 2)]
    assert alike(prints) == []
    assert len(alike([*prints, prints[3]])) == 1


def png_of_16_bits(values):
    """Grey, grey with alpha, colours, colours with alpha, by the last axis; Pillow writes grey."""
    height, width, channels = values.shape
    size = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = {b"IHDR": size, b"IDAT": zlib.compress(rows), b"IEND": b""}
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("channels", "mode"), [(1, "I;16"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_what_files_say_and_a_training_does_not_heed(channels, mode, tmp_path):
    for name in ("a", "b"):
        for n in range(3):
            deep = np.random.default_rng(n).integers(0, 4096, (8, 8, channels)).astype("uint16")
            deep[0, 0] = 4095
            deep[..., 1:] = 65535 if channels == 2 else deep[..., 1:]  # nothing shines through
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{n}.png").write_bytes(png_of_16_bits(deep))
    report = check_data(str(tmp_path))
    assert dict(report.modes) == {mode: 6}
    colours = deep[..., :3] if channels > 2 else deep[..., :1]
    np.testing.assert_array_equal(decode(tmp_path / "b" / "2.png"), colours >> 8)
    (warning,) = report.warnings[:1]
    assert "6 16-bit images use only 12 bits (values up to 4095)" in warning and "by 16" in warning
    assert warning.endswith("--set data.range=[0,4095].")
    scaled = check_data(str(tmp_path), options=DataOptions(range=[0, 4095]))
    assert len(scaled.warnings) == len(report.warnings) - 1 and not scaled.notes
    (note,) = load_data(f"folder:{tmp_path}").notes  # a training says it too
    assert (
        note == "all images are dark: pixel values range from 0 to 15 of 255; multiply them by 17"
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    save(photo(1), tmp_path / "a" / "turned.jpg", exif=exif)
    assert "1 image is marked to be rotated" in check_data(str(tmp_path)).warnings[0]
    applied = check_data(str(tmp_path), options=DataOptions(orientation="apply"))
    assert applied.notes[-1].startswith("1 image is rotated") and applied.sizes[40, 48] == 1
    assert "turned" not in " ".join(applied.warnings)
    for orientation, report in (("ignore", check_data(str(tmp_path))), ("apply", applied)):
        options = DataOptions(orientation=orientation, image_size=8)  # a training says the same
        notes = load_data(f"folder:{tmp_path}", options=options).notes
        assert notes[-1] in report.summary()


@pytest.mark.parametrize(("brightest", "said"), [(0, "to 0 of 255"), (1, "by 255"), (64, "")])
def test_masks_and_other_dark_images_are_said(brightest, said, tmp_path):
    """A class number, a bit or no light at all for a pixel."""
    for name in ("a", "b"):
        for n in range(2):
            pixels = np.random.default_rng(n).integers(0, brightest, (8, 8), endpoint=True)
            pixels[0, 0] = brightest
            save(Image.fromarray(pixels.astype("uint8")), tmp_path / name / f"{n}.png")
    notes = load_data(f"folder:{tmp_path}").notes
    assert notes == check_data(str(tmp_path)).notes and len(notes) == bool(said)
    assert said in " ".join(notes)


def test_classes_of_unequal_size(tmp_path):
    for k in range(24):
        save(photo(k), tmp_path / ("often" if k < 20 else "rare") / f"{k}.png")
    (warning,) = check_data(str(tmp_path)).warnings
    assert "'often' has 20 images, 'rare' 4" in warning


def test_as_json_and_as_a_page(folder, tmp_path, capsys):
    save(photo(0), folder / "test" / "dog" / "<b>.png")
    page = tmp_path / "page.html"
    assert main(["check-data", str(folder), "--json", "--html", str(page)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] and len(found["twins"]) == 1 and found["formats"] == {"PNG": 21}
    text = page.read_text()
    assert text.count("<img ") == 8 and "&lt;b&gt;.png" in text and "<b>.png" not in text
    (folder / "train" / "cat" / "bad.png").write_bytes(b"")
    assert main(["check-data", str(folder), "--json"]) == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["damaged"][0]["reason"] == "the file is empty (0 bytes)"
    assert "cannot be used as it is: 1 image file is damaged" in said.err


@pytest.mark.thorough
def test_the_page_of_a_named_set():
    assert data_page(check_data("digits")).count("<tr>") >= 11


def test_floats_need_the_range_that_they_have(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for n in range(2):
            values = np.random.default_rng(n).uniform(-40, 80, (8, 8)).astype("f4")
            Image.fromarray(values).save(tmp_path / name / f"{n}.tif")
    assert main(["check-data", str(tmp_path)]) == 3
    assert "--set data.range=[-" in capsys.readouterr().out
    assert main(["check-data", str(tmp_path), "--set", "data.range=[-40,80]"]) == 0
    assert "formats: TIFF (4)" in capsys.readouterr().out
    assert main(["check-data", str(tmp_path), "--set", "data.range=[80,-40]"]) == 2
    assert "two increasing numbers" in capsys.readouterr().err
