"""Decoding and resizing: whole images of every mode, damaged files, agreement with TensorFlow."""

import io

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from keras_preact.data import decode, resize, resize_and_crop
from keras_preact.data.images import BadImage, read, scaled_shape, to_channels
from keras_preact.errors import DataError


def picture(height=24, width=32, mode="RGB", seed=0):
    """A smooth random image, so that JPEG has something to code."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind", "channels"),
    [
        ("RGB", "PNG", 3),
        ("RGB", "JPEG", 3),
        ("L", "PNG", 1),
        ("L", "JPEG", 1),
        ("1", "PNG", 1),
        ("P", "PNG", 3),
        ("LA", "PNG", 1),
        ("RGBA", "PNG", 3),
        ("CMYK", "JPEG", 3),
    ],
)
def test_every_mode(mode, kind, channels):
    image = picture(mode=mode)
    pixels = decode(encoded(image, kind))
    assert pixels.shape == (24, 32, channels)
    assert pixels.dtype == np.uint8
    if kind == "PNG":
        expected = np.asarray(image.convert("L" if channels == 1 else "RGB"))
        np.testing.assert_array_equal(pixels, expected.reshape(pixels.shape))


def with_marker(data, transform=None):
    """A JPEG file whose only marker of an application is Adobe's, or that has none.

    It says what its values are: 0 as they are, 1 YCbCr, 2 YCCK, others nothing that is known.
    """
    at = 2
    while data[at + 1] in (0xE0, 0xEE):  # JFIF's and Adobe's
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    marker = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
    marker = b"" if transform is None else marker + bytes([transform])
    return data[:2] + marker + data[at:]


@pytest.mark.tensorflow
@pytest.mark.parametrize("transform", [None, 0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"progressive": True, "subsampling": 2}], ids=str)
@pytest.mark.parametrize("mode", ["CMYK", "RGB", "L"])
def test_values_of_every_kind_are_what_tensorflow_reads(mode, options, transform):
    import tensorflow as tf

    data = with_marker(encoded(picture(mode=mode), "JPEG", quality=95, **options), transform)
    for asked in (data, encoded(picture(mode=mode), "JPEG", **options)):
        expected = tf.io.decode_jpeg(asked, 3, dct_method="INTEGER_ACCURATE").numpy()
        np.testing.assert_array_equal(decode(asked, 3), expected)


@pytest.mark.parametrize("kind", ["text", "profile"])
def test_a_png_with_much_beside_its_pixels_is_no_bomb(kind):
    """What a camera or an editor writes there, of which Pillow takes a megabyte at most."""
    options = {"icc_profile": bytes(range(256)) * 30_000}
    if kind == "text":
        texts = PngInfo()
        for k in range(30):
            texts.add_text(f"part{k}", "long " * 500_000, zip=True)
        options = {"pnginfo": texts}
    image = picture()
    np.testing.assert_array_equal(decode(encoded(image, **options)), np.asarray(image))


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0" + b"\xff" * 40,
        b"Exif\0\0II*\0" + b"\xff\xff\xff\x7f",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x03ab\0\0\0\0\0\0",  # a text
    ],
)
def test_damaged_exif_data_leave_the_pixels_whole(exif):
    whole = encoded(picture(), "JPEG")
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif
    pixels, header = read(whole[:2] + segment + whole[2:])
    np.testing.assert_array_equal(pixels, decode(whole))
    assert header.orientation == 1


def test_alpha_is_dropped_not_blended():
    image = picture(mode="RGBA")
    image.putalpha(7)
    np.testing.assert_array_equal(decode(encoded(image)), np.asarray(picture()))


def test_palette_with_transparency():
    image = picture(mode="P")
    expected = np.asarray(image.convert("RGB"))
    pixels = decode(encoded(image, transparency=bytes(range(100, 200))))
    np.testing.assert_array_equal(pixels, expected)


def test_16_bits_keep_the_upper_8():
    values = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 85
    pixels = decode(encoded(Image.fromarray(values)))
    np.testing.assert_array_equal(pixels[..., 0], values >> 8)


def test_orientation_is_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert decode(encoded(picture(), "JPEG", exif=exif)).shape == (24, 32, 3)


def test_channels_as_asked():
    grey, colour = encoded(picture(mode="L")), encoded(picture())
    assert decode(colour, channels=1).shape == (24, 32, 1)
    repeated = decode(grey, channels=3)
    assert (repeated == decode(grey)).all()
    luma = np.asarray(picture().convert("L"))
    np.testing.assert_array_equal(decode(colour, channels=1)[..., 0], luma)
    assert to_channels(repeated, None) is repeated


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
def test_truncated_files_are_bad(tmp_path, kind, share):
    data = encoded(picture(48, 64), kind)
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=r"cut\.jpg: \S"):
        decode(path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"not an image at all", "neither JPEG nor PNG"),
        (encoded(picture(), "GIF"), "a GIF file"),
        (encoded(picture(), "BMP"), "a BMP file"),
        (encoded(picture(), "TIFF"), "a TIFF file"),
        (encoded(picture(), "WEBP"), "a WebP file"),
        (b"\xff\xd8\xff" + bytes(50), "header is damaged"),
    ],
    ids=["empty", "text", "gif", "bmp", "tiff", "webp", "header"],
)
def test_what_is_no_image_is_named_with_the_reason(tmp_path, data, reason):
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    with pytest.raises(BadImage, match=reason) as caught:
        decode(path)
    assert caught.value.path == str(path)


def test_missing_files_and_folders_are_bad(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        decode(tmp_path / "none.png")
    with pytest.raises(DataError, match="Is a directory"):
        decode(tmp_path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 14_000])
def test_decompression_bombs_are_refused(side):
    with pytest.raises(DataError, match="pixels"):
        decode(encoded(Image.new("1", (side, side))))


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "options", [{}, {"quality": 50}, {"subsampling": 0}, {"progressive": True}]
)
def test_jpeg_equals_tensorflow(options):
    import tensorflow as tf

    for seed in range(5):
        data = encoded(picture(37, 53, seed=seed), "JPEG", **options)
        expected = tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE").numpy()
        np.testing.assert_array_equal(decode(data), expected)


@pytest.mark.tensorflow
@pytest.mark.parametrize("shape", [(20, 30), (96, 128), (51, 200), (24, 32)])
def test_resize_agrees_with_tensorflow(shape):
    import tensorflow as tf

    image = np.asarray(picture(48, 64))
    expected = tf.image.resize(image, shape, antialias=True).numpy()
    assert np.abs(resize(image, shape).astype(float) - np.rint(expected)).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scaled", [(20, 27), (48, 64), (120, 160)])
def test_a_window_is_cut_out_of_the_scaled_image(channels, scaled):
    image = np.asarray(picture(48, 64))[..., :channels]
    whole = resize(image, scaled)
    assert whole.shape == (*scaled, channels)
    for top, left, size in [(0, 0, 20), (3, 5, 10), (10, 17, 10)]:
        window = resize(image, scaled, (top, left, size, size)).astype(int)
        tolerance = 2 if 2 * size * size < scaled[0] * scaled[1] else 0  # computed alone
        assert np.abs(window - whole[top : top + size, left : left + size]).max() <= tolerance


def test_resize_and_crop_takes_the_centre():
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 200
    assert (resize_and_crop(image, 10) == 200).all()
    assert resize_and_crop(image, 4).shape == (4, 4, 3)
    long = np.zeros((1, 60_000, 3), np.uint8)  # scaled as a whole it would need 40 GB
    assert resize_and_crop(long, 224).shape == (224, 224, 3)


def test_scaled_shape_keeps_the_ratio():
    assert scaled_shape((100, 200, 3), 50) == (50, 100)
    assert scaled_shape((375, 500), 256) == (256, 341)
