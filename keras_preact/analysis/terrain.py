"""`Terrain`: a network's loss at any point of its weights' space, and grids that outlive a kill."""

import hashlib
import itertools
import json
import time

import keras
import numpy as np
import pandas as pd

from keras_preact.analysis.linearize import compiled
from keras_preact.analysis.loss import Loss, joined, split
from keras_preact.checked import require
from keras_preact.console import say
from keras_preact.rewrite import unrolled, with_policy
from keras_preact.weights import load_weights_by_layer


class Terrain:
    """The loss on some images over the space of a network's weights, in float32.

    A point is a float64 vector: all that is trained, then the statistics of the norms.

    Args:
        model: A network of any packaging and dtype, from images to logits or a softmax; it is
            copied.
        batches: Mini-batches, pairs (images, labels), labels whole numbers.
        training: Whether norms take the statistics of each mini-batch, as in a training step.

    Attributes:
        variables: The variables that a point has values of, in order.
        trained: How many of a point's numbers are trained.

    Raises:
        ConfigError: For networks that give anything else, and labels that they do not have.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis.terrain import Terrain
        >>> from keras_preact.applications import ResNet8V2
        >>> model = ResNet8V2(input_shape=(8, 8, 1))
        >>> terrain = Terrain(model, [(np.zeros((4, 8, 8, 1), "float32"), np.zeros(4, int))])
        >>> len(terrain.point()) == model.count_params()
        True
    """

    def __init__(self, model, batches, training=False):
        self._copy = unrolled(with_policy(model))
        self._loss = Loss(self._copy, training)
        self._loss.refuse_other_labels(batches)
        self._batches = batches
        self._images = sum(len(labels) for _, labels in batches)
        moving = [v for v in self._copy.non_trainable_variables if "float" in v.dtype]
        self._moves = {id(variable) for variable in moving}
        self.variables, self.trained = [*self._loss.variables, *moving], self._loss.size
        self._compiled = compiled(self._loss.on)

    def point(self, weights=None) -> np.ndarray:
        """Where the network is, or would be with other weights by layer."""
        if weights is not None:
            load_weights_by_layer(self._copy, weights)
        return joined(self.variables)

    def at(self, point) -> tuple[float, float]:
        """The mean loss, and the share of the images that are classified wrongly."""
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

    def scan(self, origin, directions, places, keep=None, console=None, of=None) -> pd.DataFrame:
        """The loss at points on a line or a plane.

        Args:
            origin: A point.
            directions: One or two vectors of a point's length.
            places: Coordinates along them, tuples.
            keep: A `RunFolder` and the name of a file in it to which each point is written as it
                comes; those that are there already are not computed again.
            console: A `rich.console.Console` for progress; `None` prints nothing.
            of: Vectors that say which directions these are; they themselves if not given.

        Returns:
            A row a place: `x` and, on a plane, `y`; `loss`, `error` and the `seconds` it took.

        Raises:
            ConfigError: For a file of other points, images or weights.
            SaveError: When it cannot be written.
        """
        kept = Kept(*keep, self._named(origin, *(of or directions))) if keep else None
        found = kept.rows if kept else {}
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
            again = f", {len(rows) - len(fresh)} were there" if len(rows) > len(fresh) else ""
            say(console, f"{len(fresh)} points of the loss, {speed:.3g} a second{again}")
        return pd.DataFrame(rows)

    def _named(self, *vectors):
        """What tells a grid from others: its vectors, the images and what norms take."""
        digest = hashlib.sha256(str(self._loss.training).encode())
        for array in (*itertools.chain(*self._batches), *vectors):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


class Kept:
    """The points of a grid in a file of a folder, one line each, whole or not there.

    Args:
        folder: A `RunFolder`.
        name: The file.
        of: What the points are of; a file of others is refused.

    Attributes:
        rows: Those that are there, by place.

    Raises:
        ConfigError: For a file of other points.
        SaveError: When it cannot be written.
    """

    def __init__(self, folder, name, of):
        self._folder, self._name = folder, name
        lines = folder.read_lines(name) or [{"of": of}]
        expected = "that of the same weights, images and directions"
        path = str(folder.path / name)
        require(
            lines[0] == {"of": of}, "file", path, expected, "Name another folder, or remove it."
        )
        self.rows = {tuple(row[axis] for axis in "xy" if axis in row): row for row in lines[1:]}
        # Less a line that a power cut left damaged, behind which others would be lost.
        folder.write_bytes(name, "".join(f"{json.dumps(line)}\n" for line in lines).encode())

    def add(self, row) -> None:
        """Writes one more."""
        self._folder.append_log(row, self._name)
