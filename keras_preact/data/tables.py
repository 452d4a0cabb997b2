"""Tables of images: a column of paths and one of labels."""

import os
import re
from collections import Counter

import numpy as np

from keras_preact.data.balance import checked_weights
from keras_preact.data.classes import check_names, key_of
from keras_preact.data.columns import read_columns
from keras_preact.data.formats import SUFFIXES
from keras_preact.data.options import DataOptions
from keras_preact.data.parts import PARTS, Folder, Part, part_of, refuse
from keras_preact.errors import DataError, near, quoted, shown, some

#: What columns are called, in small letters without blanks, `_` and `-`, by what they are for.
COLUMNS = {
    "path": (
        "path", "file", "filename", "filepath", "image", "imagepath", "imagefile", "imagename",
        "img", "imgpath", "imgfile", "imgname",
    ),
    "label": ("label", "labels", "labelname", "class", "classname", "target", "category"),
    "split": ("split", "set", "subset", "part", "partition"),
    "group": ("group", "groupid"),
    "weight": ("weight", "sampleweight"),
}  # fmt: skip
_NOTHING = ("", "nan", "<na>", "#n/a")
_ONE = "An image must have one label; several are not supported."


def list_table(path: str, kind: str, options: DataOptions) -> Folder:
    """The image files that a table names, by part and class, without opening any.

    Paths are relative to the table's folder, or absolute. The parts are those of the column that
    says them, as `PARTS` calls them; a table without one is a folder without parts. Columns are
    found by the names in `COLUMNS`, or by those that the options give. Groups and weights are kept
    in `Part.columns`.

    Args:
        path: The file.
        kind: One of `TABLES`, such as `"csv"`.
        options: `path_column`, `label_column`, `split_column` and `weight_column` count.

    Raises:
        DataError: For a table that is missing or damaged, columns that are missing or not clear,
            cells without a value, addresses, files with several labels, and classes without images
            to train on.
    """

    def choose(names):
        places = {use: _place_of(use, names, options, path) for use in COLUMNS}
        return {use: k for use, k in places.items() if k is not None}

    read = read_columns(path, kind, choose)
    titles = {use: title for use, (title, _) in read.items()}
    columns = {use: [*map(str.strip, cells)] for use, (_, cells) in read.items()}
    parts, notes = _parts(titles.get("split"), columns.pop("split", None), len(columns["path"]))
    for use, values in columns.items():
        _refuse_blank(titles[use], values)
    files = _files(columns.pop("path"), path)
    labels = _labels(columns.pop("label"))
    if "weight" in columns:
        title = f"The column {titles['weight']!r}"
        columns["weight"] = checked_weights(columns["weight"], title)
        notes.append(f"sample weights: the column {titles['weight']!r}")
    rows, said = _once(files, labels, parts)
    class_names = _in_order({labels[k] for k in rows})
    check_names(class_names, "Save the table as UTF-8, or rename the class.")
    if len(class_names) < 2:
        raise DataError(
            f"Expected labels of at least 2 classes in the column {titles['label']!r}. "
            f"Received: {some(class_names) or 'no rows'} in {path!r}."
        )
    numbers = {name: k for k, name in enumerate(class_names)}
    labels = [numbers[label] for label in labels]
    rows.sort(key=lambda k: (labels[k], files[k]))  # as a folder's, however they stand
    found = {}
    for name in sorted({*parts}, key=[*PARTS, "all"].index):
        own = [k for k in rows if parts[k] == name]
        found[name] = _part(own, files, labels, columns)
    repeated = Counter({"named before": len(files) - len(rows)} if len(rows) < len(files) else {})
    folder = Folder(path, class_names, found, repeated, kind=kind, said=(*notes, *said))
    refuse(folder.empty_classes())
    return folder


def _part(rows, files, labels, columns) -> Part:
    kept = {use: [values[k] for k in rows] for use, values in columns.items()}
    numbers = np.array([labels[k] for k in rows], np.int32)
    return Part([files[k] for k in rows], numbers, columns=kept)


def _place_of(use: str, names: list[str], options: DataOptions, path: str) -> int | None:
    """Where the column for a use stands; `None` where there is none and need not be."""
    field = "group" if use == "group" else f"{use}_column"
    given = getattr(options, field, None)
    if given == "":
        return None
    usual = COLUMNS[use]
    if given is not None:
        found = [k for k, name in enumerate(names) if name == given]
    else:
        keys = [re.sub(r"[\s_-]", "", name).lower() for name in names]
        found = [k for k, key in enumerate(keys) if key in usual]
    if len(found) == 1 or (not found and given is None and use not in ("path", "label")):
        return found[0] if found else None
    called = f"called {quoted(usual)}" if given is None else f"called {given!r} (data.{field})"
    several = f" {_ONE}" if use == "label" else ""
    fix = "Rename the others."
    if hasattr(options, field) and len({names[k] for k in found}) == len(found):
        fix = f"Choose one: --set data.{field}=NAME."
    if given is not None and not found:
        fix = f"{near(given, names)} --set data.{field}=null looks for the usual names.".strip()
    received = some([names[k][:80] for k in found] or [name[:80] for name in names], 20)
    raise DataError(
        f"Expected one column for the {use} of each image, {called}, in the first line of "
        f"{path!r}. Received: {received}. {fix}{several}"
    )


def _parts(title, cells, count) -> tuple[list[str], list[str]]:
    """The part of each row, and what there is to say of them."""
    if cells is None:
        return ["all"] * count, []
    parts = [part_of(cell) or "" for cell in cells]
    if wrong := sorted({cell for cell, part in zip(cells, parts, strict=True) if not part}):
        allowed = quoted(name for names in PARTS.values() for name in names)
        raise DataError(
            f"The column {title!r} must say the part of each image: {allowed}. "
            f"Received: {some(wrong)} in {parts.count(''):,} rows."
        )
    there = Counter(parts)
    if len(there) == 1:
        return ["all"] * count, [f"all rows are of the part {cells[0]!r}, so it is ignored"]
    if "train" not in there:
        raise DataError(
            f"Expected images to train on: {quoted(PARTS['train'])} in the column {title!r}. "
            f"Received: {some(sorted({*cells}))}. With a single part, all images are used."
        )
    if "test" in there:
        return parts, []
    return ["test" if part == "validation" else part for part in parts], []


def is_blank(cell: str) -> bool:
    """Whether a cell says nothing, as programs write it."""
    return cell.lower() in _NOTHING


def _refuse_blank(title, cells) -> None:
    blank = [k for k, cell in enumerate(cells) if is_blank(cell)]
    if blank:
        raise DataError(
            f"The column {title!r} must have a value in each row. Received: none in {len(blank):,} "
            f"of {len(cells):,} rows, the first of them row {blank[0] + 1:,} below the "
            "names. Fill it, or remove the rows."
        )


def _files(cells, table) -> list[str]:
    """The paths of the files, checked as far as that goes without opening them."""
    folder = os.path.dirname(table)
    if addresses := [cell for cell in cells if "://" in cell]:
        raise DataError(
            f"Expected paths of files. Received: {len(addresses):,} URLs, such as "
            f"{shown(addresses[0])!r}. Download the images first."
        )
    files = [os.path.normpath(os.path.join(folder, cell)) for cell in cells]
    for k, file in enumerate(files):
        if "\\" in file and not os.path.exists(file):  # of Windows
            files[k] = os.path.normpath(os.path.join(folder, cells[k].replace("\\", "/")))
    there = [file for file in files if os.path.exists(file)]
    if files and not there:
        added = next((end for end in SUFFIXES if os.path.exists(files[0] + end)), None)
        fix = f" Add {added!r} to them." if added else ""
        raise DataError(
            f"Paths must be absolute, or relative to the table's folder. Received: {len(files):,} "
            f"paths of files that do not exist, such as {shown(files[0])!r}.{fix}"
        )
    if other := [file for file in there if not os.path.isfile(file)]:
        raise DataError(
            f"Expected paths of image files. Received: {len(other):,} that are not files, such as "
            f"{shown(other[0])!r}."
        )
    return files


def _labels(cells) -> list[str]:
    """The names of classes that cells say; numbers lose the `.0` that missing values give them."""
    known = {*cells}
    lists = [
        cell
        for cell in sorted(known)
        if re.fullmatch(r"\[.*\]|\{.*\}", cell, re.DOTALL)
        or (len(several := re.split(r"\s*[,;|]\s*", cell)) > 1 and known.issuperset(several))
    ]
    if lists:
        raise DataError(f"{_ONE} Received: {some(lists)}. If it is one class, rename it.")
    whole = all(re.fullmatch(r"\d+(\.0+)?", cell) for cell in known)
    return [cell.partition(".")[0] for cell in cells] if whole else cells


def _once(files, labels, parts) -> tuple[list[int], list[str]]:
    """The first row of each file in each part, and a line where a file is in several."""
    first: dict[tuple[str, str], int] = {}
    label_of: dict[str, str] = {}
    several = {}
    for k, (file, label, part) in enumerate(zip(files, labels, parts, strict=True)):
        first.setdefault((file, part), k)
        if label_of.setdefault(file, label) != label:
            several.setdefault(file, label)
    if several:
        file, label = next(iter(several.items()))
        raise DataError(
            f"{_ONE} Received: {len(several):,} files with several, such as {shown(file)!r}: "
            f"{some([label_of[file], label])}."
        )
    both = len(first) - len(label_of)
    if not both:
        return [*first.values()], []
    file = next(file for file, count in Counter(file for file, _ in first).items() if count > 1)
    where = " and ".join(part for other, part in first if other == file)
    said = f"in several parts: {both:,} files, such as {shown(file)!r} ({where}): what is tested "
    said += "was trained on"
    return [*first.values()], [said]


def _in_order(names) -> tuple[str, ...]:
    """Sorted; by value where all are numbers."""
    keys = {name: key_of(name) for name in names}
    if all(key.isascii() and key.isdecimal() for key in keys.values()):
        return tuple(sorted(names, key=lambda name: (len(keys[name]), keys[name], name)))
    return tuple(sorted(names))
