"""The activation placements of Identity Mappings (2016), Figure 4 and Table 2, as a table.

Between two convolutions of a branch it is always norm, act; a row says what stands elsewhere.
"""

import dataclasses
from typing import Literal

from keras_preact.config import Placement

Step = Literal["norm", "act"]


@dataclasses.dataclass(frozen=True)
class PlacementSteps:
    """Where a residual unit normalises ("norm") and activates ("act").

    Attributes:
        before: Ahead of the branch's first convolution.
        last: Behind the branch's last convolution, ahead of the addition.
        after: Behind the addition.
    """

    before: tuple[Step, ...] = ()
    last: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()


PLACEMENTS: dict[Placement, PlacementSteps] = {
    "original": PlacementSteps(last=("norm",), after=("act",)),
    "bn_after_addition": PlacementSteps(after=("norm", "act")),
    "relu_before_addition": PlacementSteps(last=("norm", "act")),
    "relu_only_preactivation": PlacementSteps(before=("act",), last=("norm",)),
    "full_preactivation": PlacementSteps(before=("norm", "act")),
}
