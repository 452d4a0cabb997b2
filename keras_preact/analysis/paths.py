"""`path_lengths`: how much of the gradient comes over how many units' branches.

Veit, Wilber and Belongie 2016 (arXiv 1605.06431), section 4.4 and Figure 6.
"""

import keras
import numpy as np
import pandas as pd
from scipy.special import comb

from keras_preact.analysis.anatomy import Anatomy
from keras_preact.analysis.gradients import backward
from keras_preact.checked import is_whole, require


def path_lengths(anatomy: Anatomy, batches, draws: int = 5, seed: int = 0) -> pd.DataFrame:
    """The gradient at the first unit's input by the length of the paths that it takes.

    A network of n residual units is 2^n paths: each unit is passed through its branch or through
    its shortcut, and binomial(n, k) of them pass k branches. Paths of each length are drawn, the
    gradient is sent back along each by itself, and its norm is taken: norms are so much smaller on
    long paths that most of the gradient is of short ones, though most paths are long.

    Args:
        anatomy: A network in pieces, of `dissect`, with shortcuts.
        batches: Mini-batches, pairs (images, labels), labels whole numbers.
        draws: Paths that are drawn of each length, in each mini-batch.
        seed: Decides the draws.

    Returns:
        A row a length, 0 to n branches: `length`, `paths` (how many there are), `norm` (of the
        gradient along one, mean over the draws), `product` of both, `share` of the sum of products.
        Without rows for plain nets, which are one path.

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
                norm = np.linalg.norm(keras.ops.convert_to_numpy(along(parts, gradient, taken)))
                found.append(float(norm))
    frame = pd.DataFrame({"length": np.arange(len(norms))})
    frame["paths"] = comb(len(residual), frame["length"])
    frame["norm"] = [np.mean(found) for found in norms]
    frame["product"] = frame["paths"] * frame["norm"]
    frame["share"] = frame["product"] / frame["product"].sum()
    return frame


def along(parts, gradient, taken):
    """A gradient at the head's input, sent back along one path.

    Args:
        parts: Those of `backward`.
        gradient: At the head's input.
        taken: Names of the units that are passed through their branches; the others are passed
            through their shortcuts, and pieces without one as a whole.
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
    """How many paths to draw: one where there is but one."""
    return 1 if length in (0, units) else draws
