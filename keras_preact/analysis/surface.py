"""Loss surfaces: the loss around a network's weights, between two runs, along a training.

Li, Xu, Taylor, Studer and Goldstein 2018, "Visualizing the Loss Landscape of Neural Nets" (arXiv
1712.09913).
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd

from keras_preact.analysis.terrain import Terrain
from keras_preact.checked import is_whole, require

if TYPE_CHECKING:
    from rich.console import Console

    from keras_preact.run import RunFolder


def loss_surface(
    model: keras.Model,
    batches: Sequence[tuple[Any, Any]],
    points: int = 21,
    dimensions: int = 2,
    reach: float = 1.0,
    seed: int = 0,
    keep: "tuple[RunFolder, str] | None" = None,
    console: "Console | None" = None,
) -> pd.DataFrame:
    """Measures the loss around a network's weights, along filter-normalised random directions.

    Args:
        model: A network in any packaging and dtype that maps images to logits or a softmax; norms
            use their moving statistics.
        batches: Mini-batches, pairs (images, labels); labels are integers.
        points: Points of the grid along each direction.
        dimensions: 1 for a line, 2 for a plane.
        reach: Extent of the grid in each direction, relative to the norm of each filter.
        seed: Seed of the directions.
        keep: A `RunFolder` and the name of a file in it, to which each point is written as soon as
            it is computed, and from which a killed computation is resumed.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        One row per point: `x` and, on a plane, `y`; `loss`, `error` (a share of the images) and
        the `seconds` of its computation.

    Raises:
        ConfigError: If the network does not end with logits or a softmax, a label is not one of its
            classes, or the file contains another grid.
        SaveError: If the file cannot be written.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis import loss_surface
        >>> from keras_preact.applications import ResNet8V2
        >>> model = ResNet8V2(input_shape=(8, 8, 1))
        >>> batches = [(np.ones((4, 8, 8, 1), "float32"), np.arange(4))]
        >>> loss_surface(model, batches, points=3, dimensions=1)["x"].tolist()
        [-1.0, 0.0, 1.0]
    """
    require(is_whole(points) and points >= 2, "points", points, "a whole number of at least 2")
    require(dimensions in (1, 2), "dimensions", dimensions, "1 or 2")
    require(reach > 0, "reach", reach, "greater than 0")
    terrain, random = Terrain(model, batches), np.random.default_rng(seed)
    directions = [filter_normalized(terrain, random) for _ in range(dimensions)]
    steps = np.linspace(-reach, reach, points)
    places = itertools.product(steps, repeat=dimensions)
    return terrain.scan(terrain.point(), directions, places, keep, console)


def filter_normalized(terrain: Terrain, random: np.random.Generator) -> np.ndarray:
    """A random direction whose filters have the norms of the network's (Li et al., section 4).

    A filter is the weights of one output channel of a convolution, or of one unit of a dense layer.
    Biases, norms and slopes of PReLU do not change.

    Args:
        terrain: The `Terrain` of the network.
        random: A random generator.

    Returns:
        A vector of the length of a point.
    """
    parts, point, end = [], terrain.point(), 0
    for variable in terrain.variables:
        shape, start = tuple(variable.shape), end
        end += int(np.prod(shape, dtype=int))
        if variable.name != "kernel":
            parts.append(np.zeros(end - start))
            continue
        own, drawn = point[start:end].reshape(shape), random.normal(size=shape)
        axes = tuple(range(len(shape) - 1))
        lengths = [np.sqrt(np.sum(filters**2, axes)) for filters in (own, drawn)]
        parts.append((drawn * lengths[0] / lengths[1]).ravel())
    return np.concatenate(parts)


def loss_between(
    model: keras.Model,
    weights: dict[str, Any],
    batches: Sequence[tuple[Any, Any]],
    points: int = 41,
    reach: float = 0.5,
    keep: "tuple[RunFolder, str] | None" = None,
    console: "Console | None" = None,
) -> pd.DataFrame:
    """Measures the loss on the line between two sets of weights of the same network.

    Args:
        model: A network; its weights are at `x` = 0.
        weights: Weights by layer, as `keras_preact.weights.read_weights` returns them; they are at
            `x` = 1.
        batches: Mini-batches, pairs (images, labels); labels are integers.
        points: Points of the line; 0 and 1 are added if they are not among them.
        reach: Extent of the line beyond both ends.
        keep: As in `loss_surface`.
        console: As in `loss_surface`.

    Returns:
        One row per point: `x`, `loss`, `error` and the `seconds` of its computation. The moving
        statistics of norms are interpolated too.

    Raises:
        ConfigError: As `loss_surface`, and if the weights are those of another network.
        SaveError: If the file cannot be written.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis import loss_between
        >>> from keras_preact.applications import ResNet8V2
        >>> from keras_preact.weights import weights_by_layer
        >>> model, other = (ResNet8V2(input_shape=(8, 8, 1)) for _ in range(2))
        >>> batches = [(np.ones((4, 8, 8, 1), "float32"), np.arange(4))]
        >>> loss_between(model, weights_by_layer(other), batches, points=3)["x"].tolist()
        [-0.5, 0.0, 0.5, 1.0, 1.5]
    """
    require(is_whole(points) and points >= 2, "points", points, "a whole number of at least 2")
    require(reach >= 0, "reach", reach, "at least 0")
    terrain = Terrain(model, batches)
    start = terrain.point()
    direction = terrain.point(weights) - start
    steps = np.linspace(-reach, 1 + reach, points).round(12)
    places = [(step,) for step in sorted({0.0, 1.0, *steps.tolist()})]
    return terrain.scan(start, [direction], places, keep, console)


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """The result of `loss_trajectory`, in tables.

    Attributes:
        points: One row per state of the training, in order: its `name`, its projection `x`, `y` on
            the plane of the two principal directions, its own `loss` and `error` (not those of the
            projection), and `explained_x`, `explained_y`, the share of the variance that each
            direction explains.
        surface: One row per point of that plane: `x`, `y`, `loss`, `error`, `seconds`.
    """

    points: pd.DataFrame
    surface: pd.DataFrame


def loss_trajectory(
    model: keras.Model,
    states: Mapping[str, Any],
    batches: Sequence[tuple[Any, Any]],
    points: int = 15,
    keep: "tuple[RunFolder, str] | None" = None,
    console: "Console | None" = None,
) -> Trajectory:
    """Measures the trajectory of a training in the plane of its two principal directions.

    Li et al. 2018, section 7. Norms use the statistics of each mini-batch, as in training.

    Args:
        model: A network.
        states: `{name: weights by layer}` of a training, at least three; the last one is the final
            state and the origin of the plane.
        batches: Mini-batches, pairs (images, labels); labels are integers.
        points: Points of the grid along each direction.
        keep: As in `loss_surface`.
        console: As in `loss_surface`.

    Returns:
        A `Trajectory`.

    Raises:
        ConfigError: As `loss_surface`, and if the weights are those of another network.
        SaveError: If the file cannot be written.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis import loss_trajectory
        >>> from keras_preact.applications import ResNet8V2
        >>> from keras_preact.weights import weights_by_layer
        >>> models = [ResNet8V2(input_shape=(8, 8, 1)) for _ in range(3)]
        >>> states = {f"step {k}": weights_by_layer(model) for k, model in enumerate(models)}
        >>> batches = [(np.ones((4, 8, 8, 1), "float32"), np.arange(4))]
        >>> found = loss_trajectory(models[0], states, batches, points=2)
        >>> found.points["name"].tolist(), len(found.surface)
        (['step 0', 'step 1', 'step 2'], 4)
    """
    require(len(states) >= 3, "states", [*states], "at least three")
    terrain = Terrain(model, batches, training=True)
    found = np.stack([terrain.point(weights) for weights in states.values()])
    origin = found[-1]
    away = found - origin
    away[:, terrain.trained :] = 0  # the statistics are those of the mini-batches
    _, sizes, directions = np.linalg.svd(away[:-1], full_matrices=False)
    directions, explained = directions[:2], sizes[:2] ** 2 / max(np.sum(sizes**2), 1e-300)
    places = away @ directions.T
    rows = []
    for name, point, place in zip(states, found, places, strict=True):
        loss, error = terrain.at(point)
        rows.append({"name": name, **dict(zip("xy", place, strict=True))})
        rows[-1] |= {"loss": loss, "error": error}
    margin = 0.25 * max(np.ptp(places), 1e-6)
    axes = [np.linspace(v.min() - margin, v.max() + margin, points) for v in places.T]
    frame = pd.DataFrame(rows).assign(explained_x=explained[0], explained_y=explained[1])
    grid = itertools.product(*axes)
    surface = terrain.scan(origin, directions, grid, keep, console, of=[*found])
    return Trajectory(frame, surface)
