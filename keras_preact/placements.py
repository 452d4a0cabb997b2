"""The activation placements of Identity Mappings (2016), Figure 4 and Table 2, as a table.

Later ones follow, and any other order of a unit's steps can be written out (`steps_of`).
"""

import dataclasses
from collections.abc import Iterable
from typing import Literal

from keras_preact.checked import require

Placement = Literal[
    "original",
    "bn_after_addition",
    "relu_before_addition",
    "relu_only_preactivation",
    "full_preactivation",
    "no_first_relu",
    "last_bn",
    "no_first_relu_last_bn",
]
Step = Literal["norm", "act"]


@dataclasses.dataclass(frozen=True)
class PlacementSteps:
    """Where a residual unit normalises ("norm") and activates ("act").

    Attributes:
        before: Steps before the branch's first convolution.
        last: Steps after the branch's last convolution and before the addition.
        after: Steps after the addition.
        between: Steps between one convolution and the next, for each such pair; `None`: always
            norm, act, as in all papers.
    """

    before: tuple[Step, ...] = ()
    last: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    between: tuple[tuple[Step, ...], ...] | None = None

    def behind(self, conv: int, convolutions: int) -> tuple[Step, ...]:
        """Steps that follow a convolution of the branch.

        Args:
            conv: Its number, from 1.
            convolutions: How many the branch has.
        """
        if conv == convolutions:
            return self.last
        return ("norm", "act") if self.between is None else self.between[conv - 1]

    @property
    def head(self) -> tuple[Step, ...]:
        """Steps between the last unit and the pooling: a pre-activation net ends with an `act`."""
        if not self.before:
            return ()
        return self.before if "act" in self.before else (*self.before, "act")

    def only(self, kinds: Iterable[Step]) -> "PlacementSteps":
        """The steps of some kinds alone, as those of a network without norms."""

        def kept(steps: tuple[Step, ...]) -> tuple[Step, ...]:
            return tuple(step for step in steps if step in kinds)

        between = None if self.between is None else tuple(map(kept, self.between))
        return PlacementSteps(kept(self.before), kept(self.last), kept(self.after), between)


PLACEMENTS: dict[Placement, PlacementSteps] = {
    "original": PlacementSteps(last=("norm",), after=("act",)),
    "bn_after_addition": PlacementSteps(after=("norm", "act")),
    "relu_before_addition": PlacementSteps(last=("norm", "act")),
    "relu_only_preactivation": PlacementSteps(before=("act",), last=("norm",)),
    "full_preactivation": PlacementSteps(before=("norm", "act")),
    # Han, Kim and Kim 2017 (arXiv 1610.02915), Figure 6: one measure, the other, and both, which
    # is the unit of PyramidNet.
    "no_first_relu": PlacementSteps(before=("norm",)),
    "last_bn": PlacementSteps(before=("norm", "act"), last=("norm",)),
    "no_first_relu_last_bn": PlacementSteps(before=("norm",), last=("norm",)),
}

#: Those whose units begin with an activation or a norm (2016, section 4.1).
PREACTIVATED = tuple(name for name, steps in PLACEMENTS.items() if steps.before)

_WITHOUT_ADDITION = {name: steps.last + steps.after for name, steps in PLACEMENTS.items()}

#: Those of plain nets, which have no addition: the others would be the original again.
PLAIN = tuple(
    name
    for name, steps in _WITHOUT_ADDITION.items()
    if name == "original" or steps != _WITHOUT_ADDITION["original"]
)


def steps_of(order: Iterable[str], convolutions: int) -> PlacementSteps:
    """The steps of a unit whose layers are listed in order.

    Args:
        order: `"norm"`, `"act"`, `"conv"` and, once behind the last convolution, `"add"`.
        convolutions: How many convolutions the branch has.

    Returns:
        A `PlacementSteps`.

    Raises:
        ConfigError: If it is not such an order.

    Example:
        >>> from keras_preact.placements import PLACEMENTS, steps_of
        >>> steps_of(["conv", "norm", "act", "conv", "norm", "add", "act"], 2)
        PlacementSteps(before=(), last=('norm',), after=('act',), between=(('norm', 'act'),))
    """
    order = tuple(order)
    groups: list[list[Step]] = [[]]
    for step in order:
        if step in ("norm", "act"):
            groups[-1].append(step)
        else:
            groups.append([])
    marks = tuple(step for step in order if step not in ("norm", "act"))
    fits = marks == ("conv",) * convolutions + ("add",)
    fits = fits and all(len({*group}) == len(group) for group in groups)
    expected = (
        f"'norm', 'act', {convolutions} times 'conv' and behind them 'add', in the order in which "
        "they are applied, without a step twice in a row of others than these two"
    )
    require(fits, "order", order, expected)
    before, *between, last, after = (tuple(group) for group in groups)
    return PlacementSteps(before, last, after, tuple(between))
