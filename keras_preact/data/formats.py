"""Which files are images, by what they hold: opened by Pillow, with limits of our own.

Sizes above `MAX_PIXELS` are not decoded; texts and profiles beside the pixels may be of any length.
"""

import importlib
import io
import re
import warnings
from typing import Any

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


def open_image(data: bytes) -> Any:
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
        pixels = _without_texts(data) if kind == "PNG" else data
        image = Image.open(io.BytesIO(pixels), formats=(kind,))
    except ImportError:
        raise ValueError(f"{kind}, which this version of Pillow cannot read") from None
    except Image.UnidentifiedImageError:
        raise ValueError("the header is damaged, or of a kind that Pillow cannot read") from None
    return image


def in_words() -> str:
    """The formats that are read, for messages."""
    *others, last = FORMATS
    return f"{', '.join(others)} nor {last}".replace("WEBP", "WebP")


def orientation_of(image: Any) -> int:
    """How the pixels are to be turned: EXIF's number, 1 for none.

    What is damaged there leaves the pixels whole.
    """
    try:
        number = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow raises many types
        return 1
    return number if 1 <= number <= 8 else 1


def turned(image: Any, orientation: int) -> Any:
    """A Pillow image as EXIF's number says that it is to be seen.

    Example:
        >>> from PIL import Image
        >>> from keras_preact.data.formats import turned
        >>> turned(Image.new("L", (4, 3)), 6).size  # by 90 degrees, as a clock's hands
        (3, 4)
    """
    ways = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270",
            "TRANSVERSE", "ROTATE_90")  # fmt: skip
    from PIL import Image

    return image if orientation == 1 else image.transpose(Image.Transpose[ways[orientation - 2]])


def back_from(orientation: int) -> int:
    """The orientation that undoes another."""
    return {6: 8, 8: 6}.get(orientation, orientation)


def _without_texts(data):
    """A PNG file without its texts and colour profile, which Pillow takes for bombs if long."""
    kept, at = [data[:8]], 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4]) + 12
        if data[at + 4 : at + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(data[at : at + size])
        at += size
    return b"".join(kept)
