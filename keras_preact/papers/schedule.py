"""`time_plan` and `reproduce_plan`: tables in order of worth, and what fits into some hours.

What a run takes is measured where it is to run: by finished runs of the same network, or else by
a dry run.
"""

import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_preact.checked import require
from keras_preact.console import duration, say
from keras_preact.errors import ConfigError
from keras_preact.papers.plan import CONFIG, ReproduceConfig, Training
from keras_preact.papers.reproduction import Reproduction, reproduce
from keras_preact.run import RunFolder, environment

if TYPE_CHECKING:
    from rich.console import Console

#: Fields of a recipe that say how long it is, and not what a step computes.
_LENGTHS = ("epochs", "milestones", "warmup_steps")

#: What `env.json` says of a machine; a run of another one tells nothing about this one.
_MACHINE = ("platform", "processor", "processors", "backend", "devices")


class Speed(NamedTuple):
    """What was measured of a network.

    Attributes:
        steps: Steps of an epoch.
        step_seconds: Time of a training step.
        epoch_seconds: Time of an epoch with the test after it.
        start_seconds: Time to begin a run: images, network, compilation.
    """

    steps: int
    step_seconds: float
    epoch_seconds: float
    start_seconds: float


class Planned(NamedTuple):
    """An entry of a plan: what is left of it, and how much of that fits.

    Attributes:
        config: The entry.
        runs: Runs that are left, without those of an earlier entry.
        steps: Training steps that are left.
        step_seconds: Time of a step, the mean over all of them; 0 without any.
        hours: Time of all that is left. Tests and analyses after a training are not in it.
        fits: How many of the runs fit.
    """

    config: ReproduceConfig
    runs: int
    steps: int
    step_seconds: float
    hours: float
    fits: int


def time_plan(
    entries: Sequence[ReproduceConfig],
    hours: float | None = None,
    *,
    console: "Console | None" = None,
) -> list[Planned]:
    """Measures what is left of a plan, and packs whole runs into some hours, in their order.

    A run that does not fit is left out; a later, shorter one may still fit.

    Args:
        entries: The plan: a `ReproduceConfig` for each part of a table, the most valuable first.
        hours: How long it may take; `None`: as long as it takes.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        A `Planned` for each entry. Nothing is written.

    Raises:
        ConfigError: If `hours` is not above 0, or two entries share a folder and not the training.
        ConfigError, DataError: As `keras_preact.training.dry_run`.

    Example:
        >>> from keras_preact.papers import ReproduceConfig, time_plan
        >>> entry = ReproduceConfig("he2016-table2", scale="smoke", row="ResNet-110, original")
        >>> [(one.runs, one.steps, one.fits) for one in time_plan([entry], hours=1)]
        [(1, 220, 1)]
    """
    return Schedule(entries, hours, console).planned()


def reproduce_plan(
    entries: Sequence[ReproduceConfig],
    hours: float | None = None,
    *,
    console: "Console | None" = None,
    on_planned: Callable[[list[Planned]], None] = lambda planned: None,
) -> list[Reproduction]:
    """Trains a plan: `reproduce` for each entry in turn, and of each the runs that fit.

    Before each run its time is compared with what is left of the hours, so that what took longer
    than expected is at the cost of later runs. After a kill the same call resumes; the hours then
    begin anew.

    Args:
        entries, hours, console: As `time_plan`.
        on_planned: Told of what is left and what fits, before the first run.

    Returns:
        A `Reproduction` for each table with a run that fits or has ended.

    Raises:
        ConfigError: As `time_plan`.
        ConfigError, DataError, SaveError, StoppedError: As `reproduce`.

    Example:
        >>> from keras_preact.papers import ReproduceConfig, reproduce_plan
        >>> tables = ("he2016-table2", "he2016-table1")
        >>> plan = [ReproduceConfig(table, scale="smoke") for table in tables]
        >>> [found.left for found in reproduce_plan(plan, hours=1)]  # doctest: +SKIP
        [0, 0]
    """
    plan = Schedule(entries, hours, console)
    planned, found = plan.planned(), {}
    on_planned(planned)
    for one in planned:
        if one.fits or (one.config.folder / CONFIG).is_file():
            table = reproduce(one.config, console=console, begins=plan.begins)
            found[table.folder] = table
        elif one.runs:
            say(console, f"{one.config.folder}: none of its {one.runs} runs fits.")
    return counted(found.values(), entries)


def counted(
    tables: Iterable[Reproduction], entries: Sequence[ReproduceConfig]
) -> list[Reproduction]:
    """Tables whose `left` is that of all entries that share their folders."""
    trainings = {}
    for entry in entries:
        for training in entry.trainings():
            trainings.setdefault(entry.folder, {})[training.folder] = training
    return [
        table._replace(left=sum(not one.has_ended for one in trainings[table.folder].values()))
        for table in tables
    ]


class Schedule:
    """The runs of a plan, their times, and the hours that begin when it is made."""

    def __init__(self, entries, hours, console):
        require(hours is None or hours > 0, "hours", hours, "above 0, or None")
        self._end = None if hours is None else time.monotonic() + 3600 * hours
        self._entries, self._console, self._timed = entries, console, {}
        folders = {}
        for entry in entries:
            entry.refuse_other(folders.setdefault(entry.folder, entry))
        found = {training.folder: training for one in entries for training in one.trainings()}
        self._trainings = [*found.values()]

    def planned(self) -> list[Planned]:
        """Each entry with what is left of it."""
        finished, seen, costs = self._finished(), set(), []
        for entry in self._entries:
            new = [one for one in entry.trainings() if one.folder not in seen]
            seen.update(one.folder for one in new)
            left = [one for one in new if not one.has_ended]
            costs.append([(self._speed(one, finished), _epochs_left(one)) for one in left])
        found, seconds_left = [], self._seconds_left()  # now that all is timed
        for entry, runs in zip(self._entries, costs, strict=True):
            fits = 0
            for takes in (_seconds(*run) for run in runs):
                if takes <= seconds_left:
                    fits, seconds_left = fits + 1, seconds_left - takes
            steps = sum(epochs * speed.steps for speed, epochs in runs)
            stepping = sum(epochs * speed.steps * speed.step_seconds for speed, epochs in runs)
            hours = sum(_seconds(*run) for run in runs) / 3600
            found.append(Planned(entry, len(runs), steps, stepping / max(steps, 1), hours, fits))
        return found

    def begins(self, training: Training) -> bool:
        """Whether a run still fits, by what is known now; says so if it does not."""
        if self._end is None:
            return True
        takes = _seconds(self._speed(training, self._finished()), _epochs_left(training))
        left = self._seconds_left()
        if takes > left:
            words = f"{training.folder}: left out, it takes about {duration(takes)}"
            say(self._console, f"{words}, and {duration(max(0.0, left))} are left.")
        return takes <= left

    def _seconds_left(self):
        return float("inf") if self._end is None else self._end - time.monotonic()

    def _speed(self, training, finished):
        """That of finished runs of the same network, else of a dry run."""
        work = _work_of(training)
        if work in finished:
            return finished[work]
        if work not in self._timed:
            say(self._console, f"timing {training.rows[0].row} ({training.config.data})")
            self._timed[work] = _timed(training.config)
        return self._timed[work]

    def _finished(self):
        """The speed of runs that have finished on this machine, by their work."""
        ended = (RunFolder(one.folder) for one in self._trainings if one.is_trained)
        here = {}
        for run in ended:
            env, config = run.read_json("env.json"), run.config
            with contextlib.suppress(ConfigError):  # its devices are not here
                if {name: env.get(name) for name in _MACHINE} != _machine(config["devices"]):
                    continue
                parts = run.read_json("resolved.json")
                here[_work(parts, config, env["decided"]["dtype"])] = _speed_of(run, parts)
        return here


def _epochs_left(training):
    if training.is_trained:
        return 0
    done = len(RunFolder(training.folder).log) if training.folder.is_dir() else 0
    return max(0, training.config.resolve().recipe.epochs - done)


def _seconds(speed, epochs):
    return speed.start_seconds + epochs * speed.epoch_seconds


def _timed(config) -> Speed:
    import keras

    from keras_preact.training import dry_run

    start = time.perf_counter()
    found = dry_run(config.replace(out=None))
    keras.backend.clear_session()
    starting = time.perf_counter() - start
    return Speed(found.steps, found.step_seconds, found.epoch_seconds, starting)


def _speed_of(run, parts) -> Speed:
    """That of a finished run; its start is a part of its epochs."""
    result, last = run.result, run.log[-1]
    step_seconds = parts["recipe"]["batch_size"] / result["images_per_second"]
    steps = last["step"] // last["epoch"]
    return Speed(steps, step_seconds, result["seconds"] / result["epochs"], 0.0)


def _work_of(training):
    from keras_preact.precision import choose_dtype

    config = training.config
    dtype = choose_dtype(config.dtype).policy
    return _work(config.resolve().to_dict(), config.to_dict(), dtype)


def _work(parts: dict[str, Any], config: dict[str, Any], dtype: str) -> str:
    """What a step computes, the same text for trainings that take the same time.

    Rates and biases are only 0 or not: their values take no time.
    """
    kinds = {
        part: {
            name: bool(value) if isinstance(value, float) else value
            for name, value in fields.items()
            if name not in _LENGTHS
        }
        for part, fields in parts.items()
    }
    how = {name: config[name] for name in ("data", "image_size", "devices", "recompute")}
    return json.dumps([kinds, how, dtype], sort_keys=True)


@functools.cache
def _machine(devices: str) -> dict[str, Any]:
    """What `env.json` would say of a run on these devices."""
    from keras_preact.training import TrainConfig
    from keras_preact.training.engines import make_engine
    from keras_preact.training.job import place

    found = {**environment(), **place(make_engine(TrainConfig(devices=devices)))}
    return {name: found[name] for name in _MACHINE}
