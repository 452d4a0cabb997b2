"""A folder of images: its parts and classes, found without opening files."""

import os
from collections import Counter
from pathlib import Path

import numpy as np

from keras_preact.data.classes import check_names, key_of
from keras_preact.data.columns import TABLES
from keras_preact.data.listing import file_reason, leaves_out, list_images
from keras_preact.data.named import kind_of
from keras_preact.data.parts import PARTS, Folder, Part, part_of, refuse
from keras_preact.errors import DataError, quoted, shown, some


def list_folder(path: str) -> Folder:
    """The image files of a folder by part and class, without opening any.

    `path` holds one folder per class, or one for training and one for testing, each with one folder
    per class, called as `PARTS` says in any case. A folder for validation takes the place of
    one for testing where there is none, and is not used otherwise. What is no image is left out as
    `list_images` says; links are followed.

    Raises:
        DataError: no such folder, no class folders, an empty class, different classes in parts, and
            folders that look like parts of a data set and are not called so.
    """
    root = Path(path)
    if not os.path.isdir(root):
        there = "which is not a folder" if os.path.exists(root) else "which is missing"
        place = "" if root.is_absolute() else f" in {shown(os.getcwd())!r}"
        raise DataError(
            f"Expected a folder with one sub-folder per class. Received: {path!r}, {there}{place}."
        )
    try:
        roots, unused = _roots(root)
        found = {name: _list_classes(folder) for name, folder in roots.items()}
    except OSError as error:
        raise DataError(f"{shown(error.filename)}: {error.strerror}.") from None
    listed = {name: classes for name, (classes, _) in found.items()}
    left_out = sum((counter for _, counter in found.values()), Counter())
    if "all" not in roots:
        left_out += _others(root, _folders(root))
    class_names = tuple(next(iter(listed.values())))
    check_names(class_names, "Rename the folder.")
    parts = {}
    for name, classes in listed.items():
        classes = _in_order(class_names, classes)
        if classes is None:
            raise DataError(_different_classes(roots, listed, name))
        counts = [len(paths) for paths in classes.values()]
        paths = [path for paths in classes.values() for path in paths]
        parts[name] = Part(paths, np.repeat(np.arange(len(counts), dtype=np.int32), counts))
    folder = Folder(str(path), class_names, parts, left_out, unused)
    refuse(folder.empty_classes())
    return folder


def _roots(root: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The folders that hold the class folders, by part, and the names of parts that are not used.

    A folder that holds no folders is a class, whatever it is called.
    """
    folders = [child for child in _folders(root) if _folders(child)]
    parts = {part: [child for child in folders if part_of(child.name) == part] for part in PARTS}
    for part, found in parts.items():
        if len(found) > 1:
            raise DataError(
                f"Expected one folder for each part of {str(root)!r}. Received: "
                f"{some(child.name for child in found)}, all for the part {part!r}."
            )
    used = {part: found[0] for part, found in parts.items() if found}
    tested = used.get("test", used.get("validation"))
    if "train" in used and tested:
        roots = {"train": used["train"], "test": tested}
        if "test" in used and "validation" in used:
            roots["validation"] = used["validation"]
        return roots, tuple(f.name for f in _folders(root) if f not in roots.values())
    _refuse_flat_parts(root, used)
    _refuse_parts(root, used, folders)
    return {"all": root}, ()


def _refuse_flat_parts(root, used):
    """Says what is missing, where a part has its images in no class folders, as for a contest."""
    named = {child: part_of(child.name) for child in _folders(root)}
    flat = [child.name for child, part in named.items() if part and part not in used]
    if flat and ("train" in used or (len(flat) > 1 and all(named.values()))):
        fix = f" Given {shown(used['train'])!r} alone, it is split into two parts." if used else ""
        raise DataError(
            f"Expected a folder for each class in each part of {shown(root)!r}. Received: "
            f"{some(flat)}, without such folders.{fix}"
        )


def _refuse_parts(root, used, folders):
    """Says what is missing, where folders are parts of a data set or look like them."""
    expected = (
        f"Expected one folder per class in {shown(root)!r}, or one for training ("
        f"{', '.join(PARTS['train'])}) and one for testing ({', '.join(PARTS['test'])}; else "
        f"{', '.join(PARTS['validation'])}), each with one folder per class."
    )
    inner = [{child.name for child in _folders(_unwrapped(folder))} for folder in folders]
    full = [names for names in inner if names]
    shared = set.intersection(*full) if len(full) > 1 else set()
    same = all(names == shared for names in inner) and len(folders) == len(_folders(root))
    named = any("train" in folder.name.lower() for folder in folders)
    holds_images = any(file_reason(file) is None for folder in folders for file in _files(folder))
    if len(shared) > 1 and (same or named) and not holds_images:
        names = some(folder.name for folder in folders)
        fix = "There is none for training." if used and "train" not in used else "Rename them."
        raise DataError(
            f"{expected} Received: {names}, which all hold {some(sorted(shared))}. {fix}"
        )


def _unwrapped(folder: Path) -> Path:
    """A folder, or the only one in it, and so on: archives are unpacked to `cats/cats/...`."""
    while len(inside := _folders(folder)) == 1 and not _files(folder):
        (folder,) = inside
    return folder


def _folders(root: Path) -> list[Path]:
    """The sub-folders that are data, sorted; without links that lead back to `root` or above."""
    inside = os.path.join(os.path.realpath(root), "")
    return sorted(
        child
        for child in root.iterdir()
        if not leaves_out(child.name)
        and child.is_dir()
        and not inside.startswith(os.path.join(os.path.realpath(child), ""))
    )


def _files(root: Path) -> list[str]:
    """The paths of what is data and no folder, links to nothing among it."""
    return [
        str(child) for child in root.iterdir() if not leaves_out(child.name) and not child.is_dir()
    ]


def _list_classes(root: Path) -> tuple[dict[str, list[str]], Counter]:
    """The image files of each class folder, sorted, and how many other entries there are."""
    folders = _folders(root)
    if len(folders) < 2:
        raise DataError(
            f"Expected one sub-folder per class, at least 2, in {shown(root)!r}; or a folder "
            f"'train' and one of {quoted((*PARTS['test'], *PARTS['validation']))} with such "
            f"sub-folders. Received: {some(folder.name for folder in folders) or 'none'}."
            f"{_where_classes_may_be(root)}"
        )
    classes, left_out = {}, _others(root, folders)
    for folder in folders:
        found = list_images(folder)
        classes[folder.name] = found.paths
        left_out += found.left_out
    return classes, left_out


def _others(root: Path, folders: list[Path]) -> Counter:
    """What a folder of folders holds beside these, by the reason to leave it out."""
    found = Counter(file_reason(path) or "in no class folder" for path in _files(root))
    for child in root.iterdir():
        reason = leaves_out(child.name)
        if not reason and child.is_dir() and child not in folders:
            reason = "a link in a circle"
        found.update([reason] if reason else [])
    return found


def _where_classes_may_be(root: Path) -> str:
    """A hint to the only folder below that has several, or to the only table in it."""
    inside = _unwrapped(root)
    if len(_folders(inside)) > 1:
        return f" Did you mean {shown(inside)!r}?"
    tables = [f"{kind_of(file)}:{file}" for file in _files(root) if kind_of(file) in TABLES]
    return f" Did you mean {shown(tables[0])!r}?" if len(tables) == 1 else ""


def _in_order(names: tuple[str, ...], classes: dict[str, list]) -> dict[str, list] | None:
    """The classes of a part in the order of another's, where their names say the same."""
    keys = {key_of(name): paths for name, paths in classes.items()}
    if tuple(classes) == names or len(keys) < len(classes):
        return classes if tuple(classes) == names else None
    same = sorted(map(key_of, names)) == sorted(keys)
    return {name: keys[key_of(name)] for name in names} if same else None


def _different_classes(roots: dict, listed: dict, other: str) -> str:
    train, rest = set(listed["train"]), set(listed[other])
    only = [
        f"only in {roots[name].name} ({len(classes)}): {some(sorted(classes))}"
        for name, classes in (("train", train - rest), (other, rest - train))
        if classes
    ]
    return (
        f"The training and the {other} folder must have the same classes. Received: {len(train)} "
        f"and {len(rest)} classes; {'; '.join(only)}."
    )
