"""What every source becomes: a training and a test part with the same few methods."""

import dataclasses
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from keras_preact.data.classes import places, untested
from keras_preact.data.images import resize_and_crop
from keras_preact.data.picture import Picture
from keras_preact.data.random import epoch_order
from keras_preact.data.reading import AS_STORED, Reading
from keras_preact.errors import DataError, some

#: Which images of a data set are tested, in words: see `ImageData.tested`.
WHOLE_PART, ALL = "its test part", "all its images"

Change = Callable[[int, Picture], np.ndarray]


class Split(Protocol):
    """The training or the test part of a data set; `len(split)` images.

    Attributes:
        labels: int32 array `[n]`, classes from 0.
        image_shape: `(height, width, channels)` of what `images` returns.
        streams: whether images are decoded when asked for, instead of held in memory.
    """

    labels: np.ndarray
    image_shape: tuple[int, int, int]
    streams: bool

    def __len__(self) -> int: ...

    def images(self, indices) -> np.ndarray:
        """The images at `indices` (integers `[k]` or a slice), as uint8 `[k, h, w, c]`."""
        ...

    def examples(self, indices, change: Change | None = None) -> tuple[np.ndarray, np.ndarray]:
        """`images(indices)` and their labels, int32 `[k]`.

        `change(position, picture)` makes the image at a position of `indices` from the `Picture`
        of it, instead of the scaling and centre crop; it is called from several threads.
        """
        ...

    def raw(self, index: int) -> np.ndarray:
        """One image before scaling and cropping, as far as that is kept: uint8 `[h, w, c]`."""
        ...

    def subset(self, indices: np.ndarray) -> "Split":
        """The images at `indices` as a split of their own."""
        ...

    def relabelled(self, places: np.ndarray) -> "Split":
        """The same images with the label `places[label]` for each label."""
        ...


class ArraySplit:
    """Images in memory.

    Args:
        images: uint8 array `[n, height, width, channels]`.
        labels: integer array `[n]`.
    """

    streams = False

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self._images = images
        self.labels = np.asarray(labels, np.int32)
        self.image_shape = tuple(int(size) for size in images.shape[1:])

    def __len__(self) -> int:
        return len(self._images)

    def images(self, indices) -> np.ndarray:
        return self._images[indices]

    def examples(self, indices, change: Change | None = None) -> tuple[np.ndarray, np.ndarray]:
        images, labels = self._images[indices], self.labels[indices]
        if change is not None:
            made = threaded(lambda i: change(i, Picture(images[i])), range(len(images)), chunk=8)
            images = np.stack(made)
        return images, labels

    def raw(self, index: int) -> np.ndarray:
        return self._images[index]

    def subset(self, indices: np.ndarray) -> "ArraySplit":
        return ArraySplit(self._images[indices], self.labels[indices])

    def relabelled(self, places: np.ndarray) -> "ArraySplit":
        return ArraySplit(self._images, places[self.labels])


class EncodedSplit:
    """Images decoded when they are asked for, by as many threads as there are processors.

    Args:
        read: gives the encoded image (path or bytes) and its label (an int) for an index.
        name: gives the name of an image for messages.
        indices: integer array `[n]`: what `read` and `name` are called with.
        image_shape: `(height, width, channels)` of what `images` returns.
        labels: integer array `[n]`; `None` (default): read from the source when asked for, which
            means reading all of it.
        how: how the values in the images become pixels.
    """

    streams = True

    def __init__(
        self,
        read: Callable[[int], tuple[str | bytes, int]],
        name: Callable[[int], str],
        indices: np.ndarray,
        image_shape: tuple[int, int, int],
        labels: np.ndarray | None = None,
        how: Reading = AS_STORED,
    ):
        self._read, self._name, self._indices = read, name, np.asarray(indices)
        self.image_shape, self._how = image_shape, how
        if labels is not None:
            self.labels = np.asarray(labels, np.int32)

    def __len__(self) -> int:
        return len(self._indices)

    @functools.cached_property
    def labels(self) -> np.ndarray:
        labels = threaded(lambda index: self._read(index)[1], self._indices.tolist())
        return np.array(labels, np.int32)

    def images(self, indices) -> np.ndarray:
        return self.examples(indices)[0]

    def examples(self, indices, change: Change | None = None) -> tuple[np.ndarray, np.ndarray]:
        chosen = self._indices[indices].tolist()
        shape = self.image_shape
        images = np.empty((len(chosen), *shape), np.uint8)
        labels = np.empty(len(chosen), np.int32)

        def fill(position: int) -> None:
            picture, labels[position] = self._example(chosen[position])
            images[position] = change(position, picture) if change else fitted(picture, shape)

        threaded(fill, range(len(chosen)), chunk=4)
        return images, labels

    def raw(self, index: int) -> np.ndarray:
        return self._example(self._indices[index].item())[0].pixels()

    def subset(self, indices: np.ndarray) -> "EncodedSplit":
        labels = self.labels[indices]
        chosen = self._indices[indices]
        return EncodedSplit(self._read, self._name, chosen, self.image_shape, labels, self._how)

    def relabelled(self, places: np.ndarray) -> "EncodedSplit":
        def read(index: int) -> tuple[str | bytes, int]:
            encoded, label = self._read(index)
            return encoded, places[label]

        labels = places[self.labels]
        return EncodedSplit(read, self._name, self._indices, self.image_shape, labels, self._how)

    def _example(self, index: int) -> tuple[Picture, int]:
        encoded, label = self._read(index)
        return Picture(encoded, self.image_shape[2], self._name(index), self._how), label


@dataclass(frozen=True, repr=False)
class ImageData:
    """A data set: what `load_data` returns.

    Attributes:
        name: as it was asked for.
        train, test: the two parts.
        class_names: the name of each class, in the order of the labels.
        named: whether the source says these names; else they are the labels.
        image_shape: `(height, width, channels)`.
        flip: whether mirroring an image left to right keeps its label: not for named sets of
            digits and letters; folders and arrays are taken to allow it.
        skipped: `(path, reason)` of each damaged file that was left out.
        tested: which of its images are the test part, in words.
        notes: what else there is to say of its source, a line each: what was left out, and parts
            that are not used.
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    flip: bool = True
    skipped: tuple[tuple[str, str], ...] = ()
    tested: str = WHOLE_PART
    notes: tuple[str, ...] = ()
    named: bool = True

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def for_classes(self, class_names, fix: str = "") -> "ImageData":
        """The same images with the labels of a network's classes, matched by name.

        Args:
            class_names: Names of the network's classes, in their order.
            fix: What an error says can be done.

        Raises:
            DataError: for classes that the network does not have.
        """
        names = tuple(class_names)
        if not self.named and len(names) != self.num_classes:
            mine = f"the network's {len(names)} are {some(names)}"
            raise DataError(
                f"Classes are matched by their names; {mine}. "
                f"Received: {self.num_classes} classes without names (`class_names` in the .npz)."
            )
        found = places(names, self.class_names, fix)
        if np.array_equal(found, np.arange(len(names))):
            return dataclasses.replace(self, class_names=names)
        parts = {part: getattr(self, part).relabelled(found) for part in ("train", "test")}
        return dataclasses.replace(self, class_names=names, **parts)

    def lines(self) -> tuple[str, ...]:
        """The notes, and which classes no image tests, as far as that is known without reading."""
        labels = vars(self.test).get("labels")
        return self.notes if labels is None else (*self.notes, *untested(labels, self.class_names))

    def __repr__(self) -> str:
        height, width, channels = self.image_shape
        parts = f"{len(self.train)} training and {len(self.test)} test images"
        kind = f"{height}x{width}x{channels}, {self.num_classes} classes"
        return f"<ImageData {self.name!r}: {parts}, {kind}>"


def fitted(picture: Picture, shape: tuple[int, int, int]) -> np.ndarray:
    """A picture's pixels if it has the size of `shape`, else scaled and cropped to a square."""
    same = picture.shape[:2] == shape[:2]
    return picture.pixels() if same else resize_and_crop(picture, shape[0])


def train_and_test(
    splits: dict[str, Split], fraction: float, seed: int | None
) -> dict[str, Split | str]:
    """`train`, `test` and `tested` of an `ImageData`.

    Where there is no part `"test"`, the only part is split; without a `seed` it is both of them.
    """
    if "test" in splits:
        return {"train": splits["train"], "test": splits["test"]}
    (whole,) = splits.values()
    if seed is None:
        return {"train": whole, "test": whole, "tested": ALL}
    train, test = stratified(whole.labels, fraction, seed)
    parts = {"train": whole.subset(train), "test": whole.subset(test)}
    return {**parts, "tested": f"{fraction:.0%} of its images, not trained on"}


def validation_parts(train: Split, options, seed: int) -> tuple[Split, Split] | None:
    """The training part without the images that are held out, and those; `None` for none.

    Args:
        train: The training part of the source.
        options: `DataOptions`, of which `holdout`, `folds` and `fold` count.
        seed: decides which images are held out.

    Raises:
        DataError: there are fewer images than are to be held out, or a class has too few.
    """
    if options.folds:
        held = np.flatnonzero(fold_of_each(train.labels, options.folds, seed) == options.fold)
        rest = np.setdiff1d(np.arange(len(train)), held)
    elif options.holdout:
        share = options.holdout if options.holdout < 1 else options.holdout / len(train)
        if share >= 1:
            raise DataError(
                f"`holdout` must be less than the {len(train)} training images. "
                f"Received: holdout={options.holdout:g}."
            )
        rest, held = stratified(train.labels, share, seed)
    else:
        return None
    return train.subset(rest), train.subset(held)


def fold_of_each(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Which fold each image is in, int `[n]`: as many of each class in each, to one image.

    Raises:
        DataError: a class has fewer images than there are folds.
    """
    found = np.empty(len(labels), int)
    first = 0  # goes on from class to class, so that the folds are equally large as well
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < folds:
            raise DataError(
                f"Each class needs at least {folds} training images, one for each fold. "
                f"Received: {len(members)} of class {label}."
            )
        places = np.arange(first, first + len(members)) % folds
        found[members[epoch_order(seed, int(label), len(members))]] = places
        first = places[-1] + 1
    return found


def stratified(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of a training and a test part, both sorted, with `fraction` of each class in test.

    Every class has at least one image in each part.

    Raises:
        DataError: a class has only one image.
    """
    test = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise DataError(
                "Each class needs at least 2 images to be split into a training and a test part. "
                f"Received: {len(members)} image of class {label}."
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        test.append(members[epoch_order(seed, int(label), len(members))[:count]])
    test = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(labels)), test), test


def threaded(
    function: Callable,
    items,
    on_progress: Callable[[int, int], None] | None = None,
    chunk: int = 256,
) -> list:
    """`[function(item) for item in items]` on all processors; `on_progress(done, total)`."""
    items = list(items)
    starts = range(0, len(items), chunk)
    results = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for part in pool.map(lambda i: [function(item) for item in items[i : i + chunk]], starts):
            results.extend(part)
            if on_progress:
                on_progress(len(results), len(items))
    return results
