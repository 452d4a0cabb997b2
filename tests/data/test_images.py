"""Decoding and resizing: whole images of every mode, damaged files, agreement with TensorFlow."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps, features
from PIL.PngImagePlugin import PngInfo

from keras_preact.data import decode, resize, resize_and_crop
from keras_preact.data.images import read, scaled_shape, to_channels
from keras_preact.data.picture import BadImage
from keras_preact.data.reading import Reading
from keras_preact.errors import DataError


def picture(height=24, width=32, mode="RGB", seed=0):
    """A smooth random image, so that JPEG has something to code."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


#: Formats with the modes of Pillow that they hold, and how they are saved.
BY_LIBTIFF = {"compression": "tiff_deflate"}  # which makes RGB of YCbCr, and rounds in its own way
STORED = [
    *(("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    *(("JPEG", mode, {"quality": 95}) for mode in ("L", "RGB", "CMYK")),
    *(("WEBP", mode, {"lossless": True, "exact": True}) for mode in ("RGB", "RGBA")),
    ("WEBP", "RGB", {"quality": 95}),
    *(("BMP", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")),
    *(("GIF", mode, {}) for mode in ("1", "L", "P")),
    *(
        ("TIFF", mode, {"compression": compression})
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I;16B", "I", "F")
        for compression in ("raw", "tiff_lzw")
    ),
    # Pillow 13.0 takes uncompressed ones for truncated.
    ("TIFF", "YCbCr", BY_LIBTIFF),
    *(("AVIF", mode, {"quality": 100, "subsampling": "4:4:4"}) for mode in ("RGB", "RGBA")),
]
table = pytest.mark.parametrize(("kind", "mode", "options"), STORED, ids=str)
ALPHA = ("LA", "RGBA")


def stored(kind, mode, options, seed=0, **more):
    """A file of a format and mode, and the pixels that it holds, before an alpha channel."""
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    grey = np.asarray(picture(mode="L", seed=seed))
    if mode in ("I", "F") or mode.startswith("I;16"):
        deep = {"F": "f4", "I": "i4", "I;16": "u2", "I;16B": ">u2"}[mode]
        image = Image.fromarray((grey / 255 if mode == "F" else grey * 257.0).astype(deep))
        return encoded(image, kind, **options, **more), grey[..., None]
    image = picture(mode=mode, seed=seed)
    if mode in ALPHA:
        image.putalpha(Image.fromarray(np.roll(grey, 5)))
    grey = mode in ("1", "LA") or (mode == "L" and kind != "GIF")  # whose palettes are of colours
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return encoded(image, kind, **options, **more), pixels.reshape(24, 32, -1)


def near(pixels, expected, kind, options):
    """Equal where nothing is lost: to the last bit."""
    lossy = kind in ("JPEG", "AVIF") or "quality" in options
    assert pixels.shape == expected.shape and pixels.dtype == np.uint8
    difference = np.abs(pixels.astype(int) - expected)
    most, mean = (32, 4) if lossy else (1, 1) if options == BY_LIBTIFF else (0, 0)
    assert difference.max() <= most and difference.mean() <= mean


@table
def test_every_format_depth_and_mode(kind, mode, options):
    data, expected = stored(kind, mode, options)
    pixels, header = read(data)
    near(pixels, expected, kind, options)
    assert header.format.upper() == kind
    assert (header.width, header.height, header.channels) == (32, 24, expected.shape[2])


@table
@pytest.mark.sample(4)
def test_every_orientation_is_ignored_or_applied(kind, mode, options):
    """Of files that can carry one; what is turned is what Pillow shows."""
    if kind in ("BMP", "GIF"):
        pytest.skip("has no EXIF data")
    upright = read(stored(kind, mode, options)[0])[0]
    for orientation in (*range(1, 9), *((0, 9) if kind == "JPEG" else ())):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data, _ = stored(kind, mode, options, exif=exif)
        pixels, header = read(data)
        near(pixels, upright, kind, {})
        assert header.orientation == (orientation if 0 < orientation < 9 else 1)
        shown = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        shown.getexif()[0x0112] = orientation
        expected = np.asarray(ImageOps.exif_transpose(shown)).reshape(-1, *upright.shape[1:][-1:])
        found, turned = read(data, how=Reading(orientation="apply"))
        assert (turned.height, turned.width) == ((32, 24) if 4 < orientation < 9 else (24, 32))
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@pytest.mark.parametrize(("colour", "behind"), [("white", 255), ("black", 0)])
@table
@pytest.mark.sample(4)
def test_alpha_is_blended_as_asked(kind, mode, options, colour, behind):
    data, expected = stored(kind, mode, options)
    if mode in ALPHA and kind != "BMP":  # as it is written without a mask for alpha
        alpha = np.roll(np.asarray(picture(mode="L")), 5)[..., None] / 255
        expected = np.rint(expected * alpha + behind * (1 - alpha)).astype(int)
    near(decode(data, how=Reading(alpha=colour)), expected, kind, options)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_one_value_that_is_transparent(mode):
    _, expected = stored("PNG", mode, {})
    value = expected[3, 4].tolist()
    key = {"RGB": tuple(value), "P": picture(mode="P").getpixel((4, 3)), "I;16": value[0] * 257}
    data, _ = stored("PNG", mode, {}, transparency=key.get(mode, value[0]))
    np.testing.assert_array_equal(decode(data), expected)
    clear = (expected == value).all(axis=2, keepdims=True)
    found = decode(data, how=Reading(alpha="white"))
    np.testing.assert_array_equal(found, np.where(clear, 255, expected))


@table
def test_values_are_scaled_by_one_range(kind, mode, options):
    """As files hold them: half of them, so that all is twice as bright."""
    data, _ = stored(kind, mode, options)
    deep = 257 if mode.startswith("I") else 1 / 255 if mode == "F" else 1
    found = decode(data, how=Reading((0, 127.5 * deep)))
    twice = np.minimum(2 * decode(data).astype(int), 255)
    assert np.abs(found - twice).max() <= (1 if mode == "F" else 0)


@pytest.mark.parametrize(
    ("values", "limits", "expected"),
    [
        ([0, 2048, 4095], (0, 4095), [0, 128, 255]),
        ([-1000, 0, 3000], (-1000, 1000), [0, 128, 255]),
        ([0.0, 0.5, 1.0], None, [0, 128, 255]),
        ([-1.0, 0.0, 1.0], (-1, 1), [0, 128, 255]),
        ([-1.0, 0.0, 1.0], None, r"values from -1.0 to 1.0, .* --set data.range=\[-1.0,1.0\]"),
        ([0, 1, 70_000], None, "values from 0 to 70000, expected from 0 to 65535"),
        ([0.0, 1.0, np.nan], (0, 1), "not finite"),
        ([0.0, 1.0, np.inf], None, "not finite"),
    ],
)
def test_deep_values(values, limits, expected):
    kind = "f4" if isinstance(values[0], float) else "i4"
    data = encoded(Image.fromarray(np.array([values], kind)), "TIFF")
    if isinstance(expected, str):
        with pytest.raises(BadImage, match=expected):
            decode(data, how=Reading(limits))
    else:
        np.testing.assert_allclose(decode(data, how=Reading(limits)).ravel(), expected, atol=0.5)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_of_several_frames_the_first_is_read(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(kind, {})
    frames = [picture(seed=seed, mode="P" if kind == "GIF" else "RGB") for seed in range(3)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    near(decode(data), np.asarray(frames[0].convert("RGB")), kind, options)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("kind", "mode"),
    [(kind, mode) for kind, mode, _ in STORED if kind in ("PNG", "BMP", "GIF")
     and (kind, mode) not in (("BMP", "1"), ("BMP", "P"), ("BMP", "L"))],
)  # fmt: skip
def test_equal_to_tensorflow_where_both_read(kind, mode):
    import tensorflow as tf

    data, _ = stored(kind, mode, {})
    expected = getattr(tf.io, f"decode_{kind.lower()}")(data).numpy()
    expected = expected[0] if kind == "GIF" else expected
    colours = expected[..., :1] if expected.shape[2] < 3 else expected[..., :3]
    np.testing.assert_array_equal(decode(data, colours.shape[2]), colours)


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


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "AVIF"])
def test_much_beside_the_pixels_of_other_formats_is_no_bomb(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    bare, more = (
        encoded(picture(), kind, icc_profile=profile)
        for profile in (None, bytes(range(256)) * 20_000)
    )
    assert len(more) > len(bare) + 5_000_000
    np.testing.assert_array_equal(decode(more), decode(bare))


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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
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
        (b"not an image at all", "no image, neither JPEG, PNG, WebP, BMP, TIFF, GIF nor AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC file, neither JPEG"),
        (b"%PDF-1.7", "a PDF file, neither JPEG"),
        (b"\xff\xd8\xff" + bytes(50), "header is damaged"),
        (b"II*\0" + bytes(50), "header is damaged"),
        (b"BM" + bytes(50), r"header|BMP"),
        (b"RIFF\x30\0\0\0WEBPVP8 " + bytes(50), "decoder"),
        (b"GIF89a", "header is damaged"),
    ],
    ids=["empty", "text", "heic", "pdf", "jpeg", "tiff", "bmp", "webp", "gif"],
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
@pytest.mark.parametrize(("kind", "side"), [("PNG", 10_000), ("PNG", 14_000), ("TIFF", 10_000)])
def test_decompression_bombs_are_refused(kind, side):
    options = {"compression": "group4"} if kind == "TIFF" else {}
    with pytest.raises(DataError, match="pixels"):
        decode(encoded(Image.new("1", (side, side)), kind, **options))


@pytest.mark.parametrize(("kind", "at"), [("GIF", slice(6, 10)), ("BMP", slice(18, 26))])
def test_sizes_that_a_header_makes_up_are_refused(kind, at):
    data = bytearray(encoded(picture(mode="P"), kind))
    data[at] = b"\xf0\x7f" * 2 if kind == "GIF" else b"\xf0\x7f\0\0" * 2
    with pytest.raises(DataError, match=r"32752 x 32752 pixels, more than|exceeds limit"):
        decode(bytes(data))


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
        assert np.abs(window - whole[top : top + size, left : left + size]).max() <= 1


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
    assert scaled_shape((500, 334), 256) == (383, 256)  # rounded down, as torchvision does
    assert scaled_shape((1, 60_000), 224) == (224, 224 * 60_000)


def test_two_photographs_in_one_jpeg_file_are_the_first():
    """As cameras store a preview beside it, which Pillow calls MPO."""
    first, second = picture(), picture(seed=1)
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    pixels, header = read(data)
    assert header.format == "JPEG"
    np.testing.assert_array_equal(pixels, decode(encoded(first, "JPEG")))
