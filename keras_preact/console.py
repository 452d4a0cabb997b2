"""Terminal output with rich; plain lines without bars where there is no terminal."""

import atexit
import contextlib
import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: Of ASCII and Latin-1: what moves a terminal's cursor, colours it, or is an order to it.
_WRITTEN_OUT = {k: rf"\x{k:02x}" for k in (*range(9), *range(11, 32), *range(127, 160))}


def make_console(stream: IO[str], least_width: int | None = None) -> "Console":
    """A `rich.console.Console` on a stream; `least_width` is for tables in files and pipes.

    When its reader has gone, as in `... | head -1`, it falls silent and the program goes on. File
    and class names cannot control the terminal: control characters are escaped.
    """
    from rich.console import Console

    class Lasting(Console):
        def render(self, *arguments):
            for segment in super().render(*arguments):
                plain = segment.control or segment.text.isprintable()
                yield segment if plain else segment._replace(text=visible(segment.text))

        def on_broken_pipe(self):
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())

    console = Lasting(file=stream, highlight=False, markup=False)
    if least_width and not console.is_terminal:
        console.width = least_width
    return console


def visible(text: str) -> str:
    """A text whose control characters, except line ends, are escaped.

    Example:
        >>> from keras_preact.console import visible
        >>> print(visible("red: " + chr(27) + "[31m"))
        red: \\x1b[31m
    """
    return text.translate(_WRITTEN_OUT)


def say(console: "Console | None", text: str) -> None:
    """Prints a line on a console, if there is one."""
    if console:
        console.print(text, soft_wrap=True)


def warn(console: "Console | None", text: str) -> None:
    """Prints a line on a console; without one, issues a `RuntimeWarning`."""
    if console:
        say(console, text)
    else:
        warnings.warn(text, RuntimeWarning, stacklevel=3)


def duration(seconds: float) -> str:
    """A time in a readable unit."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


@contextlib.contextmanager
def reading_bar(
    console: "Console | None", description: str
) -> "Iterator[Callable[[int, int], None] | None]":
    """A progress bar while data is read; yields the function `on_progress(done, total)`."""
    from rich.markup import escape
    from rich.progress import Progress

    if console is None:
        yield None
        return
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(escape(description), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def open_closed_streams() -> None:
    """Standard streams that were closed, as by `2>&-`, go nowhere, and no file takes their place.

    Python has `None` for them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))


def end_quickly() -> None:
    """Skips garbage collection at exit, which takes a second once Keras is imported."""
    atexit.register(gc.freeze)


@contextlib.contextmanager
def silent_stderr(number: int = 2) -> Iterator[None]:
    """Discards standard error meanwhile, including what native libraries write.

    Args:
        number: 1 for standard output instead.
    """
    (sys.stdout if number == 1 else sys.stderr).flush()
    kept = os.dup(number)
    silent = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silent, number)
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)
        os.close(silent)


def import_keras_quietly() -> None:
    """Imports Keras without TensorFlow's messages about GPU libraries and retracing."""
    has_gpu = os.path.exists("/dev/nvidia0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if has_gpu else "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with silent_stderr():
        import keras  # noqa: F401
