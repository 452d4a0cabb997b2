"""Random numbers that are a pure function of (seed, epoch, index of the image).

A hash instead of a generator with a state: the numbers do not depend on batch size, order,
processes or the version of NumPy, and a training that is taken up again meets the same ones.
The hash is the output function of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom
Number Generators, 2014), applied to one key after the other.
"""

import numpy as np

_STEP = np.uint64(0x9E3779B97F4A7C15)


def uniform(seed: int, epoch: int, indices: np.ndarray, draws: int, first: int = 0) -> np.ndarray:
    """Random numbers in [0, 1), `draws` for each image.

    Args:
        seed: any whole number from 0.
        epoch: any whole number from 0.
        indices: integer array `[n]`, the places of the images in their split.
        draws: how many numbers each image needs.
        first: how many numbers of the image's sequence are passed over; default 0.

    Returns:
        float64 array `[n, draws]`.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data.random import uniform
        >>> uniform(0, 3, np.array([7, 8]), 2).shape
        (2, 2)
    """
    keys = hashed(seed, epoch, indices)[:, None]
    bits = _mix(keys + _STEP * np.arange(first + 1, first + draws + 1, dtype=np.uint64))
    return (bits >> np.uint64(11)) * 2.0**-53


def normal(seed: int, epoch: int, indices: np.ndarray, draws: int, first: int = 0) -> np.ndarray:
    """Standard normal numbers `[n, draws]`, each from two of `uniform` (Box and Muller 1958)."""
    pairs = uniform(seed, epoch, indices, 2 * draws, first).reshape(-1, draws, 2)
    return np.sqrt(-2 * np.log1p(-pairs[..., 0])) * np.cos(2 * np.pi * pairs[..., 1])


def hashed(seed: int, epoch: int, indices: np.ndarray) -> np.ndarray:
    """64 random bits for each index: uint64 array of the shape of `indices`."""
    key = np.zeros(1, np.uint64)  # arrays of integers wrap around silently, as wanted
    for part in (np.uint64(seed), np.uint64(epoch), np.asarray(indices).astype(np.uint64)):
        key = _mix((key ^ part) + _STEP)
    return key


def epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order in which an epoch visits `n` images: a permutation of `0 .. n - 1`, int64.

    A pure function of its arguments.

    Example:
        >>> from keras_preact.data import epoch_order
        >>> sorted(epoch_order(seed=0, epoch=3, n=4).tolist())
        [0, 1, 2, 3]
    """
    return np.argsort(hashed(seed, epoch, np.arange(n)), kind="stable")


def repeated_draws(order: np.ndarray, repeats: int, batch_size: int) -> np.ndarray:
    """Repeated augmentation: draws some of `n` images `repeats` times each, `n` draws in total.

    The copies of an image share a batch (Hoffer et al. 2020), or two where a batch begins between
    them. In it come the first copies of its images, then the second ones, and so on: neighbours,
    which may be blended, are different images if a batch has room for the copies of two, and
    devices get different copies. A pure function of its arguments.

    Args:
        order: places of `n` images, such as `epoch_order` gives; the first `ceil(n / repeats)` are
            drawn.
        repeats: how many times each is drawn; the last one less often if `n` is no multiple.
        batch_size: draws in a batch.

    Returns:
        int64 `[n]`: as from `balanced_draws`, the place of the image, and for one drawn `k` times
        before `place + k * n`.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data.random import repeated_draws
        >>> repeated_draws(np.array([2, 0, 1, 3]), repeats=2, batch_size=4).tolist()
        [2, 0, 6, 4]
    """
    n = len(order)
    draws = np.arange(n)
    copies = draws % repeats
    in_batches = np.lexsort((draws, copies, draws // batch_size))
    return (order[draws // repeats] + copies * n)[in_batches]


def _mix(bits: np.ndarray) -> np.ndarray:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
