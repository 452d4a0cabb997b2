"""`Reading`: how values in image files become pixels from 0 to 255."""

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from keras_preact.checked import Checked, require


@dataclass(frozen=True)
class Reading(Checked):
    """How the values in files become pixels, 0 to 255; the same for all images of a data set.

    Attributes:
        range: The values in the files that become 0 and 255; others beyond are cut off. `None`:
            8 bits as they are, the upper 8 of 16 bits, and floats from 0 to 1.
        alpha: `"drop"` leaves an alpha channel out; `"white"` and `"black"` blend the colours with
            one behind them.
        orientation: `"apply"` turns and mirrors the pixels as the EXIF data say, `"ignore"` leaves
            them as they are stored.
    """

    range: tuple[float, ...] | None = None
    alpha: Literal["drop", "white", "black"] = "drop"
    orientation: Literal["ignore", "apply"] = "ignore"

    def check(self) -> None:
        ends = self.range is None or (len(self.range) == 2 and self.range[0] < self.range[1])
        require(ends, "range", self.range, "two increasing numbers, such as [0, 4095], or None")

    def changed(self) -> list[str]:
        """What is not as TensorFlow's decoders have it, as settings.

        Example:
            >>> from keras_preact.data.reading import Reading
            >>> Reading(orientation="apply").changed()
            ['data.orientation=apply']
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return [
            f"data.{name}={[*value] if name == 'range' else value}"
            for name, value in values.items()
            if value != getattr(AS_STORED, name)
        ]


AS_STORED = Reading()


def in_grey_or_rgb(image: Any, grey: bool) -> Any:
    """A Pillow image in grey or colours of 8 bits; one of grey alone as deep as it is."""
    from PIL import ImageChops

    if image.mode[0] in "IF":
        return image
    if image.mode == "CMYK" and image.format != "TIFF" and "adobe" not in image.info:
        # Pillow takes all for Adobe's, whose values are the other way round.
        image = ImageChops.invert(image)
    if image.mode in ("P", "PA") and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about the direct way
    mode = "L" if grey else "RGB"
    return image if image.mode == mode else image.convert(mode)


def as_pixels(values: np.ndarray, image: Any, cut: bool, how: Reading) -> np.ndarray:
    """Values of an image as pixels from 0 to 255, blended with what is behind them if asked.

    Args:
        values: those of `in_grey_or_rgb`.
        image: the Pillow image.
        cut: whether its values were deeper, and the upper 8 bits are there.
        how: how they are read.
    """
    pixels = _in_8_bits(values, cut, how.range)
    if how.alpha == "drop" or not image.has_transparency_data:
        return pixels
    return _blended(pixels, image, values, how.alpha)


def _in_8_bits(values, cut, limits):
    """Pixels from 0 to 255; of values that were `cut` the upper 8 of 16 bits are there."""
    if limits is None and values.dtype == np.uint8:
        return values
    known = (0, 1) if values.dtype.kind == "f" else (0, 2**16 - 1)
    if not np.isfinite(values).all():
        raise ValueError("values that are not finite")
    low, high = values.min(), values.max()
    if limits is None and (low < known[0] or high > known[1]):
        raise ValueError(
            f"values from {low} to {high}, expected from {known[0]} to {known[1]}; set which are "
            f"black and white in all images: --set data.range=[{low},{high}]"
        )
    if limits is None and values.dtype.kind != "f":
        return (values >> 8).astype(np.uint8)
    black, white = limits or known
    scale = 255 / (white - black)
    whole = values.astype(np.float64) * (257 if cut else 1)
    return np.rint(np.clip((whole - black) * scale, 0, 255)).astype(np.uint8)


def _blended(pixels, image, values, colour):
    """An image's pixels over white or black, rounded."""
    alpha = _alpha(image, values).astype(np.uint32)
    alpha = alpha.reshape(alpha.shape + (1,) * (pixels.ndim - 2))
    behind = {"white": 255, "black": 0}[colour]
    return ((pixels * alpha + behind * (255 - alpha) + 127) // 255).astype(np.uint8)


def _alpha(image, values):
    key = image.info.get("transparency")
    if image.mode.startswith("I"):  # the one grey value that is transparent
        return np.where(values == key, 0, 255)
    return np.asarray(image.convert("RGBA"))[..., 3]
