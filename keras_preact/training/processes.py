"""Processes that train beside one another; each ends with the one that started it, however."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from keras_preact.console import end_quickly
from keras_preact.errors import OWN, DataError, SaveError
from keras_preact.training.signals import Signals

#: Exit codes of processes for what another one would meet as well.
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


def work(function: Callable[..., Any], *arguments: Any) -> None:
    """Calls a function in a process that `start` has started; an error of ours is one line.

    The process ends with the code in `ENDS`, or else with the error's own.
    """
    end_with_starter()
    end_quickly()
    try:
        function(*arguments)
    except OWN as error:
        print(error, file=sys.stderr)
        kinds = (code for code, kind in ENDS.items() if isinstance(error, kind))
        sys.exit(next(kinds, error.exit_code))


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


def share(k: int, processes: int) -> dict[str, str]:
    """The environment that gives a process its share of the GPUs, or of the processors.

    Where GPUs are fewer than processes, each process has one, and several share it.

    Args:
        k: Which of the processes.
        processes: How many there are.
    """
    found = gpus()
    if found:
        return {"CUDA_VISIBLE_DEVICES": ",".join(found[k::processes] or [found[k % len(found)]])}
    threads = max(1, (os.cpu_count() or 1) // processes)
    return {"TF_NUM_INTRAOP_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}


def gpus() -> list[str]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip() and name.strip() != "-1"]
    with contextlib.suppress(OSError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
        found = [line for line in listed.splitlines() if line.startswith("GPU ")]
        return [str(number) for number in range(len(found))]
    return []
