"""`reproduce`: trains the rows of a paper's table, each run in its own folder."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_preact.console import duration, say
from keras_preact.errors import ConfigError, DataError, DivergedError
from keras_preact.papers.inside import analyze_run
from keras_preact.papers.plan import (
    CONFIG,
    FAILURE,
    TESTS,
    ReproduceConfig,
    Training,
    figures_of_tests,
)
from keras_preact.papers.report import write_reproduction
from keras_preact.papers.scales import SCALES
from keras_preact.run import LOCK, RunFolder

if TYPE_CHECKING:
    from rich.console import Console

#: How old a report may be when a run ends.
_REPORT_SECONDS = 60


class Reproduction(NamedTuple):
    """The result of `reproduce`.

    Attributes:
        frame: The table, as from `reproduced_frame`.
        agreement: How well the order of the rows agrees with the paper's, or `None`.
        orders: The paper's claims about pairs of rows, as from `orders_of`.
        inside: What was measured inside the runs, as from `inside_frame`.
        folder: Contains `report.html`, `report.md`, `table.csv`, plots and the runs.
        left: Number of unfinished runs: they belong to other processes, could not be tested, or
            were not begun.
    """

    frame: Any
    agreement: Any
    orders: Any
    inside: Any
    folder: pathlib.Path
    left: int


def reproduce(
    config: ReproduceConfig,
    *,
    console: "Console | None" = None,
    begins: Callable[[Training], bool] = lambda training: True,
) -> Reproduction:
    """Trains the rows of a paper's table and compares them with the paper's values.

    Each run has its own folder. After a kill, the same call resumes: finished runs are not
    repeated, and an interrupted one continues from its checkpoint. Several processes may share a
    table, with other devices or rows: each takes runs that no other has. A run that diverges is
    recorded, and the next one begins.

    Args:
        config: The table, and how much of it to train.
        console: A `rich.console.Console` for progress; `None` prints nothing.
        begins: Asked before each run whether to begin it, or to go on with it; by default all are.

    Returns:
        A `Reproduction`.

    Raises:
        ConfigError, DataError, SaveError, StoppedError: As `keras_preact.train`; and for a folder
            with another table, scale or data set.

    Example:
        >>> from keras_preact.papers import ReproduceConfig, reproduce
        >>> config = ReproduceConfig("he2016-table2", scale="smoke", runs=2)
        >>> reproduce(config).agreement.spearman  # doctest: +SKIP
        0.3
    """
    folder = _open(config)
    trainings = config.trainings()
    begun = written = time.perf_counter()
    cost_before = _cost_of_ended(trainings)
    for number, training in enumerate(trainings, 1):
        if training.has_ended:
            continue
        with _taken(training) as is_mine:
            # Another process has it, or had it, or it does not fit.
            if not is_mine or training.has_ended or not begins(training):
                continue
            name = f"{training.rows[0].row}, seed {training.seed}"
            say(console, f"[{number}/{len(trainings)}] {name}: {training.config.out}")
            _train(training, config.images, console)
        cost_done = _cost_of_ended(trainings)  # by others too
        cost_left = sum(other.cost for other in trainings) - cost_done
        if cost_left and cost_done > cost_before:
            seconds_left = (time.perf_counter() - begun) / (cost_done - cost_before) * cost_left
            say(console, f"about {duration(seconds_left)} left for the table")
        if time.perf_counter() - written > _REPORT_SECONDS:
            write_reproduction(folder.path)
            written = time.perf_counter()
    written_last = write_reproduction(folder.path)
    left = sum(not training.has_ended for training in trainings)
    return Reproduction(*written_last, folder.path, left)


def _cost_of_ended(trainings):
    return sum(training.cost for training in trainings if training.has_ended)


def _open(config) -> RunFolder:
    """The table's folder, with what was asked for."""
    import filelock

    path = config.folder
    if not (path / CONFIG).is_file():
        try:
            RunFolder.create(path, name="")
        except ConfigError:
            if not (path / CONFIG).is_file():  # else another process has begun it just now
                raise
    with filelock.FileLock(path / LOCK):  # others may begin with other rows
        return _told(RunFolder(path), config)


def _told(folder, config):
    """The folder, with this in its config too."""
    path = folder.path
    if (path / CONFIG).is_file():
        begun = ReproduceConfig.from_dict(folder.read_json(CONFIG))
        config.refuse_other(begun)
        config = _joined(begun, config)
    folder.write_json(CONFIG, config.to_dict())
    return folder


def _joined(begun, config):
    """What covers all that was asked for so far of a table: its rows, and the most runs."""
    before, now = ({row.row for row in each.rows()} for each in (begun, config))
    row = begun.row if now <= before else config.row
    if not (now <= before or before <= now):
        row = f"{begun.row}|{config.row}"
    if before | now == {each.row for each in config.replace(row="*").rows()}:
        row = "*"
    most = max(begun, config, key=lambda each: each.runs or SCALES[each.scale].runs)
    return config.replace(row=row, runs=most.runs)


@contextlib.contextmanager
def _taken(training):
    """Keeps other processes from a run; says whether this one has it."""
    import filelock

    folder = training.folder
    lock = filelock.FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _train(training, images, console):
    """Trains, makes the tests of its rows, and measures what is wanted inside it."""
    import keras

    folder = training.folder
    if training.is_trained or train_or_tell(training.config, console):
        for test in training.tests_left():
            say(console, f"keras-preact evaluate {folder} {test}")
            try:
                found = _tested(folder, test, training.config.devices)
            except (ConfigError, DataError) as error:  # such as a run without its weights
                say(console, f"Not tested: {error}")
            else:
                RunFolder(folder).write_json(TESTS, {**figures_of_tests(folder), test: found})
        if training.is_left_to_analyze:
            analyze_run(RunFolder(folder), training.also, images, console)
    keras.backend.clear_session()


def train_or_tell(config: Any, console: "Console | None") -> bool:
    """Trains; says whether it came to its end.

    That it diverged is written down in its folder, and it is not tried again.

    Raises:
        ConfigError: When the folder has the run of another config.
    """
    from keras_preact.training import train
    from keras_preact.training.trainer import begun_run

    failure = pathlib.Path(config.out) / FAILURE
    if begun_run(config) and failure.is_file():
        return False
    try:
        train(config, console=console)
    except DivergedError as error:
        say(console, str(error))
        RunFolder(failure.parent).write_json(FAILURE, {"reason": str(error)})
        return False
    return True


def _tested(folder, test, devices):
    """What `keras-preact evaluate` says with these options."""
    from keras_preact.evaluation import ViewsConfig, evaluate
    from keras_preact.training.devices import open_on_devices

    how = ViewsConfig.from_options(test)
    opened, predict = open_on_devices(folder, devices, how.rewriting())
    how.check_fits(opened.image_shape)
    geometry = how.geometry(opened.geometry)
    test_images = dataclasses.replace(opened, geometry=geometry).load_data().test
    views = how.views(geometry)
    found = evaluate(predict, test_images, opened.class_names, views=views)
    return found.summary()
