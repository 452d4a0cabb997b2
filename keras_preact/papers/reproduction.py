"""`reproduce`: the rows of a paper's table trained anew, each run in a folder of its own."""

import contextlib
import dataclasses
import json
import pathlib
import shlex
import time
from typing import Any, Literal, NamedTuple

from keras_preact.checked import Checked, require
from keras_preact.console import duration, say
from keras_preact.errors import ConfigError, DataError, DivergedError
from keras_preact.papers.scales import SCALES, rows_by_training, rows_to_train, scaled
from keras_preact.papers.tables import PaperRow
from keras_preact.run import LOCK, RunFolder, folder_name

#: What was asked for, in the folder of a table.
CONFIG = "reproduce.json"
#: In the folder of a run: why it diverged, and the errors in tests that are not one view.
FAILURE, TESTS = "failure.json", "tests.json"

#: Fields that decide what is computed; the folder of a table goes on only under the same ones.
_SAME = ("table", "scale", "data", "dtype", "recompute", "settings")

#: How old a report may be when a run ends.
_REPORT_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class ReproduceConfig(Checked):
    """A table to reproduce; every field is also an option of `keras-preact reproduce`.

    Args:
        table: Id of the table, such as `he2016-table1`; `keras-preact papers` lists them.
        row: Shell-style pattern of the names of the rows to train; several separated by `|`.
        runs: Trainings of each row, with the seeds 0, 1, ...; 5, 2 or 1 by the scale if not given.
        scale: `full`: the paper's training; `short`: 2 epochs of 20 to 56 layers; `smoke`: 220
            steps of 14 to 56 layers on digits; of bottleneck units 29 and 20 to 83. Short and smoke
            are for tables of CIFAR, and leave out deeper networks where a table has such ones.
        data: Images in place of the paper's, as `TrainConfig` takes them.
        out: Folder of the table; `runs/TABLE-SCALE`, and the name of the data, if not given.
        dtype: As in `TrainConfig`.
        devices: As in `TrainConfig`.
        recompute: As in `TrainConfig`.
        settings: Fields to change in all rows, by dotted name, such as `recipe.epochs`.

    Raises:
        ConfigError: For a value that is not allowed.

    Example:
        >>> from keras_preact.papers import ReproduceConfig
        >>> config = ReproduceConfig("he2016-table2", row="ResNet-110*", runs=2, scale="short")
        >>> len(config.trainings()), config.trainings()[0].config.out
        (10, 'runs/he2016-table2-short/ResNet-110_original-seed0')
    """

    table: str = "he2016-table1"
    row: str = "*"
    runs: int | None = None
    scale: Literal["full", "short", "smoke"] = "full"
    data: str | None = None
    out: str | None = None
    dtype: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    devices: str = "auto"
    recompute: bool = False
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def check(self) -> None:
        require(self.runs is None or self.runs >= 1, "runs", self.runs, "at least 1, or None")
        self.trainings()

    @property
    def folder(self) -> pathlib.Path:
        """Folder of the table."""
        if self.out:
            return pathlib.Path(self.out)
        kind, _, path = (self.data or "").partition(":")
        name = pathlib.Path(path).stem or kind
        return pathlib.Path("runs") / "-".join(filter(None, (self.table, self.scale, name)))

    def rows(self) -> list[PaperRow]:
        """The rows to train."""
        return rows_to_train(self.table, self.scale, self.row, self.data)

    def groups(self) -> list[list[PaperRow]]:
        """All rows of the table, those together that are one training and differ in its test."""
        return rows_by_training(self.table, self.scale, self.data, self.settings)

    def trainings(self) -> list["Training"]:
        """All runs, in their order: the first of each training, then the second of each."""
        runs, wanted = self.runs or SCALES[self.scale].runs, {row.row for row in self.rows()}
        fields = {name: getattr(self, name) for name in ("dtype", "devices", "recompute")}
        found = []
        for group in self.groups():
            if rows := [row for row in group if row.row in wanted]:
                name = self.folder / folder_name(group[0].row)  # whichever of them are wanted
                config = scaled(rows[0], self.scale, self.data, self.settings, **fields)
                found.append((rows, name, config))
        return [
            Training(rows, seed, config.replace(seed=seed, out=f"{name}-seed{seed}"))
            for seed in range(runs)
            for rows, name, config in found
        ]

    @property
    def command(self) -> str:
        """The command that does this."""
        words = ["keras-preact", "reproduce", self.table]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ("table", "devices", "settings") or value == field.default:
                continue  # other devices do the same
            words += [f"--{field.name}", str(value).lower() if value is True else str(value)]
        for name, value in self.settings.items():
            words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
        return shlex.join(words)


class Training(NamedTuple):
    """A run of rows that differ in the test only: the rows, the seed, and the `TrainConfig`."""

    rows: list[PaperRow]
    seed: int
    config: Any

    @property
    def has_ended(self) -> bool:
        """Whether it is finished and tested, or has diverged."""
        if (self.folder / FAILURE).is_file():
            return True
        return self.is_trained and not self.tests_left()

    @property
    def folder(self) -> pathlib.Path:
        """Folder of the run, which there need not be yet."""
        return pathlib.Path(self.config.out)

    @property
    def is_trained(self) -> bool:
        """Whether training has come to its end."""
        return (self.folder / "result.json").is_file()

    def tests_left(self) -> list[str]:
        """Options of the tests that have not been made."""
        done = figures_of_tests(self.folder)
        tests = dict.fromkeys(row.test for row in self.rows if row.test)
        return [test for test in tests if test not in done]

    @property
    def cost(self) -> float:
        """Roughly, in comparison with others of the table: layers times epochs."""
        parts = self.config.resolve()
        return parts.network.depth * parts.recipe.epochs


class Reproduction(NamedTuple):
    """What came out of `reproduce`.

    Attributes:
        frame: The table, as `reproduced_frame` gives it.
        agreement: How far the order of the rows agrees with the paper's, or `None`.
        orders: What the paper claims of pairs of rows, as `orders_of` gives it.
        folder: Where `report.html`, `report.md`, `table.csv`, pictures and the runs are.
        left: Trainings that have not ended: another process has them.
    """

    frame: Any
    agreement: Any
    orders: Any
    folder: pathlib.Path
    left: int


def reproduce(config: ReproduceConfig, *, console=None) -> Reproduction:
    """Trains the rows of a paper's table and writes them beside the paper's figures.

    Each run is a folder of its own. Killed at any moment, the same call goes on: runs that have
    ended are not repeated, and one that was interrupted goes on from its checkpoint. Several
    processes may work on one table, on other devices or with other rows: each takes runs that no
    other has. A run that diverges is recorded, and the next begins.

    Args:
        config: Which table, and how much of it.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        A `Reproduction`.

    Raises:
        ConfigError, DataError, SaveError, StoppedError: As `keras_preact.train`; and for a folder
            in which another table, scale or data set is.

    Example:
        >>> from keras_preact.papers import ReproduceConfig, reproduce
        >>> config = ReproduceConfig("he2016-table2", scale="smoke", runs=2)
        >>> reproduce(config).agreement.spearman  # doctest: +SKIP
        0.3
    """
    from keras_preact.papers.report import write_reproduction

    folder = _open(config)
    trainings = config.trainings()
    begun = written = time.perf_counter()
    cost_before = _cost_of_ended(trainings)
    for number, training in enumerate(trainings, 1):
        if training.has_ended:
            continue
        with _taken(training) as is_mine:
            if not is_mine or training.has_ended:  # another process has it, or had it
                continue
            name = f"{training.rows[0].row}, seed {training.seed}"
            say(console, f"[{number}/{len(trainings)}] {name}: {training.config.out}")
            _train(training, console)
        cost_done = _cost_of_ended(trainings)  # by others too
        cost_left = sum(other.cost for other in trainings) - cost_done
        if cost_left and cost_done > cost_before:
            seconds_left = (time.perf_counter() - begun) / (cost_done - cost_before) * cost_left
            say(console, f"about {duration(seconds_left)} left for the table")
        if time.perf_counter() - written > _REPORT_SECONDS:
            write_reproduction(folder.path)
            written = time.perf_counter()
    frame, agreement, orders = write_reproduction(folder.path)
    left = sum(not training.has_ended for training in trainings)
    return Reproduction(frame, agreement, orders, folder.path, left)


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
        for name in _SAME:
            was, wanted = getattr(begun, name), getattr(config, name)
            require(
                was == wanted,
                name,
                wanted,
                f"that of the table in {path}, {was!r}",
                "Name another folder with `out`.",
            )
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


def _train(training, console):
    """Trains, and makes the tests of its rows."""
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
    keras.backend.clear_session()


def train_or_tell(config, console) -> bool:
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
    test_images = opened.load_data().test
    found = evaluate(predict, test_images, opened.class_names, views=how.views())
    return found.summary()


def figures_of_tests(folder) -> dict[str, Any]:
    """Errors of a run in tests that are not one view, by the options of `keras-preact evaluate`."""
    path = pathlib.Path(folder)
    return RunFolder(path).read_json(TESTS) if (path / TESTS).is_file() else {}


def read_config(folder) -> ReproduceConfig:
    """What a table's folder was made with.

    Raises:
        ConfigError: When there is no table in it.
    """
    path = pathlib.Path(folder)
    if not (path / CONFIG).is_file():
        raise ConfigError(
            f"`folder` must be one that `keras-preact reproduce` wrote. Received: {str(folder)!r}."
        )
    return ReproduceConfig.from_dict(RunFolder(path).read_json(CONFIG))
