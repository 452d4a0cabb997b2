"""What `--help` shows: options under headings, their choices or types, and examples."""

import argparse
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

import jsonargparse

#: How many options a command has at most without headings; a heading has two or more.
_MOST = 10

#: Headings and the options under them, the same in all commands; all others are under the last.
HEADINGS = {
    "model": ("model", "packaging", "recompute", "init", "extend", "freeze_to"),
    "data": (
        "data", "image_size", "on_bad_image", "size", "shorter", "interpolation", "images",
        "calibrate",
    ),
    "recipe": ("recipe", "epochs", "batch_size", "learning_rate"),
    "views": ("crops", "scales", "dense"),
    "unit": ("stage", "unit", "filters", "stride", "in_channels"),
    "format": ("format", "no_fold", "precision", "integers"),
    "explanation": ("kind", "class", "layer", "square"),
    "analysis": ("also", "points", "draws", "compare"),
    "rows": ("row", "runs", "scale"),
    "search": (
        "space", "oracle", "trials", "holdout", "folds", "seeds", "final_seeds", "budget",
        "budget_amount", "quick",
    ),
    "devices": (
        "devices", "dtype", "workers", "index", "sync_batch_norm", "deterministic",
    ),
    "run": (),
}  # fmt: skip

#: Examples of the commands that have headings.
EXAMPLES = {
    "train": (
        "train --model resnet8v2 --epochs 5",
        "train --data folder:PATH --model resnet18v2 --image-size 128 --batch-size 32",
        "train --data cifar10 --model resnet110v2 --recipe he2016_cifar --out runs/mine",
    ),
    "evaluate": (
        "evaluate runs/mine",
        "evaluate runs/mine --data folder:PATH --size 224 --crops 10",
        "evaluate runs/mine runs/other --json",
    ),
    "export": (
        "export runs/mine",
        "export runs/mine --format onnx,litert --out exports",
        "export runs/mine --format litert --precision int8",
    ),
    "tune gating-bias": (
        "tune gating-bias --quick",
        "tune gating-bias --data cifar10 --recipe he2016_cifar --folds 5 --out runs/bias",
        "tune gating-bias --oracle bayesian --trials 10 --workers 2",
    ),
    "tune depth": (
        "tune depth --quick",
        "tune depth --data cifar10 --budget multiply_adds --seeds 3",
        "tune depth --budget seconds --budget-amount 600",
    ),
    "tune variant": (
        "tune variant --quick",
        "tune variant --data cifar10 --oracle bayesian --trials 40",
        "tune variant --model resnet20 --epochs 10 --holdout 0.2",
    ),
    "tune fields": (
        "tune fields --space '{recipe.learning_rate: [0.01, 0.1]}'",
        "tune fields --space '{units_per_stage: {low: 1, high: 3}}' --budget parameters",
        "tune fields --space '{network.gate_bias: {low: -8, high: 0}}' --oracle random",
    ),
    "reproduce": (
        "reproduce he2016-table2 --scale smoke",
        "reproduce he2016-table2 --row 'ResNet-110*' --out runs/table2",
        "reproduce results/evening.yaml --hours 5",
    ),
    "analyze": (
        "analyze resnet20v2",
        "analyze plainnet20 resnet20 --compare --epochs 2",
        "analyze runs/mine --also lesions,surface",
    ),
    "explain": (
        "explain runs/mine photo.jpg",
        "explain runs/mine PHOTOS --kind grad_cam --layer stage2",
        "explain runs/mine photo.jpg --class cat --kind occlusion --square 32",
    ),
    "draw": (
        "draw resnet110v2",
        "draw shortcuts --out shortcuts.png",
        "draw augmentation --data digits --set augmentation.policy=trivial_augment",
    ),
}

_EXIT_CODES = (
    "exit codes: 0 done, 1 internal, disk or device error, 2 invalid argument, 3 invalid data, 4 "
    "training diverged, 130 interrupted, 143 stopped by SIGTERM"
)


def metavar_of(hint: typing.Any, name: str) -> str:
    """The choices of an option, or else its type, such as `{auto,never}` or `INT`.

    Args:
        hint: Annotation of the field.
        name: That of the field, shown for texts and for types that a command line has no word for.
    """
    choices = [*_choices(hint)]
    if not choices:
        return name.upper()
    return choices[0] if len(choices) == 1 else f"{{{','.join(choices)}}}"


def _choices(hint) -> Iterator[str]:
    if hint is bool:
        yield from ("true", "false")
    elif hint in (int, float):
        yield hint.__name__.upper()
    elif typing.get_origin(hint) is typing.Literal:
        yield from typing.get_args(hint)
    elif typing.get_origin(hint) in (types.UnionType, typing.Union):
        for one in typing.get_args(hint):
            yield from _choices(one)


class Parser(jsonargparse.ArgumentParser):
    """A parser of one command, or of them all, with the help of this module.

    Args:
        command: Words after `keras-preact`, which find its examples.
        **options: As `jsonargparse.ArgumentParser` takes them.
    """

    def __init__(self, command: str = "", **options: typing.Any) -> None:
        lines = [f"  keras-preact {line}" for line in EXAMPLES.get(command, ())]
        epilog = "\n".join(["examples:", *lines, "", _EXIT_CODES] if lines else [_EXIT_CODES])
        form = {"epilog": epilog, "formatter_class": Formatter, "exit_on_error": False}
        super().__init__(**form, **options)

    def add_subcommands(self, *args: Any, **options: Any) -> typing.Any:
        """As jsonargparse's, under a heading of fewer words."""
        words = {"title": "commands", "description": "COMMAND --help lists the options of one."}
        return super().add_subcommands(*args, **{**words, "metavar": "COMMAND", **options})

    def format_help(self, *given: Any) -> str:
        """The help, its options under headings where there are many."""
        options = self._optionals._group_actions
        if len(options) <= _MOST:
            return super().format_help(*given)
        groups, rest = self._action_groups, [*options]
        headed = []
        for heading, names in HEADINGS.items():
            found = [action for action in rest if action.dest in names] if names else rest
            if len(found) > 1:
                group = argparse._ArgumentGroup(self, heading)
                group._group_actions = found
                rest = [action for action in rest if action not in found]
                headed.append(group)
        self._action_groups = [*(g for g in groups if g is not self._optionals), *headed]
        try:
            return super().format_help(*given)
        finally:
            self._action_groups = groups


class Formatter(jsonargparse.DefaultHelpFormatter):
    """Short usage; choices and types where the value of an option stands, defaults behind it."""

    def add_usage(
        self, usage: str | None, actions: Iterable[argparse.Action], *args: Any, **kwargs: Any
    ) -> None:
        """Positional arguments and what must be given; the options are listed below."""
        self._prog = f"{self._prog.replace(' [options]', '')} [options]"
        needed = [action for action in actions if action.required or not action.option_strings]
        super().add_usage(usage, needed, *args, **kwargs)

    def _fill_text(self, text, width, indent):
        """Paragraphs, and between them lines that are kept: those of examples."""
        fill = super()._fill_text
        lines = text.splitlines()
        return "\n".join(s if s.startswith("  ") else fill(s, width, indent) for s in lines)

    def _get_default_metavar_for_optional(self, action):
        return metavar_of(getattr(action, "_typehint", None), action.dest)

    def _get_help_string(self, action):
        words, default = action.help or "", action.default
        if isinstance(action, argparse._HelpAction):
            return words[0].lower() + words[1:].rstrip(".")
        unsaid = default is None or default is False or default in ([], argparse.SUPPRESS)
        if unsaid or not action.option_strings:
            return words
        values = default if isinstance(default, list) else [default]
        shown = " ".join("true" if value is True else str(value) for value in values)
        return f"{words} (default: {shown})"
