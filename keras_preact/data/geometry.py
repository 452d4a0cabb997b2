"""`Geometry`: how image files become a network's input; stored beside the network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from keras_preact.checked import Checked, is_whole, require
from keras_preact.data.formats import MAX_PIXELS
from keras_preact.data.images import centre, resize, scaled_shape
from keras_preact.data.picture import Interpolation, Picture, box_of
from keras_preact.data.reading import AS_STORED, Reading

#: How the part of an image is chosen that has the aspect of a network's images.
Crop = Literal["center", "center_floor", "squash"]

#: For `"bicubic"` scaled images of up to so many times the crop are scaled whole, as libraries do
#: it: Pillow, which rounds after one side, may begin with the other for the crop alone.
WHOLE = 4


@dataclass(frozen=True)
class Geometry(Checked):
    """How image files become a network's input: resizing, cropping, and reading of pixel values.

    Args:
        size: height and width in pixels, or one number for a square; `None` (default): each image
            keeps its own.
        shorter: shorter side in pixels after resizing, before the centre crop to `size`; `None`
            (default): the larger of `size`; images of that size are not changed.
        interpolation: `"nearest"`, `"bilinear"` (default) or `"bicubic"`, as Pillow has them.
        crop: `"center"` (default); `"center_floor"`, which rounds half a pixel down, as
            transformers does; or `"squash"`: the whole image is resized to `size` without keeping
            its aspect ratio, as by `keras.utils.load_img(target_size=...)`; with `shorter`, to a
            proportionally larger size that is then cropped.
        reading: treatment of deep pixel values, alpha channel and orientation.

    Raises:
        ConfigError: for sizes below 1, or `shorter` below the crop.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data import Geometry
        >>> from keras_preact.data.picture import Picture
        >>> geometry = Geometry(224, shorter=256)
        >>> geometry.fit(Picture(np.zeros((375, 500, 3), np.uint8))).shape
        (224, 224, 3)
        >>> print(geometry)
        shorter side resized to 256 pixels (bilinear), centre crop 224 x 224
    """

    size: tuple[int, ...] | None = None
    shorter: int | None = None
    interpolation: Interpolation = "bilinear"
    crop: Crop = "center"
    reading: Reading = AS_STORED

    def __post_init__(self):
        if is_whole(self.size):
            object.__setattr__(self, "size", (self.size, self.size))
        super().__post_init__()

    def check(self) -> None:
        size = self.size
        two = size is None or (len(size) == 2 and min(size) >= 1 and math.prod(size) <= MAX_PIXELS)
        most = f"at least 1 and {MAX_PIXELS:,} pixels in all"
        require(two, "size", size, f"height and width of {most}, one number for both, or None")
        if self.shorter is not None:
            fix = "Also set size, that of the crop." if size is None else ""
            least = f"at least {max(size)}, the side of the crop" if size else "None without a size"
            require(size and self.shorter >= max(size), "shorter", self.shorter, least, fix)

    def fit(self, picture: Picture) -> np.ndarray:
        """An image in the size of the network, uint8 `[height, width, channels]`.

        Raises:
            BadImage: the file is damaged.
        """
        if self.keeps(picture.shape):
            return picture.pixels()
        scaled, window = self._window(picture.shape)
        if self.interpolation == "bicubic" and math.prod(scaled) <= WHOLE * math.prod(self.size):
            top, left, height, width = window
            whole = resize(picture, scaled, None, "bicubic")
            return np.ascontiguousarray(whole[top : top + height, left : left + width])
        return resize(picture, scaled, window, self.interpolation)

    def seen(self, picture: Picture, longer: int) -> np.ndarray:
        """The part of an image that a network sees, in a size for people: uint8 `[h, w, c]`.

        Args:
            picture: The image.
            longer: Pixels of the longer side. Small images are enlarged, their pixels seen.

        Raises:
            BadImage: the file is damaged.

        Example:
            >>> import numpy as np
            >>> from keras_preact.data import Geometry
            >>> from keras_preact.data.picture import Picture
            >>> picture = Picture(np.zeros((200, 400, 3), np.uint8))
            >>> Geometry(32).seen(picture, longer=300).shape
            (300, 300, 3)
        """
        height, width = picture.shape[:2]
        region = (0, 0, height, width)
        if not self.keeps(picture.shape):
            left, top, right, bottom = map(
                round, box_of((height, width), *self._window(picture.shape))
            )
            region = (top, left, max(bottom - top, 1), max(right - left, 1))
        shape = [max(round(longer * side / max(region[2:])), 1) for side in region[2:]]
        enlarged = max(shape) > max(region[2:])
        return picture.scaled(shape, None, "nearest" if enlarged else "bilinear", region)

    def _window(self, shape):
        """What an image is scaled to, and the window of that which is cut out."""
        shorter, floors = self.shorter or max(self.size), self.crop == "center_floor"
        scaled = self.squashed() if self.crop == "squash" else scaled_shape(shape, shorter)
        return scaled, centre(scaled, *self.size, math.floor if floors else round)

    def keeps(self, shape: tuple[int, ...]) -> bool:
        """Whether images of this height and width stay as they are."""
        return self.size is None or (self.shorter is None and self.size == tuple(shape[:2]))

    def squashed(self) -> tuple[int, int]:
        """Height and width that whole images are scaled to where `crop` is `"squash"`."""
        larger, shorter = max(self.size), self.shorter or max(self.size)
        height, width = (shorter * side // larger for side in self.size)
        return height, width

    def of_size(self, size: tuple[int, int]) -> "Geometry":
        """The same for images of this height and width."""
        return self if self.size == size else self.replace(size=size)

    def changed(
        self,
        size: int | Sequence[int] | None = None,
        shorter: int | None = None,
        interpolation: str | None = None,
    ) -> "Geometry":
        """The same but for what is given; of another `size` the crop's share stays.

        Example:
            >>> from keras_preact.data import Geometry
            >>> Geometry(224, shorter=256).changed(size=320).shorter
            365
        """
        if size is not None and shorter is None and self.shorter:
            shorter = (size if is_whole(size) else max(size)) * self.shorter // max(self.size)
        given = {"size": size, "shorter": shorter, "interpolation": interpolation}
        return self.replace(**{name: value for name, value in given.items() if value is not None})

    def __str__(self) -> str:
        words = "original size"
        if self.size:
            size, shorter = " x ".join(map(str, self.size)), self.shorter or max(self.size)
            words = f"shorter side resized to {shorter} pixels ({self.interpolation})"
            cut = f", centre crop {size}"
            if self.crop == "squash":
                scaled = " x ".join(map(str, self.squashed()))
                words = f"resized to {scaled}, ignoring the aspect ratio ({self.interpolation})"
                cut = cut * (scaled != size)
            words += cut
        return ", ".join([words, *self.reading.changed()])


AS_THEY_ARE = Geometry()
