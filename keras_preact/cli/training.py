"""`train`, `runs`, `compare` and `doctor`."""

import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import jsonargparse

from keras_preact.cli.arguments import (
    add_fields,
    add_settings,
    settings_of,
    write_page,
)
from keras_preact.console import duration, import_keras_quietly, make_console, say
from keras_preact.errors import DeviceError
from keras_preact.files import to_csv

if TYPE_CHECKING:
    from jsonargparse import Namespace


def _train(arguments) -> None:
    config = train_config(arguments)
    console = make_console(sys.stderr if arguments.json else sys.stdout)
    import_keras_quietly()
    if config.extend:
        config = _extending(config)
    if arguments.dry_run:
        _dry_run(config, console, arguments.json)
        return
    from keras_preact.training import train

    result = train(config, console=console, loggers=_watching(arguments))
    if not result.run:
        console.print("Done; the run folder is on the chief (index 0).")
        return
    if arguments.json:
        print(json.dumps(dataclasses.asdict(result)))
        return
    _say_scores(result, console)
    served = ", saved_model/" if os.path.isdir(f"{result.run}/saved_model") else ""
    from keras_preact.data.load import source

    own = source(result.data)[0] != "name"
    for line in (
        f"Run folder: {result.run}",
        f"  model.keras{served}: the trained network; it takes raw images, values 0 to 255",
        "  curves.png, confusion_matrix.png, predictions.png",
        "  log.jsonl, steps.jsonl, checkpoints/, result.json, classes.json, citations.bib",
        "  config.json, command.txt, resolved.json, data.json, env.json, geometry.json, README.md",
        "To train again with other settings:",
        f"  keras-preact train --config {result.run}/config.json --epochs 60 --out NEW_FOLDER",
        *(_USE if own else _OWN_IMAGES),
    ):
        console.print(line, soft_wrap=True)


def _watching(arguments):
    """The loggers that look inside while the network trains."""
    if arguments.watch is None:
        return ()
    from keras_preact.analysis import Watch
    from keras_preact.analysis.config import parts_of

    return [Watch(parts_of(arguments.watch), arguments.every)]


def _extending(config):
    """The config, with whatever was not given taken from the run to extend."""
    from keras_preact.training.extend import config_of

    given, usual = config.to_dict(), type(config)().to_dict()
    given = {name: value for name, value in given.items() if value != usual[name]}
    return config_of(given.pop("extend"), **given)


#: What to do next: after a named data set, one's own images; after these, use the network.
_OWN_IMAGES = (
    "Next, your own images (one folder per class):",
    "  keras-preact check-data PATH",
    "  keras-preact train --data folder:PATH --model resnet20v2",
)
_USE = (
    "Next, use it:",
    "  keras-preact predict RUN PHOTO...",
    "  keras-preact export RUN --format saved_model,litert",
)


def _say_scores(result, console) -> None:
    from rich.markup import escape

    from keras_preact.evaluation.classes import BY_CLASS, classes_in_words

    accuracy = f"[bold]{result.test_accuracy:.2%}[/bold] of the {result.test_images:,} test images"
    speed = f"{result.images_per_second:,.0f} training images/s"
    console.print(
        f"\n{accuracy} ({escape(result.data)}, {result.tested}) are classified correctly, after "
        f"{result.seconds:.0f} s ({speed}).",
        markup=True,
        soft_wrap=True,
    )
    by_class = [getattr(result, name) for name in BY_CLASS]
    if None not in by_class:  # of a run that an early version finished
        say(console, f"By class: {classes_in_words(result.test_accuracy, *by_class)}.")
    if result.float32_accuracy is not None:
        say(
            console,
            f"This is in {result.dtype}. The saved network computes in float32: "
            f"{result.float32_accuracy:.2%}, scores {result.float32_difference:.1g} apart at most.",
        )


def _dry_run(config, console, as_json) -> None:
    from keras_preact.training import dry_run

    found = dry_run(config, console=console)
    if as_json:
        print(json.dumps(dataclasses.asdict(found)))
        return
    for line in (
        f"{found.parameters:,} parameters, {found.steps:,} step{'s' * (found.steps > 1)} of "
        f"{found.batch_size} images",
        f"first step {found.first_step_seconds:.1f} s, then {found.step_seconds:.3f} s per step",
        f"one epoch about {duration(found.epoch_seconds)}, "
        f"{duration(found.evaluation_seconds)} of it for the test images",
        f"all epochs about {duration(3600 * found.total_hours)}",
        f"a checkpoint of {found.checkpoint_mb:.1f} MB was written and read back in "
        f"{found.checkpoint_seconds:.2f} s",
        f"peak memory {found.memory_gb:.1f} GB; nothing was kept",
    ):
        console.print(line, soft_wrap=True)


def train_config(arguments: "Namespace") -> Any:
    """The `TrainConfig` of parsed arguments."""
    from keras_preact.training.config import TrainConfig

    values = {name: arguments[name] for name in TrainConfig.field_names()}
    values["settings"] = {**values["settings"], **settings_of(arguments["set"])}
    return TrainConfig(**values)


def _doctor(arguments) -> None:
    from rich.table import Table

    import_keras_quietly()
    from keras_preact.training import doctor

    rows = doctor()
    if arguments.json:
        print(json.dumps(rows))
    else:
        table = Table(box=None, show_header=False)
        for row in rows:
            mark = {True: "[green]ok[/]", False: "[red]wrong[/]", None: ""}[row["ok"]]
            table.add_row(row["what"], row["found"].replace("[", r"\["), mark)
        make_console(sys.stdout, least_width=100).print(table, markup=True)
    if any(row["ok"] is False for row in rows):
        raise DeviceError("Something is wrong on this machine: see above.")


def _runs(arguments) -> None:
    from rich import box
    from rich.table import Table

    from keras_preact.evaluation.runs import runs_frame

    frame = runs_frame(arguments.folder)
    if arguments.csv:
        print(to_csv(frame), end="")
        return
    table = Table(box=box.MARKDOWN if arguments.markdown else None)
    for title in ("run", "state", "network", "data", "recipe"):
        table.add_column(title, overflow="fold")
    for title in ("epochs", "accuracy", "balanced", "worst", "best", "images/s", "time", "lost"):
        table.add_column(title, justify="right")
    for row in frame.fillna({"images_per_second": 0}).itertuples():
        shares = (row.test_accuracy, row.balanced_accuracy, row.worst_recall, row.best_accuracy)
        accuracies = [f"{x:.2%}" if x == x else "" for x in shares]
        table.add_row(
            row.run,
            row.state,
            row.model,
            row.data,
            row.recipe,
            f"{row.epochs}/{row.epochs_planned}",
            *accuracies,
            f"{row.images_per_second:,.0f}",
            duration(row.seconds),
            duration(row.seconds_lost) if row.seconds_lost else "",
        )
    make_console(sys.stdout, least_width=140).print(table)


def _compare(arguments) -> None:
    from keras_preact.evaluation import compare_page, plot_runs, save_figure

    console = make_console(sys.stdout)
    if arguments.html:
        write_page(arguments.html, compare_page(arguments.runs))
        say(console, f"page: {arguments.html}")
    if arguments.out or not arguments.html:
        out = arguments.out or "compare.png"
        save_figure(plot_runs(arguments.runs), out)
        say(console, f"curves of {len(arguments.runs)} runs: {out}")


def _train_arguments(command) -> None:
    from keras_preact.training.config import TrainConfig

    words = "YAML or JSON file of these options, such as a run's config.json"
    command.add_argument("--config", action="config", metavar="FILE", help=words)
    command._option_string_actions["--print_config"].help = "print these options as YAML and exit"
    command.add_argument("--settings", type=dict, default={}, help=jsonargparse.SUPPRESS)
    add_fields(command, TrainConfig, leave_out=("settings",))
    add_settings(command)
    words = "look inside as it trains, tables and pictures in the run folder: signals, gates, "
    words += "lesions, refinement, or several separated by commas"
    command.add_argument("--watch", type=str, default=None, metavar="PARTS", help=words)
    words = "steps between two looks of --watch"
    command.add_argument("--every", type=int, default=100, metavar="STEPS", help=words)
    help_text = "build everything, time a few training steps, and keep nothing"
    command.add_argument("--dry-run", action="store_true", help=help_text)
    help_text = "print the result as one JSON line; everything else goes to standard error"
    command.add_argument("--json", action="store_true", help=help_text)


def _doctor_arguments(command) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON array")


def _runs_arguments(command) -> None:
    command.add_argument(
        "folder", nargs="?", default="runs", help="folder that holds the run folders"
    )
    command.add_argument("--markdown", action="store_true", help="print a Markdown table")
    command.add_argument("--csv", action="store_true", help="print all columns as CSV")


def _compare_arguments(command) -> None:
    command.add_argument("runs", nargs="+", metavar="RUN", help="run folders")
    words = "write a page of curves, results, and differences in config, images and machine"
    command.add_argument("--html", metavar="FILE", help=words)
    words = "write a plot of the curves; compare.png unless --html is given"
    command.add_argument("--out", metavar="FILE", help=words)


COMMANDS = {
    "train": (
        _train,
        _train_arguments,
        "train a network on images; with no arguments, ResNet-20 V2 on digits",
    ),
    "runs": (_runs, _runs_arguments, "list the runs in a folder"),
    "compare": (
        _compare,
        _compare_arguments,
        "compare runs: their curves and, on a page, everything that differs",
    ),
    "doctor": (
        _doctor,
        _doctor_arguments,
        "report what this machine offers, and test the main workflow on a small network",
    ),
}
