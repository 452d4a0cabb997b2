"""`Terrain`: a network's loss at any point of its weight space, and grids that can be resumed."""

import hashlib
import itertools
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd

from keras_preact.analysis.linearize import compiled
from keras_preact.analysis.loss import Loss, joined, split
from keras_preact.checked import require
from keras_preact.console import say
from keras_preact.rewrite import unrolled, with_policy, without_softmax
from keras_preact.weights import load_weights_by_layer

if TYPE_CHECKING:
    from rich.console import Console

    from keras_preact.run import RunFolder


class Terrain:
    """The loss on some images as a function of a network's weights, in float32.

    A point is a float64 vector: all trainable values, then the moving statistics of norms.

    Args:
        model: A network in any packaging and dtype that maps images to logits or a softmax; it is
            copied.
        batches: Mini-batches, pairs (images, labels); labels are integers.
        training: Whether norms use the statistics of each mini-batch, as in a training step.

    Attributes:
        variables: The variables whose values make a point, in order.
        trained: Number of trainable values of a point.

    Raises:
        ConfigError: If the network does not end with logits or a softmax, or a label is not one of
            its classes.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis.terrain import Terrain
        >>> from keras_preact.applications import ResNet8V2
        >>> model = ResNet8V2(input_shape=(8, 8, 1))
        >>> terrain = Terrain(model, [(np.zeros((4, 8, 8, 1), "float32"), np.zeros(4, int))])
        >>> len(terrain.point()) == model.count_params()
        True
    """

    def __init__(
        self, model: keras.Model, batches: Sequence[tuple[Any, Any]], training: bool = False
    ):
        # Logits: further from the weights the softmax is often 0, whose logarithm is infinite.
        self._copy = without_softmax(unrolled(with_policy(model)))
        self._loss = Loss(self._copy, training)
        self._loss.refuse_other_labels(batches)
        self._batches = batches
        self._images = sum(len(labels) for _, labels in batches)
        moving = [v for v in self._copy.non_trainable_variables if "float" in v.dtype]
        self._moves = {id(variable) for variable in moving}
        self.variables, self.trained = [*self._loss.variables, *moving], self._loss.size
        self._compiled = compiled(self._loss.on)

    def point(self, weights: dict[str, Any] | None = None) -> np.ndarray:
        """The point of the network's weights, or of other weights by layer."""
        if weights is not None:
            load_weights_by_layer(self._copy, weights)
        return joined(self.variables)

    def at(self, point: np.ndarray) -> tuple[float, float]:
        """The mean loss at a point, and the share of misclassified images."""
        parts = split(point, self.variables)
        weights, moving = parts[: len(self._loss.variables)], parts[len(self._loss.variables) :]
        moving = iter(moving)
        variables = self._copy.non_trainable_variables
        held = [next(moving) if id(v) in self._moves else v.value for v in variables]
        total, wrong = 0.0, 0
        for images, labels in self._batches:
            images, labels = map(keras.ops.convert_to_tensor, (images, labels))
            losses, mistakes = self._compiled(weights, images, labels, held)
            total, wrong = total + float(losses), wrong + int(mistakes)
        return total / self._images, wrong / self._images

    def scan(
        self,
        origin: np.ndarray,
        directions: Sequence[np.ndarray] | np.ndarray,
        places: Iterable[Sequence[float]],
        keep: "tuple[RunFolder, str] | None" = None,
        console: "Console | None" = None,
        of: Sequence[np.ndarray] | None = None,
    ) -> pd.DataFrame:
        """The loss at points on a line or a plane.

        Args:
            origin: A point.
            directions: One or two vectors of the length of a point.
            places: Coordinates along them, tuples.
            keep: A `RunFolder` and the name of a file in it, to which each point is written as soon
                as it is computed; points in the file are not computed again.
            console: A `rich.console.Console` for progress; `None` prints nothing.
            of: Vectors that identify the directions; the directions themselves by default.

        Returns:
            One row per place: `x` and, on a plane, `y`; `loss`, `error` and the `seconds` of its
            computation.

        Raises:
            ConfigError: If the file is for other directions, images or weights.
            SaveError: If the file cannot be written.
        """
        kept = Kept(*keep, self._named(origin, *(of or directions))) if keep else None
        found: dict[Any, Any] = kept.rows if kept else {}
        rows, fresh = [], []
        for place in places:
            place = tuple(map(float, place))
            row = found.get(place)
            if row is None:
                if not fresh:
                    self.at(origin)  # compiles what is timed
                started = time.perf_counter()
                moved = zip(place, directions, strict=True)
                loss, error = self.at(origin + sum(step * way for step, way in moved))
                row = {**dict(zip("xy", place, strict=False)), "loss": loss, "error": error}
                row["seconds"] = time.perf_counter() - started
                fresh.append(row["seconds"])
                if kept:
                    kept.add(row)
            rows.append(row)
        if fresh:
            speed = len(fresh) / sum(fresh)
            again = f", {len(rows) - len(fresh)} from the file" if len(rows) > len(fresh) else ""
            say(console, f"{len(fresh)} points of the loss, {speed:.3g} per second{again}")
        return pd.DataFrame(rows)

    def _named(self, *vectors):
        """Identifies a grid by its vectors, the images and the statistics of norms."""
        digest = hashlib.sha256(str(self._loss.training).encode())
        for array in (*itertools.chain(*self._batches), *vectors):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


class Kept:
    """The points of a grid in a file, one line each, each written completely or not at all.

    Args:
        folder: A `RunFolder`.
        name: Name of the file.
        of: Identifier of the grid; a file of another grid is refused.

    Attributes:
        rows: The points in the file, by place.

    Raises:
        ConfigError: If the file is of another grid.
        SaveError: If the file cannot be written.
    """

    def __init__(self, folder: "RunFolder", name: str, of: str):
        self._folder, self._name = folder, name
        lines: list[Any] = folder.read_lines(name) or [{"of": of}]
        expected = "a file for the same weights, images and directions"
        path = str(folder.path / name)
        require(lines[0] == {"of": of}, "file", path, expected, "Use another folder, or remove it.")
        self.rows = {tuple(row[axis] for axis in "xy" if axis in row): row for row in lines[1:]}
        # Without a line that a power cut left damaged, after which others would be lost.
        folder.write_bytes(name, "".join(f"{json.dumps(line)}\n" for line in lines).encode())

    def add(self, row: Mapping[str, float]) -> None:
        """Writes one more point."""
        self._folder.append_log(row, self._name)
