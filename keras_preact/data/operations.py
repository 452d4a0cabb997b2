"""Operations on Pillow images, and the policies that draw from them: RandAugment, TrivialAugment.

The operations are those of AutoAugment (Cubuk et al. 2019) that both policies share, as the
authors' codes have them on Pillow: nearest neighbours, shears that keep the upper left corner.
None of them mirrors an image.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

#: The greatest strength of an operation; strengths are whole numbers from 0.
STRONGEST = 30


class Operation(NamedTuple):
    """A row of a policy.

    Attributes:
        change: Function of a Pillow image (grey or RGB), an amount, and the value of what comes
            into the image from outside, that gives another image.
        least, most: The amount at strengths 0 and 30, and in proportion between.
        signed: Whether the amount is taken as negative half of the time.
    """

    change: Callable
    least: float = 0.0
    most: float = 0.0
    signed: bool = False


def _affine(image, matrix, fill):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=fill)


def _shear(image, amount, fill, axis):
    return _affine(image, (1, amount, 0, 0, 1, 0) if axis == 0 else (1, 0, 0, amount, 1, 0), fill)


def _translate(image, amount, fill, axis, pixels=None):
    """By a share of the side, or of so many `pixels` where the side has more."""
    side = image.size[axis]
    shift = round(amount * min(side, pixels or side))
    return _affine(image, (1, 0, shift, 0, 1, 0) if axis == 0 else (1, 0, 0, 0, 1, shift), fill)


def _rotate(image, amount, fill):
    return image.rotate(amount, fillcolor=fill)


def _enhance(image, amount, fill, kind):
    return kind(image).enhance(1 + amount)


def _by_tone(image, amount, fill, change):
    return change(image)


def _solarize(image, amount, fill):
    return ImageOps.solarize(image, amount)


def _posterize(image, amount, fill):
    return ImageOps.posterize(image, round(amount))


_ENHANCE = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "color": ImageEnhance.Color,
    "sharpness": ImageEnhance.Sharpness,
}

#: Cubuk et al. 2020, with the ranges of AutoAugment: translations by up to 150 of 331 pixels.
RAND_AUGMENT = {
    "identity": Operation(lambda image, amount, fill: image),
    "auto_contrast": Operation(functools.partial(_by_tone, change=ImageOps.autocontrast)),
    "equalize": Operation(functools.partial(_by_tone, change=ImageOps.equalize)),
    "solarize": Operation(_solarize, 256, 0),  # the threshold, above which values are inverted
    "posterize": Operation(_posterize, 8, 4),  # bits that are kept
    "rotate": Operation(_rotate, 0, 30, signed=True),  # degrees
    **{
        name: Operation(functools.partial(_enhance, kind=kind), 0, 0.9, signed=True)
        for name, kind in _ENHANCE.items()
    },
    **{
        f"{name}_{'xy'[axis]}": Operation(functools.partial(change, axis=axis), 0, most, True)
        for name, change, most in (("shear", _shear, 0.3), ("translate", _translate, 150 / 331))
        for axis in (0, 1)
    },
}

#: Mueller and Hutter 2021, the "wide" ranges: translations by up to 32 pixels.
TRIVIAL_AUGMENT = {
    **RAND_AUGMENT,
    "posterize": Operation(_posterize, 8, 2),
    "rotate": Operation(_rotate, 0, 135, signed=True),
    **{name: RAND_AUGMENT[name]._replace(most=0.99) for name in (*_ENHANCE, "shear_x", "shear_y")},
    **{
        f"translate_{'xy'[axis]}": Operation(
            functools.partial(_translate, axis=axis, pixels=32), 0, 1, signed=True
        )
        for axis in (0, 1)
    },
}

POLICIES = {"rand_augment": RAND_AUGMENT, "trivial_augment": TRIVIAL_AUGMENT}


def chosen(policy: str, numbers: np.ndarray, magnitude: int) -> list[list[tuple[Callable, float]]]:
    """The operations for each image, in order, with their amounts.

    Args:
        policy: one of `POLICIES`.
        numbers: in [0, 1), `[n, operations, 3]`, as `policy_draws` gives them.
        magnitude: the strength of RandAugment's operations; those of TrivialAugment have each any.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data.operations import chosen
        >>> numbers = np.array([[[5.5 / 14, 0, 0.2]]])  # the sixth of 14, its sign negative
        >>> [[amount for _, amount in image] for image in chosen("rand_augment", numbers, 9)]
        [[-9.0]]
    """
    rows = [*POLICIES[policy].values()]
    strengths = np.full(numbers.shape[:2], magnitude)
    if policy == "trivial_augment":
        strengths = (numbers[..., 1] * (STRONGEST + 1)).astype(int)
    places = (numbers[..., 0] * len(rows)).astype(int)

    def one(place, strength, number):
        change, least, most, signed = rows[place]
        amount = least + (most - least) * strength / STRONGEST
        return change, -amount if signed and number < 0.5 else amount

    columns = zip(places.tolist(), strengths.tolist(), numbers[..., 2].tolist(), strict=True)
    return [[one(*row) for row in zip(*image, strict=True)] for image in columns]


def jittered(image: Any, factors: np.ndarray, order: np.ndarray) -> Any:
    """A Pillow image with brightness, contrast and saturation times a factor, in some order."""
    kinds = [_ENHANCE[name] for name in ("brightness", "contrast", "color")]
    for k in order.tolist():
        image = kinds[k](image).enhance(factors[k])
    return image
