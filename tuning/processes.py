"""Processes of a search: each ends with the one that started it, however that ends."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from typing import Any

from keras_preact.errors import DataError, SaveError
from keras_preact.training.signals import Signals

#: Exit codes of a search's processes for what another one would meet as well.
ENDS = {3: DataError, 5: SaveError}


def start(
    module: str,
    *arguments: str,
    output: Any,
    stdout: Any = None,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen:
    """Starts a module as a process that `end_with_starter` ties to this one.

    Args:
        module: Name for `python -m`.
        *arguments: Its arguments.
        output: Open file for what it says.
        stdout: Open file for its standard output, where that is another.
        environment: Variables to set.

    Returns:
        The process.
    """
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,  # closed by the system when this process ends
        stdout=stdout or output,
        stderr=output,
        env={**os.environ, **(environment or {})},
        start_new_session=True,  # Ctrl-C in a terminal is for the first process alone
    )


def end_with_starter() -> None:
    """Has this process get SIGTERM when the one that started it has ended."""

    def watch():
        while os.read(0, 1):  # not sys.stdin, whose lock would be held when this process ends
            pass
        if Signals.current is None or Signals.current.number is None:  # a second one would not wait
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def stop(processes: Iterable[Any], seconds: float = 60) -> None:
    """Ends processes with SIGTERM, and with SIGKILL those that take too long."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
