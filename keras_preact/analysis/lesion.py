"""Lesions: how a network errs with units left out, or in another order.

Veit, Wilber and Belongie 2016, "Residual Networks Behave Like Ensembles of Relatively Shallow
Networks" (arXiv 1605.06431), sections 4.1 to 4.3.
"""

import dataclasses
import itertools

import numpy as np
import pandas as pd

from keras_preact.analysis.anatomy import Anatomy
from keras_preact.analysis.gradients import refuse_other_scores
from keras_preact.checked import is_whole, require

#: Units left out at a time, and pairs that change places, at most.
MOST = 20


@dataclasses.dataclass(frozen=True)
class Lesions:
    """What `lesions` found, in tables; each `error` is a share of the images.

    Attributes:
        units: A row a unit: `error` with it left out, no number where it cannot be, and `rise`,
            that less the whole network's.
        removals: A row a draw of `removed` units: `error` without them; with 0 the whole network's.
        orders: A row a draw of units that changed places in `swaps` pairs: `kendall_tau` of their
            order against the network's own, and `error`; none where no two units of a stage have
            one shape.
    """

    units: pd.DataFrame
    removals: pd.DataFrame
    orders: pd.DataFrame


def lesions(anatomy: Anatomy, batches, most: int = MOST, draws: int = 5, seed: int = 0) -> Lesions:
    """The error of a network with units left out, and with units in another order.

    Nothing is trained in between. A unit that is left out is its shortcut alone: where that is the
    identity the unit hands on its input to the last bit; where it scales, gates or changes
    dimensions it stays, with what stands behind the addition. A unit of a plain net that keeps the
    shape hands on its input too; one that changes it cannot be left out. Units change places within
    their stage with those of the same shape.

    Args:
        anatomy: A network in pieces, of `dissect`.
        batches: Mini-batches, pairs (images, labels), labels whole numbers; images that it was not
            trained on.
        most: Units that are left out at a time, and pairs that change places, at most.
        draws: Random draws of each number of them.
        seed: Decides the draws.

    Returns:
        A `Lesions`.

    Raises:
        ConfigError: For networks without scores of classes, and labels that they do not have.

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
        units: Which of the pieces are units.
        without: Of each piece the step that is left without its weights; `None` where there is none
            of the shape.
    """

    def __init__(self, anatomy, batches):
        self.batches, pieces = batches, anatomy.pieces
        self.units = [k for k, piece in enumerate(pieces) if piece in anatomy.units]
        self.whole = [_step(piece) for piece in pieces]
        images, labels = batches[0]
        signals = self.signals(images)
        refuse_other_scores(anatomy, signals[-1], labels)
        self.shapes = [(x.shape, y.shape) for x, y in itertools.pairwise(signals)]
        self.stages = [getattr(piece, "stage", None) for piece in pieces]
        self.without = [None] * len(pieces)
        for k in self.units:
            (taken, given), unit = self.shapes[k], pieces[k]
            if taken == given and (unit.hands_on or not unit.is_residual):
                self.without[k] = lambda x, _: x
            elif unit.is_residual:
                self.without[k] = _shortcut(unit)

    def signals(self, images):
        """What each piece takes, and the scores."""
        signals = [images]
        for step in self.whole:
            signals.append(step(signals[-1], None))
        return signals

    def of_one_shape(self):
        """Lists of units of a stage, at least two, that take and give one shape."""
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
        """Share of images that each list of steps classifies wrongly.

        Up to its first step that is another they take what the whole network computed.
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
    """An order of the units in which pairs of one group, drawn at random, changed places."""
    pairs = [(a, b) for group in groups for a in group for b in group if a < b]
    order = [*units]
    for a, b in random.choice(pairs, swaps):
        i, j = units.index(a), units.index(b)
        order[i], order[j] = order[j], order[i]
    return order


def _kendall_tau(order):
    from scipy.stats import kendalltau

    return float(kendalltau(range(len(order)), order).statistic)


def _place(unit):
    return {"unit": unit.name, "stage": unit.stage, "number": unit.number}
