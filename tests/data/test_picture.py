"""Pictures: large files reduced while they are decoded, windows, regions, one large at a time."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

from keras_preact.data import picture as module
from keras_preact.data.picture import INTERPOLATIONS, BadImage, Picture
from keras_preact.data.reading import Reading


def photo(height=300, width=420, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 11, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, kind="JPEG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def low_limits(monkeypatch):
    """Any JPEG file is large enough to be reduced."""
    monkeypatch.setattr(module, "DRAFT_PIXELS", 1000)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("interpolation", INTERPOLATIONS[1:])
def test_reduced_while_decoded_is_nearly_the_same(
    monkeypatch, low_limits, options, orientation, interpolation
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(), quality=92, exif=exif, **options)
    picture = Picture(data, how=Reading(orientation="apply"))
    height, width, _ = picture.shape
    assert (height, width) == ((420, 300) if orientation > 4 else (300, 420))
    for by in (2, 4, 6):
        shape = height // by, width // by
        crop = (3, 5, shape[0] - 9, shape[1] - 11)
        found = [picture.scaled(shape, crop, interpolation)]
        found += [picture.scaled((20, 24), None, interpolation, region=(31, 62, 120, 144))]
        monkeypatch.setattr(module, "DRAFT_PIXELS", 10**9)
        whole = Picture(picture.pixels())
        expected = [whole.scaled(shape, crop, interpolation)]
        expected += [whole.scaled((20, 24), None, interpolation, region=(31, 62, 120, 144))]
        monkeypatch.setattr(module, "DRAFT_PIXELS", 1000)
        for one, other in zip(found, expected, strict=True):
            difference = np.abs(one.astype(int) - other)
            assert one.shape == other.shape and difference.mean() < 1.5 and difference.max() <= 16


def test_only_what_is_needed_is_decoded(monkeypatch, low_limits):
    sizes = []
    decode = Picture._decode

    def counted(self, by):
        image = decode(self, by)
        sizes.append(image.size)
        return image

    monkeypatch.setattr(Picture, "_decode", counted)
    picture = Picture(encoded(photo()))
    assert picture.shape == (300, 420, 3) and not sizes
    picture.scaled((20, 28))
    assert sizes == [(105, 75)]
    picture.scaled((20, 28), (0, 0, 20, 20))
    assert len(sizes) == 1  # kept
    picture.scaled((150, 210))
    assert sizes[1:] == [(420, 300)] and picture.pixels().shape == (300, 420, 3)
    assert len(sizes) == 2


def test_photographs_beyond_the_limit_are_read_where_little_of_them_is_needed(monkeypatch):
    monkeypatch.setattr(module, "DRAFT_PIXELS", 1000)
    monkeypatch.setattr(module, "MAX_PIXELS", 50_000)
    picture = Picture(encoded(photo()), name="large.jpg")
    assert picture.scaled((20, 28)).shape == (20, 28, 3)
    with pytest.raises(BadImage, match=r"large\.jpg: 420 x 300 pixels, more than 50000"):
        picture.pixels()
    with pytest.raises(BadImage, match="420 x 300 pixels"):
        Picture(encoded(photo(), "PNG")).pixels()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_large_images_are_decoded_one_at_a_time_and_not_kept(monkeypatch, kind):
    monkeypatch.setattr(module, "_LARGE_PIXELS", 1000)
    data, together, most = encoded(photo(), kind), 0, 0
    decode, lock = Picture._decode, threading.Lock()

    def counted(self, by):
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        try:
            return decode(self, by)
        finally:
            with lock:
                together -= 1

    monkeypatch.setattr(Picture, "_decode", counted)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    found = []

    def work():
        picture = Picture(data)
        found.append((picture.pixels(), picture.scaled((30, 42)), picture._decoded))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and len(found) == 4
    for pixels, scaled, kept in found:
        np.testing.assert_array_equal(pixels, expected)
        assert kept is None and scaled.shape == (30, 42, 3)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_regions_and_mirror_images(interpolation):
    pixels = np.asarray(photo())
    picture, region = Picture(pixels), (10, 20, 100, 80)
    cut = Picture(np.ascontiguousarray(pixels[10:110, 20:100]))
    found = picture.scaled((50, 60), None, interpolation, region)
    np.testing.assert_array_equal(found, cut.scaled((50, 60), None, interpolation))
    mirrored = picture.scaled((50, 60), None, interpolation, region, mirror=True)
    np.testing.assert_array_equal(mirrored, found[:, ::-1])
    same = picture.scaled((300, 420), (5, 7, 30, 40), interpolation)
    np.testing.assert_array_equal(same, pixels[5:35, 7:47])


def test_a_damaged_file_is_named_when_its_pixels_are_asked_for(tmp_path):
    file = tmp_path / "cut.jpg"
    file.write_bytes(encoded(photo())[:-3000])
    picture = Picture(file)
    for ask in (picture.pixels, lambda: picture.scaled((10, 10))):
        with pytest.raises(BadImage, match=r"cut.jpg: .*truncated"):
            ask()


def test_a_device_is_no_file():
    with pytest.raises(BadImage, match="/dev/zero: a device, not a file"):
        Picture("/dev/zero")
