"""Files that are whole or not there, whenever the process is killed or the power fails."""

import contextlib
import json
import os
import pathlib
import shutil
from typing import Any

from keras_preact.checked import require
from keras_preact.errors import SaveError, quoted


def write_file(path, data: bytes) -> None:
    """Writes a new file and has the system put it on the disk."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)


def replace_file(path, data: bytes) -> None:
    """Writes a file whole or not at all: a reader meets what was there before, or all of this."""
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        write_file(partial, data)
        os.replace(partial, path)
    except OSError:
        _remove(partial)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def replacing(path, what: str):
    """A path to write a file or folder to, which then takes the place of `path`.

    What goes wrong meanwhile leaves `path` as it was.

    Args:
        path: What is to be replaced, if it is there.
        what: What it is, for the error's text.

    Raises:
        SaveError: When it cannot be written.
    """
    target = pathlib.Path(path)
    partial = target.with_name(f".partial-{target.name}")
    try:
        _remove(partial)  # of a process that was killed
        yield partial
        sync_tree(partial)
        if target.is_dir() and partial.is_dir():  # a file takes no folder's place
            shutil.rmtree(target)
        os.replace(partial, target)
        sync_folder(target.parent)
    except BaseException as error:
        _remove(partial)
        if isinstance(error, OSError):
            raise save_error(error, what, target.parent) from error
        raise


def _remove(path):
    """Removes a file or a folder, if it is there and can be."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def sync_folder(path) -> None:
    """Has the system put the names in a folder on the disk, where it can (not on Windows)."""
    if os.name == "nt":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sync_tree(path) -> None:
    """Has the system put a file, or a folder with all that is in it, on the disk."""
    path = pathlib.Path(path)
    for inner in (path, *path.rglob("*")):
        if inner.is_dir():
            sync_folder(inner)
        else:
            file = os.open(inner, os.O_RDWR)
            try:
                os.fsync(file)
            finally:
                os.close(file)


def to_json(value: Any) -> bytes:
    """A value as readable JSON."""
    return (json.dumps(value, indent=2) + "\n").encode()


def suffix_of(path, suffixes, name: str) -> str:
    """The suffix of a file, in small letters.

    Raises:
        ConfigError: Unless it is one of `suffixes`; names the argument.
    """
    suffix = pathlib.Path(path).suffix.lower()
    require(suffix in suffixes, name, str(path), f"a file that ends with one of {quoted(suffixes)}")
    return suffix


def save_error(error: OSError, what: str, path) -> SaveError:
    """What a user is told when something could not be written."""
    free = ""
    existing = pathlib.Path(path).absolute()
    while not existing.exists():
        existing = existing.parent
    with contextlib.suppress(OSError):
        free = f" ({shutil.disk_usage(existing).free / 2**20:,.0f} MB are free there)"
    return SaveError(f"{what} could not be written to {path}: {error.strerror or error}{free}.")
