"""`models`, `recipes` and `check-data`."""

import json
import os
import sys

from keras_preact.cli.arguments import add_data_set, data_options, write_page
from keras_preact.console import make_console, reading_bar, say
from keras_preact.errors import ConfigError, DataError, near
from keras_preact.files import make_folder


def _models(arguments) -> None:
    from rich import box
    from rich.table import Table

    from keras_preact.applications import list_models, model_info

    infos = [model_info(name) for name in list_models(arguments.pattern)]
    if not infos:
        raise ConfigError(
            "`pattern` must match the name of a network; without it all are listed. "
            f"Received: pattern={arguments.pattern!r}.{near(arguments.pattern, list_models())}"
        )
    if arguments.json:
        for info in infos:
            line = {"name": info.name, "depth": info.config.depth}
            line |= {"parameters": info.parameters, "multiply_adds": info.multiply_adds}
            print(json.dumps(line))
        return
    table = Table(box=box.MARKDOWN if arguments.markdown else None)
    for title, justify in {
        "name": "left",
        "function": "left",
        "layers": "right",
        "parameters": "right",
        "multiply-adds": "right",
        "image": "right",
        "source": "left",
    }.items():
        table.add_column(title, justify=justify)
    for info in infos:
        table.add_row(
            info.name,
            info.builder,
            f"{info.config.depth}",
            f"{info.parameters:,}",
            f"{info.multiply_adds / 1e6:,.0f} M",
            "x".join(map(str, info.input_shape)),
            info.reference,
        )
    make_console(sys.stdout, least_width=160).print(table)


def _recipes(arguments) -> None:
    from rich.table import Table

    from keras_preact.training import RECIPES, recipe_card
    from keras_preact.training.cards import fields_of, words_of

    names = [arguments.recipe] if arguments.recipe else [*RECIPES]
    cards = {name: recipe_card(name) for name in names}
    if arguments.json:
        for name, card in cards.items():
            print(json.dumps({"name": name, **words_of(card), "fields": card.recipe.to_dict()}))
        return
    console = make_console(sys.stdout, least_width=100)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, card in cards.items():
        if not arguments.recipe:
            table.add_row(name, card.what)
            continue
        console.print(f"{name}: {card.what}", soft_wrap=True)
        fields = ", ".join(f"{key}={value}" for key, value in fields_of(name).items())
        for title, text in {**words_of(card), "fields": fields or "the defaults"}.items():
            if title != "what" and text:
                table.add_row(title, text)
    console.print(table)


def _check_data(arguments) -> None:
    from keras_preact.data import DataOptions, check_data

    options = DataOptions().replace(**data_options(arguments.set))
    console = make_console(sys.stderr if arguments.json else sys.stdout)
    if arguments.html:
        make_folder(os.path.dirname(arguments.html) or ".", "The page")
    with reading_bar(console, f"reading {arguments.path}") as on_progress:
        report = check_data(arguments.path, on_progress, options)
    if arguments.html:
        from keras_preact.evaluation.data_page import data_page

        write_page(arguments.html, data_page(report))
    if arguments.json:
        print(json.dumps(report.to_dict()))
    else:
        _show(report, console)
    if arguments.html:
        say(console, f"page: {arguments.html}")
    if not report.ok:
        why = " ".join(report.problems) if arguments.json else "see above."
        raise DataError(f"{report.name} cannot be used as it is: {why}")


def _show(report, console) -> None:
    from rich.table import Table

    rows = report.rows()
    table = Table(box=None)
    for column in rows[0] if rows else ():
        table.add_column(column, justify="left" if column == "class" else "right")
    for row in rows:
        table.add_row(
            *(f"{value:,}" if isinstance(value, int) else value for value in row.values())
        )
    console.print(table)
    for line in report.summary():
        say(console, line)


def _models_arguments(command) -> None:
    command.add_argument(
        "pattern", nargs="?", default="*", help='shell-style pattern of names, such as "resnet*v2"'
    )
    command.add_argument("--markdown", action="store_true", help="print a Markdown table")
    command.add_argument("--json", action="store_true", help="print one JSON object per network")


def _check_data_arguments(command) -> None:
    from keras_preact.data.columns import TABLES

    tables = ", ".join(f".{kind}" for kind in TABLES)
    command.add_argument("path", help=f"folder of images, table ({tables}) or .npz file")
    add_data_set(command)
    command.add_argument("--html", metavar="FILE", help="write a page with sample images")
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _recipes_arguments(command) -> None:
    command.add_argument("recipe", nargs="?", help="show this recipe; all are listed if not given")
    command.add_argument("--json", action="store_true", help="print one JSON object per recipe")


COMMANDS = {
    "models": (_models, _models_arguments, "list the networks"),
    "recipes": (_recipes, _recipes_arguments, "list the recipes, or show one in detail"),
    "check-data": (
        _check_data,
        _check_data_arguments,
        "check a folder, a table or a file of images before training",
    ),
}
