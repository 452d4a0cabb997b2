"""`reproduce`: the rows of a paper's table trained anew, each run in a folder of its own."""

import contextlib
import dataclasses
import pathlib
import shlex
import time
from typing import Any, Literal, NamedTuple

from keras_preact.checked import Checked, require
from keras_preact.console import duration, say
from keras_preact.errors import ConfigError, DivergedError
from keras_preact.papers.scales import SCALES, rows_to_train, scaled
from keras_preact.papers.tables import PaperRow
from keras_preact.run import RunFolder, folder_name

#: What was asked for, in the folder of a table; and in that of a run that diverged, why.
CONFIG, FAILURE = "reproduce.json", "failure.json"

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
        for row in self.rows():
            self.training(row, 0)

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

    def trainings(self) -> list["Training"]:
        """All runs, in their order: the first of each row, then the second of each."""
        runs, rows = self.runs or SCALES[self.scale].runs, self.rows()
        return [self.training(row, seed) for seed in range(runs) for row in rows]

    def training(self, row: PaperRow, seed: int) -> "Training":
        """One run of a row."""
        out = str(self.folder / f"{folder_name(row.row)}-seed{seed}")
        fields = {name: getattr(self, name) for name in ("dtype", "devices", "recompute")}
        config = scaled(row, self.scale, self.data, self.settings, seed=seed, out=out, **fields)
        return Training(row, seed, config)

    @property
    def command(self) -> str:
        """The command that does this."""
        words = ["keras-preact", "reproduce", self.table]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ("table", "settings") or value == field.default:
                continue
            words += [f"--{field.name}", str(value).lower() if value is True else str(value)]
        for name, value in self.settings.items():
            words += ["--set", f"{name}={value}"]
        return shlex.join(words)


class Training(NamedTuple):
    """A run of a row: the row, its seed, and its `TrainConfig`."""

    row: PaperRow
    seed: int
    config: Any

    @property
    def has_ended(self) -> bool:
        """Whether it is finished, or has diverged."""
        folder = pathlib.Path(self.config.out)
        return (folder / "result.json").is_file() or (folder / FAILURE).is_file()

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
    cost_done = 0.0
    for number, training in enumerate(trainings, 1):
        if training.has_ended:
            continue
        with _taken(training) as is_mine:
            if not is_mine or training.has_ended:  # another process has it, or had it
                continue
            name = f"{training.row.row}, seed {training.seed}"
            say(console, f"[{number}/{len(trainings)}] {name}: {training.config.out}")
            _train(training, console)
        cost_done += training.cost
        if cost_left := sum(other.cost for other in trainings if not other.has_ended):
            seconds_left = (time.perf_counter() - begun) / cost_done * cost_left
            say(console, f"about {duration(seconds_left)} left for the table")
        if time.perf_counter() - written > _REPORT_SECONDS:
            write_reproduction(folder.path)
            written = time.perf_counter()
    frame, agreement, orders = write_reproduction(folder.path)
    left = sum(not training.has_ended for training in trainings)
    return Reproduction(frame, agreement, orders, folder.path, left)


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
    with filelock.FileLock(path / f".{CONFIG}.lock"):  # others may begin with other rows
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

    folder = pathlib.Path(training.config.out)
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
    """Trains a row; that it diverged is written down, so that it is not tried again."""
    import keras

    from keras_preact.training import train

    try:
        train(training.config, console=console)
    except DivergedError as error:
        say(console, str(error))
        RunFolder(training.config.out).write_json(FAILURE, {"reason": str(error)})
    keras.backend.clear_session()


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
