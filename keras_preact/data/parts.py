"""What a folder or a table is listed as: the files of each part by class."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from keras_preact.data.classes import alike
from keras_preact.data.images import dark
from keras_preact.data.listing import in_words
from keras_preact.data.picture import Header
from keras_preact.errors import DataError, shown, some

#: What parts of a data set are called, in small letters, by what they are for.
PARTS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation", "dev"),
}


@dataclass
class Part:
    """The files of one part of a folder, sorted by class and path, and what is known of them."""

    paths: list[str]
    labels: np.ndarray
    headers: dict[int, Header] = field(default_factory=dict)  # by position
    bad: dict[int, str] = field(default_factory=dict)  # position: reason
    columns: dict[str, list] = field(default_factory=dict)  # of a table: "group", "weight"

    @property
    def good(self) -> np.ndarray:
        """Positions of the files not known to be damaged."""
        return np.array([i for i in range(len(self.paths)) if i not in self.bad], np.int64)


@dataclass
class Folder:
    """A listed folder, or table.

    Attributes:
        path: Where it is.
        class_names: Names of the classes.
        parts: `"train"`, `"test"` and perhaps `"validation"`, or only `"all"`.
        left_out: How many entries are no images, by reason (see `Listing`).
        unused: Names of folders beside the parts, which are not used.
        kind: `"folder"`, or the table's, of which not every class needs images to test.
        said: What else there is to say of it, a line each.
    """

    path: str
    class_names: tuple[str, ...]
    parts: dict[str, Part]
    left_out: Counter = field(default_factory=Counter)
    unused: tuple[str, ...] = ()
    kind: str = "folder"
    said: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As `load_data` takes it."""
        return f"{self.kind}:{self.path}"

    def notes(self) -> tuple[str, ...]:
        """What every command says of it, a line each."""
        folders = f"folder{'s' if len(self.unused) > 1 else ''} {some(self.unused)}"
        unused = [f"not used: the {folders}"] if self.unused else []
        headers = self.headers()
        found = dark(max(header.brightest for header in headers)) if headers else []
        lines = (*in_words(self.left_out), *unused, *self.said)
        return (*lines, *alike(self.class_names), *found)

    @property
    def bad(self) -> list[tuple[str, str]]:
        """`(path, reason)` of every damaged file found so far."""
        parts = self.parts.values()
        return [(shown(p.paths[i]), reason) for p in parts for i, reason in sorted(p.bad.items())]

    def headers(self) -> list[Header]:
        """The headers of the files that were decoded."""
        return [header for part in self.parts.values() for header in part.headers.values()]

    def counts(self) -> dict[str, list[int]]:
        """For each part the number of images of each class not known to be damaged."""
        return {
            name: np.bincount(part.labels[part.good], minlength=len(self.class_names)).tolist()
            for name, part in self.parts.items()
        }

    def sizes(self) -> Counter:
        """How many images have which `(width, height)`."""
        return Counter((header.width, header.height) for header in self.headers())

    def different_sizes(self) -> list[str]:
        """One sentence if the images are not all of the same size."""
        sizes = self.sizes()
        if len(sizes) < 2:
            return []
        least, most = min(sizes, key=np.prod), max(sizes, key=np.prod)
        return [
            f"The images must have the same size. Received: {len(sizes)} sizes from "
            f"{least[0]}x{least[1]} to {most[0]}x{most[1]} pixels. Set a size to resize and crop "
            "them to, such as image_size=224 (--set data.image_size=224)."
        ]

    def empty_classes(self) -> list[str]:
        """For each part with classes without images a sentence that names them."""
        problems = []
        for name, counts in self.counts().items():
            if self.kind != "folder" and name in ("test", "validation") and any(counts):
                continue
            empty = [self.class_names[i] for i, count in enumerate(counts) if count == 0]
            if empty:
                problems.append(
                    f"Each class needs at least one image file. Received: none in "
                    f"{len(empty)} of {len(counts)} classes (part {name!r}): {some(empty)}. "
                    f"{'; '.join(in_words(self.left_out)).capitalize()}".rstrip()
                )
        return problems


def part_of(name: str) -> str | None:
    """The part of a data set that a folder of this name is for, if any."""
    return next((part for part, names in PARTS.items() if name.lower() in names), None)


def refuse(problems: list[str]) -> None:
    """Raises `DataError` with the sentences, if there are any."""
    if problems:
        raise DataError(" ".join(problems))
