"""Lesions: the error of a network with units removed or reordered.

Veit, Wilber and Belongie 2016, "Residual Networks Behave Like Ensembles of Relatively Shallow
Networks" (arXiv 1605.06431), sections 4.1 to 4.3.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from keras_preact.analysis.anatomy import Anatomy
from keras_preact.analysis.gradients import refuse_other_scores
from keras_preact.checked import is_whole, require

#: Largest number of units removed together, and of swapped pairs.
MOST = 20


@dataclasses.dataclass(frozen=True)
class Lesions:
    """The result of `lesions`, in tables; each `error` is a share of the images, from 0 to 1.

    Attributes:
        units: One row per unit: `error` without it (NaN if it cannot be removed), and `rise`, the
            difference from the error of the whole network.
        removals: One row per draw of `removed` units: `error` without them; with 0, that of the
            whole network.
        orders: One row per draw of `swaps` swapped pairs of units: `kendall_tau` between their
            order and the original one, and `error`; empty if no two units of a stage have the same
            shape.
    """

    units: pd.DataFrame
    removals: pd.DataFrame
    orders: pd.DataFrame


def lesions(
    anatomy: Anatomy,
    batches: Sequence[tuple[Any, Any]],
    most: int = MOST,
    draws: int = 5,
    seed: int = 0,
) -> Lesions:
    """Measures the error of a network with units removed, and with units in another order.

    Nothing is trained in between. Removing a unit means keeping only its shortcut: an identity
    shortcut returns the unit's input to the last bit; a shortcut that scales, gates or changes
    dimensions is kept, with the function after the addition. A unit of a plain net that keeps the
    shape is replaced by the identity; one that changes it cannot be removed. Units are swapped
    within their stage with units of the same shape.

    Args:
        anatomy: A network in pieces, of `dissect`.
        batches: Mini-batches, pairs (images, labels); labels are integers. The network should not
            have been trained on these images.
        most: Largest number of units removed together, and of swapped pairs.
        draws: Number of random draws for each number of them.
        seed: Seed of the draws.

    Returns:
        A `Lesions`.

    Raises:
        ConfigError: If the network does not end with logits or a softmax, or a label is not one of
            its classes.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis import dissect, lesions
        >>> from keras_preact.applications import ResNet14V2
        >>> images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
        >>> found = lesions(dissect(ResNet14V2()), [(images, np.arange(4))], draws=1)
        >>> len(found.units), found.removals["removed"].tolist()
        (6, [0, 1, 2, 3, 4, 5, 6])
    """
    for name, value in (("most", most), ("draws", draws)):
        require(is_whole(value) and value >= 1, name, value, "a whole number of at least 1")
    network = _Network(anatomy, batches)
    random = np.random.default_rng(seed)
    alone, removals, orders = [], [[]], []
    can = [k for k in network.units if network.without[k]]
    for k in can:
        alone.append([k])
    for count in range(1, min(most, len(can)) + 1):
        removals += [sorted(random.choice(can, count, replace=False)) for _ in range(draws)]
    groups = network.of_one_shape()
    for swaps in range(1, most + 1 if groups else 1):
        orders += [(swaps, _swapped(network.units, groups, swaps, random)) for _ in range(draws)]
    variants = [network.left_out(units) for units in (*alone, *removals)]
    variants += [network.ordered(order) for _, order in orders]
    errors = iter(network.errors(variants))
    without = {k: next(errors) for k in can}
    removals = [{"removed": len(units), "error": next(errors)} for units in removals]
    units = [{**_place(anatomy.pieces[k]), "error": without.get(k)} for k in network.units]
    units = pd.DataFrame(units).astype({"error": float})
    units["rise"] = units["error"] - removals[0]["error"]
    orders = [
        {"swaps": swaps, "kendall_tau": _kendall_tau(order), "error": next(errors)}
        for swaps, order in orders
    ]
    orders = pd.DataFrame(orders, columns=["swaps", "kendall_tau", "error"])
    return Lesions(units, pd.DataFrame(removals), orders)


class _Network:
    """The pieces as steps at inference, functions of (input, output in the whole network).

    Attributes:
        units: Indices of the pieces that are units.
        without: For each piece, the step that replaces it when it is removed; `None` if it cannot
            be removed.
    """

    def __init__(self, anatomy: Anatomy, batches: Sequence[tuple[Any, Any]]):
        self.batches, pieces = batches, anatomy.pieces
        self.units = [k for k, piece in enumerate(pieces) if piece in anatomy.units]
        self.whole = [_step(piece) for piece in pieces]
        images, labels = batches[0]
        signals = self.signals(images)
        refuse_other_scores(anatomy, signals[-1], labels)
        self.shapes = [(x.shape, y.shape) for x, y in itertools.pairwise(signals)]
        self.stages = [getattr(piece, "stage", None) for piece in pieces]
        self.without: list[Callable[[Any, Any], Any] | None] = [None] * len(pieces)
        for k in self.units:
            unit: Any = pieces[k]
            taken, given = self.shapes[k]
            if taken == given and (unit.hands_on or not unit.is_residual):
                self.without[k] = lambda x, _: x
            elif unit.is_residual:
                self.without[k] = _shortcut(unit)

    def signals(self, images):
        """The input of each piece, and the scores."""
        signals = [images]
        for step in self.whole:
            signals.append(step(signals[-1], None))
        return signals

    def of_one_shape(self):
        """Lists of at least two units of a stage with the same input and output shape."""
        groups = {}
        for k in self.units:
            taken, given = self.shapes[k]
            if taken == given:
                groups.setdefault((self.stages[k], taken), []).append(k)
        return [group for group in groups.values() if len(group) > 1]

    def left_out(self, units):
        return [self.without[k] if k in units else step for k, step in enumerate(self.whole)]

    def ordered(self, order):
        steps = [*self.whole]
        for place, k in zip(self.units, order, strict=True):
            steps[place] = self.whole[k]
        return steps

    def errors(self, variants):
        """Share of images that each list of steps misclassifies.

        Each list starts at its first changed step, with the signals of the whole network.
        """
        wrong, images_seen = np.zeros(len(variants)), 0
        for images, labels in self.batches:
            signals = self.signals(images)
            images_seen += len(labels)
            for number, steps in enumerate(variants):
                pairs = enumerate(zip(steps, self.whole, strict=True))
                first = next((k for k, (step, own) in pairs if step is not own), len(steps))
                x = signals[first]
                for k in range(first, len(steps)):
                    x = steps[k](x, signals[k + 1])
                wrong[number] += np.sum(~_is_right(x, labels))
        return wrong / images_seen


def _step(piece):
    function = piece.at_inference
    return lambda x, _: function(x)


def _shortcut(unit):
    function = unit.of_branch
    return lambda x, output: function(x, np.zeros_like(output))


def _is_right(scores, labels):
    scores = np.asarray(scores, np.float32)
    return np.isfinite(scores).all(axis=1) & (scores.argmax(axis=1) == np.asarray(labels))


def _swapped(units, groups, swaps, random):
    """An order of the units in which random pairs of the same group are swapped."""
    pairs = [(a, b) for group in groups for a in group for b in group if a < b]
    order = [*units]
    for a, b in random.choice(pairs, swaps):
        i, j = units.index(a), units.index(b)
        order[i], order[j] = order[j], order[i]
    return order


def _kendall_tau(order):
    from scipy.stats import kendalltau

    found: Any = kendalltau(range(len(order)), order)
    return float(found.statistic)


def _place(unit):
    return {"unit": unit.name, "stage": unit.stage, "number": unit.number}
