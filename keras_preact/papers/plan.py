"""`ReproduceConfig`: which rows of a paper's table to train, and what is already done."""

import dataclasses
import json
import os
import pathlib
import shlex
from typing import Any, Literal, NamedTuple

from keras_preact.checked import Checked, require
from keras_preact.errors import ConfigError
from keras_preact.papers.inside import is_analyzed
from keras_preact.papers.scales import SCALES, rows_by_training, rows_to_train, scaled
from keras_preact.papers.tables import PaperRow, paper_tables
from keras_preact.run import RunFolder, folder_name

#: What was asked for, in the folder of a table.
CONFIG = "reproduce.json"
#: In the folder of a run: why it diverged, and the errors in tests that are not one view.
FAILURE, TESTS = "failure.json", "tests.json"

#: Fields that decide what is computed; the folder of a table goes on only under the same ones.
_SAME = ("table", "scale", "data", "dtype", "recompute", "also", "images", "settings")


@dataclasses.dataclass(frozen=True)
class ReproduceConfig(Checked):
    """A table to reproduce; every field is also an option of `keras-preact reproduce`.

    Args:
        table: Name of the table, such as `he2016-table1`; `keras-preact papers` lists them.
        row: Rows to train: a shell-style pattern of names, or several separated by `|`.
        runs: Runs of each row, with seeds 0, 1, ...; if not given, 5, 2 or 1 for the scales `full`,
            `short` and `smoke`.
        scale: `full`: the paper's training; `short`: 2 epochs of networks with 20 to 56 layers;
            `smoke`: 220 steps on digits with 14 to 56 layers (with bottleneck units up to 83
            layers). `short` and `smoke` are for CIFAR tables and leave out deeper networks if a
            table has others.
        data: Images to use instead of the paper's, as in `train`.
        out: Folder for the table; `runs/TABLE-SCALE`, with the name of the data, if not given.
        dtype: Dtype policy of all runs, as in `train`.
        devices: Devices of all runs: `auto` (all GPUs, else the CPU) or names such as `gpu:0`.
        recompute: Recompute activations in the backward pass: less memory, more time.
        also: What to measure inside every finished run, as in `analyze`; if not given, that of the
            table, such as `lesions` for `veit2016-lesions`.
        images: Number of training images, and of test images, to measure it with.
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
    also: str | None = None
    images: int = 256
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def check(self) -> None:
        require(self.runs is None or self.runs >= 1, "runs", self.runs, "at least 1, or None")
        if self.also:
            from keras_preact.analysis import AnalyzeConfig

            AnalyzeConfig(also=self.also, images=self.images)
        self.trainings()

    @property
    def folder(self) -> pathlib.Path:
        """Folder of the table."""
        if self.out:
            return pathlib.Path(self.out)
        kind, _, path = (self.data or "").partition(":")
        name = pathlib.Path(path).stem or kind
        return pathlib.Path("runs") / "-".join(filter(None, (self.table, self.scale, name)))

    def refuse_other(self, begun: "ReproduceConfig") -> None:
        """Raises `ConfigError` unless this goes on with the table of another config."""
        for name in _SAME:
            was, wanted = getattr(begun, name), getattr(self, name)
            expected = f"that of the table in {self.folder}, {was!r}"
            require(was == wanted, name, wanted, expected, "Give another folder with `out`.")

    def rows(self) -> list[PaperRow]:
        """The rows to train."""
        return rows_to_train(self.table, self.scale, self.row, self.data)

    def groups(self) -> list[list[PaperRow]]:
        """All rows of the table, grouped by training: rows of a group differ in the test only."""
        return rows_by_training(self.table, self.scale, self.data, self.settings)

    def measured(self) -> str:
        """What is measured inside every finished run; empty for nothing."""
        return self.also or paper_tables()[self.table].also

    def trainings(self) -> list["Training"]:
        """All runs in order: the first of each training, then the second of each."""
        runs, wanted = self.runs or SCALES[self.scale].runs, {row.row for row in self.rows()}
        fields = {name: getattr(self, name) for name in ("dtype", "devices", "recompute")}
        found, also = [], self.measured()
        for group in self.groups():
            if rows := [row for row in group if row.row in wanted]:
                name = self.folder / folder_name(group[0].row)  # whichever of them are wanted
                config = scaled(rows[0], self.scale, self.data, self.settings, **fields)
                found.append((rows, name, config))
        return [
            Training(rows, seed, config.replace(seed=seed, out=f"{name}-seed{seed}"), also)
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
    """A run for rows that differ in the test only: the rows, the seed, and the `TrainConfig`.

    Attributes:
        also: What to measure inside it; empty for nothing.
    """

    rows: list[PaperRow]
    seed: int
    config: Any
    also: str

    @property
    def has_ended(self) -> bool:
        """Whether it is finished, tested and measured inside, or has diverged."""
        if (self.folder / FAILURE).is_file():
            return True
        return self.is_trained and not self.tests_left() and not self.is_left_to_analyze

    @property
    def is_left_to_analyze(self) -> bool:
        """Whether it is to be measured inside, and is not yet."""
        return bool(self.also) and not is_analyzed(RunFolder(self.folder))

    @property
    def folder(self) -> pathlib.Path:
        """Folder of the run, which may not exist yet."""
        return pathlib.Path(self.config.out)

    @property
    def is_trained(self) -> bool:
        """Whether training has finished."""
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


def figures_of_tests(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Errors of a run in tests that are not one view, by the options of `keras-preact evaluate`."""
    path = pathlib.Path(folder)
    return RunFolder(path).read_json(TESTS) if (path / TESTS).is_file() else {}


def read_config(folder: str | os.PathLike[str]) -> ReproduceConfig:
    """The config that a table's folder was made with.

    Raises:
        ConfigError: When there is no table in it.
    """
    path = pathlib.Path(folder)
    if not (path / CONFIG).is_file():
        raise ConfigError(
            f"`folder` must be one that `keras-preact reproduce` wrote. Received: {str(folder)!r}."
        )
    return ReproduceConfig.from_dict(RunFolder(path).read_json(CONFIG))
