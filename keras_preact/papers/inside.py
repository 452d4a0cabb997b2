"""What `analyze` measured inside the runs of a table, beside the figures of later papers."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_preact.papers.tables import PaperRow, paper_rows
from keras_preact.run import RunFolder

if TYPE_CHECKING:
    import pandas
    from rich.console import Console

#: The folder of an analysis in the folder of its run, and the file that is written last.
FOLDER, LAST = "analysis", "analysis/words.md"


class Measure(NamedTuple):
    """A number from a table of an `Analysis`.

    Attributes:
        title: What it is, with its unit.
        table: Name of the table.
        value: A function of the table.
    """

    title: str
    table: str
    value: Callable[[Any], float]


def _rise_nearby(surface):
    away = np.hypot(surface["x"], surface["y"])
    near = surface["loss"][(away > 0) & (away <= surface["x"].max() / 2)]
    return near.median() - surface["loss"][away.idxmin()]


def _concave(surface):
    """Share of the points, on lines along both directions, at which the loss curves downwards."""
    heights = surface.pivot_table(index="x", columns="y", values="loss").to_numpy()
    bends = [np.diff(heights, 2, axis=axis).ravel() for axis in (0, 1)]
    return 100 * np.mean(np.concatenate(bends) < 0)


def _negative(eigenvalues):
    values = eigenvalues["eigenvalue"]
    return 100 * max(0, -values.min()) / values.max()


def _carrying(number):
    """The shortest or longest of the paths that carry 90 % of the gradient."""

    def value(paths):
        from keras_preact.analysis.lesion_words import middle_lengths

        return middle_lengths(paths, "product")[number]

    return value


def _share_of_paths(paths):
    least, most = (_carrying(number)(paths) for number in (0, 2))
    between = paths["length"].between(least, most)
    return 100 * paths["paths"][between].sum() / paths["paths"].sum()


#: The measures by the name that `tables.csv` (in claims) and `rows.csv` (as a metric) use.
MEASURES = {
    "error_without_a_unit": Measure(
        "error without one unit, median over units (%)",
        "lesions",
        lambda table: 100 * table["error"].median(),
    ),
    "rise_without_a_unit": Measure(
        "rise of the error without one unit, median over units (points)",
        "lesions",
        lambda table: 100 * table["rise"].median(),
    ),
    "gradient_from": Measure(
        "shortest of the paths that carry 90 % of the gradient (units)", "paths", _carrying(0)
    ),
    "gradient_to": Measure("longest of them (units)", "paths", _carrying(2)),
    "gradient_paths": Measure("their share of all paths (%)", "paths", _share_of_paths),
    "loss_nearby": Measure(
        "rise of the loss up to half a filter norm away, median", "surface", _rise_nearby
    ),
    "non_convexity": Measure(
        "points at which the loss curves downwards along a direction (%)", "surface", _concave
    ),
    "largest_eigenvalue": Measure(
        "largest eigenvalue of the Hessian",
        "eigenvalues",
        lambda table: table["eigenvalue"].max(),
    ),
    "negative_curvature": Measure(
        "negative curvature (% of the largest eigenvalue)", "eigenvalues", _negative
    ),
}


def is_analyzed(run: RunFolder) -> bool:
    """Whether the analysis of a run is complete."""
    return (run.path / LAST).is_file()


def analyze_run(run: RunFolder, also: str, images: int, console: "Console | None") -> None:
    """Analyses a finished run in a folder of its own; goes on after a kill."""
    from keras_preact.analysis import AnalyzeConfig, analyze

    out = str(run.path / FOLDER)
    analyze(AnalyzeConfig((str(run.path),), also=also, images=images, out=out), console=console)


def tables_of(run: RunFolder) -> "dict[str, pandas.DataFrame]":
    """The tables of the optional measurements of a run, of its trained weights."""
    from keras_preact.analysis.analyzer import ALWAYS

    names = (path.stem for path in sorted((run.path / FOLDER).glob("*.csv")))
    found = {name: _table(run, name) for name in names if name not in ALWAYS}
    return {name: table for name, table in found.items() if len(table)}


def _table(run: RunFolder, name: str) -> "pandas.DataFrame":
    """A table of a run's analysis; without rows where it has none, such as paths of a plain net."""
    import pandas as pd

    path = run.path / FOLDER / f"{name}.csv"
    if not (is_analyzed(run) and path.is_file()):
        return pd.DataFrame()
    return pd.read_csv(path).query("state == 'trained'")


def values_of(measure: str, runs: Iterable[RunFolder]) -> list[float]:
    """A measure of each run that was analysed and has it.

    Args:
        measure: A key of `MEASURES`.
        runs: Finished runs.
    """
    of = MEASURES[measure]
    tables = (_table(run, of.table) for run in runs)
    values = [float(of.value(table)) for table in tables if len(table)]
    return [value for value in values if np.isfinite(value)]


def inside_frame(runs: Iterable[tuple[PaperRow, list[RunFolder]]]) -> "pandas.DataFrame":
    """The measures of all rows.

    Args:
        runs: As from `runs_by_row`.

    Returns:
        A `pandas.DataFrame` with one row per measure and table row: `measure`, `row`, the number
        of `runs`, and their `median`, `least` and `greatest`.
    """
    import pandas as pd

    found = []
    for row, of_row in runs:
        for name in MEASURES:
            if values := values_of(name, of_row):
                known = {"measure": name, "row": row.row, "runs": len(values)}
                found.append({**known, "median": float(np.median(values))})
                found[-1] |= {"least": min(values), "greatest": max(values)}
    return pd.DataFrame(found, columns=["measure", "row", "runs", "median", "least", "greatest"])


def compared_tables(
    runs: Iterable[tuple[PaperRow, list[RunFolder]]],
) -> "dict[str, pandas.DataFrame]":
    """The tables of the first analysed run of each row, under the name of the row."""
    import pandas as pd

    found: dict[str, list[pd.DataFrame]] = {}
    for row, of_row in runs:
        known = [run for run in of_row if is_analyzed(run)]
        for name, frame in (tables_of(known[0]) if known else {}).items():
            found.setdefault(name, []).append(frame.assign(network=row.row))
    return {name: pd.concat(frames, ignore_index=True) for name, frames in found.items()}


def paper_figures(table: str) -> list[str]:
    """What the paper printed of these measures, a sentence each."""
    facts = [row for row in paper_rows(table) if row.metric in MEASURES]
    return [f"{row.row}: {row.value:g}, {row.note}." for row in facts]
