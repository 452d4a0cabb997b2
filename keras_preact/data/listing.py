"""Which files of a folder are images, for everything that reads folders."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from keras_preact.data.formats import SUFFIXES
from keras_preact.errors import shown

#: What systems and programs leave in folders of images, in small letters: thumbnails of a NAS, the
#: other half of a Mac's files in an archive, waste baskets, earlier states.
SYSTEM = {
    "#recycle", "#snapshot", "$recycle.bin", "@eadir", "@recently-snapshot", "@recycle", "@tmp",
    "__macosx", "__pycache__", "_vti_cnf", "desktop.ini", "ehthumbs.db", "icon\r", "lost+found",
    "network trash folder", "recycler", "system volume information", "temporary items",
    "thevolumesettingsfolder", "thumbs.db", "~snapshot",
}  # fmt: skip


@dataclass
class Listing:
    """The image files of one folder or of several.

    Attributes:
        paths: The image files, sorted within each folder.
        left_out: How many entries were left out, by reason: `"hidden"`, `"of the system"`,
            `"a link in a circle"`, what `file_reason` gives for others.
        missing: What was named and has no images, with the reason.
    """

    paths: list[str] = field(default_factory=list)
    left_out: Counter = field(default_factory=Counter)
    missing: dict[str, str] = field(default_factory=dict)


def find_images(paths: Iterable[str | os.PathLike]) -> Listing:
    """Image files that are named one by one, or by their folders.

    Args:
        paths: Files, which are taken whatever they are called, and folders.

    Returns:
        A `Listing`, with each file once; what is not there is among its `missing`.

    Example:
        >>> from keras_preact.data.listing import find_images
        >>> find_images(["nowhere.png"]).missing
        {'nowhere.png': 'No such file or directory'}
    """
    found = Listing()
    for path in map(os.fspath, paths):
        try:
            if not os.path.isdir(path):
                os.stat(path)
                found.paths.append(path)
                continue
            inside = list_images(path)
        except (OSError, ValueError) as error:  # a null byte is an error in a value
            about = getattr(error, "strerror", None) or str(error)
            address = "a URL: download the image first"
            found.missing[path] = address if "://" in path else about
            continue
        found.paths += inside.paths
        found.left_out += inside.left_out
        if not inside.paths:
            words = f" ({'; '.join(in_words(inside.left_out))})" if inside.left_out else ""
            found.missing[path] = f"a folder without images{words}"
    found.paths = [*dict.fromkeys(found.paths)]
    return found


def list_images(folder: str | os.PathLike) -> Listing:
    """The image files in a folder and below.

    Hidden entries are left out, and what systems leave behind. Links are followed, to a folder once
    on each way down, so that none leads in a circle.

    Args:
        folder: The folder.

    Returns:
        A `Listing`.

    Raises:
        OSError: For a folder that cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> from keras_preact.data.listing import list_images
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> for name in ("a.jpg", "b.PNG", "c.heic", ".hidden.jpg"):
        ...     (folder / name).touch()
        >>> found = list_images(folder)
        >>> [path[-5:] for path in found.paths], dict(found.left_out)
        (['a.jpg', 'b.PNG'], {'hidden': 1, '.heic': 1})
    """
    found = Listing()
    _add(found, os.fspath(folder), (os.path.realpath(folder),))
    return found


def _add(found, folder, above):
    with os.scandir(folder) as entries:
        entries = sorted(entries, key=lambda entry: entry.name)
    for entry in entries:
        if reason := leaves_out(entry.name):
            found.left_out[reason] += 1
        elif os.path.isdir(entry.path):  # the entry's own method raises for links in a circle
            place = os.path.realpath(entry.path)
            if any(f"{other}{os.sep}".startswith(f"{place}{os.sep}") for other in above):
                found.left_out["a link in a circle"] += 1
            else:
                _add(found, entry.path, (*above, place))
        elif reason := file_reason(entry.path):
            found.left_out[reason] += 1
        else:
            found.paths.append(entry.path)


def leaves_out(name: str) -> str | None:
    """Why a file or folder of this name is no data, whatever it holds; `None` for data."""
    if name.lower() in SYSTEM:
        return "of the system"
    return "hidden" if name.startswith(".") else None


def file_reason(path: str) -> str | None:
    """Why what is no folder is no image, without opening it: its suffix in small letters, say.

    A link to nothing that is called as an image is one, which is damaged; a device is none, though
    it could be read for ever.
    """
    suffix = os.path.splitext(path)[1].lower()
    if os.path.exists(path) and not os.path.isfile(path):
        return "no file"
    if suffix in SUFFIXES:
        return None
    return suffix or ("no suffix" if os.path.exists(path) else "a link to nothing")


def in_words(left_out: Counter) -> list[str]:
    """What was left out, as no line or one.

    Example:
        >>> from collections import Counter
        >>> from keras_preact.data.listing import in_words
        >>> in_words(Counter({"notes": 3, "hidden": 1}))
        ['left out: 4 (notes 3, hidden 1)']
    """
    if not left_out:
        return []
    named = ", ".join(f"{shown(reason)} {count:,}" for reason, count in left_out.most_common(6))
    more = ", ..." if len(left_out) > 6 else ""
    suffixes = f"; images are files called {', '.join(SUFFIXES)}"
    formats = any(reason.startswith(".") or reason == "no suffix" for reason in left_out)
    return [f"left out: {left_out.total():,} ({named}{more}){suffixes if formats else ''}"]
