"""`ResNetConfig`: everything that makes one residual network differ from another."""

import dataclasses
from typing import Literal

from keras_preact.checked import Checked, require
from keras_preact.errors import ConfigError

Block = Literal["basic", "bottleneck", "single"]
Placement = Literal[
    "original",
    "bn_after_addition",
    "relu_before_addition",
    "relu_only_preactivation",
    "full_preactivation",
]
Shortcut = Literal[
    "identity",
    "constant_scaling",
    "exclusive_gating",
    "shortcut_only_gating",
    "conv1x1",
    "dropout",
    "none",
]

PREACTIVATED: tuple[Placement, ...] = ("relu_only_preactivation", "full_preactivation")

#: Activations that have a slope for negative inputs, and the slope each starts with: 0.25 as in
#: section 2.1 of the rectifier paper, 0.01 as in the leaky ReLU that the paper compares with.
NEGATIVE_SLOPES = {"prelu": 0.25, "prelu_shared": 0.25, "leaky_relu": 0.01}

#: Kernel sizes of the convolutions of a unit's branch, and the unit's output channels as a multiple
#: of its stage's `filters`.
KERNELS = {"basic": (3, 3), "bottleneck": (1, 3, 1), "single": (3,)}
EXPANSION = {"basic": 1, "bottleneck": 4, "single": 1}


@dataclasses.dataclass(frozen=True)
class ResNetConfig(Checked):
    """The architecture of one residual or plain network; frozen, validated, JSON round trip.

    "2015" is Deep Residual Learning, "2016" Identity Mappings, "PReLU" Delving Deep into
    Rectifiers. The defaults are the pre-activation ResNet-20 for CIFAR (2016, Figure 4e). Where
    the papers and the authors' codes disagree, the choice is a field here, with the paper's as its
    default.

    Args:
        block: Branch of a residual unit: `"basic"` two 3x3 convolutions (2015, Figure 5 left),
            `"bottleneck"` 1x1, 3x3 and 1x1 to four times the filters (Figure 5 right), `"single"`
            one 3x3 (2016, Table 3, the rows with 1-layer skips).
        units: Residual units of each stage.
        filters: Filters of each stage, before the bottleneck's factor of four.
        placement: Where normalisation and activation stand (2016, Figure 4 and Table 2).
        shortcut: What a shortcut does to its input (2016, Figure 2 and Table 1); `"none"` is a
            plain net. `"conv1x1"` puts a projection on every unit and so is `projection="C"`.
        shortcut_scale: Factor on the shortcut of `"constant_scaling"`.
        branch_scale: Factor on the residual branch of `"constant_scaling"`.
        gate_bias: Initial bias of the gates g = sigmoid(1x1 convolution + bias).
        dropout_rate: Share of the shortcut that `"dropout"` drops, in [0, 1).
        projection: Shortcut where dimensions change (2015, section 3.3): `"A"` every second pixel
            and zero channels, no parameters; `"B"` a 1x1 convolution; `"C"` that on every unit.
        projection_input: In pre-activation nets a shortcut that changes the number of channels
            takes the `"preactivated"` tensor (2016, appendix) or the `"raw"` one (several ports).
        projection_norm: Normalisation after a projection. `None`: where the branch ends with one,
            so in original units and not in pre-activation units, as in both authors' codes.
        subsample_shortcut: Shortcut of option B that changes the map's size and not its channels:
            `"projection"`, or `"max_pool"` of size 1 (keras.applications V2).
        stride_on: Bottleneck convolution with the stride: the first `"1x1"` (the authors' code) or
            the `"3x3"` (torchvision's V1.5, fb.resnet.torch). Other blocks: their first 3x3.
        downsample_at: Unit that halves the map: the `"first_unit"` of the next stage, or the
            `"last_unit"` of the stage before (keras.applications V2).
        first_unit_entry: Where a pre-activation net has the activation between the first
            convolution and the first unit: in the `"stem"`, before its pooling
            (fb.resnet.torch); in the `"unit"`, shared by its two paths (the authors' code,
            keras.applications V2; the same function when nothing is pooled); in the unit's
            `"branch"` alone, as in every later unit; in the stem and the branch, `"both"` (the
            last two: several ports).
        activation: `"relu"`, `"prelu"` (one slope a channel), `"prelu_shared"` (one a layer),
            `"leaky_relu"`, or the name of any Keras activation.
        negative_slope: Slope for negative inputs, at the start for PReLU. `None`: 0.25 for PReLU,
            0.01 for leaky ReLU.
        initializer: Convolution kernels: `"he_normal"` (PReLU, section 2.2) or `"xavier_normal"`
            (what that section compares with).
        initializer_mode: Fan that the variance is divided by: `"fan_out"` (PReLU equation 14, the
            authors' code), `"fan_in"` (equation 10) or `"fan_avg"`.
        initializer_truncated: Cut the normal distribution at two standard deviations, as Keras's
            own `HeNormal` does; the authors' code does not.
        initializer_slope_aware: Divide He's variance by 1 + slope² (PReLU, equation 15).
        normalization: `"batch"` or `"none"`.
        norm_momentum: Share of the old moving statistics that a step keeps, in [0, 1).
        norm_epsilon: Added to the variance before its root.
        conv_bias: Convolutions with a bias: `"never"` (the authors' code), where no norm follows,
            `"without_norm"` (keras.applications V2), or `"always"` (keras.applications V1). Gates
            always have theirs.
        stem_filters: Filters of the first convolution.
        stem_kernel: Its size, odd.
        stem_stride: Its stride.
        stem_pool: Whether a 3x3 max pooling of stride 2 follows the stem (ImageNet nets).

    Raises:
        ConfigError: For a value that is not allowed and for combinations that make no network; the
            message names the rule.

    Example:
        >>> from keras_preact import ResNetConfig
        >>> config = ResNetConfig(units=(18, 18, 18), shortcut="exclusive_gating", gate_bias=-7.0)
        >>> config.depth
        110
        >>> ResNetConfig.from_json(config.to_json()) == config
        True
    """

    block: Block = "basic"
    units: tuple[int, ...] = (3, 3, 3)
    filters: tuple[int, ...] = (16, 32, 64)
    placement: Placement = "full_preactivation"
    shortcut: Shortcut = "identity"
    shortcut_scale: float = 0.5
    branch_scale: float = 0.5
    gate_bias: float = -6.0
    dropout_rate: float = 0.5
    projection: Literal["A", "B", "C"] = "A"
    projection_input: Literal["preactivated", "raw"] = "preactivated"
    projection_norm: bool | None = None
    subsample_shortcut: Literal["projection", "max_pool"] = "projection"
    stride_on: Literal["1x1", "3x3"] = "1x1"
    downsample_at: Literal["first_unit", "last_unit"] = "first_unit"
    first_unit_entry: Literal["stem", "unit", "branch", "both"] = "stem"
    activation: str = "relu"
    negative_slope: float | None = None
    initializer: Literal["he_normal", "xavier_normal"] = "he_normal"
    initializer_mode: Literal["fan_out", "fan_in", "fan_avg"] = "fan_out"
    initializer_truncated: bool = False
    initializer_slope_aware: bool = False
    normalization: Literal["batch", "none"] = "batch"
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-5
    conv_bias: Literal["never", "without_norm", "always"] = "never"
    stem_filters: int = 16
    stem_kernel: int = 3
    stem_stride: int = 1
    stem_pool: bool = False

    def check(self) -> None:
        """Ranges, then the rules that say which combinations make a network."""
        for name in ("units", "filters"):
            values = getattr(self, name)
            positive = len(values) > 0 and all(value >= 1 for value in values)
            require(positive, name, values, "a list of whole numbers of at least 1")
        for name in ("stem_filters", "stem_kernel", "stem_stride"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.stem_kernel % 2 == 1, "stem_kernel", self.stem_kernel, "odd")
        require(0 <= self.dropout_rate < 1, "dropout_rate", self.dropout_rate, "in [0, 1)")
        require(0 <= self.norm_momentum < 1, "norm_momentum", self.norm_momentum, "in [0, 1)")
        require(self.norm_epsilon > 0, "norm_epsilon", self.norm_epsilon, "above 0")
        require(self.activation != "", "activation", self.activation, "the name of an activation")
        for refused, rule in self._rules():
            if refused:
                raise ConfigError(rule)

    def _rules(self):
        """Pairs (is it broken, the rule and what to do)."""
        plain = self.shortcut == "none"
        yield (
            len(self.units) != len(self.filters),
            "`units` and `filters` have one entry a stage, so they are equally long. "
            f"Received: units={self.units}, filters={self.filters}.",
        )
        yield (
            plain and self.placement in ("bn_after_addition", "relu_before_addition"),
            "A plain net has no addition for the placement to refer to: shortcut='none' goes with "
            "placement 'original', 'relu_only_preactivation' or 'full_preactivation'. "
            f"Received: placement={self.placement!r}.",
        )
        yield (
            plain and self.projection == "C",
            "A plain net has no shortcuts to project: shortcut='none' goes with projection 'A' or "
            "'B', which it does not use. Received: projection='C'.",
        )
        channels = (self.stem_filters, *self.stage_channels)
        yield (
            not plain
            and not self.projects_every_unit
            and self.projection == "A"
            and list(channels) != sorted(channels),
            "Option A adds zero channels and cannot remove any, so the channels may not fall from "
            "stage to stage; projection='B' can. "
            f"Received: projection='A', channels of the stem and the stages {channels}.",
        )
        unnormalized = self.normalization == "none"
        yield (
            unnormalized and self.placement == "bn_after_addition",
            "Placement 'bn_after_addition' places a normalisation, so it needs "
            "normalization='batch'. Received: normalization='none'.",
        )
        yield (
            unnormalized and self.projection_norm is True,
            "projection_norm=True needs normalization='batch'. Received: normalization='none'.",
        )
        yield (
            self.first_unit_entry != "stem" and not self.preactivated,
            f"first_unit_entry={self.first_unit_entry!r} is a choice of pre-activation nets: the "
            f"placements {', '.join(PREACTIVATED)}. Received: placement={self.placement!r}, whose "
            "stem always ends with the activation.",
        )
        yield (
            self.negative_slope is not None and self.activation not in NEGATIVE_SLOPES,
            f"`negative_slope` belongs to the activations {', '.join(NEGATIVE_SLOPES)}. "
            f"Received: negative_slope={self.negative_slope}, activation={self.activation!r}.",
        )
        yield (
            self.initializer_slope_aware and self.initializer != "he_normal",
            "initializer_slope_aware=True is equation 15 of the rectifier paper, so it needs "
            f"initializer='he_normal'. Received: initializer={self.initializer!r}.",
        )

    @property
    def depth(self) -> int:
        """Weight layers as the papers count them: stem, branch convolutions, classifier."""
        return 2 + sum(self.units) * len(KERNELS[self.block])

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Output channels of each stage."""
        return tuple(filters * EXPANSION[self.block] for filters in self.filters)

    @property
    def preactivated(self) -> bool:
        """Whether units begin with an activation (2016, section 4.1)."""
        return self.placement in PREACTIVATED

    @property
    def projects_every_unit(self) -> bool:
        """Whether every shortcut is a 1x1 convolution: option C, or the 2016 name for it."""
        return self.shortcut == "conv1x1" or self.projection == "C"

    @property
    def slope(self) -> float:
        """Slope of the activation for negative inputs, at the start of training; 0 for ReLU."""
        if self.negative_slope is not None:
            return self.negative_slope
        return NEGATIVE_SLOPES.get(self.activation, 0.0)
