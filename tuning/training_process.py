"""A run in a separate process: `python -m keras_preact.tuning.training_process CONFIG`."""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from keras_preact.console import end_quickly
from keras_preact.errors import DeviceError
from keras_preact.run import RunFolder
from keras_preact.training import TrainConfig
from keras_preact.training.processes import end_with_starter, start
from keras_preact.tuning.config import TuneConfig

#: How long to wait for a process that still saves what it had trained in the folder.
_PATIENCE = 600


class Training(NamedTuple):
    """The outcome of a run.

    Attributes:
        result: Fields of its `Result`; `None` when it failed.
        failure: Why, in words.
        memory_gb: Most memory that its process used.
        error: Name of the exception, where it failed with one.
    """

    result: dict[str, Any] | None
    failure: str | None
    memory_gb: float
    error: str | None = None


def train_in_process(
    config: TrainConfig,
    search: TuneConfig | None = None,
    is_asked_to_stop: Callable[[], Any] = lambda: False,
    environment: dict[str, str] | None = None,
) -> Training:
    """Trains in another process, so that nothing that happens there harms this one.

    Args:
        config: The training, with its folder; one that was interrupted goes on.
        search: The search whose budget the training is brought to; `None`: it is as it is.
        is_asked_to_stop: Asked all the while; once it says so the training saves and ends.
        environment: Variables to set for it.

    Returns:
        A `Training`.

    Raises:
        DeviceError: When another process is at work in the folder and does not end.
    """
    folder = pathlib.Path(config.out)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _wait_for(folder, is_asked_to_stop)
    wish = json.dumps({"config": config.to_dict(), "search": search and search.to_dict()})
    with open(folder.parent / f"{folder.name}.log", "ab") as log, tempfile.TemporaryFile() as said:
        process = start(__name__, wish, output=log, stdout=said, environment=environment)
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            if is_asked_to_stop():
                process.terminate()
                ended = os.wait4(process.pid, 0)
                break
            time.sleep(0.1)
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdin.close()
        said.seek(0)
        answers = said.read().splitlines()
    unit = 1 if sys.platform == "darwin" else 1024
    answer = {}
    with contextlib.suppress(IndexError, ValueError):
        answer = json.loads(answers[-1])
    memory = usage.ru_maxrss * unit / 2**30
    if answer.get("result"):  # however the process ended after that
        return Training(answer["result"], None, memory)
    failure = answer.get("failure") or _ended(process.returncode)
    return Training(None, failure, memory, answer.get("error"))


def _ended(code):
    """How a process ended, where it could not say."""
    if code == -9:  # SIGKILL, which Windows does not name
        return "killed (SIGKILL), probably by the system for lack of memory"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}; see its log"


def _wait_for(folder, is_asked_to_stop):
    """Waits until no process works in a run's folder: one whose starter was killed saves first."""
    end = time.monotonic() + _PATIENCE
    while folder.is_dir() and RunFolder(folder).is_locked and not is_asked_to_stop():
        if time.monotonic() > end:
            raise DeviceError(f"Another process has been using {folder} for {_PATIENCE} s.")
        time.sleep(0.2)


def _train(config, search):
    from keras_preact.training import train
    from keras_preact.tuning.budget import within_budget

    if search and search.budget == "seconds" and os.path.isfile(f"{config.out}/config.json"):
        # Epochs were measured when the run was begun.
        config = config.replace(epochs=RunFolder(config.out).config["epochs"])
    elif search:
        config = within_budget(search, config)
    return dataclasses.asdict(train(config))


def main() -> None:
    """Trains what the argument says and prints, as JSON, what came of it."""
    end_with_starter()
    end_quickly()
    wish = json.loads(sys.argv[1])
    try:
        config = TrainConfig.from_dict(wish["config"])
        search = TuneConfig.from_dict(wish["search"]) if wish["search"] else None
        print(json.dumps({"result": _train(config, search)}))
    except (Exception, KeyboardInterrupt) as error:
        name, text = type(error).__name__, " ".join(str(error).split())
        print(json.dumps({"failure": f"{name}: {text}", "error": name}))
        raise


if __name__ == "__main__":
    main()
