"""What every benchmark prints: the machine, a table, the command; or all of it as JSON."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import shlex
import sys

from rich.console import Console
from rich.table import Table

from keras_preact.machine import cpu_flags, processor

PACKAGES = ("keras-preact", "keras", "tensorflow", "jax", "torch", "timm")


def machine():
    """Processor, accelerator and versions, as a dictionary."""
    flags, versions = cpu_flags(), {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "instructions": [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags],
        "system": platform.platform(),
        "python": platform.python_version(),
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "packages": versions,
    }


def progress(text):
    """Says on standard error what is going on."""
    print(text, file=sys.stderr, flush=True)


def show(title, columns, rows, as_json, details=()):
    """Prints the results.

    Args:
        title: What was measured.
        columns: Headings.
        rows: Lists of strings and numbers, as wide as the headings.
        as_json: Whether to print JSON instead of a table.
        details: Measurements to add to the JSON.
    """
    command = f"python -m benchmarks.{_module()} {shlex.join(sys.argv[1:])}"
    if as_json:
        found = {
            "title": title,
            "command": command,
            "machine": machine(),
            "results": [dict(zip(columns, row, strict=True)) for row in rows],
            "measurements": [
                {**dataclasses.asdict(m), "step": m.step, "name": m.name} for m in details
            ],
        }
        print(json.dumps(found, indent=2))
        return
    table = Table(title=title, title_justify="left")
    for column in columns:
        number = rows and not isinstance(rows[0][columns.index(column)], str)
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*(_text(value) for value in row))
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table)
    about = machine()
    instructions = ", ".join(about["instructions"]) or "no vector instructions known"
    versions = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    for line in (
        f"{about['processor']}, {about['cores']} cores, {instructions}",
        versions,
        command,
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _module():
    return os.path.splitext(os.path.basename(sys.argv[0]))[0]


def _text(value):
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
    return "" if value is None else str(value)
