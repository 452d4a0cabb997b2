"""Scales of reproduction: a paper's full training, hours of it, or minutes of it.

`short` and `smoke` keep what a table compares and the paper's recipe, whose learning rate warms up
and falls at the same fractions of fewer epochs. Networks within the range of depths are trained as
they are, and deeper ones are left out. In a table with only deeper networks, the depths are mapped
evenly onto that range.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from keras_preact.checked import is_whole
from keras_preact.errors import ConfigError, quoted
from keras_preact.papers.tables import PaperRow, paper_rows
from keras_preact.training.cards import RECIPES

#: Steps of the papers' trainings on CIFAR (2015, section 4.2).
PAPER_STEPS = 64_000


@dataclasses.dataclass(frozen=True)
class Scale:
    """How rows are trained.

    Attributes:
        runs: Runs of each row.
        epochs: Passes over the training images; `None`: the recipe's.
        batch_size: Images per step; `None`: the recipe's.
        steps: Steps that these are of the scale's images, by which warming up is shortened.
        units: Units of two or three convolutions in a stage of the shallowest and of the deepest
            network; `None`: any.
        data: Images that replace the paper's; `None`: the paper's.
    """

    runs: int
    epochs: int | None = None
    batch_size: int | None = None
    steps: int | None = None
    units: tuple[int, int] | None = None
    data: str | None = None


#: `full`: as the papers, five runs each (2016, section 3.1).
#: `short`: 20 to 56 layers (29 to 83 of bottleneck units), the depths between which the 2015 paper
#: shows what shortcuts do; 2 epochs, 780 steps, in which the rate still falls twice (ResNet-20
#: takes two to three minutes an epoch on 2 cores); two runs, the fewest that say how far apart they
#: lie.
#: `smoke`: 14 to 56 layers (20 to 83) and 220 steps on 1,437 digits. It shows that all of it works;
#: so few steps on so few images say little of the order of the rows.
SCALES = {
    "full": Scale(runs=5),
    "short": Scale(runs=2, epochs=2, steps=780, units=(3, 9)),
    "smoke": Scale(runs=1, epochs=10, batch_size=64, steps=220, units=(2, 9), data="digits"),
}


def rows_to_train(
    table: str, scale: str, pattern: str = "*", data: str | None = None
) -> list[PaperRow]:
    """The rows of a table that are trained.

    Networks deeper than the scale's are left out if the table has others too. If one data set
    replaces the papers', rows that differ only in the data would be the same; those of the table's
    first data set remain.

    Args:
        table: Id of the table.
        scale: A key of `SCALES`.
        pattern: Shell-style pattern of the rows' names; several separated by `|`.
        data: Images that replace the paper's, if any.

    Returns:
        A list of `PaperRow`.

    Raises:
        ConfigError: For an unknown table, a pattern that matches no row, or a table without
            networks that can be trained at this scale.

    Example:
        >>> from keras_preact.papers.scales import rows_to_train
        >>> [len(rows_to_train("he2016-table3", scale)) for scale in ("full", "smoke")]
        [12, 8]
    """
    rows = [row for row in paper_rows(table) if row.kind == "row"]
    if not rows:
        raise ConfigError(
            f"`table` must have networks that can be trained. Received: table={table!r}, which "
            "has ensembles or other systems only. `keras-preact papers` lists the trainable rows."
        )
    if scale != "full" and rows[0].data == "imagenet2012":
        raise ConfigError(
            f"`scale` must be 'full' for tables of ImageNet. Received: scale={scale!r}, "
            f"table={table!r}. Shorter scales exist for CIFAR tables."
        )
    budget = SCALES[scale]
    if budget.units:
        low, high = budget.units
        rows = [row for row in rows if low <= _depth(row.network) <= high] or rows
    if data or budget.data:
        rows = [row for row in rows if row.data == rows[0].data]
    wanted = {row.row for row in paper_rows(table, pattern)}
    found = [row for row in rows if row.row in wanted]
    if not found:
        fix = (
            "" if scale == "full" else " scale='full' has all of the paper's depths and data sets."
        )
        raise ConfigError(
            f"`row` must match a network that can be trained at scale={scale!r}: "
            f"{quoted(row.row for row in rows)}. Received: row={pattern!r}.{fix}"
        )
    return found


def rows_by_training(
    table: str, scale: str, data: str | None = None, settings: dict[str, Any] | None = None
) -> list[list[PaperRow]]:
    """The rows of a table that are trained; in one list those that differ in the test only.

    Args:
        table: Id of the table.
        scale: A key of `SCALES`.
        data: Images that replace the paper's, if any.
        settings: Fields to change in all rows, by dotted name.

    Returns:
        A list of lists of `PaperRow`, of which the first gives a training its name.

    Example:
        >>> from keras_preact.papers.scales import rows_by_training
        >>> [len(rows) for rows in rows_by_training("he2015-rectifiers-table4", "full")]
        [4, 4]
    """
    found = {}
    for row in rows_to_train(table, scale, data=data):
        training = scaled(row, scale, data, settings).to_json()
        found.setdefault(training, []).append(row)
    return [*found.values()]


def scaled(
    row: PaperRow,
    scale: str,
    data: str | None = None,
    settings: dict[str, Any] | None = None,
    **fields: Any,
) -> Any:
    """The training of a row at a scale.

    Args:
        row: The row.
        scale: A key of `SCALES`.
        data: Images that replace the paper's, if any.
        settings: Fields to change in all rows, by dotted name. At `short` and `smoke` warming up
            keeps its share of the epochs that are given here; at `full` it keeps its steps.
        **fields: Fields of `TrainConfig`, such as `seed` and `out`.

    Returns:
        A `TrainConfig`.

    Example:
        >>> from keras_preact.papers import paper_rows
        >>> from keras_preact.papers.scales import scaled
        >>> config = scaled(paper_rows("he2016-table1", "dropout")[0], "short")
        >>> config.resolve().network.depth, config.resolve().recipe.epochs
        (20, 2)
    """
    budget, own, settings = SCALES[scale], {}, settings or {}
    if budget.units:
        own["network.units"] = _units(row, budget.units)
    if budget.epochs:
        epochs = settings.get("recipe.epochs")
        epochs = epochs if is_whole(epochs) else budget.epochs  # what is no number is refused below
        share = budget.steps / budget.epochs * epochs / PAPER_STEPS
        warmup = row.settings.get("recipe.warmup_steps", RECIPES[row.recipe].warmup_steps)
        warmup = warmup and round(warmup * share)
        own |= {"recipe.epochs": budget.epochs, "recipe.warmup_steps": warmup}
    if budget.batch_size:
        own["recipe.batch_size"] = budget.batch_size
    return row.config(
        data=data or budget.data or row.data,
        saved_model=False,
        settings={**row.settings, **own, **settings},
        **fields,
    )


def _units(row, ends):
    """Units of each stage: the row's own, or the table's depths spread between the two ends."""
    depth, depths, (low, high) = _depth(row.network), _depths(row.table), ends
    if not any(low <= each <= high for each in depths):
        depth = int(np.linspace(low, high, len(depths)).round()[depths.index(depth)])
    return [depth * _singles(row.network)] * len(row.network.units)


@functools.cache
def _depths(table):
    return sorted({_depth(row.network) for row in rows_to_train(table, "full")})


def _depth(network):
    return network.units[0] // _singles(network)


def _singles(network):
    """Units of one convolution count half."""
    return 2 if network.block == "single" else 1
