"""`ImageData` and its splits, the same for every source."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from keras_preact.data.classes import places, untested
from keras_preact.data.geometry import AS_THEY_ARE, Geometry
from keras_preact.data.picture import BadImage, Picture
from keras_preact.data.threads import threaded
from keras_preact.errors import DataError, some

#: Which images of a data set are tested, in words: see `ImageData.tested`.
WHOLE_PART, ALL = "its test part", "all its images"

Change = Callable[[int, Picture], np.ndarray]


class Split(Protocol):
    """One part of a data set, such as the training images; `len(split)` is their number.

    Attributes:
        labels: int32 array `[n]`, classes from 0.
        image_shape: `(height, width, channels)` of what `images` returns.
        streams: whether images are decoded at each access instead of being held in memory.
        decoded: whether all images are decoded already.
        columns: other data about each image, arrays `[n]` by name: `"group"`, `"weight"`.
    """

    labels: np.ndarray
    image_shape: tuple[int, int, int]
    streams: bool
    decoded: bool
    columns: dict[str, np.ndarray]

    def __len__(self) -> int: ...

    def images(self, indices: np.ndarray | slice) -> np.ndarray:
        """The images at `indices` (integers `[k]` or a slice), as uint8 `[k, h, w, c]`."""
        ...

    def examples(
        self, indices: np.ndarray | slice, change: Change | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
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
        columns: what else is known of the images.
    """

    streams, decoded = False, True

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        columns: dict[str, np.ndarray] | None = None,
    ) -> None:
        self._images, self.columns = images, columns or {}
        self.labels = np.asarray(labels, np.int32)
        self.image_shape = tuple(int(size) for size in images.shape[1:])

    def __len__(self) -> int:
        return len(self._images)

    def images(self, indices: np.ndarray | slice) -> np.ndarray:
        return self._images[indices]

    def examples(
        self, indices: np.ndarray | slice, change: Change | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return changed(self._images[indices], change), self.labels[indices]

    def raw(self, index: int) -> np.ndarray:
        return self._images[index]

    def subset(self, indices: np.ndarray) -> "ArraySplit":
        columns = {name: values[indices] for name, values in self.columns.items()}
        return ArraySplit(self._images[indices], self.labels[indices], columns)

    def relabelled(self, places: np.ndarray) -> "ArraySplit":
        return ArraySplit(self._images, places[self.labels], self.columns)


@dataclass(frozen=True)
class Encoded:
    """Where images come from that are decoded when they are asked for; an index is one of them.

    Attributes:
        read: gives the image of an index (path, bytes or pixels) and its label (an int).
        name: gives the name of an image for messages.
        shape: `(height, width, channels)` that images are fitted to.
        how: how the images are read and fitted; what it does not say is said by `shape`.
        refused: gives the reason why a picture cannot be used, or `None`.
    """

    read: Callable[[int], tuple[str | bytes | np.ndarray, int]]
    name: Callable[[int], str]
    shape: tuple[int, int, int]
    how: Geometry = AS_THEY_ARE
    refused: Callable[[Picture], str | None] = lambda picture: None

    def __post_init__(self):
        object.__setattr__(self, "how", self.how.of_size(self.shape[:2]))

    def picture(self, index: int) -> tuple[Picture, int]:
        """The picture of an index, and its label; raises `BadImage` if it cannot be used."""
        encoded, label = self.read(index)
        picture = Picture(encoded, self.shape[2], self.name(index), self.how.reading)
        if reason := self.refused(picture):
            raise BadImage(self.name(index), reason)
        return picture, label


class EncodedSplit:
    """Images decoded when they are asked for, by as many threads as there are processors.

    Args:
        source: where they come from.
        indices: integer array `[n]`, which of its images.
        labels: integer array `[n]`; `None` (default): read from the source when asked for, which
            means reading all of it.
        columns: what else is known of the images.
    """

    streams, decoded = True, False

    def __init__(
        self,
        source: Encoded,
        indices: np.ndarray,
        labels: np.ndarray | None = None,
        columns: dict[str, np.ndarray] | None = None,
    ) -> None:
        self._source, self._indices, self.columns = source, np.asarray(indices), columns or {}
        self.image_shape = source.shape
        if labels is not None:
            self.labels = np.asarray(labels, np.int32)

    def __len__(self) -> int:
        return len(self._indices)

    @functools.cached_property
    def labels(self) -> np.ndarray:
        labels = threaded(lambda index: self._source.read(index)[1], self._indices.tolist())
        return np.array(labels, np.int32)

    def images(self, indices: np.ndarray | slice) -> np.ndarray:
        return self.examples(indices)[0]

    def examples(
        self, indices: np.ndarray | slice, change: Change | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        chosen = self._indices[indices].tolist()
        images = np.empty((len(chosen), *self.image_shape), np.uint8)
        labels, fit = np.empty(len(chosen), np.int32), self._source.how.fit

        def fill(position: int) -> None:
            picture, labels[position] = self._source.picture(chosen[position])
            images[position] = change(position, picture) if change else fit(picture)

        threaded(fill, range(len(chosen)), chunk=2)
        known = vars(self).get("labels")
        return images, labels if known is None else known[indices]

    def raw(self, index: int) -> np.ndarray:
        return self._source.picture(self._indices[index].item())[0].pixels()

    def subset(self, indices: np.ndarray) -> "EncodedSplit":
        columns = {name: values[indices] for name, values in self.columns.items()}
        return self._like(self._indices[indices], self.labels[indices], columns)

    def relabelled(self, places: np.ndarray) -> "EncodedSplit":
        return self._like(self._indices, places[self.labels], self.columns)

    def _like(self, *arguments):
        return EncodedSplit(self._source, *arguments)


class HeldSplit(EncodedSplit):
    """Images that are decoded and fitted when they are first asked for, and held from then on.

    Args:
        held: the images of the source that were decoded, as all its splits share them.
        *arguments: as of an `EncodedSplit`.
    """

    streams = False

    def __init__(self, held: "Held", *arguments: Any) -> None:
        super().__init__(*arguments)
        self._held = held

    @property
    def decoded(self) -> bool:
        return bool(self._held.there[self._indices].all())

    def examples(
        self, indices: np.ndarray | slice, change: Change | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        chosen = self._indices[indices]
        missing = chosen[~self._held.there[chosen]].tolist()
        threaded(
            lambda index: self._held.keep(index, self._source.picture(index)[0]), missing, chunk=4
        )
        return changed(self._held.pixels[chosen], change), self.labels[indices]

    def _like(self, *arguments):
        return HeldSplit(self._held, self._source, *arguments)


class Held:
    """Room for the images of a source, and which are there.

    Args:
        count: how many images the source has.
        shape: what they are fitted to.
        how: how.
    """

    def __init__(self, count: int, shape: tuple[int, int, int], how: Geometry) -> None:
        self.pixels = np.empty((count, *shape), np.uint8)  # which takes memory as it is filled
        self.there, self._how = np.zeros(count, bool), how

    def keep(self, index: int, picture: Picture) -> None:
        """Decodes and fits a picture, and keeps it."""
        self.pixels[index] = self._how.fit(picture)
        self.there[index] = True


@dataclass(frozen=True, repr=False)
class ImageData:
    """A data set: what `load_data` returns.

    Attributes:
        name: as given to `load_data`.
        train, test: the parts to train on and, at the end, to test on.
        class_names: the name of each class, in the order of the labels.
        named: whether the source has these names; otherwise they are the labels.
        validation: the part that selects the best epoch and stops training early, or `None`.
        image_shape: `(height, width, channels)`.
        flip: whether horizontal flips preserve labels: not for named data sets of digits and
            letters; assumed for folders and arrays.
        skipped: `(path, reason)` of each damaged file that was left out.
        tested: description of the test images.
        notes: notes on the source, one line each: what was left out, and parts that are not used.
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
    validation: Split | None = None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def for_classes(self, class_names: Sequence[str], fix: str = "") -> "ImageData":
        """The same images with a network's labels, matched by class name.

        Args:
            class_names: Names of the network's classes, in their order.
            fix: Advice for the error message.

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
        parts = {name: part.relabelled(found) for name, part in self.parts().items()}
        return dataclasses.replace(self, class_names=names, **parts)

    def parts(self) -> dict[str, Split]:
        """The parts that there are, by name."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    def lines(self) -> tuple[str, ...]:
        """The notes, and which classes no image tests, as far as that is known without reading."""
        labels = vars(self.test).get("labels")
        return self.notes if labels is None else (*self.notes, *untested(labels, self.class_names))

    def __repr__(self) -> str:
        height, width, channels = self.image_shape
        validated = f", {len(self.validation)} validation" if self.validation else ""
        parts = f"{len(self.train)} training{validated} and {len(self.test)} test images"
        kind = f"{height}x{width}x{channels}, {self.num_classes} classes"
        return f"<ImageData {self.name!r}: {parts}, {kind}>"


def changed(images: np.ndarray, change: Change | None) -> np.ndarray:
    """What `Split.examples` makes of images that are there."""
    if change is None:
        return images
    made = threaded(lambda i: change(i, Picture(images[i])), range(len(images)), chunk=8)
    return np.stack(made)
