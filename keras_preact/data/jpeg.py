"""Small JPEG files, decoded at once: of these Pillow needs more time to begin than to decode.

Both hand the file to libjpeg-turbo, with the same settings, and so give the same pixels.
"""

import numpy as np
import simplejpeg

#: Pixels above which Pillow is as fast.
_SMALL = 300_000

_MODES = {"Gray": "L", "YCbCr": "RGB"}  # what colours are stored as, and Pillow's mode of it
_COLOURS = {"L": "GRAY", "RGB": "RGB"}


def small_jpeg(data: bytes) -> tuple[int, int, str] | None:
    """Height, width and Pillow's mode, `"L"` or `"RGB"`, of a file that `decoded` is for.

    Args:
        data: a file's bytes, of any format.

    Returns:
        `None` for other files, JPEG files of CMYK colours among them.
    """
    if data[:2] != b"\xff\xd8":
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:  # what is wrong is said by Pillow
        return None
    height, width, mode = int(height), int(width), _MODES.get(colours)
    return (height, width, mode) if mode and 0 < height * width <= _SMALL else None


def decoded(data: bytes, mode: str) -> np.ndarray | None:
    """The pixels of a file, uint8 `[height, width, 1 or 3]`; `None` if any of it is damaged.

    Args:
        data: the bytes of a file that `small_jpeg` knows.
        mode: the one that it says.
    """
    try:
        return simplejpeg.decode_jpeg(data, _COLOURS[mode])
    except ValueError:
        return None
