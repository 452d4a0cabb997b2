"""`reproduced_frame`: what was trained of a table beside the paper's figures, from files alone."""

import math
import pathlib
import statistics

from keras_preact.papers.agreement import Agreement, Pairs, pairs_in_order, rank_agreement
from keras_preact.papers.reproduction import FAILURE, read_config
from keras_preact.papers.scales import rows_to_train
from keras_preact.papers.tables import FAILS, Order, paper_orders
from keras_preact.run import RunFolder, folder_name

COLUMNS = {
    "paper": "object",
    "published_error": "float64",
    "runs": "Int64",
    "median": "float64",
    "least": "float64",
    "greatest": "float64",
    "difference": "float64",
    "failed": "Int64",
    "diverged": "Int64",
    "training_loss": "float64",
    "layers": "Int64",
    "parameters": "Int64",
    "multiply_adds": "Int64",
    "epochs": "Int64",
    "seconds": "float64",
}


def reproduced_frame(folder):
    """The rows of a table that was reproduced, while it runs and after.

    Args:
        folder: Folder that `reproduce` wrote.

    Returns:
        A `pandas.DataFrame` with a row a row that was asked for or has runs: `row`, the `paper`'s
        figure in percent or `"fail"`, `published_error` of the zoo's weights, the number of `runs`
        that have ended; `median`, `least` and `greatest` test error in percent (100 for a run that
        diverged) and the median's `difference` from the paper's; how many `failed` (diverged
        or, on CIFAR-10 and of no fewer epochs than the paper's, above 20 %) and `diverged`; medians
        of the last epoch's `training_loss` and of the `seconds` of a run; `layers`, `parameters`,
        `multiply_adds` and `epochs`.

    Raises:
        ConfigError: When there is no table in the folder.

    Example:
        >>> from keras_preact.papers import reproduced_frame
        >>> frame = reproduced_frame("runs/he2016-table1-smoke")  # doctest: +SKIP
        >>> frame[["row", "paper", "median"]]  # doctest: +SKIP
    """
    return frame_of(runs_by_row(folder))


def frame_of(runs):
    """`reproduced_frame` of the pairs of `runs_by_row`."""
    import pandas as pd

    rows = [_row(row, of_row) for row, of_row in runs]
    return pd.DataFrame(rows, columns=["row", *COLUMNS]).astype({"row": "str", **COLUMNS})


def agreement_of(runs) -> Agreement | None:
    """How far the order of the rows agrees with the paper's, over rows that both have.

    Errors on different images are not ranked together.

    Args:
        runs: As `runs_by_row` gives them.
    """
    found = [(errors(of_row), row.error, row.data) for row, of_row in runs if row.error and of_row]
    return rank_agreement(*(zip(*found, strict=True) if found else ((), ())))


def runs_by_row(folder):
    """Pairs of `PaperRow` and the `RunFolder`s that have ended, in the order of the table."""
    config = read_config(folder)
    wanted = {row.row for row in config.rows()}
    found = []
    for row in rows_to_train(config.table, config.scale, data=config.data):
        paths = pathlib.Path(folder).glob(f"{folder_name(row.row)}-seed*")
        paths = sorted(paths, key=lambda path: int(path.name.rpartition("-seed")[2]))
        runs = [RunFolder(path) for path in paths if path.is_dir()]
        ended = [run for run in runs if run.is_finished or diverged(run)]
        if ended or row.row in wanted:
            found.append((row, ended))
    return found


def diverged(run: RunFolder) -> bool:
    """Whether a run came to a loss that is no number."""
    return (run.path / FAILURE).is_file()


def errors(runs) -> list[float]:
    """Test errors of runs, in percent; 100 for one that diverged."""
    return [100.0 if diverged(run) else 100 * (1 - run.result["test_accuracy"]) for run in runs]


def training_losses(runs) -> list[float]:
    """Training losses of the last epoch; infinite for a run that diverged."""
    return [math.inf if diverged(run) else run.log[-1]["loss"] for run in runs]


def orders_of(table, runs):
    """What the paper claims of two rows that have runs, and in how many pairs of runs it is so.

    Args:
        table: Id of the table.
        runs: As `runs_by_row` gives them.

    Returns:
        A `pandas.DataFrame` with a row an `Order`: `measure`, `lesser`, `greater`, and `in_order`,
        `pairs` and `chance` as `pairs_in_order` has them.
    """
    import pandas as pd

    measures = {"test_error": errors, "training_loss": training_losses}
    ended = {row.row: of_row for row, of_row in runs if of_row}
    found = []
    for order in paper_orders(table, among=ended):
        measure = measures[order.measure]
        pairs = pairs_in_order(measure(ended[order.lesser]), measure(ended[order.greater]))
        found.append({**order._asdict(), **pairs._asdict()})
    return pd.DataFrame(found, columns=[*Order._fields, *Pairs._fields])


def _row(row, runs):
    known = {"row": row.row, "paper": row.value, "published_error": row.published_error}
    found = errors(runs)
    values = {**known, "runs": len(runs)}
    if not runs:
        return values
    median = statistics.median(found)
    results = [run.result for run in runs if run.is_finished]
    losses = [run.log[-1]["loss"] for run in runs if run.is_finished]
    parts = runs[0].read_json("resolved.json")
    # Fewer epochs leave more errors with any network: then only a run that diverged has failed.
    is_whole = parts["recipe"]["epochs"] >= row.config().resolve().recipe.epochs
    limit = FAILS if is_whole and row.data == "cifar10" else 100
    return {
        **values,
        "median": median,
        "least": min(found),
        "greatest": max(found),
        "difference": median - row.value if isinstance(row.value, float) else None,
        "failed": sum(diverged(run) or e > limit for run, e in zip(runs, found, strict=True)),
        "diverged": sum(map(diverged, runs)),
        "training_loss": statistics.median(losses) if losses else None,
        "layers": _layers(parts["network"]),
        "epochs": parts["recipe"]["epochs"],
        "seconds": statistics.median(r["seconds"] for r in results) if results else None,
        **{name: results[0][name] if results else None for name in ("parameters", "multiply_adds")},
    }


def _layers(network):
    from keras_preact.config import ResNetConfig

    return ResNetConfig.from_dict(network).depth
