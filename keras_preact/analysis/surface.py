"""Loss surfaces: the loss around a network's weights, between two runs, along a training.

Li, Xu, Taylor, Studer and Goldstein 2018, "Visualizing the Loss Landscape of Neural Nets" (arXiv
1712.09913).
"""

import dataclasses
import itertools

import numpy as np
import pandas as pd

from keras_preact.analysis.terrain import Terrain
from keras_preact.checked import is_whole, require


def loss_surface(
    model,
    batches,
    points: int = 21,
    dimensions: int = 2,
    reach: float = 1.0,
    seed: int = 0,
    keep=None,
    console=None,
) -> pd.DataFrame:
    """The loss along random directions whose filters are as long as the network's own.

    Args:
        model: A network of any packaging and dtype, from images to logits or a softmax; norms take
            the statistics that they gathered.
        batches: Mini-batches, pairs (images, labels), labels whole numbers.
        points: Of the grid along each direction.
        dimensions: 1 for a line, 2 for a plane.
        reach: How far the grid goes each way; at 1 each filter has moved by its own length.
        seed: Decides the directions.
        keep: A `RunFolder` and the name of a file in it to which each point is written as it comes,
            and from which a killed computation goes on.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        A row a point: `x` and, on a plane, `y`; `loss`, `error` and the `seconds` it took.

    Raises:
        ConfigError: For networks that give anything else, labels that they do not have, and a file
            of another grid.
        SaveError: When the file cannot be written.

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


def filter_normalized(terrain: Terrain, random) -> np.ndarray:
    """A random direction, each of its filters as long as the network's own (Li et al., section 4).

    A filter is what gives one channel: of a convolution all weights to it, of a dense layer those
    of one unit. Biases, norms and slopes of PReLU stay where they are.

    Args:
        terrain: Around which network.
        random: A `numpy.random.Generator`.
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
    model, weights, batches, points: int = 41, reach: float = 0.5, keep=None, console=None
) -> pd.DataFrame:
    """The loss on the line from a network to the same network with other weights.

    Args:
        model: A network; its weights are at `x` = 0.
        weights: By layer, as `keras_preact.weights.read_weights` gives them: at `x` = 1.
        batches: Mini-batches, pairs (images, labels), labels whole numbers.
        points: Of the line; where 0 and 1 are none of them, they are taken as well.
        reach: How far the line goes beyond both.
        keep: As of `loss_surface`.
        console: As of `loss_surface`.

    Returns:
        A row a point: `x`, `loss`, `error` and the `seconds` it took. Statistics of norms are on
        the line too.

    Raises:
        ConfigError, SaveError: As `loss_surface`; for weights of another network as well.
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
    """What `loss_trajectory` found, in tables.

    Attributes:
        points: A row a state of the training, in order: its `name`, its place `x`, `y` in the plane
            of the two principal directions, the `loss` and `error` there where it really is, and
            `explained_x`, `explained_y`, the share of the states' spread that each direction has.
        surface: A row a point of that plane: `x`, `y`, `loss`, `error`, `seconds`.
    """

    points: pd.DataFrame
    surface: pd.DataFrame


def loss_trajectory(
    model, states, batches, points: int = 15, keep=None, console=None
) -> Trajectory:
    """The way that a training took, in the plane of its two principal directions (section 7).

    Norms take the statistics of each mini-batch, as the training did.

    Args:
        model: A network.
        states: `{name: weights by layer}` of a training, at least three, the last of them its end,
            which is the plane's origin.
        batches: Mini-batches, pairs (images, labels), labels whole numbers.
        points: Of the grid along each direction.
        keep: As of `loss_surface`.
        console: As of `loss_surface`.

    Returns:
        A `Trajectory`.

    Raises:
        ConfigError, SaveError: As `loss_surface`; for weights of another network as well.
    """
    require(len(states) >= 3, "states", [*states], "at least three")
    terrain = Terrain(model, batches, training=True)
    found = np.stack([terrain.point(weights) for weights in states.values()])
    origin = found[-1]
    away = found - origin
    away[:, terrain.trained :] = 0  # statistics are the mini-batches' own
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
