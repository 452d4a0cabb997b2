"""Duplicate images: equal to the last pixel, or nearly so (another size or quality)."""

import hashlib
from collections import defaultdict
from itertools import combinations
from typing import NamedTuple

import numpy as np

from keras_preact.data.images import resize, to_channels

#: Side of the grey thumbnails that near copies are compared by, and how many grey levels they may
#: be apart in the mean. Flatter ones than `_FLAT` (standard deviation) all look alike.
_SIDE, _LEVELS, _FLAT = 16, 4.0, 8.0

#: Bits of a fingerprint that may differ; cut into one band more, one of them is equal.
_BITS = 5

#: A band that more images than this share says nothing of them.
_CROWD = 200


class Print(NamedTuple):
    """What an image is compared by.

    Attributes:
        digest: Digest of its pixels and shape.
        bits: Whether each of 8 x 8 places is brighter than the one to its right, as a number.
        thumbnail: Grey, float32 `[16, 16]`.
    """

    digest: bytes
    bits: int
    thumbnail: np.ndarray


class Pair(NamedTuple):
    """Two images that are alike, by their positions.

    Attributes:
        first, second: Positions.
        exact: Whether all their pixels are equal.
    """

    first: int
    second: int
    exact: bool


def print_of(image: np.ndarray) -> Print:
    """What an image is compared by.

    Args:
        image: uint8 `[h, w, 1 or 3]`.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data.alike import print_of
        >>> print_of(np.zeros((9, 7, 3), "uint8")).bits
        0
    """
    digest = hashlib.blake2b(image.tobytes(), digest_size=16, key=str(image.shape).encode())
    thumbnail = resize(to_channels(image, 1), (_SIDE, _SIDE))[:, :, 0].astype(np.float32)
    small = thumbnail.reshape(8, 2, 8, 2).mean((1, 3))
    brighter = small > np.roll(small, -1, axis=1)
    bits = int.from_bytes(np.packbits(brighter).tobytes())
    return Print(digest.digest(), bits, thumbnail)


def alike(prints: list[Print]) -> list[Pair]:
    """Pairs of images that are equal or nearly so (difference hash, then thumbnails).

    Args:
        prints: The fingerprint of each image.

    Returns:
        A `Pair` for each image and the first one that it is equal to, and for each other two that
        are nearly equal, in order.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data.alike import alike, print_of
        >>> image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
        >>> alike([print_of(image), print_of(255 - image), print_of(image)])
        [Pair(first=0, second=2, exact=True)]
    """
    first, pairs = {}, []
    for k, one in enumerate(prints):
        if one.digest in first:
            pairs.append(Pair(first[one.digest], k, True))
        first.setdefault(one.digest, k)
    single = [k for k in first.values() if prints[k].thumbnail.std() > _FLAT]
    bands = defaultdict(list)
    for k in single:
        for band, part in enumerate(_parts(prints[k].bits)):
            bands[band, part].append(k)
    crowds = (members for members in bands.values() if 1 < len(members) <= _CROWD)
    near = {pair for members in crowds for pair in combinations(members, 2)}
    pairs += [Pair(a, b, False) for a, b in near if _nearly_equal(prints[a], prints[b])]
    return sorted(pairs)


def _parts(bits):
    """64 bits in `_BITS` + 1 bands."""
    width = -(-64 // (_BITS + 1))
    return [bits >> k * width & (1 << width) - 1 for k in range(_BITS + 1)]


def _nearly_equal(one, other):
    if (one.bits ^ other.bits).bit_count() > _BITS:
        return False
    return bool(np.abs(one.thumbnail - other.thumbnail).mean() <= _LEVELS)
