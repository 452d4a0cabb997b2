"""One way to decode an image and one way to resize it, for training, evaluation and checks."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from keras_preact.data.formats import open_image, orientation_of, turned, turned_back
from keras_preact.data.reading import AS_STORED, Reading, blended, in_8_bits, values_of
from keras_preact.errors import DataError, shown

_DARK = 4  # so many times brighter images could be: it is said
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "F")


class BadImage(DataError):
    """An image file that cannot be read, with its `path` (or name) and the `reason`."""

    def __init__(self, path: str, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


@dataclass(frozen=True)
class Header:
    """What an image file says of itself.

    Attributes:
        width, height: Size in pixels, as it is read.
        mode: Pillow's mode, `"RGB"`, `"L"`, ...
        format: `"JPEG"`, `"PNG"`, `"TIFF"`, ...
        orientation: The number in its EXIF data: 1 upright, others turned or mirrored.
        highest: Of 16-bit images the largest value, before its upper 8 bits are taken; of colours
            and of grey with an alpha channel the largest that has the same ones.
        brightest: The largest value of the pixels that are read, up to 255.
    """

    width: int
    height: int
    mode: str
    format: str = "JPEG"
    orientation: int = 1
    highest: int | None = None
    brightest: int = 255

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for all others."""
        return 1 if self.mode in _GREY_MODES else 3


def decode(
    source: str | os.PathLike | bytes,
    channels: int | None = None,
    name: str | None = None,
    how: Reading = AS_STORED,
) -> np.ndarray:
    """The pixels of an image; what the file holds counts, not how it is called.

    JPEG, PNG, WebP, BMP, TIFF, GIF, and AVIF where Pillow reads it; of several frames or pages the
    first. JPEG pixels equal those of `tf.io.decode_jpeg(..., dct_method="INTEGER_ACCURATE")` bit
    for bit. CMYK and palette images become RGB, an alpha channel is dropped, 16-bit values keep
    their upper 8 bits, and the orientation in the EXIF data is not applied, as in TensorFlow's
    decoders, unless `how` says otherwise.

    Args:
        source: path of the file, or its bytes.
        channels: 1 (grey) or 3 (RGB) to convert to; `None` (default): 1 for grey images, else 3.
        name: how messages call the image; `None` (default): its path.
        how: what becomes of deep values, of an alpha channel and of the orientation.

    Returns:
        uint8 array of shape `[height, width, channels]`.

    Raises:
        BadImage: (a `DataError`) the file cannot be read or is no whole image.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> from keras_preact.data import decode
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (4, 2)).save(file, "PNG")
        >>> decode(file.getvalue()).shape
        (2, 4, 3)
    """
    return read(source, channels, name, how)[0]


def read(source, channels: int | None = None, name: str | None = None, how: Reading = AS_STORED):
    """`decode`, and the `Header` of the file."""
    try:
        data = source
        if not isinstance(source, bytes):
            with open(source, "rb") as file:
                data = file.read()
        image = open_image(data)
        stored = str(image.tile[0].args) if image.tile else ""  # there until it is loaded
        mode = "LA" if "LA;16B" in stored else image.mode  # which Pillow opens as RGBA
        orientation = orientation_of(image)
        values = values_of(image, grey=mode in _GREY_MODES)
        cut = values.dtype == np.uint8 and ";16" in stored  # Pillow has taken the upper 8 bits
        deep = cut or (values.dtype.kind in "iu" and values.itemsize > 1)
        highest = int(values.max()) if deep else None
        pixels = in_8_bits(values, cut, how.range)
        if how.alpha != "drop" and image.has_transparency_data:
            pixels = blended(pixels, image, values, how.alpha)
        is_turned = image.format == "TIFF"  # by Pillow
        if is_turned != (how.orientation == "apply"):
            pixels = (turned_back if is_turned else turned)(pixels, orientation)
    except Exception as error:  # Pillow raises many types for damaged files
        name = name or ("image" if isinstance(source, bytes) else shown(source))
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadImage(name, reason) from None
    header = Header(
        width=pixels.shape[1],
        height=pixels.shape[0],
        mode=mode,
        format={"MPO": "JPEG", "WEBP": "WebP"}.get(image.format, image.format),
        orientation=orientation,
        highest=highest << 8 | 255 if cut else highest,
        brightest=int(pixels.max()),
    )
    return to_channels(pixels[:, :, None] if pixels.ndim == 2 else pixels, channels), header


def dark(brightest: int) -> list[str]:
    """A line where a data set uses few of the 255 grey levels, as masks and 12 bits do; else none.

    Example:
        >>> from keras_preact.data.images import dark
        >>> dark(15)
        ['all images are dark: their pixels go from 0 to 15 of 255; multiply them by 17']
        >>> dark(200)
        []
    """
    if brightest > 255 // _DARK:
        return []
    fix = f"; multiply them by {255 // brightest}" if brightest else ""
    return [f"all images are dark: their pixels go from 0 to {brightest} of 255{fix}"]


def turning(headers: Iterable[Header], how: Reading) -> list[str]:
    """A line where images are to be turned by their EXIF data, and what becomes of that; else none.

    Example:
        >>> from keras_preact.data.images import Header, turning
        >>> from keras_preact.data.reading import AS_STORED
        >>> turning([Header(4, 3, "RGB")], AS_STORED)
        []
    """
    count = sum(header.orientation != 1 for header in headers)
    if not count:
        return []
    images = f"{count:,} images are" if count > 1 else "1 image is"
    if how.orientation == "apply":
        return [f"{images} turned or mirrored as the EXIF orientation says."]
    return [
        f"{images} to be turned or mirrored by the EXIF orientation, which is not applied: they "
        "are read as they are stored. data.orientation=apply turns them."
    ]


def resize(
    image: np.ndarray, shape: tuple[int, int], crop: tuple[int, int, int, int] | None = None
) -> np.ndarray:
    """Scales an image (bilinear, antialiased), and cuts a window out of the scaled image.

    Within one grey level of `tf.image.resize(..., antialias=True)`, rounded.

    Args:
        image: uint8 `[height, width, 1 or 3]`.
        shape: height and width the whole image is scaled to.
        crop: `(top, left, height, width)` of the window, in pixels of the scaled image; `None`
            (default): all of it. A window of less than half the area is computed alone, which may
            differ by two grey levels through rounding.

    Returns:
        uint8 array of the window's (or the scaled image's) height and width.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data import resize
        >>> resize(np.zeros((10, 20, 3), np.uint8), (5, 10)).shape
        (5, 10, 3)
    """
    from PIL import Image

    top, left, height, width = crop or (0, 0, *shape)
    if tuple(shape) != image.shape[:2]:
        grey = image.shape[2] == 1
        picture = Image.fromarray(image[:, :, 0] if grey else image)
        box = (0, 0, picture.width, picture.height)
        if shape[0] * shape[1] > 2 * height * width:  # compute the window alone
            down, across = picture.height / shape[0], picture.width / shape[1]
            right, bottom = (left + width) * across, (top + height) * down
            box = (left * across, top * down, min(right, box[2]), min(bottom, box[3]))
            top, left, shape = 0, 0, (height, width)
        picture = picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box)
        image = np.asarray(picture)[:, :, None] if grey else np.asarray(picture)
    return image[top : top + height, left : left + width]


def scaled_shape(shape: tuple[int, ...], shorter: int) -> tuple[int, int]:
    """Height and width after scaling so that the shorter side has `shorter` pixels."""
    height, width = shape[:2]
    scale = shorter / min(height, width)
    return max(shorter, round(height * scale)), max(shorter, round(width * scale))


def resize_and_crop(image: np.ndarray, size: int, width: int | None = None) -> np.ndarray:
    """The centre `size` x `size` pixels after scaling the shorter side to `size`.

    With a `width` they are `size` x `width`, and the larger of the two is what it is scaled to.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data import resize_and_crop
        >>> resize_and_crop(np.zeros((10, 20, 3), np.uint8), 5).shape
        (5, 5, 3)
    """
    width = size if width is None else width
    scaled = scaled_shape(image.shape, max(size, width))
    top, left = (scaled[0] - size) // 2, (scaled[1] - width) // 2
    return resize(image, scaled, (top, left, size, width))


def to_channels(image: np.ndarray, channels: int | None) -> np.ndarray:
    """`[..., 1 or 3]` as grey (luma of ITU-R 601-2, as Pillow's) or RGB; `None`: unchanged."""
    if channels is None or image.shape[-1] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=-1)
    luma = image.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
    return ((luma + 0x8000) >> 16).astype(np.uint8)[..., None]
