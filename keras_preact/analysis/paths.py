"""`path_lengths`: the gradient by the number of branches that it passes.

Veit, Wilber and Belongie 2016 (arXiv 1605.06431), section 4.4 and Figure 6.
"""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import pandas as pd
from scipy.special import comb

from keras_preact.analysis.anatomy import Anatomy
from keras_preact.analysis.gradients import backward
from keras_preact.checked import is_whole, require


def path_lengths(
    anatomy: Anatomy, batches: Iterable[tuple[Any, Any]], draws: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Measures the gradient at the first unit's input by the length of its paths.

    A network of n residual units has 2^n paths, through the branch or the shortcut of each unit;
    binomial(n, k) of them pass k branches. For each length, random paths are drawn, and the
    gradient is backpropagated along each path alone. The norms decrease so fast with the length
    that most of the gradient comes from short paths, although most paths are long.

    Args:
        anatomy: A network in pieces, of `dissect`, with shortcuts.
        batches: Mini-batches, pairs (images, labels); labels are integers.
        draws: Number of paths drawn per length and mini-batch.
        seed: Seed of the draws.

    Returns:
        One row per length, 0 to n branches: `length`, `paths` (their number), `norm` (of the
        gradient along one path, mean over the draws), `product` of both, `share` of the sum of
        products. Empty for plain nets, which have only one path.

    Raises:
        ConfigError: As `gradient_propagation`.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis import dissect, path_lengths
        >>> from keras_preact.applications import ResNet8V2
        >>> images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
        >>> path_lengths(dissect(ResNet8V2()), [(images, np.arange(4))])["paths"].tolist()
        [1.0, 3.0, 3.0, 1.0]
    """
    require(is_whole(draws) and draws >= 1, "draws", draws, "a whole number of at least 1")
    random = np.random.default_rng(seed)
    residual = [unit.name for unit in anatomy.units if unit.is_residual]
    norms = [[] for _ in range(len(residual) + 1 if residual else 0)]
    for images, labels in batches if residual else ():
        gradient, parts = backward(anatomy, images, labels)
        parts = [*parts]
        for length, found in enumerate(norms):
            for _ in range(_different(len(residual), length, draws)):
                taken = {*random.choice(residual, length, replace=False)}
                end = np.asarray(keras.ops.convert_to_numpy(along(parts, gradient, taken)))
                found.append(float(np.linalg.norm(end)))
    frame = pd.DataFrame({"length": np.arange(len(norms))})
    frame["paths"] = comb(len(residual), frame["length"])
    frame["norm"] = [np.mean(found) for found in norms]
    frame["product"] = frame["paths"] * frame["norm"]
    frame["share"] = frame["product"] / frame["product"].sum()
    return frame


def along(parts: Iterable[Any], gradient: Any, taken: set[str]) -> Any:
    """Backpropagates a gradient from the head's input along one path.

    Args:
        parts: The parts returned by `backward`.
        gradient: The gradient at the head's input.
        taken: Names of the units whose branches the path takes; it takes the shortcuts of the
            others, and pieces without a shortcut as a whole.
    """
    for piece, whole, shortcut, branch in parts:
        if not getattr(piece, "is_residual", False):
            gradient = whole(gradient)
        elif piece.name in taken:
            gradient = branch(gradient)
        else:
            gradient = shortcut(gradient)
    return keras.ops.cast(gradient, "float32")


def _different(units, length, draws):
    """Number of paths to draw; one if there is only one."""
    return 1 if length in (0, units) else draws
