"""The mistakes a user can make, each with the exit code of the command line.

A message says what was expected with all allowed values, what came (`Received: name=value`) and how
to mend it, in one line. Anything else that is raised is a fault of this package (exit code 1).
"""

import contextlib
import difflib
import os
import re
import tempfile
import traceback


class ConfigError(ValueError):
    """An argument or a field has a value that is not allowed."""

    exit_code = 2


class DataError(Exception):
    """Images that are missing, damaged, or do not fit what was asked for."""

    exit_code = 3


class DivergedError(RuntimeError):
    """Training met a loss that is not a finite number."""

    exit_code = 4


class SaveError(OSError):
    """A run's folder could not be written: a full disk, rights, a damaged file system."""

    exit_code = 1


class DeviceError(RuntimeError):
    """What the devices compute together is not what one of them computes."""

    exit_code = 1


class ExportError(RuntimeError):
    """What was exported does not compute what the network does, or cannot hold it."""

    exit_code = 1


class StoppedError(RuntimeError):
    """Training was asked to stop by a signal, and what it had done is saved.

    Attributes:
        exit_code: 128 and the number of the signal: 143 for SIGTERM, 130 for SIGINT (Ctrl-C).
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.exit_code = 128 + number


#: The mistakes above, whose text is a line for the user already.
OWN = (ConfigError, DataError, DivergedError, SaveError, DeviceError, ExportError, StoppedError)


@contextlib.contextmanager
def damaged(path):
    """Says of files of this package's that they are damaged, where what they say makes no sense.

    Args:
        path: The folder or file that is made sense of.

    Raises:
        ConfigError: In place of what missing keys and values of other types raise.
    """
    try:
        yield
    except OWN:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is damaged: it does not say what was written there ({reason(error)})."
        ) from None


#: Libraries whose errors are long and speak of their own insides, by the package they come from.
_LIBRARIES = {
    "tensorflow": "TensorFlow",
    "jax": "JAX",
    "jaxlib": "JAX",
    "onnxruntime": "ONNX Runtime",
    "tf2onnx": "tf2onnx",
    "openvino": "OpenVINO",
    "nncf": "NNCF",
}

#: Lines that say where in a library something was, and not what.
_INSIDES = re.compile(
    r"Graph execution error|Detected at node|<stack traces|\s*File |\d+ root error|\s*$"
)
_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|ResourceExhausted|OOM|[Oo]ut of memory")


def library_of(error: BaseException) -> str | None:
    """The library that an error comes from, where it is one whose errors are long; or `None`."""
    return _LIBRARIES.get(type(error).__module__.split(".")[0])


def line_of(error: BaseException, layers=(), fix: str = "") -> str:
    """What went wrong in another library, in one line that says where the whole text is.

    Args:
        error: What was raised.
        layers: Names of the network's layers; those that the text speaks of are named.
        fix: What to do; if not given, what helps with errors of this kind.

    Returns:
        The line. The whole text, with its traceback, is in the new file that it names.
    """
    text = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile(
        "w", prefix="keras-preact-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    named = [name for name in layers if re.search(rf"\b{re.escape(name)}(_\d+)?\b", text)]
    where = f" (layer {', '.join(map(repr, named[:3]))})" if named else ""
    if not fix and (isinstance(error, MemoryError) or _MEMORY.search(text)):
        fix = "The memory is too small: a smaller batch_size, or recompute=True, takes less."
    fix = fix or "`keras-preact doctor` tries each part of this machine."
    who = library_of(error) or type(error).__name__
    return f"{who}: {first_line(error)}{where}. {fix} All of it: {file.name}"


def first_line(error) -> str:
    """The first line of an error of another library that says what went wrong, not where.

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
def in_one_line(kind, what: str, layers=(), fix: str = ""):
    """Raises `kind` with one line for whatever another library raises meanwhile, but for `OSError`.

    Args:
        kind: Class of the error.
        what: What was tried, as the line begins.
        layers, fix: As in `line_of`.
    """
    try:
        yield
    except (*OWN, OSError):  # a full disk is for those to say who know what was written
        raise
    except Exception as error:
        raise kind(f"{what}: {line_of(error, layers, fix)}") from None


def reason(error, most: int = 200) -> str:
    """What an error of another library says, in one line of at most so many characters."""
    return " ".join(str(error).split())[:most]


def quoted(names) -> str:
    """`"'a', 'b', 'c'"`: a list of allowed values, as error messages show it."""
    return ", ".join(repr(name) for name in names)


def near(name: str, names) -> str:
    """` Did you mean 'x'?` when one of `names` is close to `name`, else an empty string."""
    matches = difflib.get_close_matches(str(name), map(str, names), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def shown(path) -> str:
    """A path as it can be printed and written: bytes that are no UTF-8 are escaped.

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


def some(names, most: int = 5) -> str:
    """`"'a', 'b' and 3 more"`: names for a message, the first few."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(shown(name)) for name in names[:most]) + more
