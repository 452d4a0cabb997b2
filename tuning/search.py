"""`tune`: from a `TuneConfig` to a search's folder. Read top to bottom, it says what happens."""

import contextlib
import dataclasses
import os
import pathlib
import socket
import statistics
import subprocess
import time
from typing import Any

from keras_preact.console import say
from keras_preact.errors import ConfigError, DeviceError, StoppedError
from keras_preact.run import RunFolder, environment
from keras_preact.training.signals import Signals
from keras_preact.tuning.config import TuneConfig
from keras_preact.tuning.frame import trials_frame
from keras_preact.tuning.live import LiveTable
from keras_preact.tuning.processes import start, stop
from keras_preact.tuning.report import write_report
from keras_preact.tuning.state import mend
from keras_preact.tuning.training_process import train_in_process

#: KerasTuner's environment variables: which process this is, and where the chief listens.
ROLE, ADDRESS, PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"

#: Processes that end this often without a trial ending in between end the search.
_TRIES = 5


@dataclasses.dataclass(frozen=True)
class TuneResult:
    """What came out of a search; `result.json` in its folder.

    Attributes:
        folder: The search's folder.
        trials: Trials that have ended.
        failed: How many of them failed.
        best_trial: The one with the least validation error.
        best: Its values.
        validation_error: Its error on the images that validate.
        test_error: Mean error of its values on the test images, after training on all training
            images; `None` without final trainings.
        test_errors: That of each final training.
        seconds: Of the search, over all its starts.
    """

    folder: str
    trials: int
    failed: int
    best_trial: str
    best: dict[str, Any]
    validation_error: float
    test_error: float | None
    test_errors: list[float]
    seconds: float


def tune(config: TuneConfig | None = None, *, console=None) -> TuneResult | None:
    """Searches, trains with what was best, tests that once, and reports.

    Called again with the same config after it was killed, at any moment and in any way, it goes on
    where it was: trials that have ended stay, trainings that were interrupted go on.

    Where KerasTuner's environment variables are set, this process is the chief or a worker of a
    search on many machines, all of which call this with the same config and an `out` that they
    share.

    Args:
        config: What to search; by default the gate bias of ResNet-110 on `digits`.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        The `TuneResult`; `None` for a worker.

    Raises:
        ConfigError: For a config that is not allowed or is not that of the search in `out`.
        DataError: When no trial could be finished; says why the last one failed.
        DeviceError: When the search's processes end again and again.
        StoppedError: After SIGTERM or SIGINT; what was done is saved.

    Example:
        >>> from keras_preact.tuning import TuneConfig, tune
        >>> result = tune(TuneConfig("gating-bias", quick=True))  # doctest: +SKIP
        >>> result.best  # doctest: +SKIP
        {'network.gate_bias': -4.0}
    """
    started = time.monotonic()
    config = config or TuneConfig()
    if _is_worker():
        _work_for_the_chief(config, console)
        return None
    folder = _folder(config)
    if folder.is_finished:
        say(console, f"This search is finished already: {folder.path}.")
        if not (folder.path / "report.html").is_file():  # killed just before it
            write_report(folder.path)
        return TuneResult(**folder.result)
    with folder.locked():
        if not (folder.path / "search.json").is_file():
            folder.write_json("env.json", environment())
            folder.write_json("search.json", config.to_dict())
        before = _seconds(folder)
        for line in mend(folder.path / "trials"):
            say(console, line)
        with Signals() as signals:
            with LiveTable(config, folder.path, console) as table:
                _search(config, folder, table, signals, lambda: _note(folder, before, started))
            result = _final(config, folder, console, signals)
        result = dataclasses.replace(result, seconds=round(before + time.monotonic() - started, 1))
        folder.write_json("result.json", dataclasses.asdict(result))
        write_report(folder.path)
    return result


def _folder(config):
    """The folder of the search that this config goes on with, or a new one."""
    if config.out and os.path.isfile(f"{config.out}/search.json"):
        folder = RunFolder(config.out)
        begun = TuneConfig.from_dict(folder.read_json("search.json")).searching()
        for name, value in config.searching().items():
            if begun[name] != value:
                raise ConfigError(
                    f"The search in {config.out} goes on only with the config it was begun with. "
                    f"Received: {name}={value!r}, where it has {begun[name]!r}. Name another "
                    "folder for a new search."
                )
        return folder
    if config.out is None:
        for path in sorted(pathlib.Path("runs").glob("*/search.json"), key=os.path.getctime)[::-1]:
            folder = RunFolder(path.parent)
            if not folder.is_finished and not folder.is_locked and _is(folder, config):
                return folder
    data = config.training.get("data", "digits")
    kind, _, path = data.partition(":")
    return RunFolder.create(config.out, f"tune-{config.search}-{pathlib.Path(path).stem or kind}")


def _is(folder, config):
    try:
        begun = TuneConfig.from_dict(folder.read_json("search.json"))
    except ConfigError:  # of another version, or damaged
        return False
    return begun.searching() == config.searching()


def _search(config, folder, table, signals, note) -> None:
    """Starts the processes of the search, replaces those that die, and returns at its end."""
    team = _Team(config, folder)
    try:
        while not team.is_done():
            _stop_if_asked(folder, signals)
            table.show()
            note()
            time.sleep(0.25)
    finally:
        team.stop()
        table.show()


def _stop_if_asked(folder, signals):
    if signals.number:
        raise StoppedError(
            f"Stopped. The same command goes on; the search is in {folder.path}.", signals.number
        )


class _Team:
    """The processes of a search on this machine: one; a chief and its workers; or, where the
    workers are started elsewhere, a chief.
    """

    def __init__(self, config, folder):
        self._config, self._folder = config, folder
        self._deaths, self._ended = 0, 0
        logs = folder.path / "trials"
        logs.mkdir(exist_ok=True)
        self._environments = {"both": {}}
        if ROLE in os.environ:
            self._environments = {"chief": {}}
        elif config.workers > 1:
            address = {ADDRESS: "127.0.0.1", PORT: str(_free_port())}
            self._environments = {"chief": {**address, ROLE: "chief"}}
            for k in range(config.workers):
                own = {**address, ROLE: f"worker{k}", **_share(k, config.workers)}
                self._environments[f"worker{k}"] = own
        self._running = {name: self._start(name) for name in self._environments}

    def is_done(self) -> bool:
        """Whether all who train have ended well; starts anew who has died."""
        ends = {name: process.poll() for name, process in self._running.items()}
        trainers = [name for name in ends if name != "chief"]
        if all(ends[name] == 0 for name in trainers or ["chief"]):
            return True
        dead = [name for name, end in ends.items() if end not in (None, 0)]
        if trainers and ends.get("chief") is not None:  # those who ask it would wait for an hour
            stop(self._running.values())
            dead = list(self._running)
        if dead:
            self._count_death(dead[0])
            if len(dead) == len(self._running):
                mend(self._folder.path / "trials")
        for name in dead:
            self._running[name] = self._start(name)
        return False

    def stop(self) -> None:
        """Ends all; trainings save first."""
        stop([process for process in self._running.values() if process.poll() is None])
        for process in self._running.values():
            process.stdin.close()

    def _start(self, name):
        with open(self._folder.path / "trials" / f"{name}.log", "ab") as log:
            return start(
                "keras_preact.tuning.worker",
                str(self._folder.path),
                output=log,
                environment=self._environments[name],
            )

    def _count_death(self, name):
        ended = len(list((self._folder.path / "trials").glob("trial_*/outcome.json")))
        self._deaths = self._deaths + 1 if ended == self._ended else 1
        self._ended = ended
        if self._deaths >= _TRIES:
            log = self._folder.path / "trials" / f"{name}.log"
            last = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
            raise DeviceError(
                f"The search's process {name} ended {_TRIES} times in a row; {log} ends with: "
                f"{last}"
            )


def _final(config, folder, console, signals) -> TuneResult:
    """Trains with the best values on all training images and tests each network once."""
    frame = trials_frame(folder.path)
    done = frame[frame["status"] == "finished"]
    if done.empty:
        reasons = frame["failure"].dropna()
        last = f" The last one: {reasons.iloc[-1]}" if len(reasons) else ""
        raise DeviceError(f"None of the {len(frame)} trials could be finished.{last}")
    best = done.loc[done["validation_error"].idxmin()]
    values = folder.read_json(f"trials/trial_{best['trial']}/trial.json")
    codes = values["hyperparameters"]["values"]
    values = {d.name: d.decode(codes[d.name]) for d in config.dimensions()}
    shown = ", ".join(f"{name}={value}" for name, value in values.items())
    say(console, f"best: {shown}, validation error {best['validation_error']:.2%}")
    errors = []
    for number in range(config.final_seeds):
        out = str(folder.path / "final" / f"seed{number}")
        training = config.training_config(
            values, number=number, out=out, epochs=codes.get("tuner/epochs")
        )
        seconds = config.budget_amount if config.budget == "seconds" else None
        trained = train_in_process(training, seconds, lambda: signals.number)
        _stop_if_asked(folder, signals)
        if trained.failure:
            raise DeviceError(f"The training of the best values failed: {trained.failure}")
        errors.append(1 - trained.result["test_accuracy"])
        say(console, f"  trained on all training images, seed {number}: test {errors[-1]:.2%}")
    return TuneResult(
        folder=str(folder.path),
        trials=len(frame),
        failed=int((frame["status"] == "failed").sum()),
        best_trial=best["trial"],
        best=values,
        validation_error=float(best["validation_error"]),
        test_error=statistics.mean(errors) if errors else None,
        test_errors=errors,
        seconds=0.0,
    )


def _is_worker():
    """Whether KerasTuner's environment variables make this process a worker."""
    for needed in (ADDRESS, PORT):
        if ROLE in os.environ and needed not in os.environ:
            raise ConfigError(
                f"A process of a search on many machines needs {ROLE}, {ADDRESS} and {PORT}. "
                f"Received: {ROLE}={os.environ[ROLE]!r} without {needed}."
            )
    return ROLE in os.environ and "chief" not in os.environ[ROLE]


def _work_for_the_chief(config, console, patience=600):
    """A worker's part of a search on many machines, once the chief has made the folder."""
    if not config.out:
        raise ConfigError("A worker needs `out`, the folder it shares with the chief.")
    end = time.monotonic() + patience
    while not os.path.isfile(f"{config.out}/search.json"):
        if time.monotonic() > end:
            raise ConfigError(
                f"`out` must be a folder that all machines share. Received: {config.out!r}, in "
                f"which no chief began a search for {patience} s."
            )
        time.sleep(0.5)
    say(console, f"{os.environ[ROLE]}: working for the chief at {os.environ[ADDRESS]}")
    from keras_preact.tuning.worker import work

    work(config.out)


def _seconds(folder) -> float:
    """How long the search has taken in its earlier starts."""
    with contextlib.suppress(ConfigError):
        return folder.read_json("time.json")["seconds"]
    return 0.0


def _note(folder, before, started):
    folder.write_json("time.json", {"seconds": round(before + time.monotonic() - started, 1)})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _share(k, workers) -> dict[str, str]:
    """The GPUs of a worker, or the threads where there are none."""
    with contextlib.suppress(OSError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        gpus = [g for g in gpus if g] or [str(n) for n in range(len(listed.splitlines()))]
        if gpus and len(gpus) < workers:
            raise ConfigError(
                f"`workers` must be at most the number of GPUs, {len(gpus)}: one each. "
                f"Received: workers={workers}."
            )
        if gpus:
            return {"CUDA_VISIBLE_DEVICES": ",".join(gpus[k::workers])}
    threads = max(1, (os.cpu_count() or 1) // workers)
    return {"TF_NUM_INTRAOP_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
