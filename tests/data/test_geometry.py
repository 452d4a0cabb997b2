"""Geometry: pixels as libraries have them with Pillow, sizes that stay, words, refusals."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from keras_preact.data import DataOptions, Geometry, load_data, resize_and_crop
from keras_preact.data import picture as module
from keras_preact.data.picture import INTERPOLATIONS, Picture
from keras_preact.data.reading import Reading
from keras_preact.errors import ConfigError

SIZES = [(30, 41), (41, 30), (75, 64), (33, 97), (24, 24), (20, 27), (7, 5), (1, 9), (61, 60)]


def image(height, width):
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), "uint8")
    return Image.fromarray(pixels)


def centre_of(scaled, side, rounded=round):
    """As torchvision's and timm's centre crop, and, rounded down, transformers'."""
    left, top = (rounded((length - side) / 2) for length in scaled.size)
    return np.asarray(scaled.crop((left, top, left + side, top + side)))


@pytest.mark.parametrize("crop", ["center", "center_floor"])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS[1:])
@pytest.mark.parametrize("shorter", [24, 27])
def test_the_centre_is_that_of_the_libraries(shorter, interpolation, crop):
    geometry = Geometry(24, shorter, interpolation, crop)
    for height, width in SIZES:
        whole, least = image(height, width), min(height, width)
        shape = int(shorter * width / least), int(shorter * height / least)
        scaled = whole.resize(shape, Image.Resampling[interpolation.upper()])
        expected = centre_of(scaled, 24, int if crop == "center_floor" else round)
        found = geometry.fit(Picture(np.asarray(whole)))
        assert found.shape == (24, 24, 3)
        if interpolation == "bilinear" or shape[0] * shape[1] <= 4 * 24**2:
            far = np.abs(found.astype(int) - expected).max()
            assert far <= (2 if interpolation == "bilinear" else 0)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_whole_is_squashed_as_by_load_img_and_timm(interpolation):
    kind = Image.Resampling[interpolation.upper()]
    for height, width in SIZES:
        picture = Picture(np.asarray(image(height, width)))
        found = Geometry((24, 31), None, interpolation, "squash").fit(picture)
        np.testing.assert_array_equal(found, image(height, width).resize((31, 24), kind))
        if interpolation == "bicubic":
            found = Geometry(24, 27, interpolation, "squash").fit(picture)
            expected = centre_of(image(height, width).resize((27, 27), kind), 24)
            np.testing.assert_array_equal(found, expected)


def test_what_has_the_size_stays_and_others_are_as_in_trainings():
    for size in (24, (24, 31)):
        geometry = Geometry(size)
        height, width = geometry.size
        same = np.asarray(image(height, width))
        np.testing.assert_array_equal(geometry.fit(Picture(same)), same)
        assert geometry.fit(Picture(np.asarray(image(5, 7)))).shape == (height, width, 3)
    larger = np.asarray(image(30, 41))
    np.testing.assert_array_equal(Geometry(24).fit(Picture(larger)), resize_and_crop(larger, 24))
    square = np.asarray(image(24, 24))
    assert (Geometry(24, shorter=27).fit(Picture(square)) != square).any()
    assert Geometry().fit(Picture(larger)).shape == larger.shape


def test_nearest_takes_pixels_of_the_file_itself(monkeypatch):
    monkeypatch.setattr(module, "DRAFT_PIXELS", 100)
    file = io.BytesIO()
    image(300, 420).save(file, "JPEG")
    expected = np.asarray(Image.open(file).resize((24, 24), Image.Resampling.NEAREST))
    geometry = Geometry(24, interpolation="nearest", crop="squash")
    np.testing.assert_array_equal(geometry.fit(Picture(file.getvalue())), expected)
    monkeypatch.setattr(module, "MAX_PIXELS", 50_000)  # of more not all can be decoded
    assert geometry.fit(Picture(file.getvalue())).shape == (24, 24, 3)


ALL = [
    Geometry(),
    Geometry(224, 256, "bicubic"),
    Geometry((96, 128), crop="squash", interpolation="nearest"),
    Geometry(160, 177, crop="squash", reading=Reading((0, 4095), "white", "apply")),
]


@pytest.mark.parametrize("geometry", ALL, ids=str)
def test_it_goes_to_json_and_data_options_and_back(geometry):
    assert Geometry.from_json(geometry.to_json()) == geometry
    options = DataOptions(channels=1).fitted_to(geometry)
    assert options.geometry == geometry and options.channels == 1
    assert DataOptions.from_json(options.to_json()) == options


def test_words():
    assert [*map(str, ALL)] == [
        "original size",
        "shorter side resized to 256 pixels (bicubic), centre crop 224 x 224",
        "resized to 96 x 128, ignoring the aspect ratio (nearest)",
        "resized to 177 x 177, ignoring the aspect ratio (bilinear), centre crop 160 x 160, "
        "data.range=[0.0, 4095.0], data.alpha=white, data.orientation=apply",
    ]


def test_changes_keep_the_share_of_the_crop():
    known = Geometry(224, 256, "bicubic")
    assert known.changed() == known
    assert (
        known.changed(size=320) == known.changed(size=[320, 320]) == Geometry(320, 365, "bicubic")
    )
    assert known.changed(size=320, shorter=320, interpolation="nearest") == Geometry(
        320, 320, "nearest"
    )
    assert Geometry(8).changed(size=16) == Geometry(16)
    assert Geometry().changed(size=16, shorter=20) == Geometry(16, 20)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"size": 0}, "`size` must be height and width of at least 1"),
        ({"size": [8]}, "one number for both"),
        ({"size": "big"}, "`size` must be a list"),
        ({"size": 10_000}, "89,478,485 pixels in all"),
        ({"shorter": 8}, "Also set size, that of the crop"),
        ({"size": 8, "shorter": 7}, "at least 8, the side of the crop"),
        ({"size": 8, "interpolation": "bicubik"}, "Did you mean 'bicubic'"),
        ({"crop": "centre"}, "one of 'center', 'center_floor', 'squash'"),
        ({"reading": {"range": [1, 0]}}, "two increasing numbers"),
        ({"reading": {"depth": 1}}, "Received: depth=1"),
        ({"width": 8}, "Geometry has the fields"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(fields, words):
    with pytest.raises(ConfigError, match=words):
        Geometry.from_dict(fields)


@pytest.mark.parametrize("limit", [None, 0], ids=["held", "streams"])
@pytest.mark.parametrize("geometry", ALL[1:3], ids=str)
def test_data_sets_are_fitted_so(geometry, limit, tmp_path):
    for name, (height, width) in zip(itertools.cycle(["cat", "dog"]), SIZES[:4], strict=False):
        (tmp_path / name).mkdir(exist_ok=True)
        image(height, width).save(tmp_path / name / f"{height}.png")
    options = DataOptions(memory_limit_mb=limit).fitted_to(geometry)
    data = load_data(f"folder:{tmp_path}", options=options, seed=None)
    assert data.image_shape == (*geometry.size, 3) and data.test.streams == (limit == 0)
    files = sorted(tmp_path.glob("*/*.png"))
    for part in (data.test, data.test.subset(np.arange(4)), data.test.relabelled(np.arange(2))):
        for file, found in zip(files, part.images(range(4)), strict=True):
            np.testing.assert_array_equal(found, geometry.fit(Picture(file)))
    images = np.stack([np.asarray(image(30, 41))] * 2)
    np.savez(tmp_path / "x.npz", x_train=images, y_train=[0, 1])
    data = load_data(f"npz:{tmp_path}/x.npz", options=options, seed=None)
    expected = geometry.fit(Picture(np.asarray(image(30, 41))))
    np.testing.assert_array_equal(data.test.images([0])[0], expected)
