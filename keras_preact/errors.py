"""The mistakes a user can make, each with the exit code of the command line.

A message says what was expected with all allowed values, what came (`Received: name=value`) and how
to mend it, in one line. Anything else that is raised is a fault of this package (exit code 1).
"""

import difflib


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
