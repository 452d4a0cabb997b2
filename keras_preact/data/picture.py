"""`Picture`: an image file that decodes no more than is needed."""

import contextlib
import functools
import os
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from keras_preact.data.formats import MAX_PIXELS, back_from, open_image, orientation_of, turned
from keras_preact.data.jpeg import decoded, small_jpeg
from keras_preact.data.reading import AS_STORED, Reading, as_pixels, in_grey_or_rgb
from keras_preact.errors import DataError, shown

#: Pixels above which a JPEG file is reduced while it is decoded, where it is to be scaled to at
#: most half its size or less; twice the pixels that are needed remain each way.
DRAFT_PIXELS = 4_000_000

#: Pixels above which images are decoded one at a time, whatever the number of threads.
_LARGE_PIXELS = 16_000_000

#: How pixels between those of an image are found, as Pillow does; all but the first take the mean
#: over what a pixel of a smaller image covers.
Interpolation = Literal["nearest", "bilinear", "bicubic"]
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)

_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "F")
_ONE_AT_A_TIME = threading.Lock()


class BadImage(DataError):
    """An image file that cannot be read, with its `path` (or name) and the `reason`."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


@dataclass(frozen=True)
class Header:
    """What the header of an image file says.

    Attributes:
        width, height: Size in pixels, as it is read.
        mode: Pillow's mode, `"RGB"`, `"L"`, ...
        format: `"JPEG"`, `"PNG"`, `"TIFF"`, ...
        orientation: The number in its EXIF data: 1 upright, others turned or mirrored.
        highest: Of 16-bit images the largest value, before its upper 8 bits are taken; of colours
            and of grey with an alpha channel the largest that has the same ones.
        brightest: The largest value of the pixels that are read, up to 255; that where they were
            not, or are too many to be kept.
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


class Picture:
    """An image file, or an array of pixels, that is decoded when pixels of it are asked for.

    Args:
        source: path of the file, its bytes, or its pixels, uint8 `[height, width, 1 or 3]`.
        channels: 1 (grey) or 3 (RGB) to convert to; `None` (default): 1 for grey images, else 3.
        name: name of the image in messages; `None` (default): its path.
        how: treatment of deep pixel values, alpha channel and orientation.

    Attributes:
        shape: `(height, width, channels)` of its pixels.
        in_colour: whether the image is not grey, whatever it is converted to.

    Raises:
        BadImage: the file cannot be read or is no image.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data.picture import Picture
        >>> picture = Picture(np.zeros((10, 20, 3), np.uint8))
        >>> picture.scaled((5, 10), crop=(0, 2, 5, 5)).shape
        (5, 5, 3)
    """

    def __init__(
        self,
        source: str | os.PathLike | bytes | np.ndarray,
        channels: int | None = None,
        name: str | None = None,
        how: Reading = AS_STORED,
    ) -> None:
        self._how, self._file, self._reduced = how, None, 1
        self._small, self._pixels = False, None
        if isinstance(source, np.ndarray):
            from PIL import Image

            self._decoded = Image.fromarray(source[:, :, 0] if source.shape[2] == 1 else source)
            self.shape, self._name, self._data = source.shape, name, None
            self.in_colour = source.shape[2] == 3
            return
        self._name = name or ("image" if isinstance(source, bytes) else shown(source))
        self._decoded = self._highest = None
        with self._damage_named():
            if not isinstance(source, bytes):
                with open(source, "rb", buffering=0) as file:
                    if stat.S_ISCHR(os.fstat(file.fileno()).st_mode):  # /dev/zero never ends
                        raise ValueError("a device, not a file")
                    source = file.read()
            self._data = source
            known = small_jpeg(source) if how == AS_STORED else None
            if known:
                height, width, self._mode = known
                self._small, self._cut, self.format = True, False, "JPEG"
            else:
                self._open()
            self.in_colour = self._mode not in _GREY_MODES
            self._channels = channels or (3 if self.in_colour else 1)
            if self.format == "TIFF":  # which Pillow turns when it decodes it
                width, height = self._whole().size
            elif not known:
                aside = how.orientation == "apply" and self.orientation > 4
                width, height = self._file.size[:: -1 if aside else 1]
        self.shape = height, width, self._channels

    @functools.cached_property
    def orientation(self) -> int:
        """The number in its EXIF data; of small JPEG files it is looked for when asked for."""
        if self._data is not None:
            with self._damage_named():
                self._open()
        return vars(self).get("orientation", 1)

    def pixels(self) -> np.ndarray:
        """All pixels, uint8 `[height, width, channels]`.

        Raises:
            BadImage: the file is damaged.
        """
        if self._small and self._decoded is None and self.in_colour == (self._channels == 3):
            if self._pixels is None:
                self._pixels = decoded(self._data, self._mode)
            if self._pixels is not None:
                return self._pixels
        return as_array(self.image())

    def image(self) -> Any:
        """All of it as a Pillow image, grey or RGB; not to be changed.

        Raises:
            BadImage: the file is damaged.
        """
        with self._damage_named(), self._in_turn():
            image = self._whole()
            image.load()
            return image

    def scaled(self, *arguments: Any, **options: Any) -> np.ndarray:
        """What `window` gives, as an uint8 array `[height, width, channels]`."""
        return as_array(self.window(*arguments, **options))

    def window(
        self,
        shape: tuple[int, int],
        crop: tuple[int, int, int, int] | None = None,
        interpolation: str = "bilinear",
        region: tuple[int, int, int, int] | None = None,
        mirror: bool = False,
    ) -> Any:
        """The image scaled to a height and width, or a window of that.

        Where that is much smaller than a JPEG file of more than `DRAFT_PIXELS`, the file is
        reduced while it is decoded, which moves pixels by a grey level in the mean; for `"nearest"`
        only one of more than `MAX_PIXELS`, since its pixels are the file's own.

        Args:
            shape: height and width that the whole image, or its region, is scaled to.
            crop: `(top, left, height, width)` of the window, in pixels of the scaled image; `None`
                (default): all of it. Nothing else is computed.
            interpolation: one of `INTERPOLATIONS`.
            region: `(top, left, height, width)` in pixels of the image, which is cut out before
                scaling; `None` (default): all of it.
            mirror: whether left and right are exchanged, at the end.

        Returns:
            A Pillow image of the window's (or the scaled image's) height and width.

        Raises:
            BadImage: the file is damaged.
        """
        top, left, tall, wide = region or (0, 0, *self.shape[:2])
        crop = crop or (0, 0, *shape)
        with self._damage_named(), self._in_turn():
            exact = interpolation == "nearest"
            image, by = self._at((shape[0] / tall, shape[1] / wide), exact)
            if region:
                image = image.crop(_outwards(left / by, top / by, wide / by, tall / by))
            # Where the region lies in what is left, in fractions of a pixel after a reduction.
            left, top = (left / by) % 1, (top / by) % 1
            tall, wide = tall / by, wide / by
            box = box_of((tall, wide), shape, crop)
            if by > 1:
                box = (left + box[0], top + box[1], left + box[2], top + box[3])
                box = (*box[:2], min(box[2], image.width), min(box[3], image.height))
            from PIL import Image

            if by == 1 and (tall, wide) == tuple(shape):
                image = image.crop(tuple(map(round, box)))
            else:
                kind = Image.Resampling[interpolation.upper()]
                image = image.resize((crop[3], crop[2]), kind, box)
            return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirror else image

    def header(self) -> Header:
        """What the file says of itself and, once it was decoded, of its values."""
        height, width, _ = self.shape
        found = Header(width, height, self._mode, self.format, self.orientation, self._highest)
        if self._pixels is not None:
            return replace(found, brightest=int(self._pixels.max()))
        if self._decoded is None:
            return found
        ends = np.reshape(self._decoded.getextrema(), (-1, 2))
        return replace(found, brightest=int(ends.max()))

    def _open(self):
        self._file = open_image(self._data)
        stored = str(self._file.tile[0].args) if self._file.tile else ""  # there until it is loaded
        self.orientation = orientation_of(self._file)  # for which a PNG file is loaded
        self._cut = ";16" in stored  # Pillow takes the upper 8 bits of colours
        self._mode = "LA" if "LA;16B" in stored else self._file.mode  # which Pillow opens as RGBA
        kind = self._file.format
        self.format = {"MPO": "JPEG", "WEBP": "WebP"}.get(kind, kind)

    def _at(self, scale, exact):
        """The image for scaling it so much, and by what it is reduced already."""
        by, limit = 1, MAX_PIXELS if exact else DRAFT_PIXELS
        if self._data and self.format == "JPEG" and np.prod(self.shape[:2]) > limit:
            by = max((n for n in (1, 2, 4, 8) if 2 * n * max(scale) <= 1), default=1)
        return self._whole(by), by

    def _whole(self, by=1):
        """The image as Pillow has it, grey or RGB and as it is to be seen, reduced so much."""
        if self._decoded is None or self._reduced != by:
            if self._file is None:
                self._open()
            self._decoded, self._reduced, self._file = self._decode(by), by, None
        return self._decoded

    def _decode(self, by):
        from PIL import Image

        image, how = self._file, self._how
        if by > 1:
            image.draft(image.mode, (image.width // by, image.height // by))
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}")
        plain = in_grey_or_rgb(image, grey=self._mode in _GREY_MODES)
        blends = how.alpha != "drop" and image.has_transparency_data
        if plain.mode[0] in "IF" or self._cut or how.range or blends:
            values = np.asarray(plain)
            cut = self._cut and values.dtype == np.uint8
            if cut or (values.dtype.kind in "iu" and values.itemsize > 1):
                self._highest = int(values.max()) << 8 | 255 if cut else int(values.max())
            plain = Image.fromarray(as_pixels(values, image, cut, how))
        is_turned = image.format == "TIFF"  # by Pillow
        if is_turned != (how.orientation == "apply"):
            way = back_from(self.orientation) if is_turned else self.orientation
            plain = turned(plain, way)
        wanted = "L" if self._channels == 1 else "RGB"
        return plain if plain.mode == wanted else plain.convert(wanted)

    @contextlib.contextmanager
    def _in_turn(self):
        """Keeps large images to one at a time, and no longer than they are needed."""
        if self._data is None or np.prod(self.shape[:2]) <= _LARGE_PIXELS:
            yield
            return
        with _ONE_AT_A_TIME:
            yield
            self._decoded = None

    @contextlib.contextmanager
    def _damage_named(self):
        try:
            yield
        except Exception as error:  # Pillow raises many types for damaged files
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise BadImage(self._name, reason) from None


def box_of(
    size: Sequence[int], shape: Sequence[int], crop: Sequence[int] | None
) -> tuple[float, float, float, float]:
    """The box of an image, `(left, top, right, bottom)`, that a window of the scaled one shows.

    Args:
        size: height and width of the image.
        shape: height and width that it is scaled to.
        crop: `(top, left, height, width)` of the window, in pixels of the scaled image.

    Example:
        >>> from keras_preact.data.picture import box_of
        >>> box_of((20, 20), (40, 40), (10, 0, 20, 20))
        (0.0, 5.0, 10.0, 15.0)
    """
    down, across = size[0] / shape[0], size[1] / shape[1]
    top, left, height, width = crop
    right, bottom = (left + width) * across, (top + height) * down
    return left * across, top * down, min(right, size[1]), min(bottom, size[0])


def as_array(image: Any) -> np.ndarray:
    """The pixels of a Pillow image, uint8 `[height, width, channels]`; not to be changed."""
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _outwards(left, top, width, height):
    """Whole pixels that cover a region."""
    ends = np.ceil(np.round([left + width, top + height], 6)).astype(int).tolist()
    return (int(left), int(top), *ends)
