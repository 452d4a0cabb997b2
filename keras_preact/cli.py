"""`keras-preact ...`: parses, calls one function, prints; heavy imports wait until needed."""

import dataclasses
import json
import os
import sys
import typing

import jsonargparse

from keras_preact.console import make_console, reading_bar
from keras_preact.errors import (
    ConfigError,
    DataError,
    DeviceError,
    DivergedError,
    SaveError,
    StoppedError,
    near,
)

_EPILOG = (
    "exit codes: 0 done, 1 a fault of this program, the disk or a device, 2 usage, 3 data, 4 "
    "training diverged, 130 interrupted, 143 stopped by SIGTERM"
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code.

    Args:
        argv: Arguments; those of the process if not given.

    Returns:
        0 done, 1 a disk that cannot be written, 2 a mistake in an argument, 3 in the data, 4
        training diverged, 130 interrupted, 143 stopped by SIGTERM.

    Example:
        >>> from keras_preact.cli import main
        >>> main(["models", "resnet110v2", "--json"])
        {"name": "resnet110v2", "depth": 110, "parameters": 1727962, "multiply_adds": 252887680}
        0
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = _parser()
    if not argv:
        parser.print_help()
        return 2
    try:
        arguments = parser.parse_args(argv)
        run, _, _ = _COMMANDS[arguments.subcommand]
        run(arguments[arguments.subcommand])
    except jsonargparse.ArgumentError as error:
        return _fail(_usage(str(error), argv), 2)
    except BrokenPipeError:  # as in `keras-preact models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except BaseException as error:
        code, message = exit_code(error)
        if message is None:
            raise
        return _fail(message, code)
    return 0


def exit_code(error: BaseException) -> tuple[int, str | None]:
    """What the command line ends with after an error, and the line it says.

    Returns:
        An exit code and a message; `None` for a fault of this program, which wants its traceback.
    """
    if isinstance(
        error, (ConfigError, DataError, DeviceError, DivergedError, SaveError, StoppedError)
    ):
        return error.exit_code, str(error)
    if isinstance(error, KeyboardInterrupt):
        return 130, "Interrupted."
    return 1, None


def _train(arguments) -> None:
    config = _train_config(arguments)
    console = make_console(sys.stderr if arguments.json else sys.stdout)
    _import_keras_quietly()
    if arguments.dry_run:
        _dry_run(config, console, arguments.json)
        return
    from keras_preact.training import train

    result = train(config, console=console)
    if not result.run:
        console.print("Done; the first of the machines writes the run.")
        return
    if arguments.json:
        print(json.dumps(dataclasses.asdict(result)))
        return
    accuracy = f"[bold]{result.test_accuracy:.2%}[/bold] of the {result.test_images:,} test images"
    speed = f"{result.images_per_second:,.0f} training images/s"
    console.print(
        f"\n{accuracy} are classified correctly, after {result.seconds:.0f} s ({speed}).",
        markup=True,
        soft_wrap=True,
    )
    served = ", saved_model/" if os.path.isdir(f"{result.run}/saved_model") else ""
    for line in (
        f"Run folder: {result.run}",
        f"  model.keras{served}: the trained network; it takes raw images, values 0 to 255",
        "  curves.png, confusion_matrix.png, predictions.png",
        "  log.jsonl, steps.jsonl, checkpoints/, result.json, classes.json, citations.bib",
        "  config.json, command.txt, resolved.json, data.json, env.json",
        "Again, with other settings:",
        f"  keras-preact train --config {result.run}/config.json --epochs 60 --out NEW_FOLDER",
        "Next, your own images (one folder a class):",
        "  keras-preact check-data PATH",
        "  keras-preact train --data folder:PATH --model resnet20v2",
    ):
        console.print(line, soft_wrap=True)


def _dry_run(config, console, as_json) -> None:
    from keras_preact.training import dry_run

    found = dry_run(config, console=console)
    if as_json:
        print(json.dumps(dataclasses.asdict(found)))
        return
    for line in (
        f"{found.parameters:,} parameters, {found.steps:,} steps of {found.batch_size} images",
        f"first step {found.first_step_seconds:.1f} s, then {found.step_seconds:.3f} s a step",
        f"an epoch about {_duration(found.epoch_seconds)}, "
        f"{_duration(found.evaluation_seconds)} of it for the test images",
        f"all epochs about {_duration(3600 * found.total_hours)}",
        f"a checkpoint of {found.checkpoint_mb:.1f} MB was written and read back in "
        f"{found.checkpoint_seconds:.2f} s",
        f"{found.memory_gb:.1f} GB of memory at most; nothing was kept",
    ):
        console.print(line, soft_wrap=True)


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _train_config(arguments):
    from keras_preact.training.config import TrainConfig

    values = {name: arguments[name] for name in TrainConfig.field_names()}
    values["settings"] = {**values["settings"], **_settings(arguments["set"])}
    return TrainConfig(**values)


def _models(arguments) -> None:
    from rich import box
    from rich.table import Table

    from keras_preact.applications import list_models, model_info

    infos = [model_info(name) for name in list_models(arguments.pattern)]
    if not infos:
        raise ConfigError(
            "`pattern` must match a network's name; without it all are listed. "
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
    make_console(sys.stdout, least_width=130).print(table)


def _check_data(arguments) -> None:
    from rich.table import Table

    from keras_preact.data import check_data

    console = make_console(sys.stdout)
    with reading_bar(console, f"reading {arguments.path}") as on_progress:
        report = check_data(arguments.path, on_progress)
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
        console.print(line, soft_wrap=True)
    if not report.ok:
        raise DataError(f"{report.name} cannot be used as it is: see above.")


def _doctor(arguments) -> None:
    from rich.table import Table

    _import_keras_quietly()
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
        raise DeviceError("Training on these devices is not right: see above.")


def _runs(arguments) -> None:
    from rich import box
    from rich.table import Table

    from keras_preact.evaluation.runs import runs_frame

    frame = runs_frame(arguments.folder)
    if arguments.csv:
        frame.to_csv(sys.stdout, index=False)
        return
    table = Table(box=box.MARKDOWN if arguments.markdown else None)
    for title in ("run", "state", "network", "data", "recipe"):
        table.add_column(title, overflow="fold")
    for title in ("epochs", "accuracy", "best", "images/s", "time"):
        table.add_column(title, justify="right")
    for row in frame.fillna({"images_per_second": 0}).itertuples():
        accuracies = [f"{x:.2%}" if x == x else "" for x in (row.test_accuracy, row.best_accuracy)]
        table.add_row(
            row.run,
            row.state,
            row.model,
            row.data,
            row.recipe,
            f"{row.epochs}/{row.epochs_planned}",
            *accuracies,
            f"{row.images_per_second:,.0f}",
            _duration(row.seconds),
        )
    make_console(sys.stdout, least_width=130).print(table)


def _compare(arguments) -> None:
    from keras_preact.evaluation.plots import save_figure
    from keras_preact.evaluation.runs import plot_runs

    save_figure(plot_runs(arguments.runs), arguments.out)
    make_console(sys.stdout).print(f"curves of {len(arguments.runs)} runs: {arguments.out}")


def _train_arguments(command) -> None:
    """Every field of `TrainConfig`, with its own words and its own checks."""
    import docstring_parser

    from keras_preact.training.config import TrainConfig

    command.add_argument(
        "--config", action="config", help="YAML or JSON file of these options: a run's config.json"
    )
    command.add_argument("--settings", type=dict, default={}, help=jsonargparse.SUPPRESS)
    words = {p.arg_name: p.description for p in docstring_parser.parse(TrainConfig.__doc__).params}
    hints = typing.get_type_hints(TrainConfig)
    for field in dataclasses.fields(TrainConfig):
        if field.name == "settings":
            continue
        takes_text = isinstance(field.default, str) or hints[field.name] == str | None
        command.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=str if takes_text else typing.Any,
            default=field.default,
            metavar=field.name.upper(),
            help=" ".join(words[field.name].replace("`", "").split()),
        )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PART.FIELD=VALUE",
        help="any other field, its part network, recipe, data or augmentation; may be repeated",
    )
    help_text = "build all, train a few steps, say how long an epoch takes, and keep nothing"
    command.add_argument("--dry-run", action="store_true", help=help_text)
    help_text = "one line with the result on standard output, all else on standard error"
    command.add_argument("--json", action="store_true", help=help_text)


def _models_arguments(command) -> None:
    command.add_argument("pattern", nargs="?", default="*", help='such as "resnet*v2"')
    command.add_argument("--markdown", action="store_true", help="a Markdown table")
    command.add_argument("--json", action="store_true", help="one JSON object a network")


def _check_data_arguments(command) -> None:
    command.add_argument("path", help="folder of images, folder:PATH, or npz:PATH")


def _doctor_arguments(command) -> None:
    command.add_argument("--json", action="store_true", help="one JSON array")


def _runs_arguments(command) -> None:
    command.add_argument("folder", nargs="?", default="runs", help="folder of run folders")
    command.add_argument("--markdown", action="store_true", help="a Markdown table")
    command.add_argument("--csv", action="store_true", help="all columns, as CSV")


def _compare_arguments(command) -> None:
    command.add_argument("runs", nargs="+", metavar="RUN", help="run folders")
    command.add_argument("--out", default="compare.png", help="picture to write")


#: What each command runs, the arguments it takes, and what it does in words.
_COMMANDS = {
    "train": (
        _train,
        _train_arguments,
        "train a network on images: with no arguments ResNet-20 V2 on real digits",
    ),
    "runs": (_runs, _runs_arguments, "list the runs in a folder"),
    "compare": (_compare, _compare_arguments, "plot the curves of several runs"),
    "doctor": (
        _doctor,
        _doctor_arguments,
        "say what this machine offers and check training on all of its devices",
    ),
    "models": (_models, _models_arguments, "list the networks"),
    "check-data": (
        _check_data,
        _check_data_arguments,
        "look through a folder of images or a file of arrays",
    ),
}


def _parser():
    from keras_preact import __version__

    parser = jsonargparse.ArgumentParser(
        prog="keras-preact",
        description="Residual networks in every variant of the papers by He et al.",
        epilog=_EPILOG,
        exit_on_error=False,
    )
    parser.add_argument("--version", action="version", version=f"keras-preact {__version__}")
    commands = parser.add_subcommands()
    for name, (_, add_arguments, words) in _COMMANDS.items():
        command = jsonargparse.ArgumentParser(
            description=words, epilog=_EPILOG, exit_on_error=False
        )
        add_arguments(command)
        commands.add_subcommand(name, command, help=words)
    return parser


def _settings(assignments) -> dict:
    """`["a.b=1", ...]` as `{"a.b": 1, ...}`; values are JSON or YAML (which reads 1e-4 as text)."""
    import yaml

    settings = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"`--set` takes PART.FIELD=VALUE. Received: --set {assignment}")
        try:
            settings[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            try:
                settings[name.strip()] = yaml.safe_load(value)
            except yaml.YAMLError:
                expected = "`--set` takes a YAML value"
                raise ConfigError(f"{expected}. Received: --set {assignment}") from None
    return settings


def _usage(message: str, argv) -> str:
    """jsonargparse's message in one line, with a near match for an unknown option."""
    message = " ".join(message.split())
    unknown = [word.partition("=")[0] for word in message.split() if word.startswith("--")]
    if "unrecognized" in message and unknown and argv[0] in _COMMANDS:
        command = jsonargparse.ArgumentParser()
        _COMMANDS[argv[0]][1](command)
        hint = near(unknown[0], list(command._option_string_actions))
        message += f".{hint} `keras-preact {argv[0]} --help` lists the options."
    return message


def _fail(message: str, code: int) -> int:
    print(f"keras-preact: {message}", file=sys.stderr)
    return code


def _import_keras_quietly() -> None:
    """Imports Keras without what TensorFlow's C++ side says about missing GPU libraries."""
    has_gpu = os.path.exists("/dev/nvidia0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if has_gpu else "3")
    sys.stderr.flush()
    kept = os.dup(2)
    silent = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silent, 2)
        import keras  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silent)
