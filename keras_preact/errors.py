"""The errors a user can meet, each with its exit code on the command line.

A message says in one line what was expected, with all allowed values, what was given (`Received:
name=value`), and how to fix it. Any other exception is a bug in this package (exit code 1).
"""

import contextlib
import difflib
import os
import re
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from typing import Any


class ConfigError(ValueError):
    """An argument or a field has a value that is not allowed."""

    exit_code = 2


class DataError(Exception):
    """Images are missing, damaged, or do not match what was asked for."""

    exit_code = 3


class DivergedError(RuntimeError):
    """The loss or the gradient is no longer finite."""

    exit_code = 4


class SaveError(OSError):
    """A folder could not be written: full disk, permissions, damaged file system."""

    exit_code = 1


class DeviceError(RuntimeError):
    """Several devices together do not compute what one of them does."""

    exit_code = 1


class ExportError(RuntimeError):
    """The export differs from the network, or its format cannot represent it."""

    exit_code = 1


class StoppedError(RuntimeError):
    """Training was stopped by a signal, and its progress is saved.

    Attributes:
        exit_code: 128 and the number of the signal: 143 for SIGTERM, 130 for SIGINT (Ctrl-C).
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


#: The mistakes above, whose text is a line for the user already.
OWN = (ConfigError, DataError, DivergedError, SaveError, DeviceError, ExportError, StoppedError)


@contextlib.contextmanager
def damaged(path: str | os.PathLike[str]) -> Iterator[None]:
    """Reports a file of this package as damaged if its contents make no sense.

    Args:
        path: The file or folder that is read.

    Raises:
        ConfigError: In place of the errors that missing keys and wrong types raise.
    """
    try:
        yield
    except OWN:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is damaged: its contents make no sense ({reason(error)})."
        ) from None


#: Libraries whose errors are long and full of internals, by package.
_LIBRARIES = {
    "tensorflow": "TensorFlow",
    "jax": "JAX",
    "jaxlib": "JAX",
    "onnxruntime": "ONNX Runtime",
    "tf2onnx": "tf2onnx",
    "openvino": "OpenVINO",
    "nncf": "NNCF",
}

#: Lines that say where in a library something went wrong, and not what.
_INSIDES = re.compile(
    r"Graph execution error|Detected at node|<stack traces|\s*File |\d+ root error|\s*$"
)
_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|ResourceExhausted|OOM|[Oo]ut of memory")


def library_of(error: BaseException) -> str | None:
    """The library that raised an error, if it is one with long errors; else `None`."""
    return _LIBRARIES.get(type(error).__module__.split(".")[0])


#: Packages that keras-preact-core leaves out, as they are imported.
_LEFT_OUT = {"tensorflow", "tensorflow_datasets", "keras_tuner", "tensorboard", "pyarrow"}


def left_out(error: BaseException) -> str | None:
    """A line for an import of a package that keras-preact-core leaves out; `None` for others.

    Example:
        >>> from keras_preact.errors import left_out
        >>> left_out(ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow"))
        'This needs pyarrow, which is not installed here. Fix: pip install pyarrow.'
    """
    name = (getattr(error, "name", None) or "").split(".")[0]
    if not isinstance(error, ModuleNotFoundError) or name not in _LEFT_OUT:
        return None
    package = name.replace("_", "-")
    return f"This needs {package}, which is not installed here. Fix: pip install {package}."


def line_of(error: BaseException, layers: Iterable[str] = (), fix: str = "") -> str:
    """An error of another library in one line, which names a file with the full text.

    Args:
        error: What was raised.
        layers: Names of the network's layers; those found in the text are named.
        fix: What to do; if not given, the usual advice for such errors.

    Returns:
        The line. The full text with its traceback is in the new file that it names.
    """
    text = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile(
        "w", prefix="keras-preact-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    named = [name for name in layers if re.search(rf"\b{re.escape(name)}(_\d+)?\b", text)]
    where = f" (layer {', '.join(map(repr, named[:3]))})" if named else ""
    if not fix and (isinstance(error, MemoryError) or _MEMORY.search(text)):
        fix = "A smaller batch_size, or recompute=True, needs less memory."
    fix = fix or "`keras-preact doctor` tests this machine."
    who = library_of(error) or type(error).__name__
    return f"{who}: {first_line(error)}{where}. {fix} Full text: {file.name}"


def first_line(error: Any) -> str:
    """The first line of another library's error that says what went wrong, not where.

    Example:
        >>> from keras_preact.errors import first_line
        >>> text = "Graph execution error:\\n\\n{{function_node f}} No space left on device: x"
        >>> first_line(OSError(text))
        'No space left on device: x'
    """
    lines = [line for line in str(error).splitlines() if not _INSIDES.match(line)]
    line = re.sub(r"\{\{function_node \S+?\}\}\s*", "", (lines or [type(error).__name__])[0])
    return reason(re.sub(r"\{\{\w+ (\S+?)\}\}", r"\1", line)).rstrip(".:")


@contextlib.contextmanager
def in_one_line(
    kind: type[Exception], what: str, layers: Iterable[str] = (), fix: str = ""
) -> Iterator[None]:
    """Turns whatever another library raises, except `OSError`, into a `kind` with one line.

    Args:
        kind: Class of the error.
        what: What was tried; the line begins with it.
        layers, fix: As in `line_of`.
    """
    try:
        yield
    except (*OWN, OSError):  # a full disk is for those to say who know what was written
        raise
    except Exception as error:
        raise kind(f"{what}: {line_of(error, layers, fix)}") from None


def reason(error: Any, most: int = 200) -> str:
    """The message of another library's error, in one line of at most `most` characters."""
    return " ".join(str(error).split())[:most]


def quoted(names: Iterable[str]) -> str:
    """`"'a', 'b', 'c'"`: a list of allowed values, as error messages show it."""
    return ", ".join(repr(name) for name in names)


def near(name: str, names: Iterable[str]) -> str:
    """` Did you mean 'x'?` when one of `names` is close to `name`, else an empty string."""
    matches = difflib.get_close_matches(str(name), map(str, names), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def shown(path: str | os.PathLike[str]) -> str:
    """A path as printable text: bytes that are not UTF-8 are escaped.

    Example:
        >>> from keras_preact.errors import shown
        >>> shown("caf\\udce9.jpg")
        'caf\\\\xe9.jpg'
    """
    text = os.fspath(path)
    try:
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # not of a file: half of a character
        return text.encode("utf-8", "backslashreplace").decode()


def some(names: Iterable[str], most: int = 5) -> str:
    """`"'a', 'b' and 3 more"`: names for a message, the first few."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(shown(name)) for name in names[:most]) + more
