"""`tune`: from a `TuneConfig` to the folder of a search."""

import dataclasses
import os
import pathlib
import statistics
import time
from typing import TYPE_CHECKING, Any

from keras_preact.checked import require
from keras_preact.console import say
from keras_preact.errors import ConfigError, DeviceError, StoppedError
from keras_preact.evaluation.classes import by_class
from keras_preact.run import RunFolder, environment
from keras_preact.training.processes import share
from keras_preact.training.signals import Signals
from keras_preact.tuning.config import TuneConfig
from keras_preact.tuning.frame import trials_frame
from keras_preact.tuning.live import LiveTable
from keras_preact.tuning.report import write_report
from keras_preact.tuning.state import TRIALS, mend, read_dictionary
from keras_preact.tuning.team import ADDRESS, PORT, ROLE, Team, require_address
from keras_preact.tuning.training_process import train_in_process

if TYPE_CHECKING:
    from rich.console import Console

#: Seconds between two notes of how long the search has taken.
_NOTE_EVERY = 10.0


@dataclasses.dataclass(frozen=True)
class TuneResult:
    """The result of a search; `result.json` in its folder.

    Attributes:
        folder: The search's folder.
        trials: Number of finished trials.
        failed: Number of failed ones among them.
        best_trial: The trial with the lowest validation error.
        best: Its values.
        validation_error: Its error on the validation images.
        test_error: Mean error of its values on the test images, after training on all training
            images; `None` without final runs.
        test_errors: The error of each final run.
        seconds: Duration of the search, over all restarts.
        balanced_accuracy: Mean of the final runs, on the test images.
        worst_class, worst_recall: The class with the lowest recall in any of them.
        macro_f1, roc_auc, average_precision: Means of the final runs.
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
    balanced_accuracy: float | None = None
    worst_class: str | None = None
    worst_recall: float | None = None
    macro_f1: float | None = None
    roc_auc: float | None = None
    average_precision: float | None = None


def tune(
    config: TuneConfig | None = None, *, console: "Console | None" = None
) -> TuneResult | None:
    """Runs a search, trains with the best values, tests them once, and writes a report.

    After a kill at any moment, a call with the same config resumes the search: finished trials are
    kept and interrupted runs continue.

    If KerasTuner's environment variables are set, this process is the chief or a worker of a search
    on many machines, which all use the same config and a shared `out`.

    Args:
        config: The search; by default the gate bias of ResNet-110 on `digits`.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        The `TuneResult`; `None` for a worker.

    Raises:
        ConfigError: For a config that is not allowed or differs from that of the search in `out`.
        DataError: For images that are missing or damaged.
        DeviceError: When no trial finished (the message says why the last one failed), or the
            processes of the search keep dying.
        StoppedError: After SIGTERM or SIGINT; the progress is saved.

    Example:
        >>> from keras_preact.tuning import TuneConfig, tune
        >>> result = tune(TuneConfig("gating-bias", quick=True))  # doctest: +SKIP
        >>> result.best  # doctest: +SKIP
        {'network.gate_bias': -4.0}
    """
    started = time.monotonic()
    config = config or TuneConfig()
    is_worker = _is_worker()
    if ROLE in os.environ:
        require(config.out is not None, "out", None, "the folder that chief and workers share")
    if is_worker:
        _work_for_the_chief(config, console)
        return None
    folder = _folder(config)
    if folder.is_finished:
        say(console, f"This search is already finished: {folder.path}.")
        if not (folder.path / "report.html").is_file():  # killed just before it
            write_report(folder.path)
        return TuneResult(**folder.result)
    with folder.locked():
        if ROLE in os.environ:
            require_address()
            say(console, f"chief: accepts anyone who can reach {os.environ[ADDRESS]}")
        if not (folder.path / "search.json").is_file():
            folder.write_json("env.json", environment())
            folder.write_json("search.json", config.to_dict())
        clock = _Clock(folder, started)
        for line in mend(folder.path / TRIALS, keep_ongoing=ROLE in os.environ):
            say(console, line)
        with Signals() as signals:
            with LiveTable(config, folder.path, console) as table:
                _search(config, folder, table, signals, clock)
            result = _final(config, folder, console, signals)
        result = dataclasses.replace(result, seconds=clock.seconds())
        folder.write_json("result.json", dataclasses.asdict(result))
        write_report(folder.path)
    return result


def _folder(config):
    """The folder of the search that this config goes on with, or a new one."""
    if config.out and os.path.isfile(f"{config.out}/search.json"):
        folder = RunFolder(config.out)
        kept = TuneConfig.from_dict(folder.read_json("search.json"))
        if _has_more_trials(config, kept):
            _extend(folder, config, kept)
            return folder
        begun = kept.searching()
        for name, value in config.searching().items():
            if begun[name] != value:
                raise ConfigError(
                    f"The search in {config.out} can only resume with its original config. "
                    f"Received: {name}={value!r}, where it has {begun[name]!r}. Give another "
                    "folder for a new search; only `trials` may be increased."
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


def _has_more_trials(config, begun) -> bool:
    """Whether a search is another only in that it is to have more trials."""
    counts = config.planned(), begun.planned()
    alike = config.replace(trials=begun.trials).searching() == begun.searching()
    return alike and None not in counts and counts[0] > counts[1]


def _extend(folder, config, begun) -> None:
    """Opens a search for more trials; its winner may be another, whose training is a new one."""
    with folder.locked():
        (folder.path / "result.json").unlink(missing_ok=True)
        if (folder.path / "final").is_dir():
            (folder.path / "final").rename(folder.path / f"final-of-{begun.planned()}-trials")
        folder.write_json("search.json", config.to_dict())


def _is(folder, config):
    try:
        begun = TuneConfig.from_dict(folder.read_json("search.json"))
    except ConfigError:  # of another version, or damaged
        return False
    return begun.searching() == config.searching()


def _search(config, folder, table, signals, clock) -> None:
    """Starts the processes of the search, replaces those that die, and returns at its end."""
    team = Team(config, folder)
    try:
        while not team.is_done():
            _stop_if_asked(folder, signals)
            table.show()
            clock.note()
            time.sleep(0.25)
    finally:
        team.stop()
        table.show()


def _stop_if_asked(folder, signals):
    if signals.number:
        raise StoppedError(
            f"Stopped. The same command resumes; the search is in {folder.path}.", signals.number
        )


def _final(config, folder, console, signals) -> TuneResult:
    """Trains with the best values on all training images and tests each network once."""
    frame = trials_frame(folder.path)
    done = frame[frame["status"] == "finished"]
    if done.empty:
        reasons = frame["failure"].dropna()
        last = f" The last one: {reasons.iloc[-1]}" if len(reasons) else ""
        raise DeviceError(f"None of the {len(frame)} trials finished.{last}")
    best = done.loc[done["validation_error"].idxmin()]
    trial = folder.read_json(f"{TRIALS}/trial_{best['trial']}/trial.json")
    codes = trial["hyperparameters"]["values"]
    values = config.values_of(codes)
    shown = ", ".join(f"{name}={value}" for name, value in values.items())
    say(console, f"best: {shown}, validation error {best['validation_error']:.2%}")
    write_report(folder.path)  # what the search found is there, whatever comes of the rest
    devices = share(0, config.workers) if config.workers > 1 else {}  # as the trials had them
    results, errors = [], []
    for number in range(config.final_seeds):
        out = str(folder.path / "final" / f"seed{number}")
        training = config.training_config(
            values, number=number, out=out, epochs=codes.get("tuner/epochs")
        )
        asked = lambda: signals.number is not None  # noqa: E731
        trained = train_in_process(training, config, asked, devices)
        if trained.failure:
            _stop_if_asked(folder, signals)
            raise DeviceError(f"The training of the best values failed: {trained.failure}")
        results.append(trained.result)
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
        **by_class(results),
    )


def _is_worker():
    """Whether KerasTuner's environment variables make this process a worker."""
    given = [name for name in (ROLE, ADDRESS, PORT) if name in os.environ]
    if len(given) not in (0, 3):
        raise ConfigError(
            f"A process of a search on many machines needs {ROLE}, {ADDRESS} and {PORT}. "
            f"Received: {' and '.join(given)} alone."
        )
    return ROLE in os.environ and "chief" not in os.environ[ROLE]


def _work_for_the_chief(config, console, patience=600):
    """A worker's part of a search on many machines, once the chief has made the folder."""
    end = time.monotonic() + patience
    while not os.path.isfile(f"{config.out}/search.json"):
        if time.monotonic() > end:
            raise ConfigError(
                f"`out` must be a folder that all machines share. Received: {config.out!r}, in "
                f"which no chief started a search within {patience} s."
            )
        time.sleep(0.5)
    folder = _folder(config)
    if folder.is_finished or (folder.path / "final").is_dir():  # nobody would answer
        say(console, f"{os.environ[ROLE]}: the search in {folder.path} has ended")
        return
    say(console, f"{os.environ[ROLE]}: working for the chief at {os.environ[ADDRESS]}")
    from keras_preact.tuning.worker import work

    work(folder.path)


class _Clock:
    """How long a search has taken, with its earlier starts; noted in its folder now and then."""

    def __init__(self, folder, started):
        before = read_dictionary(folder.path / "time.json", {"seconds": (int, float)}).get(
            "seconds", 0.0
        )
        self._folder, self._zero, self._last = folder, started - before, started

    def seconds(self) -> float:
        return round(time.monotonic() - self._zero, 1)

    def note(self) -> None:
        if time.monotonic() - self._last > _NOTE_EVERY:
            self._last = time.monotonic()
            self._folder.write_json("time.json", {"seconds": self.seconds()})
