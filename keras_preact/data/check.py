"""What is in a data set, and what is wrong with it, before any training."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from keras_preact.data import folders
from keras_preact.data.load import load_data, source
from keras_preact.data.splits import ImageData


@dataclass
class Report:
    """What `check_data` found.

    Attributes:
        name: what was checked.
        class_names: the classes, in the order of the labels.
        counts: part (`"train"`, `"test"`; `"all"` for a folder without parts): number of good
            images of each class.
        sizes: `(width, height)`: number of good images.
        modes: `"RGB"`, `"L"` (grey), `"CMYK"`, ...: number of good images.
        bad: `(path, reason)` of each damaged file.
        notes: what was left out, and parts that are not used, a line each.
        problems: what keeps the data from being used as they are, one sentence each.
    """

    name: str
    class_names: tuple[str, ...]
    counts: dict[str, list[int]]
    sizes: Counter = field(default_factory=Counter)
    modes: Counter = field(default_factory=Counter)
    bad: list[tuple[str, str]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the data can be used as they are."""
        return not self.problems

    def rows(self) -> list[dict[str, str | int]]:
        """A table of the classes: one row each, with the number of images in each part."""
        return [
            {"class": name, **{part: counts[i] for part, counts in self.counts.items()}}
            for i, name in enumerate(self.class_names)
        ]

    def summary(self, most: int = 20) -> list[str]:
        """What there is to say beside the table, a line each; at most `most` damaged files."""
        parts = ", ".join(f"{sum(counts):,} ({part})" for part, counts in self.counts.items())
        lines = [f"{len(self.class_names)} classes; images: {parts}"]
        for title, counter in (("sizes", self.sizes), ("modes", self.modes)):
            common = [
                f"{'x'.join(map(str, key)) if isinstance(key, tuple) else key} ({count:,})"
                for key, count in counter.most_common(5)
            ]
            more = f" and {len(counter) - 5} more" if len(counter) > 5 else ""
            lines.append(f"{title}: {', '.join(common)}{more}")
        lines += self.notes
        lines += [f"damaged: {path}: {reason}" for path, reason in self.bad[:most]]
        if len(self.bad) > most:
            lines.append(f"and {len(self.bad) - most:,} more damaged files")
        return [*lines, *self.problems, *(["nothing is wrong"] if self.ok else [])]


def check_data(name_or_path: str, on_progress=None) -> Report:
    """Counts the images of each class, size and mode, and decodes each file once.

    Args:
        name_or_path: as for `load_data`; a path may stand without `folder:` or `npz:`.
        on_progress: called with `(done, total)` while files are read and decoded.

    Raises:
        DataError: there are no classes to count (see `load_data`).

    Example:
        >>> from keras_preact.data import check_data
        >>> check_data("digits").rows()[0]
        {'class': '0', 'train': 142, 'test': 36}
    """
    kind, path = source(name_or_path, paths=True)
    if kind == "folder":
        return _check_folder(path, on_progress)
    return _described(load_data(f"npz:{path}" if kind == "npz" else path, on_progress=on_progress))


def _check_folder(path: str, on_progress) -> Report:
    folder = folders.list_folder(path)
    folders.decode_all(folder, on_progress=on_progress)
    report = Report(
        name=f"folder:{path}",
        class_names=folder.class_names,
        counts=folder.counts(),
        sizes=folder.sizes(),
        modes=Counter(header.mode for header in folder.headers()),
        bad=folder.bad,
        notes=folder.notes(),
    )
    if folder.bad:
        report.problems.append(folders.bad_files(folder.bad))
    report.problems += folder.empty_classes() + folder.different_sizes()
    return report


def _described(data: ImageData) -> Report:
    height, width, channels = data.image_shape
    parts = {"train": data.train, "test": data.test}
    total = sum(map(len, parts.values()))
    return Report(
        name=data.name,
        class_names=data.class_names,
        counts={
            name: np.bincount(part.labels, minlength=data.num_classes).tolist()
            for name, part in parts.items()
        },
        sizes=Counter({(width, height): total}),
        modes=Counter({"L" if channels == 1 else "RGB": total}),
    )
