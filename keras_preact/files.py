"""Atomic writes: files are complete or absent, even after a kill or a power failure."""

import contextlib
import datetime
import errno
import json
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from keras_preact.checked import require
from keras_preact.errors import SaveError, quoted

if TYPE_CHECKING:
    import pandas

#: How the names begin of what is being written, or was left by a process that was killed.
PARTIAL = ".partial-"

#: How the name ends of the lock beside it.
_LOCK = ".lock"


def write_file(path: str | os.PathLike[str], data: bytes | Iterable[bytes | bytearray]) -> None:
    """Writes a new file, at once or piece by piece, and flushes it to disk."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        for piece in [data] if isinstance(data, bytes) else data:
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)


def replace_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file atomically: a reader sees the old contents or all of the new."""
    with _in_place_of(pathlib.Path(path)) as partial:
        write_file(partial, data)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], what: str) -> Iterator[pathlib.Path]:
    """Yields a path to write a file or folder to, which then replaces `path` atomically.

    If anything fails, `path` stays as it was. Several processes may do this at once; the last one
    wins.

    Args:
        path: The file or folder to replace, if it exists.
        what: What it is, for the error message.

    Raises:
        SaveError: When it cannot be written.
    """
    target = pathlib.Path(path)
    try:
        with _in_place_of(target) as partial:
            yield partial
            sync_tree(partial)
    except OSError as error:
        raise save_error(error, what, target.parent) from error


@contextlib.contextmanager
def _in_place_of(target):
    """A path of this process's own beside `target`; what is written to it takes its place.

    While it is in use it is locked: what has no lock is of a process that was killed, and goes.
    """
    for name in os.listdir(target.parent):
        if name.startswith(PARTIAL) and name.endswith(f"-{target.name}{_LOCK}"):
            with _locked(target.with_name(name), patience=0) as is_left:
                if is_left:
                    _clear(target.with_name(name.removesuffix(_LOCK)), target)
    partial = target.with_name(f"{PARTIAL}{secrets.token_hex(4)}-{target.name}")
    # Another may hold it for the moment that it takes to see that nothing is left here.
    with _locked(partial.with_name(f"{partial.name}{_LOCK}"), patience=-1):
        try:
            yield partial
            _put(partial, target)
            sync_folder(target.parent)
        finally:
            _clear(partial, target)


@contextlib.contextmanager
def _locked(path, patience):
    """Has a lock, for which it waits so many seconds (-1: for ever), and which is gone at the end.

    Says whether it could be had.
    """
    import filelock

    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except (OSError, NotImplementedError):  # another has it, or this file system knows no locks
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        lock.release()


def _put(partial, target):
    """Has a file or folder take the place of another, which no call of the system does at once."""
    while True:
        if partial.is_dir() and target.is_dir():  # a file takes no folder's place
            with contextlib.suppress(FileNotFoundError):  # another process has taken it away
                os.rename(target, _before(partial))
        try:
            os.replace(partial, target)
            return
        except OSError:
            if not (partial.is_dir() and target.is_dir()):  # else another process was faster
                raise
            _remove(_before(partial))


def _clear(partial, target):
    """Removes what is left of `_in_place_of`; a folder that nothing took the place of goes back."""
    before = _before(partial)
    if before.exists():
        with contextlib.suppress(OSError):  # another's stands there by now
            os.rename(before, target)
    _remove(before)
    _remove(partial)


def _before(partial):
    """Where a folder lies for the moment in which another takes its place."""
    return partial.with_name(f"{partial.name}.before")


def _remove(path):
    """Removes a file or a folder, if it is there and can be."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Flushes a folder's entries to disk, where the system can (not on Windows)."""
    if os.name == "nt":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check_row(row: dict[str, Any], columns: dict[str, str]) -> dict[str, Any]:
    """Returns a row of a table after checking that its values match the column types.

    Args:
        row: Values by column name; `None` matches any type.
        columns: pandas types by column name; columns without one hold anything.

    Raises:
        TypeError, ValueError: For a value of another type.

    Example:
        >>> from keras_preact.files import check_row
        >>> check_row({"epochs": 3, "model": "resnet20v2"}, {"epochs": "Int64", "model": "str"})
        {'epochs': 3, 'model': 'resnet20v2'}
    """
    kinds = {"str": str, "Int64": int}
    for name, column in columns.items():
        value = row.get(name)
        if value is None:
            continue
        if column.startswith("datetime"):
            datetime.datetime.fromisoformat(value)
        elif not isinstance(value, kinds.get(column, (int, float))) or (
            column == "Int64" and abs(value) >= 2**63
        ):
            raise TypeError(f"{name}: {value!r:.80}")
    return row


def sync_tree(path: str | os.PathLike[str]) -> None:
    """Flushes a file, or a folder with everything in it, to disk."""
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


def make_folder(path: str | os.PathLike[str], what: str) -> None:
    """Makes a folder if needed, and checks that it can be written, before long work begins.

    Raises:
        SaveError: When it cannot be written.
    """
    try:
        os.makedirs(path, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise save_error(error, what, path) from error


def to_json(value: Any) -> bytes:
    """A value as readable JSON."""
    return (json.dumps(value, indent=2) + "\n").encode()


def to_csv(frame: "pandas.DataFrame") -> str:
    """A `pandas.DataFrame` as CSV in which a spreadsheet finds no formulas.

    Class and file names may come from anyone: a text that begins like a formula (`=`, `+`, `-`,
    `@`) is prefixed with an apostrophe, unless it is a number.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.files import to_csv
        >>> to_csv(pd.DataFrame({"class": ["=1+1", "-6.0", "cat"]})).split()
        ['class', "'=1+1", '-6.0', 'cat']
    """

    def cell(value):
        if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
            return value
        with contextlib.suppress(ValueError):
            float(value)
            return value
        return f"'{value}"

    texts = frame.select_dtypes(["object", "string"]).columns
    return frame.assign(**{name: frame[name].map(cell) for name in texts}).to_csv(index=False)


def suffix_of(path: str | os.PathLike[str], suffixes: Iterable[str], name: str) -> str:
    """The suffix of a file, in lower case.

    Raises:
        ConfigError: Unless it is one of `suffixes`; names the argument.
    """
    suffix = pathlib.Path(path).suffix.lower()
    require(suffix in suffixes, name, str(path), f"a file that ends with one of {quoted(suffixes)}")
    return suffix


def save_error(error: OSError, what: str, path: str | os.PathLike[str]) -> SaveError:
    """The error for something that could not be written."""
    free = ""
    existing = pathlib.Path(path).absolute()
    while not existing.exists():
        existing = existing.parent
    with contextlib.suppress(OSError):
        free = f" ({shutil.disk_usage(existing).free / 2**20:,.0f} MB are free there)"
    return SaveError(f"{what} could not be written to {path}: {error.strerror or error}{free}.")
