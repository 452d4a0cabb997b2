"""`check_data`: what a data set contains, and what is wrong with it."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_preact.data import folders
from keras_preact.data.alike import Pair, alike, print_of
from keras_preact.data.classes import untested
from keras_preact.data.formats import MAX_PIXELS
from keras_preact.data.images import resize_and_crop, turning
from keras_preact.data.load import check_pattern, listed, load_data, source
from keras_preact.data.options import DataOptions
from keras_preact.data.partition import groups_across
from keras_preact.data.parts import Folder
from keras_preact.data.splits import ImageData
from keras_preact.errors import shown

#: Images of each class that a page shows, and the side of each in pixels.
SAMPLES, SAMPLE_SIDE = 4, 64

#: How many times the images of the smallest class the largest may have before it is said.
_UNEQUAL = 5

_DEFAULTS = DataOptions()


@dataclass
class Report:
    """The result of `check_data`.

    Attributes:
        name: the data set.
        class_names: the classes, in the order of the labels.
        counts: part (`"train"`, `"test"`; `"all"` for a folder without parts): number of good
            images of each class.
        sizes: `(width, height)`: number of good images.
        modes: `"RGB"`, `"L"` (grey), `"CMYK"`, ...: number of good images.
        formats: by what files hold: `"JPEG"`, `"PNG"`, `"WebP"`, ...: number of good images.
        bad: `(path, reason)` of each damaged file.
        notes: what was left out, and parts that are not used, one line each.
        twins: pairs of equal or nearly equal images: the `part`, `class` and `image` (path or
            index) of each, and whether they are `exact`.
        problems: reasons why the data cannot be used as it is, one sentence each.
        warnings: what to know before training, one sentence each.
        samples: a few images of each class, uint8 `[64, 64, 1 or 3]`, for a page.
    """

    name: str
    class_names: tuple[str, ...]
    counts: dict[str, list[int]]
    sizes: Counter = field(default_factory=Counter)
    modes: Counter = field(default_factory=Counter)
    formats: Counter = field(default_factory=Counter)
    bad: list[tuple[str, str]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    twins: list[tuple[dict, dict, bool]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    samples: dict[int, list[np.ndarray]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the data can be used as it is."""
        return not self.problems

    def rows(self) -> list[dict[str, str | int]]:
        """A table of the classes: one row each, with the number of images in each part."""
        return [
            {"class": name, **{part: counts[i] for part, counts in self.counts.items()}}
            for i, name in enumerate(self.class_names)
        ]

    def summary(self, most: int = 20) -> list[str]:
        """What to say besides the table, one line each; at most `most` damaged files."""
        parts = ", ".join(f"{sum(counts):,} ({part})" for part, counts in self.counts.items())
        lines = [f"{len(self.class_names)} classes; images: {parts}"]
        for title in ("sizes", "modes", "formats"):
            if counter := getattr(self, title):
                lines.append(f"{title}: {_most_common(counter)}")
        lines += self.notes
        lines += [f"damaged: {path}: {reason}" for path, reason in self.bad[:most]]
        if len(self.bad) > most:
            lines.append(f"and {len(self.bad) - most:,} more damaged files")
        end = [] if self.problems or self.warnings else ["nothing is wrong"]
        return [*lines, *self.warnings, *self.problems, *end]

    def to_dict(self) -> dict[str, Any]:
        """All fields except the samples, as plain values for JSON."""
        return {
            "name": self.name,
            "ok": self.ok,
            "classes": self.rows(),
            "sizes": {f"{width}x{height}": n for (width, height), n in self.sizes.items()},
            "modes": dict(self.modes),
            "formats": dict(self.formats),
            "damaged": [{"file": path, "reason": reason} for path, reason in self.bad],
            "notes": [*self.notes],
            "twins": [{"images": [a, b], "exact": exact} for a, b, exact in self.twins],
            "warnings": self.warnings,
            "problems": self.problems,
        }


def check_data(
    name_or_path: str,
    on_progress: "Callable[[int, int], None] | None" = None,
    options: DataOptions = _DEFAULTS,
) -> Report:
    """Decodes all images, counts them by class, size, mode and format, and finds duplicates.

    Args:
        name_or_path: as for `load_data`; a path may omit `folder:`, `csv:` or `npz:`.
        on_progress: called with `(done, total)` while files are read and decoded.
        options: as for `load_data`: how pixel values are read, and the channels.

    Returns:
        A `Report`.

    Raises:
        DataError: there are no classes to count (see `load_data`).

    Example:
        >>> from keras_preact.data import check_data
        >>> check_data("digits").rows()[0]
        {'class': '0', 'train': 142, 'test': 36}
    """
    kind, path = source(name_or_path, paths=True)
    if kind in ("name", "npz"):
        name = path if kind == "name" else f"npz:{path}"
        return _described(load_data(name, options=options, on_progress=on_progress))
    return _check_folder(listed(kind, path, options), options, on_progress)


class _Looker:
    """Fingerprints of all images that it is shown, and a few of each class."""

    def __init__(self):
        self.prints, self.samples, self._lock = {}, {}, threading.Lock()

    def look(self, image, part, position, label):
        found = print_of(image)
        with self._lock:
            self.prints[part, position] = found
            kept = self.samples.setdefault(label, [])
            if len(kept) < SAMPLES:
                kept.append(resize_and_crop(image, SAMPLE_SIDE))

    def twins(self, of) -> list[tuple[dict, dict, bool]]:
        """Pairs as `Report.twins` has them; `of` says what a part and a position are of."""
        places = sorted(self.prints)
        pairs: list[Pair] = alike([self.prints[place] for place in places])
        return [(of(*places[p.first]), of(*places[p.second]), p.exact) for p in pairs]


def _check_folder(folder: Folder, options: DataOptions, on_progress) -> Report:
    looker, how = _Looker(), options.reading

    def look(picture, part, position):
        label = int(folder.parts[part].labels[position])
        looker.look(_seen(picture), part, position, label)

    def of(part, position):
        files = folder.parts[part]
        label = folder.class_names[files.labels[position]]
        return {"part": part, "class": label, "image": shown(files.paths[position])}

    folders.decode_all(folder, on_progress, look, how)
    headers = folder.headers()
    test, names = folder.parts.get("test"), folder.class_names
    report = Report(
        name=folder.name,
        class_names=folder.class_names,
        counts=folder.counts(),
        sizes=folder.sizes(),
        modes=Counter(header.mode for header in headers),
        formats=Counter(header.format for header in headers),
        bad=folder.bad,
        notes=(
            *folder.notes(),
            *(turning(headers, how) if how.orientation == "apply" else ()),
            *(untested(test.labels[test.good], names) if test else ()),
        ),
        twins=looker.twins(of),
        samples=looker.samples,
    )
    if folder.bad:
        report.problems.append(folders.bad_files(folder.bad))
    report.problems += folder.empty_classes()
    if options.image_size is None:
        report.problems += folder.different_sizes()
    report.warnings += [*_of_headers(headers, how), *_of_counts(report), *_of_twins(report)]
    report.warnings += _of_groups(folder, options.group)
    return report


def _of_groups(folder, pattern):
    if folder.kind == "folder" and pattern is not None:
        check_pattern(pattern)
    found = {}
    for name, called in (("train", "training"), ("validation", "validation"), ("test", "test")):
        if part := folder.parts.get(name):
            columns = {**part.columns, **folders.groups_in(folder, part, pattern)}
            found[called] = columns.get("group")
    return [f"{line}." for line in groups_across(found)]


def _seen(picture):
    """The pixels of a picture; of one beyond the limit what a training would have of it."""
    height, width, _ = picture.shape
    huge = height * width > MAX_PIXELS
    return picture.scaled((height // 16, width // 16)) if huge else picture.pixels()


def _described(data: ImageData) -> Report:
    height, width, channels = data.image_shape
    parts, looker = data.parts(), _Looker()
    for name, part in parts.items():
        if not part.streams:
            for k, label in enumerate(part.labels.tolist()):
                looker.look(part.raw(k), name, k, label)
    total = sum(map(len, parts.values()))

    def of(part, position):
        label = data.class_names[parts[part].labels[position]]
        return {"part": part, "class": label, "image": position}

    report = Report(
        name=data.name,
        class_names=data.class_names,
        counts={
            name: np.bincount(part.labels, minlength=data.num_classes).tolist()
            for name, part in parts.items()
        },
        sizes=Counter({(width, height): total}),
        modes=Counter({"L" if channels == 1 else "RGB": total}),
        notes=data.lines(),
        twins=looker.twins(of),
        samples=looker.samples,
    )
    report.warnings += [*_of_counts(report), *_of_twins(report)]
    return report


def _of_headers(headers, how):
    """What files say of themselves that a training does not heed."""
    if how.orientation == "ignore":
        yield from turning(headers, how)
    deep = [header.highest for header in headers if header.highest is not None]
    if deep and max(deep) < 2**15 and not how.range:
        bits = max(1, max(deep).bit_length())
        yield (
            f"{len(deep):,} 16-bit images use only {bits} bits (values up to {max(deep)}), which "
            f"leaves {max(deep) >> 8} of 255 grey levels. Multiply their values by "
            f"{2 ** (16 - bits)}, or rescale them: --set data.range=[0,{2**bits - 1}]."
        )


def _of_counts(report):
    totals = np.sum([*report.counts.values()], axis=0)
    least, most = int(totals.argmin()), int(totals.argmax())
    if totals[most] >= _UNEQUAL * max(totals[least], 1):
        names = report.class_names
        yield (
            f"The classes are imbalanced: {names[most]!r} has {totals[most]:,} images, "
            f"{names[least]!r} {totals[least]:,}. Accuracy says little about small classes; use "
            "the balanced accuracy."
        )


def _of_twins(report):
    """What pairs of equal and nearly equal images mean, the first of each kind by name."""
    kinds = {
        "leak": "pairs of images in both parts, {how}, so test images are trained on",
        "train, validation": "pairs of images in the training and the validation part, {how}",
        "test, validation": "pairs of images in the validation and the test part, {how}",
        "labels": "pairs of images of two classes, {how}",
        "twice": "pairs of images within a part, {how}",
    }
    found = {}
    for one, other, exact in report.twins:
        parts = ", ".join(sorted({one["part"], other["part"]}))
        across = "leak" if parts == "test, train" else parts if "," in parts else None
        labels = "labels" if one["class"] != other["class"] else None
        for kind in filter(None, (across, labels)) if across or labels else ("twice",):
            found.setdefault((kind, exact), []).append((one["image"], other["image"]))
    for kind, words in kinds.items():
        for exact, how in ((True, "equal to the last pixel"), (False, "nearly equal")):
            if pairs := found.get((kind, exact)):
                one, other = pairs[0]
                yield f"{words.format(how=how)}: {len(pairs):,}, such as {one} and {other}."


def _most_common(counter):
    common = [
        f"{'x'.join(map(str, key)) if isinstance(key, tuple) else key} ({count:,})"
        for key, count in counter.most_common(5)
    ]
    more = f" and {len(counter) - 5} more" if len(counter) > 5 else ""
    return ", ".join(common) + more
