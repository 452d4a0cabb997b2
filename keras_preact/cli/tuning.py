"""`tune`: the named searches, and the report of one."""

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from keras_preact.cli.arguments import (
    YAML,
    add_fields,
    add_settings,
    read_yaml,
    read_yaml_file,
    settings_of,
)
from keras_preact.cli.help import Parser
from keras_preact.console import duration, make_console
from keras_preact.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import Namespace

_SEARCHES = {
    "gating-bias": "initial bias of the gates, as in the 2016 paper",
    "depth": "number of units, width and placement; --budget makes the costs equal",
    "variant": "shortcut, placement, activation, initialiser, stochastic depth and normalisation",
    "fields": "the dimensions given by --space",
}


def _tune(arguments) -> None:
    name = arguments.subcommand
    if name is None:
        raise ConfigError(f"`tune` needs one of {', '.join(_SEARCHES)}, report. Received: nothing.")
    chosen = arguments[name]
    if name == "report":
        _report(chosen)
        return
    config = tune_config(name, chosen)
    console = make_console(sys.stderr if chosen.json else sys.stdout)
    from keras_preact.tuning import tune

    result = tune(config, console=console)
    if result is None:
        console.print("Done; the chief writes the results.")
    elif chosen.json:
        print(json.dumps(dataclasses.asdict(result)))
    else:
        _show(result, console)


def _show(result, console) -> None:
    from keras_preact.run import RunFolder
    from keras_preact.tuning import trials_frame
    from keras_preact.tuning.config import TuneConfig
    from keras_preact.tuning.report import agreement_line, comparison, final_words

    config = TuneConfig.from_dict(RunFolder(result.folder).read_json("search.json"))
    frame = trials_frame(result.folder)
    _table(frame, config)
    found = comparison(frame, config)
    lines = [agreement_line(found)] if found else []
    if result.test_error is not None:
        best = ", ".join(f"{name}={value}" for name, value in result.best.items())
        words = final_words(dataclasses.asdict(result))
        lines.append(f"{best}, trained on all training images: {words}")
    failed = f", {result.failed} of which failed" if result.failed else ""
    lines.append(f"{result.trials} trials{failed}, in {duration(result.seconds)}")
    lines.append(f"{result.folder}: report.html, trials.csv, trials.parquet")
    for line in lines:
        console.print(line, soft_wrap=True)


def _report(arguments) -> None:
    from keras_preact.run import RunFolder
    from keras_preact.tuning import trials_frame, write_report
    from keras_preact.tuning.config import TuneConfig

    config = TuneConfig.from_dict(RunFolder(arguments.folder).read_json("search.json"))
    frame = trials_frame(arguments.folder)
    if arguments.json:
        print(frame.to_json(orient="records", lines=True, date_format="iso"), end="")
    else:
        _table(frame, config)
    for path in write_report(arguments.folder):
        print(path, file=sys.stderr if arguments.json else sys.stdout)


def _table(frame, config) -> None:
    from rich import box
    from rich.table import Table

    from keras_preact.tuning.report import table_rows

    titles, rows = table_rows(frame, config)
    table = Table(box=box.SIMPLE_HEAD)
    words = 1 + len(config.dimensions())
    for k, title in enumerate(titles):
        short = title.rpartition(".")[2]
        table.add_column(short, justify="left" if k < words else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    make_console(sys.stdout, least_width=130).print(table)


def tune_config(search: str, arguments: "Namespace") -> Any:
    """The `TuneConfig` of parsed arguments."""
    from keras_preact.tuning.config import TuneConfig

    names = _training_fields()
    training = {name: arguments[name] for name in names if arguments[name] is not None}
    given = settings_of(arguments["set"])
    plain = {name: value for name, value in given.items() if "." not in name}
    training |= plain
    settings = {name: value for name, value in given.items() if "." in name}
    if settings:
        training["settings"] = settings
    own = set(TuneConfig.field_names()) - {"search", "training", "space"}
    fields = {name: arguments[name] for name in own}
    return TuneConfig(search, training=training, space=_space(arguments["space"]), **fields)


def _training_fields():
    """Fields of `TrainConfig` that are options here: all that the search does not set."""
    from keras_preact.training.config import TrainConfig
    from keras_preact.tuning.config import OF_THE_SEARCH

    return [n for n in TrainConfig.field_names() if n not in (*OF_THE_SEARCH, "settings")]


def _space(given):
    """The search space, from a YAML or JSON file or from such text itself."""
    if given is None:
        return {}
    if given.endswith(YAML):
        found = read_yaml_file(given, "--space")
    else:
        found = read_yaml(given, f"--space {given}")
    if not isinstance(found, dict):
        raise ConfigError(f"`--space` takes a mapping from names to values. Received: {given}.")
    return found


def _tune_arguments(command) -> None:
    from keras_preact.training.config import TrainConfig
    from keras_preact.tuning.config import TuneConfig

    searches = command.add_subcommands(required=False)
    for name, words in _SEARCHES.items():
        search = Parser(f"tune {name}", description=words)
        add_fields(search, TuneConfig, leave_out=("search", "training", "space"))
        search.add_argument(
            "--space",
            type=str,
            default=None,
            metavar="FILE",
            help="YAML or JSON (file or text) of dimensions, each NAME: [VALUES] or "
            "NAME: {low, high, step, log}",
        )
        leave_out = {*TrainConfig.field_names()} - {*_training_fields()}
        add_fields(search, TrainConfig, leave_out, default=None)
        add_settings(search)
        help_text = "print the result as one JSON line; everything else goes to standard error"
        search.add_argument("--json", action="store_true", help=help_text)
        searches.add_subcommand(name, search, help=words)
    report = Parser(description="tables, plots and an HTML page of a search")
    report.add_argument("folder", help="folder of a search, whether it is still running or not")
    report.add_argument("--json", action="store_true", help="print one JSON object per trial")
    searches.add_subcommand("report", report, help="tables, plots and an HTML page of a search")


COMMANDS = {
    "tune": (
        _tune,
        _tune_arguments,
        "search with KerasTuner: gate bias, depth, variant or any fields",
    )
}
