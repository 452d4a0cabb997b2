"""`papers` shows the papers' tables, `reproduce` trains them, `init-study` repeats a figure."""

import dataclasses
import functools
import json
import sys
from typing import TYPE_CHECKING, Any

from keras_preact.checked import require
from keras_preact.cli.arguments import YAML, add_fields, add_settings, read_yaml_file, settings_of
from keras_preact.console import duration, import_keras_quietly, make_console
from keras_preact.errors import ConfigError, near, quoted

if TYPE_CHECKING:
    from jsonargparse import Namespace


def _papers(arguments) -> None:
    from keras_preact.papers import paper_rows, paper_tables
    from keras_preact.papers.tables import PAPERS

    table = arguments.table
    if not table and arguments.row != "*":
        raise ConfigError(f"`--row` needs a table. Received: --row {arguments.row!r} without one.")
    found = paper_rows(table, arguments.row) if table else [*paper_tables().values()]
    if arguments.json:
        for one in found:
            print(json.dumps(dataclasses.asdict(one)))
        return
    console = make_console(sys.stdout, least_width=None if arguments.markdown else 150)
    if not table:
        cells = [
            (one.table, one.place, one.title, one.claim, str(_trainable(one.table)))
            for one in found
        ]
        titles = ("table", "in the paper", "what", "what it shows", "rows to train")
        _print_table(titles, cells, arguments.markdown, numbers=1)
        return
    about = paper_tables()[table]
    console.print(f"{PAPERS[about.paper]}, {about.place}: {about.title}", soft_wrap=True)
    words = ("row", "network", "settings", "recipe", "test", "note")
    titles = (*words, "paper", "top-5", "parameters", "zoo")
    end = " " if arguments.markdown else "\n"
    _print_table(titles, [_cells(row, end) for row in found], arguments.markdown, numbers=4)
    if about.claim:
        console.print(f"Paper: {about.claim}.", soft_wrap=True)


def _trainable(table) -> int:
    from keras_preact.papers import paper_rows

    return sum(row.kind == "row" for row in paper_rows(table))


def _cells(row, end):
    given = {name.removeprefix("network."): value for name, value in row.settings.items()}
    settings = end.join(f"{name}={value}" for name, value in given.items())
    value = "" if row.value is None else row.value if row.value == "fail" else f"{row.value:.2f}"
    numbers = [f"{x:.2f}" if x is not None else "" for x in (row.top5, row.published_error)]
    words = (row.row, row.model or f"({row.kind})", settings, row.recipe, row.test, row.note)
    return (*words, value, numbers[0], row.parameters, numbers[1])


def _print_table(titles, rows, markdown, numbers, stream=None) -> None:
    """Prints the columns that are not empty; the last `numbers` of them are right-aligned."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.MARKDOWN if markdown else box.SIMPLE_HEAD)
    shown = [k for k in range(len(titles)) if any(row[k] for row in rows)]
    for k in shown:
        justify = "right" if k >= len(titles) - numbers else "left"
        table.add_column(titles[k], justify=justify, overflow="fold", no_wrap=not k)
    for row in rows:
        table.add_row(*(row[k] for k in shown))
    # Cells of a Markdown table may not be broken.
    make_console(stream or sys.stdout, least_width=1000 if markdown else 150).print(table)


def _reproduce(arguments) -> None:
    plan = reproduce_plan_of(arguments)
    hours, console = arguments.hours, make_console(sys.stderr if arguments.json else sys.stdout)
    import_keras_quietly()
    from keras_preact.papers import reproduce, reproduce_plan, reproduce_together, time_plan

    if arguments.dry_run:
        rule = "1 with --dry-run, which times a run that has the machine for itself"
        require(arguments.processes == 1, "processes", arguments.processes, rule)
        planned = time_plan(plan, hours, console=console)
        _show_schedule(planned, console.file)
        for one in planned if arguments.json else ():
            print(json.dumps({**one._asdict(), "config": one.config.to_dict()}))
        return
    if arguments.processes != 1:
        tables = reproduce_together(plan, arguments.processes, hours, console=console)
    elif len(plan) == 1 and hours is None:
        tables = [reproduce(plan[0], console=console)]
    else:
        show = functools.partial(_show_schedule, stream=console.file)
        tables = reproduce_plan(plan, hours, console=console, on_planned=show)
    for found in tables:
        _show_table(found, arguments.json)


def _show_table(found, as_json) -> None:
    from keras_preact.papers.plan import read_config
    from keras_preact.papers.report import (
        ORDER_TITLES,
        WORDS,
        caution,
        inside_cells,
        order_cells,
        text_tables,
        title_of,
    )

    if as_json:
        rows, orders, inside = (
            json.loads(frame.to_json(orient="records"))
            for frame in (found.frame, found.orders, found.inside)
        )
        agreement = found.agreement and found.agreement._asdict()
        values = {"folder": str(found.folder), "agreement": agreement}
        print(json.dumps({**values, "orders": orders, "inside": inside, "rows": rows}))
        return
    console, config = make_console(sys.stdout), read_config(found.folder)
    console.print(f"\n{title_of(config)}", soft_wrap=True)
    (titles, rows), _ = text_tables(found.frame)
    _print_table(titles, rows, markdown=False, numbers=len(titles) - WORDS)
    if words := caution(config):
        console.print(words, soft_wrap=True)
    if cells := order_cells(found.orders):
        _print_table(ORDER_TITLES, cells, markdown=False, numbers=2)
    if len(found.inside):
        titles, rows = inside_cells(found.inside)
        _print_table(titles, rows, markdown=False, numbers=len(titles) - 1)
    if found.agreement:
        console.print(f"Order compared with the paper's: {found.agreement}", soft_wrap=True)
    if found.left:
        words = "belong to other processes, could not be tested, or did not fit into the hours"
        console.print(f"{found.left} runs {words}.", soft_wrap=True)
    console.print(
        f"{found.folder}: report.html, report.md, table.csv, orders.csv, and the runs",
        soft_wrap=True,
    )


def reproduce_plan_of(arguments: "Namespace") -> list[Any]:
    """A `ReproduceConfig` for each entry of parsed arguments: of a plan, or the one that they are.

    An entry of a plan has what the options say wherever it says nothing itself.
    """
    from keras_preact.papers import ReproduceConfig

    path = arguments.table
    names = [name for name in ReproduceConfig.field_names() if name != "settings"]
    options = {name: arguments[name] for name in names}
    settings = settings_of(arguments["set"])
    if not path.endswith(YAML):
        return [ReproduceConfig(**options, settings=settings)]
    entries = read_yaml_file(path, "table")
    if not (isinstance(entries, list) and entries):
        raise ConfigError(
            "A plan must be a list of entries such as {table: he2016-table2, runs: 3}. "
            f"Received: {path}, which has {'none' if entries in (None, []) else 'no list'}."
        )
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            _check_entry(entry, [*names, "set"])
            own = {name: value for name, value in entry.items() if name != "set"}
            both = {**settings, **entry.get("set", {})}
            found.append(ReproduceConfig(**{**options, **own}, settings=both))
        except ConfigError as error:
            raise ConfigError(f"{path}, entry {number}: {error}") from None
    return found


def _check_entry(entry, names):
    """That an entry is a table with options of `reproduce`."""
    if not isinstance(entry, dict) or "table" not in entry:
        raise ConfigError(
            "An entry must name its table, as {table: he2016-table2, runs: 3}. "
            f"Received: {entry!r}."
        )
    for name, value in entry.items():
        if name not in names:
            raise ConfigError(
                f"An entry has the options {quoted(names)}. Received: {name}={value!r}."
                f"{near(name, names)}"
            )
    given = entry.get("set", {})
    require(isinstance(given, dict), "set", given, "a mapping from PART.FIELD to a value")


def _show_schedule(planned, stream) -> None:
    titles = ("folder", "rows", "runs left", "steps", "s per step", "time", "fit")
    rows = [
        (
            str(one.config.folder),
            one.config.row,
            str(one.runs),
            f"{one.steps:,}",
            f"{one.step_seconds:.3f}" if one.steps else "",
            duration(3600 * one.hours),
            "done" if not one.runs else f"{one.fits} of {one.runs}",
        )
        for one in planned
    ]
    _print_table(titles, rows, markdown=False, numbers=5, stream=stream)
    runs, fits, hours = (sum(one[k] for one in planned) for k in (1, 5, 4))
    console = make_console(stream)
    console.print(f"{runs} runs, about {duration(3600 * hours)}; {fits} fit.", soft_wrap=True)


def _init_study(arguments) -> None:
    console = make_console(sys.stderr if arguments.json else sys.stdout)
    import_keras_quietly()
    from keras_preact.papers import init_study

    names = ("data", "seeds", "epochs", "out")
    study = init_study(**{name: arguments[name] for name in names}, console=console)
    if arguments.json:
        rows = json.loads(study.frame.to_json(orient="records"))
        print(json.dumps({"sentence": study.sentence, "rows": rows}))
        return
    _show(study.frame)
    console.print(f"{study.sentence}\n{study.folder}: table.csv, curves.png", soft_wrap=True)


def _show(frame) -> None:
    titles = ("layers", "initialisation", "loss / ln K", "test error", "begins", "outcome", "paper")
    rows = []
    for row in frame.itertuples():
        loss = f"{row.loss:.3f} ({row.loss_least:.3f} to {row.loss_greatest:.3f})"
        error = f"{row.error:.1%} ({row.error_least:.1%} to {row.error_greatest:.1%})"
        begins = "never" if row.begins != row.begins else f"epoch {row.begins:.1f}"
        layers = str(row.layers)
        rows.append((layers, row.initialisation, loss, error, begins, row.outcome, row.paper))
    _print_table(titles, rows, markdown=False, numbers=0)


def _papers_arguments(command) -> None:
    table = "name of a table, such as he2016-table1; all tables are listed if not given"
    command.add_argument("table", nargs="?", default=None, help=table)
    command.add_argument("--row", type=str, default="*", help="row name or shell-style pattern")
    command.add_argument(
        "--json", action="store_true", help="print one JSON object per table or row"
    )
    command.add_argument("--markdown", action="store_true", help="print a Markdown table")


def _reproduce_arguments(command) -> None:
    from keras_preact.papers import ReproduceConfig

    words = "such as he2016-table1; keras-preact papers lists them; or a plan, a YAML file of "
    words += "several with their options, the most valuable first"
    command.add_argument("table", help=words)
    add_fields(command, ReproduceConfig, leave_out=("table", "settings"))
    add_settings(command)
    words = "train only the runs that fit into so many hours from now, as measured on this machine"
    command.add_argument("--hours", type=float, default=None, metavar="FLOAT", help=words)
    words = "processes that train at once, each with runs of its own; they divide the processors, "
    words += "or the GPUs, among them"
    command.add_argument("--processes", type=int, default=1, metavar="INT", help=words)
    words = "time a few steps of each network, say what would fit, and keep nothing"
    command.add_argument("--dry-run", action="store_true", help=words)
    help_text = "print one JSON object per table; everything else goes to standard error"
    command.add_argument("--json", action="store_true", help=help_text)


def _init_study_arguments(command) -> None:
    data = "digits, a tensorflow-datasets name, folder:PATH, csv:PATH, ...; resized to 16 x 16"
    command.add_argument("--data", type=str, default="digits", help=data)
    seeds = "runs of each network and initialisation"
    command.add_argument("--seeds", type=int, default=3, help=seeds)
    epochs = "passes over the training images"
    command.add_argument("--epochs", type=int, default=24, help=epochs)
    out = "folder for runs, table and plot; runs/init-study-DATA if not given"
    command.add_argument("--out", type=str, default=None, help=out)
    command.add_argument("--json", action="store_true", help="print one JSON object")


COMMANDS = {
    "papers": (
        _papers,
        _papers_arguments,
        "list the papers' tables and figures, or show the rows of one",
    ),
    "reproduce": (
        _reproduce,
        _reproduce_arguments,
        "train the rows of a paper's table and compare them with the paper's values",
    ),
    "init-study": (
        _init_study,
        _init_study_arguments,
        "compare He and Xavier initialisation at 22 and 30 layers (PReLU paper, Figures 2, 3)",
    ),
}
