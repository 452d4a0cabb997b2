"""Which files are images, by what they hold: opened by Pillow, with limits of our own.

Sizes above `MAX_PIXELS` are refused before anything is decoded; texts and profiles beside the
pixels may be of any length.
"""

import importlib
import io
import re
import warnings

import numpy as np

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff", ".gif",
    ".avif",
)  # fmt: skip
MAX_PIXELS = 89_478_485  # Pillow's own bound; more is taken for a decompression bomb

#: How files of each format begin that is read, by Pillow's name of it.
FORMATS = {
    "JPEG": rb"\xff\xd8",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WEBP": rb"RIFF.{4}WEBP",
    "BMP": rb"BM",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "GIF": rb"GIF8[79]a",
    "AVIF": rb".{4}ftyp.{0,40}?avi[fs]",
}
_OTHERS = {
    "HEIC": rb".{4}ftyp(?:hei|hev|mif|msf)",
    "JPEG XL": rb"\xff\x0a|.{4}JXL ",
    "JPEG 2000": rb".{4}jP  ",
    "PDF": rb"%PDF",
}
_ORIENTATION = 0x0112  # of EXIF

# Of what stands beside the pixels only the orientation is read; bombs are refused below.
warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning)
warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit")
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


def format_of(data: bytes) -> str | None:
    """The format of a file by its first bytes, one that is not read too; `None`: of no image.

    Example:
        >>> from keras_preact.data.formats import format_of
        >>> format_of(b"GIF89a..."), format_of(b"<html>")
        ('GIF', None)
    """
    for name, start in (FORMATS | _OTHERS).items():
        if re.match(start, data[:64], re.DOTALL):
            return name
    return None


def open_image(data: bytes):
    """A Pillow image of a file's bytes, of the first frame or page; raises what is wrong."""
    from PIL import Image

    if not data:
        raise ValueError("the file is empty (0 bytes)")
    kind = format_of(data)
    if kind not in FORMATS:
        raise ValueError(f"{f'a {kind} file' if kind else 'no image'}, neither {in_words()}")
    plugin = {"WEBP": "WebP"}.get(kind, kind.capitalize())
    try:
        importlib.import_module(f"PIL.{plugin}ImagePlugin")
        image = Image.open(io.BytesIO(_pixels_of(data)), formats=(kind,))
    except ImportError:
        raise ValueError(f"{kind}, which this version of Pillow does not read") from None
    except Image.UnidentifiedImageError:
        raise ValueError("the header is damaged, or of a kind that Pillow does not read") from None
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}")
    return image


def in_words() -> str:
    """The formats that are read, for messages."""
    *others, last = FORMATS
    return f"{', '.join(others)} nor {last}".replace("WEBP", "WebP")


def orientation_of(image) -> int:
    """How the pixels are to be turned: EXIF's number, 1 for none.

    What is damaged there leaves the pixels whole.
    """
    try:
        number = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow raises many types
        return 1
    return number if 1 <= number <= 8 else 1


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels `[height, width, ...]` as EXIF's number says that they are to be seen.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data.formats import turned
        >>> turned(np.array([[1, 2], [3, 4]]), 6).tolist()  # by 90 degrees, as a clock's hands
        [[3, 1], [4, 2]]
    """
    if orientation == 1:
        return pixels
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    down, across = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(pixels[:: -1 if down else 1, :: -1 if across else 1])


def turned_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of `turned`."""
    return turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def _pixels_of(data):
    """A PNG file without its texts and colour profile, which Pillow takes for bombs if long."""
    if format_of(data) != "PNG":
        return data
    kept, at = [data[:8]], 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4]) + 12
        if data[at + 4 : at + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(data[at : at + size])
        at += size
    return b"".join(kept)
