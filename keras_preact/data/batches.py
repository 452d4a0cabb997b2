"""Batches of images for `model.fit`, `model.evaluate` or a custom training loop."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from keras_preact.checked import require
from keras_preact.data.augment import Augmentation, augment
from keras_preact.data.balance import balanced_draws
from keras_preact.data.blend import blend_draws
from keras_preact.data.random import epoch_order, repeated_draws
from keras_preact.data.splits import Split
from keras_preact.data.statistics import image_mean

_NONE = Augmentation("none")


class Batches(keras.utils.PyDataset):
    """The batches of one part of a data set.

    A batch is a pure function of the arguments, `epoch` and the batch index. `epoch` increases with
    each `on_epoch_begin` and `on_epoch_end`, and a custom loop may set it. To match the epochs of
    `model.fit`, pass it `callback()`: some Keras backends look at batches before the first epoch
    and count that as one.

    Args:
        split: where the images are.
        batch_size: images per batch; the last batch may be smaller.
        shuffle: whether to shuffle in each epoch, by `epoch_order`.
        balanced: whether an epoch draws equally many images of each class, the same number in total
            (`keras_preact.data.balance.balanced_draws`). Default `False`.
        repeats: how many times an epoch draws each of its images, changed differently each time
            (`keras_preact.data.random.repeated_draws`): it is as long, and has 1 / `repeats` of the
            images. Default 1.
        weights: float array `[n]`, sample weights of `split`; `None` (default): all equal.
        seed: seed of order and augmentation.
        augmentation: random changes; `None` (default): none.
        flip: whether flipping preserves the labels (`ImageData.flip`).
        fill: value of padding and erased pixels, one per channel; `None` (default): the mean of the
            training images, computed from `split`.
        drop_remainder: whether to drop a smaller last batch. Default `False`.
        epoch: the epoch to begin with. Default 0.
        **kwargs: `workers` and `max_queue_size` of `keras.utils.PyDataset`, to prepare batches
            ahead. Images are decoded on all processors in any case.

    Example:
        >>> from keras_preact.data import Batches, load_data
        >>> batches = Batches(load_data("digits").train, 128, shuffle=True, seed=0)
        >>> len(batches)
        12
        >>> images, labels = batches[0]
        >>> images.shape
        (128, 8, 8, 1)
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        shuffle: bool = False,
        balanced: bool = False,
        repeats: int = 1,
        weights: np.ndarray | None = None,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        flip: bool = True,
        fill: Sequence[float] | np.ndarray | None = None,
        drop_remainder: bool = False,
        epoch: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require(batch_size >= 1, "batch_size", batch_size, "at least 1")
        require(seed >= 0, "seed", seed, "at least 0")
        too_large = drop_remainder and batch_size > len(split)
        most = f"at most {len(split)}, the number of images, if drop_remainder is True"
        require(not too_large, "batch_size", batch_size, most)
        require(shuffle or not balanced, "balanced", balanced, "False unless shuffle is True")
        require(repeats >= 1, "repeats", repeats, "at least 1")
        once = repeats == 1 or (shuffle and not balanced)
        require(once, "repeats", repeats, "1 unless shuffle is True and balanced is False")
        fits = weights is None or len(weights) == len(split)
        require(fits, "weights", weights, f"an array of {len(split)} numbers, or None")
        self.split, self.batch_size, self.shuffle, self.seed = split, batch_size, shuffle, seed
        self.balanced, self.repeats, self._weights = balanced, repeats, weights
        self.augmentation = augmentation or _NONE
        self.flip, self.drop_remainder, self.epoch = flip, drop_remainder, epoch
        if fill is None and self.augmentation.fills(split.image_shape):
            fill = image_mean(split)[0]
        self.fill = np.rint(0 if fill is None else fill).astype(np.uint8)
        self._begun = False
        self._order = (None, None)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole + (rest > 0 and not self.drop_remainder)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """uint8 images `[n, height, width, channels]` and int32 labels `[n]` of one batch.

        Raises:
            DataError: a file can no longer be read; names it.
        """
        return self.part(index, slice(None))

    def size(self, index: int) -> int:
        """How many images a batch has."""
        return len(self.draws(index))

    def draws(self, index: int) -> np.ndarray:
        """What `augment` makes a batch of, int64 `[n]`.

        The places of its images in `split`; for one that the epoch has drawn `k` times before, its
        place and `k` times the length of `split`.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        first = index * self.batch_size
        return self._drawn(self.epoch)[first : first + self.batch_size]

    def places(self, index: int) -> np.ndarray:
        """The places of a batch's images in `split`, int64 `[n]`."""
        return self.draws(index) % len(self.split)

    def weights(self, index: int) -> np.ndarray | None:
        """How much each image of a batch counts, float `[n]`; `None` where all do alike."""
        return None if self._weights is None else self._weights[self.places(index)]

    def part(self, index: int, share: slice) -> tuple[np.ndarray, np.ndarray]:
        """A share of one batch; no other image of it is read."""
        return augment(
            self.split,
            self.draws(index)[share],
            self.augmentation,
            seed=self.seed,
            epoch=self.epoch,
            flip=self.flip,
            fill=self.fill,
        )

    def blend(self, index: int, mixup: float, cutmix: float = 0.0) -> np.ndarray | None:
        """How each image of a batch is blended with its neighbour, as `blend_draws` draws it.

        Args:
            index: the batch.
            mixup, cutmix: parameters of the Beta distributions; 0 for none.

        Returns:
            float32 `[n]` or, with CutMix, `[n, 5]`; `None` for neither.
        """
        first, shape = self.draws(index)[::2], self.split.image_shape
        return blend_draws(self.seed, self.epoch, first, mixup, cutmix, shape)

    def on_epoch_begin(self) -> None:
        self._begun = True

    def on_epoch_end(self) -> None:
        self.epoch += self._begun  # Keras also calls this before the first epoch
        self._begun = False

    def callback(self) -> keras.callbacks.Callback:
        """A callback for `model.fit` that sets `epoch` at the start of each of its epochs."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=self._set_epoch)

    def _set_epoch(self, epoch: int, logs=None) -> None:
        self.epoch = epoch

    def indices(self, epoch: int) -> np.ndarray:
        """The places of the images in `split`, in the order of an epoch: int64 `[n]`."""
        return self._drawn(epoch) % len(self.split)

    def _drawn(self, epoch):
        key, order = self._order
        if key != epoch:
            n = len(self.split)
            if self.balanced:
                order = balanced_draws(self.seed, epoch, self.split.labels)
            else:
                order = epoch_order(self.seed, epoch, n) if self.shuffle else np.arange(n)
            if self.repeats > 1:
                order = repeated_draws(order, self.repeats, self.batch_size)
            self._order = epoch, order  # one assignment: Keras asks from several threads
        return order


def prefetched(
    batches: Batches,
    first: int = 0,
    last: int | None = None,
    share: Callable[[int], slice] = lambda size: slice(None),
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches of one epoch, each prepared while the one before it is used.

    For custom loops: twice as fast on a CPU as `model.fit(batches)`, whose generator makes
    TensorFlow give its memory back to the system after every step.

    Args:
        batches: the batches.
        first, last: numbers of the first batch and of the one after the last; default: all.
        share: which images of a batch of some size are wanted; default: all.

    Returns:
        An iterator of what `Batches.part` returns.

    Example:
        >>> from keras_preact.data import Batches, load_data, prefetched
        >>> batches = Batches(load_data("digits").test, 256)
        >>> [len(labels) for images, labels in prefetched(batches)]
        [256, 104]
    """
    last = len(batches) if last is None else last

    def batch(index):
        return batches.part(index, share(batches.size(index)))

    with ThreadPoolExecutor(1) as worker:
        ahead = [worker.submit(batch, first)] if first < last else []
        for index in range(first, last):
            ready = ahead.pop().result()
            if index + 1 < last:
                ahead.append(worker.submit(batch, index + 1))
            yield ready
