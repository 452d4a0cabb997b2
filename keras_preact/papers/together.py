"""`reproduce_together`: a plan trained by several processes, each with runs of its own.

Networks for CIFAR leave much of a processor with several cores, and most of a GPU, idle.
"""

import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_preact.checked import require
from keras_preact.console import import_keras_quietly, make_console, say
from keras_preact.errors import ConfigError, DeviceError, StoppedError
from keras_preact.papers.plan import CONFIG, ReproduceConfig
from keras_preact.papers.reproduction import Reproduction, reproduce
from keras_preact.papers.schedule import Schedule, counted
from keras_preact.training import processes as beside
from keras_preact.training.signals import Signals

if TYPE_CHECKING:
    from rich.console import Console


_NO_MORE_THAN_NEEDED = {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


def reproduce_together(
    entries: Sequence[ReproduceConfig],
    processes: int,
    hours: float | None = None,
    *,
    console: "Console | None" = None,
) -> list[Reproduction]:
    """Trains a plan by several processes on this machine at once.

    Each begins, in the plan's order, the next run that no other has; they divide the processors or
    the GPUs among them. SIGTERM and SIGINT (Ctrl-C) stop all, and the same call resumes; so it does
    where this process is killed, with which they end. Their lines begin with their number.

    Args:
        entries: The plan, as for `reproduce_plan`.
        processes: How many.
        hours: As for `reproduce_plan`; each process times the networks that it meets.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        A `Reproduction` for each table of which a run was begun.

    Raises:
        ConfigError: As `reproduce_plan`, and if `processes` is not at least 1.
        ConfigError, DataError, SaveError: What ended one of the processes, once all have ended.
        DeviceError: When one was killed, as where memory runs out, or ended by a bug.
        StoppedError: After SIGTERM or SIGINT; the progress is saved.

    Example:
        >>> from keras_preact.papers import ReproduceConfig, reproduce_together
        >>> plan = [ReproduceConfig("he2016-table2", scale="smoke", runs=3)]
        >>> [found.left for found in reproduce_together(plan, processes=2)]  # doctest: +SKIP
        [0]
    """
    require(processes >= 1, "processes", processes, "at least 1")
    Schedule(entries, hours, None)  # says what is wrong with them
    plan = [entry.to_dict() for entry in entries]
    wish = json.dumps({"entries": plan, "hours": hours, "argv": sys.argv})
    with tempfile.TemporaryDirectory() as compiled, Signals() as signals:
        # What one has compiled, the others need not; none takes memory of a GPU that it needs not.
        together = {"JAX_COMPILATION_CACHE_DIR": compiled, **_NO_MORE_THAN_NEEDED, **os.environ}
        team = []
        for k in range(processes):
            share = beside.share(k, processes)
            if any(entry.devices != "auto" for entry in entries):  # by their numbers among all
                share.pop("CUDA_VISIBLE_DEVICES", None)
            team.append(_Process(k + 1, wish, {**together, **share}, console))
        try:
            while any(one.process.poll() is None for one in team) and not signals.number:
                time.sleep(0.1)
        finally:
            beside.stop([one.process for one in team if one.process.poll() is None])
            for one in team:
                one.close()
    if signals.number:
        name = signal.Signals(signals.number).name
        words = f"Stopped by {name}; what was begun is saved. The same command resumes."
        raise StoppedError(words, signals.number)
    _refuse_failed(team)
    begun = {entry.folder: entry for entry in entries if (entry.folder / CONFIG).is_file()}
    tables = [reproduce(entry, begins=lambda training: False) for entry in begun.values()]
    return counted(tables, entries)


def _refuse_failed(team):
    """Raises what ended the first process that did not end well."""
    failed = [one for one in team if one.process.returncode]
    if not failed:
        return
    first, many = failed[0], f"{len(failed)} of {len(team)} processes"
    code = first.process.returncode
    if code < 0:
        why = " as the system does where memory runs out: fewer processes need less"
        why = why if -code == signal.SIGKILL else ""
        raise DeviceError(
            f"{many} ended early, process {first.number} by {signal.Signals(-code).name}{why}. "
            "The same command resumes."
        )
    kind = {2: ConfigError, **beside.ENDS}.get(code, DeviceError)
    raise kind(f"{many} ended early, process {first.number} with: {first.last_line}")


class _Process:
    """A process that trains, and a thread that passes its lines on."""

    def __init__(self, number, wish, environment, console):
        self.number, self.last_line = number, "nothing"
        read, write = os.pipe()
        self.process = beside.start(
            "keras_preact.papers.together", wish, output=write, environment=environment
        )
        os.close(write)
        self._thread = threading.Thread(target=self._pass_on, args=(read, console))
        self._thread.start()

    def _pass_on(self, read, console):
        with open(read, encoding="utf-8", errors="replace") as lines:
            for line in filter(None, map(str.rstrip, lines)):
                self.last_line = line
                say(console, f"{self.number}: {line}")

    def close(self):
        self._thread.join()
        self.process.stdin.close()


def _train(wish: str) -> None:
    """Trains, in a process of its own, what no other process does."""
    asked: dict[str, Any] = json.loads(wish)
    sys.argv = asked["argv"]  # the command that runs write down
    import_keras_quietly()
    entries = [ReproduceConfig.from_dict(entry) for entry in asked["entries"]]
    console = make_console(sys.stdout)
    schedule = Schedule(entries, asked["hours"], console)
    for entry in entries:
        reproduce(entry, console=console, begins=schedule.begins)


if __name__ == "__main__":
    beside.work(_train, sys.argv[1])
