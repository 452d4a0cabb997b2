"""The report of a reproduced table: HTML page, Markdown, CSV and plots."""

import html
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_preact.console import duration
from keras_preact.evaluation.page import html_page, html_picture, html_table, to_png
from keras_preact.evaluation.runs import machine_of
from keras_preact.files import to_csv
from keras_preact.papers.inside import MEASURES, compared_tables, inside_frame, paper_figures
from keras_preact.papers.plan import ReproduceConfig, read_config
from keras_preact.papers.plots import plot_errors, plot_training
from keras_preact.papers.results import agreement_of, frame_of, orders_of, runs_by_row
from keras_preact.papers.tables import PAPERS, paper_tables
from keras_preact.run import RunFolder

if TYPE_CHECKING:
    import pandas

#: How many columns of the report's table are words.
WORDS = 1

_ERRORS = (
    "row", "layers", "paper", "zoo", "median", "least to greatest", "difference", "runs", "failed"
)  # fmt: skip
_COSTS = (
    "balanced accuracy",
    "worst recall",
    "training loss",
    "parameters",
    "multiply-adds",
    "time",
)
_TITLES = (*_ERRORS, *_COSTS)

_EXPLAINED = (
    "Errors in percent. Layers: of the trained network. Zoo: published weights of the same network "
    "(osmr/imgclsmob), trained with a modern recipe. Median, least and greatest over the runs; "
    "difference from the paper's value. Failed: runs that diverged, counted as 100 %, and on "
    "CIFAR-10 runs of the paper's length above 20 %, as in the paper. Balanced accuracy, recall of "
    "the worst class, training loss of the last epoch, and time of a run: medians."
)

_ORDERS = "The paper's claims, pair by pair"
ORDER_TITLES = ("after the training", "less", "more", "pairs", "if alike")
_ORDERS_EXPLAINED = (
    "Pairs of a run of one row and a run of the other in the claimed order; ties count one half. "
    "If alike: probability of so many if the rows do not differ (Mann-Whitney test); at least 0.17 "
    "with two runs each and 0.05 with three. Of twenty such pairs, one reaches 0.05 by chance."
)

_INSIDE = "Inside the networks"
_INSIDE_EXPLAINED = (
    "Medians over the runs of a row, with least and greatest; pictures and sentences are of its "
    "first run. The figures of each run are in its folder analysis/."
)


def write_reproduction(folder: str | os.PathLike[str]) -> Any:
    """Writes `report.html`, `report.md`, CSV tables and plots into the folder of a table.

    Args:
        folder: Folder that `reproduce` wrote, whether it has finished or not.

    Returns:
        The table, the `Agreement` of its order with the paper's or `None`, and the tables of
        `orders_of` and `inside_frame`.

    Raises:
        ConfigError: When there is no table in the folder.
        SaveError: When they cannot be written.
    """
    import filelock

    from keras_preact.analysis.page_of_surfaces import surface_page

    table = RunFolder(folder)
    with filelock.FileLock(table.path / ".report.lock"):  # one process at a time
        config, runs = read_config(folder), runs_by_row(folder)
        frame, agreement = frame_of(runs), agreement_of(runs)
        orders, inside = orders_of(config.table, runs), inside_frame(runs)
        tables = compared_tables(runs)
        parts = {
            "lines": _lines(config, frame, agreement, runs),
            "orders": order_cells(orders),
            "figures": _figures(frame, runs),
            "inside": _inside(config, inside, tables),
            "machines": _hardware(runs),
        }
        table.write_bytes("table.csv", to_csv(frame).encode())
        table.write_bytes("orders.csv", to_csv(orders).encode())
        if len(inside):
            table.write_bytes("inside.csv", to_csv(inside).encode())
        if "surface" in tables:
            table.write_bytes("surface.html", surface_page(tables["surface"]).encode())
        for name, (_, png) in (parts["figures"] | parts["inside"].figures).items():
            table.write_bytes(f"{name}.png", png)
        table.write_bytes("report.md", _markdown(config, frame, **parts).encode())
        table.write_bytes("report.html", _page(config, frame, **parts).encode())
    return frame, agreement, orders, inside


def title_of(config: ReproduceConfig) -> str:
    """The headline of a table: its title and its place in the paper."""
    about = paper_tables()[config.table]
    return f"{PAPERS[about.paper]}, {about.place}: {about.title}"


def text_tables(frame: "pandas.DataFrame") -> list[tuple[list[str], list[list[str]]]]:
    """The table as text, in two parts that fit a page: errors, and costs.

    Args:
        frame: As `reproduced_frame` gives it.

    Returns:
        Titles and rows of cells of each; columns that are empty are left out.
    """
    rows = [_cells(row) for row in frame.to_dict("records")]
    tables = []
    for others in (_COSTS, _ERRORS[1:]):
        shown = [k for k, title in enumerate(_TITLES) if title not in others]
        shown = [k for k in shown if any(row[k] for row in rows)]
        tables.append(([_TITLES[k] for k in shown], [[row[k] for k in shown] for row in rows]))
    return tables


def order_cells(orders: "pandas.DataFrame") -> list[list[str]]:
    """The table of `orders_of` as text, under `ORDER_TITLES`; the last two are numbers."""
    return [
        [
            row.measure.replace("_", " "),
            row.lesser,
            row.greater,
            f"{row.in_order:g} of {row.pairs}",
            f"{row.chance:.2g}",
        ]
        for row in orders.itertuples()
    ]


def inside_cells(inside: "pandas.DataFrame") -> tuple[list[str], list[list[str]]]:
    """The table of `inside_frame` as text: titles, and a row of cells per measure."""
    rows = [*dict.fromkeys(inside["row"])]
    known = {(one.measure, one.row): one for one in inside.itertuples()}
    measures = [name for name in MEASURES if name in set(inside["measure"])]
    cells = [
        [MEASURES[name].title, *(_spread(known.get((name, row))) for row in rows)]
        for name in measures
    ]
    return ["", *rows], cells


def _spread(one):
    if one is None:
        return ""
    spread = f" ({one.least:.3g} to {one.greatest:.3g})" if one.runs > 1 else ""
    return f"{one.median:.3g}{spread}"


class _Inside(NamedTuple):
    """What the report says of the inside of networks; empty without an analysis."""

    titles: list[str]
    rows: list[list[str]]
    lines: list[str]
    figures: dict[str, tuple[str, bytes]]


def _inside(config, inside, tables):
    from keras_preact.analysis.plots import pictures
    from keras_preact.analysis.words import in_words

    if not len(inside):
        return _Inside([], [], [], {})
    lines = [f"The paper: {text}" for text in paper_figures(config.table)]
    for topic, sentences in in_words(tables).items():
        lines += [f"{topic}. {' '.join(sentences)}"]
    figures = {
        name: (name.replace("_", " ").capitalize(), to_png(figure))
        for name, figure in pictures(tables).items()
    }
    return _Inside(*inside_cells(inside), lines, figures)


def _cells(row):
    paper = row["paper"]
    ours = ["", "", "", "", ""]
    layers = _number(row["layers"], "d")
    if row["runs"]:
        spread = f"{row['least']:.2f} to {row['greatest']:.2f}" if row["runs"] > 1 else ""
        failed = f"{row['failed']}" if row["failed"] else ""
        if row["diverged"]:
            failed += f" ({row['diverged']} diverged)"
        ours = [
            f"{row['median']:.2f}", spread, _number(row["difference"], "+.2f"),
            str(row["runs"]), failed,
        ]  # fmt: skip
    measured = [_number(row[name], ".2f") for name in ("balanced_accuracy", "worst_recall")]
    measured += [_number(row["training_loss"], ".4f")]
    measured += [_number(row[name], ",") for name in ("parameters", "multiply_adds")]
    time = duration(row["seconds"]) if _is_known(row["seconds"]) else ""
    paper = paper if isinstance(paper, str) else _number(paper, ".2f")
    zoo = _number(row["published_error"], ".2f")
    return [row["row"], layers, paper, zoo, *ours, *measured, time]


def _is_known(value):
    import pandas as pd

    return not pd.isna(value)


def _number(value, form):
    return format(value, form) if _is_known(value) else ""


def _figures(frame, runs):
    """`{file name: (headline, PNG file)}`; none before the first run has ended."""
    if not frame["runs"].sum():
        return {}
    return {
        "errors": ("Test error", to_png(plot_errors(runs))),
        "curves": ("Training loss and test error", to_png(plot_training(runs))),
    }


def _lines(config, frame, agreement, runs):
    """What is said above the table, a sentence a line."""
    done, planned = len({run.path for _, of_row in runs for run in of_row}), len(config.trainings())
    claim = paper_tables()[config.table].claim
    lines = [f"The paper: {claim}."] if claim else []
    if agreement:
        lines.append(
            f"Order of {agreement.places} rows' medians compared with the paper's: {agreement} "
            f"({_about_order(runs)})."
        )
    lines.append(f"{done} of {planned} runs have finished.")
    ended = [run for _, of_row in runs for run in of_row]
    return [*lines, *(_conditions(config, ended) if ended else ())]


def _about_order(runs):
    interval = "in brackets the 95 % interval when the runs are resampled"
    compared = [(row, of_row) for row, of_row in runs if of_row and row.error]
    if any(len(of_row) == 1 for _, of_row in compared):
        interval = "a single run per row says nothing about the spread"
    parts = [
        interval,
        "by chance: the probability of a correlation at least as strong, of either sign, for a "
        "random order",
    ]
    if any(row.value == "fail" for row, _ in compared):
        parts.append("rows that fail in the paper are ranked last")
    if len({(row.data, row.test) for row, _ in compared}) > 1:
        parts.append("errors on other images or in other tests are ranked separately")
    return "; ".join(parts)


def caution(config: Any) -> str | None:
    """That another budget or other images are no comparison of values, where it is so."""
    theirs = paper_tables()[config.table].claim
    if not theirs or not (config.scale != "full" or config.data or config.settings):
        return None
    return "This is not the paper's training: compare the order of the rows, not the values."


def _conditions(config, ended):
    """What the runs were, and what they are no comparison of."""
    kinds = dict.fromkeys(map(_condition, ended))
    lines = [f"Scale {config.scale}: {'; '.join(kinds)}."]
    if words := caution(config):
        lines = [f"{lines[0]} {words}"]
    envs = [run.read_json("env.json") for run in ended]
    if len({(env["backend"], env["decided"]["dtype"]) for env in envs}) > 1:
        lines.append("The runs use several backends or dtypes, which compute differently.")
    return lines


def _condition(run):
    recipe, data = run.read_json("resolved.json")["recipe"], run.read_json("data.json")
    return (
        f"{recipe['epochs']} epochs of {data['training_images']:,} images ({run.config['data']}) "
        f"in batches of {recipe['batch_size']}, {data['test_images']:,} test images"
    )


def _hardware(runs):
    """Machines and versions of the runs, each once."""
    return [*dict.fromkeys(machine_of(run) for _, of_row in runs for run in of_row)]


def _page(config, frame, lines, orders, figures, inside, machines):
    sections = [f"<p>{html.escape(line)}</p>" for line in lines]
    errors, costs = text_tables(frame)
    sections.append(html_table(*errors, WORDS, failed=_has_failed(errors[0])))
    sections.append(f"<p><small>{html.escape(_EXPLAINED)}</small></p>")
    if orders:
        sections += [f"<h2>{_ORDERS}</h2>", html_table(ORDER_TITLES, orders, 3)]
        sections.append(f"<p><small>{html.escape(_ORDERS_EXPLAINED)}</small></p>")
    if inside.rows:
        sections += [f"<h2>{_INSIDE}</h2>", html_table(inside.titles, inside.rows)]
        sections.append(f"<p><small>{html.escape(_INSIDE_EXPLAINED)}</small></p>")
        sections += [f"<p>{html.escape(line)}</p>" for line in inside.lines]
    sections += [html_picture(*figure) for figure in (inside.figures | figures).values()]
    sections.append(f"<h2>Classes, networks and cost</h2>{html_table(*costs, WORDS)}")
    sections.append(f"<h2>Again</h2><pre>{html.escape(config.command)}</pre>")
    items = "".join(f"<li>{html.escape(text)}</li>" for text in machines)
    sections.append(f"<h2>Where</h2><ul>{items}</ul>" if items else "")
    return html_page(title_of(config), sections)


def _has_failed(titles):
    if "failed" not in titles:
        return lambda row: False
    place = titles.index("failed")
    return lambda row: bool(row[place])


def _markdown(config, frame, lines, orders, figures, inside, machines):
    errors, costs = (_markdown_table(*table) for table in text_tables(frame))
    named = (inside.figures | figures).items()
    pictures = [f"![{headline}]({name}.png)" for name, (headline, _) in named]
    table = _markdown_table(inside.titles, inside.rows)
    parts = [
        f"# {title_of(config)}",
        *lines,
        errors,
        _EXPLAINED,
        *((_markdown_table(ORDER_TITLES, orders, 3), _ORDERS_EXPLAINED) if orders else ()),
        *((f"## {_INSIDE}", table, _INSIDE_EXPLAINED, *inside.lines) if inside.rows else ()),
        *pictures,
        costs,
        f"```bash\n{config.command}\n```",
        "\n".join(f"- {text}" for text in machines),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_table(titles, rows, words=WORDS):
    marks = ["---" if k < words else "---:" for k in range(len(titles))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (titles, marks, *rows))
