"""Small JPEG files have a way of their own, which nothing but its speed tells from Pillow's."""

import io

import numpy as np
import pytest
from PIL import Image

from keras_preact.data import jpeg
from keras_preact.data import picture as module
from keras_preact.data.picture import BadImage, Picture
from keras_preact.data.reading import Reading


def encoded(mode="RGB", shape=(37, 53), **options):
    """A smooth image, as photographs are, with some noise."""
    draw = np.random.default_rng(0)
    small = Image.fromarray(draw.integers(0, 256, (6, 8, 3), np.uint8)).resize(shape[::-1], 3)
    pixels = np.clip(np.asarray(small) + draw.integers(-9, 10, (*shape, 3)), 0, 255)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def both(monkeypatch, data, channels=None, how=None):
    """What is read in either way: shape, pixels, header; or what is wrong."""
    found = []
    for small_jpeg in (jpeg.small_jpeg, lambda data: None):
        monkeypatch.setattr(module, "small_jpeg", small_jpeg)
        try:
            picture = Picture(data, channels, how=how or Reading())
            facts = picture.shape, picture.in_colour, picture.format, picture.orientation
            found.append((facts, picture.pixels(), picture.header()))
        except BadImage as error:
            found.append(str(error))
    return found


def assert_alike(one, other):
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        return
    assert one[0] == other[0] and one[2] == other[2]
    np.testing.assert_array_equal(one[1], other[1])


KINDS = [
    *({"quality": quality} for quality in (5, 75, 100)),
    *({"subsampling": subsampling} for subsampling in (0, 1, 2)),
    {"progressive": True},
    {"optimize": True},
    {"restart_marker_rows": 1},
    {"keep_rgb": True},
    {"icc_profile": bytes(range(256)) * 300, "comment": b"a comment"},
    {"mode": "L"},
    {"mode": "L", "progressive": True},
    {"mode": "CMYK"},
    {"shape": (1, 1)},
    {"shape": (700, 500)},
]


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_pixels_and_header_are_those_of_pillow(monkeypatch, options):
    options = {"exif": exif(6), **options}
    data = encoded(**options)
    is_small = options.get("shape") != (700, 500) and options.get("mode") != "CMYK"
    assert (jpeg.small_jpeg(data) is not None) == (is_small and "keep_rgb" not in options)
    for channels in (None, 1, 3):
        for how in (Reading(), Reading(orientation="apply"), Reading(range=(10, 200))):
            assert_alike(*both(monkeypatch, data, channels, how))


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


@pytest.mark.parametrize("options", [{}, {"mode": "L"}, {"progressive": True}], ids=str)
def test_damaged_files_are_read_and_refused_as_by_pillow(monkeypatch, options):
    whole, draw = encoded(**options), np.random.default_rng(0)
    refused = 0
    for k in range(120):
        data = bytearray(whole)
        if k % 3 == 0:
            del data[draw.integers(len(data)) :]
        for _ in range((0, 1, 4)[k % 3]):
            data[draw.integers(min(700, len(data)) if k % 2 else len(data))] = draw.integers(256)
        found = both(monkeypatch, bytes(data))
        assert_alike(*found)
        refused += isinstance(found[0], str)
    assert 20 < refused < 110


def test_other_files_are_left_to_pillow():
    for data in (b"", b"\xff\xd8", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff" + bytes(100)):
        assert jpeg.small_jpeg(data) is None
