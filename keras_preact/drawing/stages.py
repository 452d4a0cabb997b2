"""The parts of a network, read from the graph of the built model."""

import re
from typing import NamedTuple

import keras

from keras_preact.drawing.labels import Step, steps_of
from keras_preact.drawing.paths import Graph
from keras_preact.layers import Repeat


class Row(NamedTuple):
    """Layers outside the units, one after the other.

    Attributes:
        steps: Their steps, in order.
        size: Shape of their output, without the batch.
    """

    steps: tuple[Step, ...]
    size: tuple[int | None, ...]


class Stage(NamedTuple):
    """The units of a stage.

    Attributes:
        name: Its name, such as `"stage1"`.
        units: Number of its units.
        steps: The convolutions of a unit that keeps the size of the feature map, in order.
        strided: Numbers of the units that do not keep it.
        size: Shape of its output, without the batch.
    """

    name: str
    units: int
    steps: tuple[Step, ...]
    strided: tuple[int, ...]
    size: tuple[int | None, ...]


def read_network(model: keras.Model) -> list[Row | Stage]:
    """The parts of a network of this package, in order, from its graph."""
    chain, _ = Graph(model).chain(model.output)
    parts, loose, units = [], [], {}
    for operation in chain:
        size = tuple(operation.output.shape[1:])
        unit = re.match(r"(stage\d+)_unit", operation.name)
        stage = re.fullmatch(r"stage\d+", operation.name)
        if unit or stage:
            parts += [Row(steps, last) for steps, last in _rows(loose)]
            loose = []
        if unit:
            _add_unit(units, operation)
        elif stage:
            parts.append(_stage(operation.name, units, size))
            units = {}
        else:
            loose.append((steps_of(operation), size))
    return parts + [Row(steps, last) for steps, last in _rows(loose)]


def _add_unit(units, operation):
    """Adds the steps of one layer, or of a loop's repetitions, to those of the stage's units."""
    if isinstance(operation, Repeat):
        template = operation.template()
        chain, _ = Graph(template).chain(template.output)
        steps = [step for layer in chain for step in steps_of(layer)]
        units.update(dict.fromkeys(operation.names, steps))
        return
    name = re.match(r"stage\d+_unit\d+", operation.name).group()
    units.setdefault(name, []).extend(steps_of(operation))


def _stage(name, units, size):
    """A stage from the steps of its units."""

    def is_strided(steps):
        return any(", /" in step.text for step in steps)

    *_, typical = sorted(units.values(), key=is_strided, reverse=True)
    weights = tuple(step for step in typical if step.kind == "weights")
    numbers = [int(name.rpartition("unit")[2]) for name in units]
    strided = [k for k, steps in zip(numbers, units.values(), strict=True) if is_strided(steps)]
    return Stage(name, len(units), weights, tuple(strided), size)


def _rows(layers):
    """Layers outside the units as rows: each begins with weights or with a change of size."""
    rows = []
    for steps, size in layers:
        if not steps:
            continue
        if not rows or steps[0].kind in ("weights", "resampling"):
            rows.append([(), size])
        rows[-1] = [rows[-1][0] + steps, size]
    return rows
