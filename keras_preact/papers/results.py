"""`reproduced_frame`: the results for a table beside the paper's values, read from files."""

import math
import os
import pathlib
import re
import statistics
from typing import TYPE_CHECKING, Any

from keras_preact.papers.agreement import Agreement, Pairs, pairs_in_order, rank_agreement
from keras_preact.papers.inside import MEASURES, values_of
from keras_preact.papers.plan import FAILURE, figures_of_tests, read_config
from keras_preact.papers.tables import FAILS, Order, PaperRow, paper_orders
from keras_preact.run import RunFolder, folder_name

if TYPE_CHECKING:
    import pandas

COLUMNS = {
    "paper": "object",
    "published_error": "float64",
    "runs": "Int64",
    "median": "float64",
    "least": "float64",
    "greatest": "float64",
    "difference": "float64",
    "balanced_accuracy": "float64",
    "worst_recall": "float64",
    "failed": "Int64",
    "diverged": "Int64",
    "training_loss": "float64",
    "layers": "Int64",
    "parameters": "Int64",
    "multiply_adds": "Int64",
    "epochs": "Int64",
    "seconds": "float64",
}


def reproduced_frame(folder: str | os.PathLike[str]) -> "pandas.DataFrame":
    """The rows of a reproduced table, during and after the runs.

    Args:
        folder: Folder that `reproduce` wrote.

    Returns:
        A `pandas.DataFrame` with one row per requested or trained row: `row`, the `paper`'s value
        in percent or `"fail"`, `published_error` of the zoo's weights, the number of finished
        `runs`; `median`, `least` and `greatest` test error in percent (100 for a run that diverged)
        and the median's `difference` from the paper's; medians of the `balanced_accuracy` and of
        the worst class's recall, `worst_recall`, in percent, of the runs that did not diverge; how
        many `failed` (diverged or, on CIFAR-10 and of no fewer epochs than the paper's, above 20 %)
        and `diverged`; medians of the last epoch's `training_loss` and of the `seconds` of a run;
        `layers`, `parameters`, `multiply_adds` and `epochs`. The zoo's weights have the paper's
        depth: `published_error` is there where runs have it too.

    Raises:
        ConfigError: When there is no table in the folder.

    Example:
        >>> from keras_preact.papers import reproduced_frame
        >>> frame = reproduced_frame("runs/he2016-table1-smoke")  # doctest: +SKIP
        >>> frame[["row", "paper", "median"]]  # doctest: +SKIP
    """
    return frame_of(runs_by_row(folder))


def frame_of(runs: Any) -> "pandas.DataFrame":
    """`reproduced_frame` of the pairs of `runs_by_row`."""
    import pandas as pd

    rows = [_row(row, of_row) for row, of_row in runs]
    return pd.DataFrame(rows, columns=["row", *COLUMNS]).astype({"row": "str", **COLUMNS})


def agreement_of(runs: Any) -> Agreement | None:
    """How well the order of the rows agrees with the paper's, over rows that both have.

    Errors on different images, or in different tests, are not ranked together. Of rows that share a
    training only the last counts, since they are not independent.

    Args:
        runs: As from `runs_by_row`.
    """
    known = {of_row[0].path: (row, of_row) for row, of_row in runs if row.error and of_row}
    found = [(errors(*pair), pair[0].error, _conditions(pair[0])) for pair in known.values()]
    return rank_agreement(*zip(*found, strict=True)) if found else None


def _conditions(row):
    return f"{row.data} {row.test}"


def runs_by_row(folder: str | os.PathLike[str]) -> list[tuple[PaperRow, list[RunFolder]]]:
    """Pairs of a `PaperRow` and its finished `RunFolder`s, in the order of the table."""
    config = read_config(folder)
    wanted = {row.row for row in config.rows()}
    found = []
    for rows in config.groups():
        runs = _runs(folder, folder_name(rows[0].row))
        for row in rows:
            ended = [run for run in runs if diverged(run) or _is_tested(row, run)]
            if ended or row.row in wanted:
                found.append((row, ended))
    return found


def _runs(folder, name):
    """The runs of a training, by their seeds."""
    paths = pathlib.Path(folder).glob(f"{name}-seed*")
    seeds = {path: re.fullmatch(r".*-seed(\d+)", path.name) for path in paths if path.is_dir()}
    seeds = {path: int(match[1]) for path, match in seeds.items() if match}
    return [RunFolder(path) for path in sorted(seeds, key=seeds.get)]


def _is_tested(row, run):
    return run.is_finished and (not row.test or row.test in figures_of_tests(run.path))


def diverged(run: RunFolder) -> bool:
    """Whether a run came to a loss that is no number."""
    return (run.path / FAILURE).is_file()


def errors(row: PaperRow, runs: Any) -> list[float]:
    """Errors of runs in the test of a row, in percent; 100 for one that diverged."""
    return [100.0 if diverged(run) else 100 * _error(row, run) for run in runs]


def _error(row, run):
    if row.test:
        return figures_of_tests(run.path)[row.test]["top1_error"]
    return 1 - run.result["test_accuracy"]


def _by_class(row, runs):
    """What stands beside the errors, of runs that did not diverge and noted it."""
    ended = [run for run in runs if not diverged(run)]
    found = [figures_of_tests(run.path)[row.test] if row.test else run.result for run in ended]
    medians = {}
    for name in ("balanced_accuracy", "worst_recall"):
        known = [100 * one[name] for one in found if one.get(name) is not None]
        medians[name] = statistics.median(known) if known else None
    return medians


def training_losses(_: Any, runs: Any) -> list[float]:
    """Training losses of the last epoch; infinite for a run that diverged."""
    return [math.inf if diverged(run) else run.log[-1]["loss"] for run in runs]


def orders_of(table: str, runs: Any) -> "pandas.DataFrame":
    """The paper's claims about rows with runs, and how many pairs of runs agree.

    Args:
        table: Id of the table.
        runs: As from `runs_by_row`.

    Returns:
        A `pandas.DataFrame` with a row per `Order`: `measure`, `lesser`, `greater`, and `in_order`,
        `pairs` and `chance` as `pairs_in_order` has them.
    """
    import pandas as pd

    ended = {row.row: (row, of_row) for row, of_row in runs if of_row}
    found = []
    for order in paper_orders(table, among=ended):
        values = [_values(order.measure, *ended[row]) for row in (order.lesser, order.greater)]
        if all(values):
            found.append({**order._asdict(), **pairs_in_order(*values)._asdict()})
    return pd.DataFrame(found, columns=[*Order._fields, *Pairs._fields])


def _values(measure, row, runs):
    if measure in MEASURES:
        return values_of(measure, runs)
    return {"test_error": errors, "training_loss": training_losses}[measure](row, runs)


def _row(row, runs):
    found = errors(row, runs)
    values = {"row": row.row, "paper": row.value, "runs": len(runs)}
    if not runs:
        return values
    median = statistics.median(found)
    results = [run.result for run in runs if run.is_finished]
    losses = [run.log[-1]["loss"] for run in runs if run.is_finished]
    parts = runs[0].read_json("resolved.json")
    layers = trained_layers(runs)
    limit = FAILS if _is_the_papers(row, runs[0]) else 100
    return {
        **values,
        "published_error": row.published_error if layers == row.network.depth else None,
        "median": median,
        "least": min(found),
        "greatest": max(found),
        "difference": median - row.value if isinstance(row.value, float) else None,
        **_by_class(row, runs),
        "failed": sum(diverged(run) or e > limit for run, e in zip(runs, found, strict=True)),
        "diverged": sum(map(diverged, runs)),
        "training_loss": statistics.median(losses) if losses else None,
        "layers": layers,
        "epochs": parts["recipe"]["epochs"],
        "seconds": statistics.median(r["seconds"] for r in results) if results else None,
        **{name: results[0][name] if results else None for name in ("parameters", "multiply_adds")},
    }


def _is_the_papers(row, run):
    """Whether 20 % is the limit: fewer epochs, and other images, leave more errors or fewer."""
    epochs = row.config().resolve().recipe.epochs
    data = run.read_json("data.json")
    found = (data["image_shape"], len(data["classes"]), data["test_images"])
    is_cifar10 = row.data == "cifar10" and found == ([32, 32, 3], 10, 10_000)
    return is_cifar10 and run.read_json("resolved.json")["recipe"]["epochs"] >= epochs


def trained_layers(runs: Any) -> int:
    """The depth of the network that runs trained, which at smaller scales is not the row's."""
    from keras_preact.config import ResNetConfig

    return ResNetConfig.from_dict(runs[0].read_json("resolved.json")["network"]).depth
