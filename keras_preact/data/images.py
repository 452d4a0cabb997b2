"""Decoding and resizing of images, the same in training, evaluation and checks."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from keras_preact.data.picture import Header, Picture
from keras_preact.data.reading import AS_STORED, Reading

_DARK = 4  # so many times brighter images could be: it is said


def decode(
    source: str | os.PathLike | bytes,
    channels: int | None = None,
    name: str | None = None,
    how: Reading = AS_STORED,
) -> np.ndarray:
    """The pixels of an image file, whose format is detected from its contents.

    JPEG, PNG, WebP, BMP, TIFF, GIF, and AVIF where Pillow reads it; only the first frame or page is
    read. JPEG pixels equal those of `tf.io.decode_jpeg(..., dct_method="INTEGER_ACCURATE")` bit for
    bit. CMYK and palette images become RGB, an alpha channel is dropped, 16-bit values keep their
    upper 8 bits, and the orientation in the EXIF data is not applied, as in TensorFlow's decoders,
    unless `how` says otherwise.

    Args:
        source: path of the file, or its bytes.
        channels: 1 (grey) or 3 (RGB) to convert to; `None` (default): 1 for grey images, else 3.
        name: name of the image in messages; `None` (default): its path.
        how: treatment of deep pixel values, alpha channel and orientation.

    Returns:
        uint8 array of shape `[height, width, channels]`.

    Raises:
        BadImage: (a `DataError`) the file cannot be read or is incomplete.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> from keras_preact.data import decode
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (4, 2)).save(file, "PNG")
        >>> decode(file.getvalue()).shape
        (2, 4, 3)
    """
    return Picture(source, channels, name, how).pixels()


def read(
    source: Any, channels: int | None = None, name: str | None = None, how: Reading = AS_STORED
) -> tuple[np.ndarray, Any]:
    """`decode`, and the `Header` of the file."""
    picture = Picture(source, channels, name, how)
    return picture.pixels(), picture.header()


def dark(brightest: int) -> list[str]:
    """A line where a data set uses few of the 255 grey levels, as masks and 12 bits do; else none.

    Example:
        >>> from keras_preact.data.images import dark
        >>> dark(15)
        ['all images are dark: pixel values range from 0 to 15 of 255; multiply them by 17']
        >>> dark(200)
        []
    """
    if brightest > 255 // _DARK:
        return []
    fix = f"; multiply them by {255 // brightest}" if brightest else ""
    return [f"all images are dark: pixel values range from 0 to {brightest} of 255{fix}"]


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
        return [f"{images} rotated or flipped by the EXIF orientation."]
    return [
        f"{images} marked to be rotated or flipped by the EXIF orientation, which is ignored. "
        "data.orientation=apply applies it."
    ]


def resize(
    image: np.ndarray | Picture,
    shape: tuple[int, int],
    crop: tuple[int, int, int, int] | None = None,
    interpolation: str = "bilinear",
) -> np.ndarray:
    """Resizes an image (antialiased), and optionally crops the result.

    Bilinear within one grey level of `tf.image.resize(..., antialias=True)`, rounded.

    Args:
        image: uint8 `[height, width, 1 or 3]`, or a `Picture`.
        shape: height and width to resize the whole image to.
        crop: `(top, left, height, width)` of the crop, in pixels of the resized image; `None`
            (default): no crop. Nothing outside is computed.
        interpolation: `"nearest"` (not antialiased), `"bilinear"` (default) or `"bicubic"`.

    Returns:
        uint8 array of the window's (or the scaled image's) height and width.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data import resize
        >>> resize(np.zeros((10, 20, 3), np.uint8), (5, 10)).shape
        (5, 10, 3)
    """
    picture = image if isinstance(image, Picture) else Picture(image)
    return picture.scaled(shape, crop, interpolation)


def scaled_shape(shape: tuple[int, ...], shorter: int) -> tuple[int, int]:
    """Height and width after scaling so that the shorter side has `shorter` pixels.

    The longer side is rounded down, as torchvision, timm and transformers do.
    """
    height, width = shape[:2]
    least = min(height, width)
    return shorter * height // least, shorter * width // least


def centre(
    scaled: tuple[int, int], height: int, width: int, rounded: Callable[[float], int] = round
) -> tuple[int, int, int, int]:
    """The window in the middle, `(top, left, height, width)`.

    Halves go to the even side, as in torchvision's and timm's centre crop, unless they are
    `rounded` otherwise.
    """
    return rounded((scaled[0] - height) / 2), rounded((scaled[1] - width) / 2), height, width


def resize_and_crop(image: np.ndarray | Picture, size: int) -> np.ndarray:
    """The centre `size` x `size` pixels after scaling the shorter side to `size`.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data import resize_and_crop
        >>> resize_and_crop(np.zeros((10, 20, 3), np.uint8), 5).shape
        (5, 5, 3)
    """
    scaled = scaled_shape(image.shape, size)
    return resize(image, scaled, centre(scaled, size, size))


def to_channels(image: np.ndarray, channels: int | None) -> np.ndarray:
    """`[..., 1 or 3]` as grey (luma of ITU-R 601-2, as Pillow's) or RGB; `None`: unchanged."""
    if channels is None or image.shape[-1] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=-1)
    luma = image.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
    return ((luma + 0x8000) >> 16).astype(np.uint8)[..., None]
