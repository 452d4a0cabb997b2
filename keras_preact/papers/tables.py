"""The papers' tables and figures as rows: what was trained, and what the paper reports.

`tables.csv` lists the tables, `rows.csv` the rows. Settings are written as for `--set`. Reading
them needs neither Keras nor pandas.
"""

import csv
import dataclasses
import fnmatch
import functools
import itertools
import json
import math
import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from keras_preact.applications.registry import model_info
from keras_preact.checked import require
from keras_preact.config import ResNetConfig
from keras_preact.errors import ConfigError, near, quoted

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingTypeStubs]

#: The papers by the beginning of their tables' ids.
PAPERS = {
    "he2015-rectifiers": "Delving Deep into Rectifiers, 2015",
    "he2015": "Deep Residual Learning for Image Recognition, 2015",
    "he2016": "Identity Mappings in Deep Residual Networks, 2016",
    "huang2016": "Deep Networks with Stochastic Depth, 2016",
    "veit2016": "Residual Networks Behave Like Ensembles of Relatively Shallow Networks, 2016",
    "li2018": "Visualizing the Loss Landscape of Neural Nets, 2018",
    "hysts": "hysts/pytorch_image_classification, medians of 5 runs",
    "recipes": "Modern recipes, tried with this package",
}

#: Error in percent above which a training "fails" (2016, Table 1).
FAILS = 20.0

#: The zoo's tags of weights by the papers' data sets.
_TAGS = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet2012": "imagenet"}


@dataclasses.dataclass(frozen=True)
class PaperTable:
    """A table or figure of a paper.

    Attributes:
        table: Its name, such as `"he2016-table1"`.
        paper: Key of the paper in `PAPERS`.
        place: Its place in the paper.
        title: What it compares.
        claim: What it shows.
        order: The claim as rows with less and with more of a measure, such as "training_loss:
            plain-20 < plain-56; test_error: original < *"; the last of a claim may be a pattern, of
            all other rows that match. `paper_orders` reads it.
        also: Measurements that `reproduce` makes on every finished run, as in `AnalyzeConfig`.
    """

    table: str
    paper: str
    place: str
    title: str
    claim: str
    order: str
    also: str


class Order(NamedTuple):
    """A claim of a paper that one row has less of a measure than another.

    Attributes:
        measure: `"test_error"` or `"training_loss"`, at the end of the training, or a measure of
            `keras_preact.papers.inside`.
        lesser, greater: Names of the rows.
    """

    measure: str
    lesser: str
    greater: str


@dataclasses.dataclass(frozen=True)
class PaperRow:
    """A row of a table or figure.

    Attributes:
        table: Name of the table.
        row: Name of the row.
        kind: `"row"`: a network of these papers, which can be trained; `"reference"`: a system of
            others, or an ensemble; `"fact"`: something else that is printed.
        model: Registered name of the network; empty for others' systems.
        settings: Fields in which its training differs from model and recipe, by dotted name;
            without a dot those of `TrainConfig`.
        data: The data set.
        recipe: How the paper trains it.
        metric: Meaning of the value: `test_error`, `top1_error` or `top5_error` in percent,
            `slope`, or a measure of `keras_preact.papers.inside`.
        value: The paper's value; `"fail"` for an error above 20 %; `None` if only a curve is shown.
        spread: Mean and standard deviation over runs, if printed.
        top5: Top-5 error in percent, if printed beside top-1.
        parameters: Parameters as printed, such as `"1.7M"`.
        test: Options of `keras-preact evaluate` for the paper's test, if it is not a single view.
        note: Further remarks.
        confidence: `"2 sources"` (which agree), `"1 source"`, or `"memory"` (not looked up).

    Example:
        >>> from keras_preact.papers import paper_rows
        >>> row = paper_rows("he2016-table1", "exclusive*-6")[0]
        >>> row.value, row.settings["network.gate_bias"], row.config().recipe
        (8.7, -6, 'he2016_cifar')
    """

    table: str
    row: str
    kind: Literal["row", "reference", "fact"]
    model: str
    settings: dict[str, Any]
    data: str
    recipe: str
    metric: str
    value: float | Literal["fail"] | None
    spread: str
    top5: float | None
    parameters: str
    test: str
    note: str
    confidence: str

    @property
    def error(self) -> float | None:
        """The value in percent, infinite for "fail", or `None`."""
        return math.inf if self.value == "fail" else self.value

    @property
    def network(self) -> ResNetConfig:
        """Its architecture, if it is a network of these papers."""
        parts = ((name.partition("."), value) for name, value in self.settings.items())
        changes = {field: value for (part, _, field), value in parts if part == "network"}
        return model_info(self.model).config.replace(**changes)

    @property
    def published_error(self) -> float | None:
        """Error in percent of published weights of this network, from a modern recipe.

        From osmr/imgclsmob, some with option B or the stride on the 3x3 convolution; `None` if
        there are none for this network and data.
        """
        if self.kind != "row" or self.network != model_info(self.model).config:
            return None
        weights = model_info(self.model).weights.get(_TAGS.get(self.data, ""))
        return weights and weights.top1_error

    def config(self, **changes: Any) -> Any:
        """The training of the row, as in the paper.

        Args:
            **changes: Fields of `TrainConfig` to change.

        Returns:
            A `TrainConfig`.

        Raises:
            ConfigError: For a row that is not a network of these papers.
        """
        from keras_preact.training.config import TrainConfig

        if self.kind != "row":
            raise ConfigError(
                f"Only a row of a network of these papers can be trained. Received: {self.row!r} "
                f"of {self.table}, which is a {self.kind}."
            )
        crop = 224 if self.data == "imagenet2012" else None
        fields: dict[str, Any] = {
            "model": self.model,
            "data": self.data,
            "recipe": self.recipe,
            "image_size": crop,
            "settings": self.settings,
            **changes,
        }
        settings = fields.pop("settings")
        parts = {name: value for name, value in settings.items() if "." in name}
        own = {name: value for name, value in settings.items() if name not in parts}
        return TrainConfig(**{**own, **fields}, settings=parts)


def paper_tables() -> dict[str, PaperTable]:
    """The tables and figures by name, in the order of the papers.

    Example:
        >>> from keras_preact.papers import paper_tables
        >>> paper_tables()["he2016-table2"].title
        'where BN and ReLU stand, on CIFAR-10'
    """
    return dict(_tables())


def paper_rows(table: str, pattern: str = "*") -> list[PaperRow]:
    """The rows of a table, in its order.

    Args:
        table: Name of the table; `keras-preact papers` lists them.
        pattern: Shell-style pattern of the rows' names; several are separated by `|`.

    Raises:
        ConfigError: For an unknown table, or a pattern that no row matches.

    Example:
        >>> from keras_preact.papers import paper_rows
        >>> [row.value for row in paper_rows("he2016-table2", "ResNet-164*")]
        [5.93, 6.5, 6.14, 5.91, 5.46]
        >>> [row.row for row in paper_rows("he2016-table1", "original|1x1*")]
        ['original', '1x1 convolution']
    """

    def fix():
        return near(table, _rows()) or "`keras-preact papers` describes them."

    require(table in _rows(), "table", table, f"one of {quoted(_rows())}", fix)
    rows = _rows()[table]
    names = [row.row for row in rows]
    matched: set[str] = set()
    for each in map(str.strip, pattern.split("|")):
        found = {name for name in names if fnmatch.fnmatchcase(name.lower(), each.lower())}
        if not found:
            raise ConfigError(
                f"`row` must be the name of a row of {table}, a pattern, or several separated "
                f"by |: {quoted(names)}. "
                f"Received: row={each!r}.{near(each, names)}"
            )
        matched |= found
    return [row for row in rows if row.row in matched]


def paper_orders(table: str, among: Iterable[str] | None = None) -> list[Order]:
    """The claims of a table or figure about pairs of its rows.

    Args:
        table: Name of the table; `keras-preact papers` lists them.
        among: Names of the rows to compare; all if not given.

    Returns:
        An `Order` for each pair of neighbours in a claim.

    Raises:
        ConfigError: For an unknown table.

    Example:
        >>> from keras_preact.papers import paper_orders
        >>> for order in paper_orders("he2015-figure1"):
        ...     print(order.measure, order.lesser, "<", order.greater)
        training_loss plain-20 < plain-56
        test_error plain-20 < plain-56
    """
    found: list[Order] = []
    rows = [row.row for row in paper_rows(table)]
    among = rows if among is None else among
    for claim in filter(None, paper_tables()[table].order.split("; ")):
        measure, _, chain = claim.partition(": ")
        *names, last = chain.split(" < ")
        for name in fnmatch.filter(rows, last):
            kept = [n for n in dict.fromkeys((*names, name)) if n in among]
            found += [Order(measure, *pair) for pair in itertools.pairwise(kept)]
    return [*dict.fromkeys(found)]


def paper_table(table: str) -> "pandas.DataFrame":
    """The rows of a table as a `pandas.DataFrame`.

    Args:
        table: Name of the table; `keras-preact papers` lists them.

    Returns:
        One row per table row, with the attributes of `PaperRow` and `published_error`.

    Raises:
        ConfigError: For an unknown table.

    Example:
        >>> from keras_preact.papers import paper_table
        >>> paper_table("he2015-table6").set_index("row").loc["ResNet-110", "parameters"]
        '1.7M'
    """
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    rows = paper_rows(table)
    frame = pd.DataFrame([vars(row) for row in rows])
    frame["published_error"] = [row.published_error for row in rows]
    return frame


@functools.cache
def _tables() -> dict[str, PaperTable]:
    return {row["table"]: PaperTable(**row) for row in _read("tables.csv")}


@functools.cache
def _rows() -> dict[str, list[PaperRow]]:
    rows: dict[str, list[PaperRow]] = {table: [] for table in _tables()}
    for line in _read("rows.csv"):
        values: dict[str, Any] = {
            **line,
            "settings": _settings(line["settings"]),
            "value": _number(line["value"]),
            "top5": _number(line["top5"]),
        }
        rows[line["table"]].append(PaperRow(**values))
    return rows


def _read(name: str) -> list[dict[str, str]]:
    with open(pathlib.Path(__file__).with_name(name), newline="") as file:
        return [*csv.DictReader(file)]


def _number(text: str) -> float | Literal["fail"] | None:
    return "fail" if text == "fail" else float(text) if text else None


def _settings(text: str) -> dict[str, Any]:
    """`{"network.gate_bias": -6}` from "network.gate_bias=-6"."""
    pairs = (assignment.split("=") for assignment in text.split())
    return {name: _value(value) for name, value in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
