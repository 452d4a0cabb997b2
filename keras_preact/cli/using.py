"""`evaluate`, `predict` and `export`: what is done with a trained network."""

import dataclasses
import json
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from keras_preact.checked import require
from keras_preact.cli.arguments import (
    add_data_set,
    add_geometry,
    data_options,
    geometry_of,
    read_yaml,
)
from keras_preact.console import import_keras_quietly, make_console, reading_bar, say
from keras_preact.errors import DataError, shown
from keras_preact.files import make_folder, to_csv
from keras_preact.run import folder_name

if TYPE_CHECKING:
    from jsonargparse import Namespace

#: Help of options that other commands have too.
DTYPE = "dtype policy, or auto: as trained where this machine is fast in that, else float32"
NETWORK = "folder of a finished run, a .keras or .safetensors file, or hf://user/name"

#: Most classes in a table on the terminal.
_CLASSES = 30

#: Side of the images on the sheet of mistakes, where neither the network nor a crop has one.
_SHOWN = 224

#: Options of the data that are a part of a `Geometry`, in place of the network's own.
_HOW_READ = ("interpolation", "crop", "range", "alpha", "orientation")

#: With so few classes the right one is always among the five most likely.
_ALL_RIGHT = 5


def _evaluate(arguments) -> None:
    console = make_console(sys.stderr if arguments.json else sys.stdout)
    how = views_config(arguments)
    if arguments.out:
        make_folder(arguments.out, "The evaluation")
    import_keras_quietly()
    from keras_preact.data import DataOptions
    from keras_preact.evaluation import ensemble, evaluate
    from keras_preact.training.devices import open_on_devices

    options = data_options(arguments.set)
    for name in ("image_size", "channels"):
        words = "left out: --size and --shorter change the size, and channels are the network's"
        require(name not in options, f"data.{name}", options.get(name), words)
    read = {name: options.pop(name) for name in _HOW_READ if name in options}
    first, geometry, loaded, found, dtypes = None, None, None, {}, {}
    for path in arguments.network:
        opened, predict = open_on_devices(path, arguments.devices, how.rewriting(), arguments.dtype)
        dtypes[str(path)] = opened.dtype.policy
        say(console, f"{path}: {_opened(opened)}")
        how.check_fits(opened.image_shape)
        known = DataOptions().fitted_to(how.geometry(opened.geometry))
        wanted = known.replace(**read).geometry
        views = how.views(wanted)
        if views and wanted.size is None:  # views are of whole images; those on the sheet of one
            wanted = wanted.changed(_SHOWN)
        first = first or opened
        options["channels"] = opened.image_shape[2]
        if (wanted, options["channels"]) != loaded:
            geometry, fitted = wanted, dataclasses.replace(first, geometry=wanted)
            loaded = wanted, options["channels"]
            with reading_bar(console, "reading images") as on_progress:
                data = fitted.load_data(arguments.data, on_progress, **options)
            for note in (f"images: {geometry}", *data.lines()):
                say(console, note)
        data = data.for_classes(opened.class_names)
        found[str(path)] = evaluate(
            predict, data.test, opened.class_names, arguments.batch_size, views
        )
    if len(found) > 1:
        found[f"all {len(found)} together"] = ensemble([*found.values()])
    if arguments.json:
        for name, evaluation in found.items():
            print(json.dumps({"network": name, **evaluation.summary()}))
    else:
        _show(found, console)
        say(console, f"Data: {data.name}, {len(data.test):,} images, {data.tested}.")
    out = arguments.out
    if not out and opened.run and len(found) == 1:
        own = opened.is_own(arguments.data)
        name = "evaluation" if own else f"evaluation-{folder_name(arguments.data[-80:])}"
        out = f"{arguments.network[0]}/{name}"
    if out:
        facts = {**how.to_dict(), "geometry": geometry.to_dict(), "dtypes": dtypes}
        _write(pathlib.Path(out), found, data, facts, console)


def _opened(trained):
    """How a network was opened."""
    computed = f"computed in {trained.dtype.policy} ({trained.dtype.reason})"
    return " ".join([f"{computed}.", *trained.notes]) if trained.notes else computed


def _show(found, console) -> None:
    from rich import box
    from rich.table import Table

    from keras_preact.evaluation.classes import BY_CLASS, classes_in_words

    table = Table(box=box.SIMPLE_HEAD)
    keys = {"top1_error": "top-1 error", "top5_error": "top-5 error"}
    keys |= {"calibration_error": "calibration error"}
    _, last = [*found.items()][-1]
    if len(last.class_names) <= _ALL_RIGHT:
        del keys["top5_error"]
    for title in ("network", *keys.values(), "correct", "images"):
        table.add_column(title, justify="left" if title == "network" else "right", overflow="fold")
    notes = []
    for name, evaluation in _short(found).items():
        f = evaluation.summary()
        if lost := f["images_without_scores"]:
            notes.append(
                f"{name}: {lost:,} images have scores that are not finite; they count as wrong."
            )
        by_class = (f[name] for name in BY_CLASS)
        notes.append(f"{name}: {classes_in_words(1 - f['top1_error'], *by_class)}.")
        notes.append(f"{name}: {_means(f)}.")
        shares = ["" if f[key] is None else f"{f[key]:.2%}" for key in keys]
        table.add_row(name, *shares, f"{f['top1_correct']:,}", f"{f['images']:,}")
    console.print(table)
    for note in notes:
        console.print(note, soft_wrap=True)
    classes = last.per_class().sort_values("recall", kind="stable")
    if len(classes) > _CLASSES:
        console.print(f"The {_CLASSES} classes with the lowest recall, of {len(classes)}:")
    console.print(_frame_table(classes.head(_CLASSES)))


def _short(found):
    """The evaluations by the last part of their path where that is enough to tell them apart."""
    names = [pathlib.Path(path).name or path for path in found]
    return dict(zip(names, found.values(), strict=True)) if len({*names}) == len(names) else found


def _means(figures) -> str:
    """The means over the classes, to print beside the balanced accuracy."""
    from keras_preact.evaluation.classes import MACRO

    found = {title: figures[name] for name, title in MACRO.items() if figures[name] is not None}
    words = ", ".join(f"{title} {value:.2%}" for title, value in found.items())
    absent = figures["classes_without_images"]
    left_out = f"; {absent:,} classes without images are left out" if absent else ""
    return f"{words}, one-vs-rest means over the classes{left_out}"


def _frame_table(frame):
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for k, title in enumerate(frame.columns):
        table.add_column(title, justify="right" if k else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(f"{v:.1%}" if isinstance(v, float) else str(v) for v in row))
    return table


def _write(folder, found, data, how, console) -> None:
    """Writes the last evaluation as JSON, CSV and plots."""
    from keras_preact.evaluation import (
        plot_calibration,
        plot_confusion_matrix,
        plot_mistakes,
        save_figure,
    )
    from keras_preact.run import RunFolder

    make_folder(folder, "The evaluation")
    name, evaluation = [*found.items()][-1]
    title = f"{pathlib.Path(name).name} on {data.name}"
    folder = RunFolder(folder)
    figures = {name: evaluation.summary() for name, evaluation in found.items()}
    facts = {"data": data.name, "tested": data.tested, **how, "networks": figures}
    folder.write_json("evaluation.json", facts)
    folder.write_bytes("per_class.csv", to_csv(evaluation.per_class()).encode())
    pictures = {
        "confusion_matrix": plot_confusion_matrix(evaluation, title),
        "calibration": plot_calibration(evaluation, title),
        "mistakes": plot_mistakes(evaluation, data.test, title),
    }
    for name, figure in pictures.items():
        with folder.replacing(f"{name}.png") as path:
            save_figure(figure, path)
    listed = ", ".join(["evaluation.json", "per_class.csv", *(f"{p}.png" for p in pictures)])
    console.print(f"{folder.path}: {listed}", soft_wrap=True)


def views_config(arguments: "Namespace") -> Any:
    """The `ViewsConfig` of parsed arguments."""
    from keras_preact.evaluation import ViewsConfig

    fields = {name: arguments[name] for name in ViewsConfig.field_names()}
    scales = arguments.scales
    listed = read_yaml(f"[{scales}]", f"--scales {scales}") if scales else ()
    return ViewsConfig(**{**fields, "scales": listed})


def _predict(arguments) -> None:
    require(not (arguments.json and arguments.csv), "csv", True, "left out beside --json")
    import_keras_quietly()
    from keras_preact.data.listing import find_images
    from keras_preact.evaluation import classify_files
    from keras_preact.trained import load_trained

    trained = load_trained(arguments.network, arguments.dtype).fitted(**geometry_of(arguments))
    listed = find_images(arguments.images)
    headers = []
    found, unreadable = classify_files(
        trained, listed.paths, arguments.top, arguments.batch_size, headers.append
    )
    unreadable = listed.missing | unreadable
    if arguments.json:
        for file, rows in found.groupby("file", sort=False):
            scores = dict(zip(rows["label"], rows["probability"], strict=True))
            print(json.dumps({"file": file, "scores": scores}))
    elif arguments.csv:
        print(to_csv(found), end="")
    elif len(found):
        _print_predictions(found)
    say_of_files(arguments.network, trained, listed, headers, unreadable, found["file"].nunique())


def say_of_files(
    network: str,
    trained: Any,
    listed: Any,
    headers: list[Any],
    unreadable: dict[str, str],
    done: int,
) -> None:
    """Says on standard error how a network was opened and how its images were read.

    Raises:
        DataError: If some of them could not be read.
    """
    from keras_preact.data.images import turning
    from keras_preact.data.listing import in_words

    aside = make_console(sys.stderr)
    how = trained.geometry
    images = f"images: {how}" + ("; --size 224 would resize and crop them" * (how.size is None))
    opened = f"{network}: {_opened(trained)}"
    for line in (opened, images, *in_words(listed.left_out), *turning(headers, how.reading)):
        say(aside, line)
    if unreadable:
        for file, reason in unreadable.items():
            say(aside, f"{shown(file)}: {reason}")
        raise DataError(f"{len(unreadable)} of {done + len(unreadable)} files cannot be read.")


def _print_predictions(found) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("file", overflow="fold")
    for rank in found["rank"].unique():
        table.add_column("most likely" if rank == 1 else "", overflow="fold")
    for file, rows in found.groupby("file", sort=False):
        table.add_row(file, *(f"{r.label} {r.probability:.1%}" for r in rows.itertuples()))
    make_console(sys.stdout, least_width=130).print(table)


def _export(arguments) -> None:
    import_keras_quietly()
    from keras_preact.export import export
    from keras_preact.export.formats import FORMATS

    console = make_console(sys.stderr if arguments.json else sys.stdout)
    formats = [name.strip() for name in arguments.format.split(",")]
    for name in formats:
        precision = arguments.precision
        if len(formats) > 1 and name in FORMATS and precision not in FORMATS[name].precisions:
            say(console, f"{name} does not support {precision}: it is written in float32.")
            precision = "float32"
        found = export(
            arguments.network,
            name,
            arguments.out,
            fold=not arguments.no_fold,
            precision=precision,
            integers=arguments.integers,
            calibrate=arguments.calibrate,
            data=arguments.data,
            **geometry_of(arguments),
            console=console,
        )
        if arguments.json:
            print(json.dumps(dataclasses.asdict(found)))


_DATA = "digits, a tensorflow-datasets name, folder:PATH, csv:PATH, ...; the run's if not given"


def _evaluate_arguments(command) -> None:
    command.add_argument(
        "network", nargs="+", help=f"{NETWORK}; several are also evaluated as an ensemble"
    )
    command.add_argument("--data", type=str, default=None, help=f"test images: {_DATA}")
    add_geometry(command)
    command.add_argument(
        "--crops", type=int, default=1, help="1, or 10: corners and centre, each mirrored too"
    )
    scales = "evaluate whole images at several sizes, such as 224,256,384,480,640 (2015 paper)"
    command.add_argument("--scales", type=str, default=None, help=scales)
    words = "dense windows over each image, for networks with spatial pyramid pooling"
    command.add_argument("--dense", action="store_true", help=f"with --scales: {words}")
    command.add_argument("--batch-size", type=int, default=256, help="images per step")
    command.add_argument("--dtype", type=str, default="auto", help=DTYPE)
    devices = "auto (all GPUs, else the CPU), or names such as gpu:0,gpu:1"
    command.add_argument("--devices", type=str, default="auto", help=devices)
    out = "folder for results and plots; evaluation/ (or evaluation-DATA/) in the run folder if "
    out += "not given"
    command.add_argument("--out", type=str, default=None, help=out)
    add_data_set(command)
    command.add_argument("--json", action="store_true", help="print one JSON object per network")


def _predict_arguments(command) -> None:
    command.add_argument("network", help=NETWORK)
    command.add_argument("images", nargs="+", help="image files, or folders of them")
    add_geometry(command)
    command.add_argument("--top", type=int, default=3, help="number of classes to show per image")
    command.add_argument("--batch-size", type=int, default=64, help="images per step")
    command.add_argument("--dtype", type=str, default="auto", help=DTYPE)
    command.add_argument("--json", action="store_true", help="print one JSON object per image")
    command.add_argument(
        "--csv", action="store_true", help="print CSV, one line per image and class"
    )


def _export_arguments(command) -> None:
    from keras_preact.export.formats import FORMATS

    command.add_argument("network", help=NETWORK)
    formats = f"{', '.join(FORMATS)}, or several separated by commas"
    command.add_argument("--format", type=str, default="saved_model", help=formats)
    out = "folder to write to; export/ in the run folder, or NAME-export/ beside the file"
    command.add_argument("--out", type=str, default=None, help=out)
    fold = "keep batch normalisation instead of folding it into the convolutions"
    command.add_argument("--no-fold", action="store_true", help=fold)
    having = {}
    for name, format in FORMATS.items():
        for precision in format.precisions:
            having.setdefault(precision, []).append(name)
    del having["float32"]
    others = ", ".join(f"{name} ({', '.join(formats)})" for name, formats in having.items())
    words = f"float32 (runs anywhere); {others}; --quantize and --dtype are its earlier names"
    names = ("--precision", "--quantize", "--dtype")
    command.add_argument(*names, type=str, default="float32", metavar="PRECISION", help=words)
    words = "integer images and scores too, for litert with int8"
    kinds = "{uint8,int8}"
    command.add_argument("--integers", type=str, default=None, metavar=kinds, help=words)
    words = "divide the logits by a temperature fitted to the validation images"
    command.add_argument("--calibrate", action="store_true", help=words)
    images = "images to compare and calibrate with"
    command.add_argument("--data", type=str, default=None, help=f"{images}: {_DATA}")
    add_geometry(command)
    command.add_argument("--json", action="store_true", help="print one JSON object per format")


COMMANDS = {
    "evaluate": (_evaluate, _evaluate_arguments, "measure top-1 and top-5 error on test images"),
    "predict": (_predict, _predict_arguments, "classify image files"),
    "export": (
        _export,
        _export_arguments,
        "write a SavedModel, .keras, LiteRT, ONNX or OpenVINO file",
    ),
}
