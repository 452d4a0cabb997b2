"""`bench`: compares files on this machine."""

import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from keras_preact.cli.arguments import read_yaml
from keras_preact.console import make_console, say
from keras_preact.errors import ConfigError
from keras_preact.files import replacing, suffix_of

if TYPE_CHECKING:
    from jsonargparse import Namespace


def _bench(arguments) -> None:
    from keras_preact.bench import bench, plot_bench
    from keras_preact.evaluation import save_figure
    from keras_preact.machine import processor

    console = make_console(sys.stderr if arguments.json else sys.stdout, least_width=130)
    if arguments.out:
        suffix_of(arguments.out, (".png", ".svg", ".pdf"), "out")
    config = bench_config(arguments)
    found = bench(arguments.paths, config, console)
    machine = f"{processor()}, {config.threads or os.cpu_count()} of {os.cpu_count()} processors"
    if arguments.json:
        for m in found:
            accuracy = {"accuracy": m.accuracy, "machine": machine}
            print(json.dumps({**dataclasses.asdict(m), **accuracy}))
    else:
        _show(found, console)
        say(console, machine)
    if arguments.out:
        with replacing(arguments.out, "The picture") as path:
            save_figure(plot_bench(found, machine), path)
    if all(m.failure for m in found):
        raise ConfigError(
            f"At least one path must be measurable here. Received: {found[0].path}: "
            f"{found[0].failure}."
        )


def _show(found, console) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("path", overflow="fold")
    table.add_column("runtime", no_wrap=True)
    figures = ("ms", "p99 ms", "images/s", "batch", "load s", "MB", "peak MB", "accuracy")
    for title in figures:
        table.add_column(title, justify="right", no_wrap=True)
    for m in found:
        if m.failure:
            continue
        accuracy = "" if m.accuracy is None else f"{m.accuracy:.2%}"
        numbers = (f"{m.latency_ms:.2f}", f"{m.p99_ms:.2f}", f"{m.images_per_second:,.0f}")
        sizes = (f"{m.load_seconds:.2f}", f"{m.megabytes:.2f}", f"{m.peak_mb:,.0f}")
        table.add_row(m.path, m.runtime, *numbers, str(m.best_batch), *sizes, accuracy)
    console.print(table)
    for m in found:
        if m.failure:
            say(console, f"{m.path}: {m.failure}.")


def bench_config(arguments: "Namespace") -> Any:
    """The `BenchConfig` of parsed arguments."""
    from keras_preact.bench import BenchConfig

    fields = {name: arguments[name] for name in BenchConfig.field_names()}
    batches = arguments.batch_sizes
    listed = read_yaml(f"[{batches}]", f"--batch-sizes {batches}")
    return BenchConfig(**{**fields, "batch_sizes": listed})


def _bench_arguments(command) -> None:
    from keras_preact.bench import BenchConfig
    from keras_preact.cli.arguments import add_fields

    words = "run folders; .keras, .tflite, .onnx and .xml files; folders of a SavedModel or an "
    words += "OpenVINO model; folders of exports, for everything in them"
    command.add_argument("paths", nargs="+", help=words)
    add_fields(command, BenchConfig, leave_out=("batch_sizes",))
    words = "batch sizes to try, separated by commas; the fastest counts"
    command.add_argument("--batch-sizes", type=str, default="1,8,32", help=words)
    command.add_argument("--out", type=str, default=None, help="write a plot: .png, .svg or .pdf")
    command.add_argument("--json", action="store_true", help="print one JSON object per path")


COMMANDS = {
    "bench": (
        _bench,
        _bench_arguments,
        "measure latency, throughput, memory and accuracy of model files",
    ),
}
