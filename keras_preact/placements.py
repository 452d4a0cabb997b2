"""The activation placements of Identity Mappings (2016), Figure 4 and Table 2, as a table.

Between two convolutions of a branch the steps are always norm, act; a row gives the others.
"""

import dataclasses
from collections.abc import Iterable
from typing import Literal

Placement = Literal[
    "original",
    "bn_after_addition",
    "relu_before_addition",
    "relu_only_preactivation",
    "full_preactivation",
]
Step = Literal["norm", "act"]


@dataclasses.dataclass(frozen=True)
class PlacementSteps:
    """Where a residual unit normalises ("norm") and activates ("act").

    Attributes:
        before: Steps before the branch's first convolution.
        last: Steps after the branch's last convolution and before the addition.
        after: Steps after the addition.
    """

    before: tuple[Step, ...] = ()
    last: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()

    def only(self, kinds: Iterable[Step]) -> "PlacementSteps":
        """The steps of some kinds alone, as those of a network without norms."""

        def kept(steps: tuple[Step, ...]) -> tuple[Step, ...]:
            return tuple(step for step in steps if step in kinds)

        return PlacementSteps(kept(self.before), kept(self.last), kept(self.after))


PLACEMENTS: dict[Placement, PlacementSteps] = {
    "original": PlacementSteps(last=("norm",), after=("act",)),
    "bn_after_addition": PlacementSteps(after=("norm", "act")),
    "relu_before_addition": PlacementSteps(last=("norm", "act")),
    "relu_only_preactivation": PlacementSteps(before=("act",), last=("norm",)),
    "full_preactivation": PlacementSteps(before=("norm", "act")),
}

#: Those whose units begin with an activation (2016, section 4.1).
PREACTIVATED = tuple(name for name, steps in PLACEMENTS.items() if steps.before)

_WITHOUT_ADDITION = {name: steps.last + steps.after for name, steps in PLACEMENTS.items()}

#: Those of plain nets, which have no addition: the others would be the original again.
PLAIN = tuple(
    name
    for name, steps in _WITHOUT_ADDITION.items()
    if name == "original" or steps != _WITHOUT_ADDITION["original"]
)
