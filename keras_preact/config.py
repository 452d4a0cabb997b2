"""`ResNetConfig`: everything that makes one residual network differ from another."""

import dataclasses
from typing import Any, Literal

from keras_preact.checked import Checked, require
from keras_preact.errors import ConfigError, quoted
from keras_preact.placements import (
    PLACEMENTS,
    PLAIN,
    PREACTIVATED,
    Placement,
    PlacementSteps,
    steps_of,
)
from keras_preact.shortcuts import Shortcut

Block = Literal["basic", "bottleneck", "single", "basic2x2"]
ResidualScale = Literal["inverse_sqrt_units", "learned"]
Normalization = Literal["batch", "group", "fixup", "none"]

#: Activations that have a slope for negative inputs, and the slope each starts with: 0.25 as in
#: section 2.1 of the rectifier paper, 0.01 as in the leaky ReLU that the paper compares with.
NEGATIVE_SLOPES = {"prelu": 0.25, "prelu_shared": 0.25, "leaky_relu": 0.01}

#: Kernel sizes of the convolutions of a unit's branch, and the unit's output channels as a multiple
#: of its stage's `filters`.
KERNELS = {"basic": (3, 3), "bottleneck": (1, 3, 1), "single": (3,), "basic2x2": (2, 2)}
EXPANSION = {"basic": 1, "bottleneck": 4, "single": 1, "basic2x2": 1}

_STEM_SIZES = ("stem_filters", "stem_kernel", "stem_stride", "stem_pool_size", "stem_pool_stride")

_IN_0_TO_1 = (
    "dropout_rate",
    "branch_dropout",
    "dense_dropout",
    "norm_momentum",
    "stochastic_depth",
)

#: Fields that say how a network starts and learns; with given weights its function is the same.
_OF_LEARNING = (
    "gate_bias",
    "dropout_rate",
    "branch_dropout",
    "initializer",
    "initializer_mode",
    "initializer_truncated",
    "initializer_slope_aware",
    "norm_momentum",
    "zero_init",
    "dense_dropout",
    "dense_stddev",
    "stochastic_depth",
    "stochastic_depth_rule",
    "stochastic_depth_by",
)


@dataclasses.dataclass(frozen=True)
class ResNetConfig(Checked):
    """The architecture of a residual or plain network: frozen, validated, convertible to JSON.

    "2015" is Deep Residual Learning, "2016" Identity Mappings, "PReLU" Delving Deep into
    Rectifiers. The defaults are the pre-activation ResNet-20 for CIFAR (2016, Figure 4e). Where the
    papers and the authors' code disagree, a field makes the choice, and the paper's is the default.

    Args:
        block: Branch of a residual unit: `"basic"` two 3x3 convolutions (2015, Figure 5 left),
            `"bottleneck"` 1x1, 3x3 and 1x1 to four times the filters (Figure 5 right), `"single"`
            one 3x3 (2016, Table 3, the rows with 1-layer skips; plain: PReLU, Table 3),
            `"basic2x2"` two 2x2, the first unpadded and the second padded by a pixel on each side,
            so that the pair keeps the size of the feature map (PReLU, Table 1).
        units: Residual units of each stage.
        filters: Filters of each stage, without the bottleneck's factor of four.
        placement: Position of normalisation and activation (2016, Figure 4 and Table 2; the last
            three: PyramidNet, arXiv 1610.02915, Figure 6).
        order: The steps of a unit in any other order, in place of `placement`: `"norm"`, `"act"`,
            as many times `"conv"` as the block has convolutions, and then `"add"`, such as
            `["conv", "act", "conv", "norm", "add"]`.
        shortcut: Operation on the shortcut (2016, Figure 2 and Table 1); `"none"` is a plain net.
            `"conv1x1"` projects in every unit, and so equals `projection="C"`.
        shortcut_scale: Factor on the shortcut of `"constant_scaling"`.
        branch_scale: Factor on the residual branch of `"constant_scaling"`.
        gate_bias: Initial bias of the gates g = sigmoid(1x1 convolution + bias).
        dropout_rate: Dropout rate of the shortcut `"dropout"`, in [0, 1).
        projection: Shortcut where dimensions change (2015, section 3.3): `"A"` subsampling and
            zero-padded channels, no parameters; `"B"` a 1x1 convolution; `"C"` a 1x1 convolution in
            every unit.
        projection_input: In pre-activation nets a shortcut that changes the number of channels
            takes the `"preactivated"` tensor (2016, appendix) or the `"raw"` one (several ports).
        projection_norm: Whether a projection is followed by normalisation. `None`: if the branch
            ends with one, so in original but not in pre-activation units, as in the authors' code
            for both.
        subsample_shortcut: Shortcut of option B where the feature map changes in size but not in
            channels: `"projection"`, or `"max_pool"` of size 1 (keras.applications V2).
        stride_on: Bottleneck convolution with the stride: the first `"1x1"` (the authors' code) or
            the `"3x3"` (torchvision's V1.5, fb.resnet.torch). Other blocks: their first 3x3.
        downsample_at: Unit that downsamples: the `"first_unit"` of a stage, or the `"last_unit"` of
            the one before (keras.applications V2).
        downsample_by: How stages downsample: by the `"stride"` of a unit, or by a 2x2 `"max_pool"`
            of stride 2 before the stage (PReLU, Tables 1 and 3).
        projection_stride: How a projection halves the feature map: by the stride of its 1x1
            `"conv"`, or by a 2x2 `"avg_pool"` before it (ResNet-D: He T. et al. 2019, arXiv
            1812.01187, Figure 2c); windows at the border average what they have.
        width: Factor on the filters of a bottleneck's convolutions except the last: 2 in Wide
            ResNet-50-2 (arXiv 1605.07146).
        groups: Groups of a bottleneck's 3x3 convolution (ResNeXt: Xie et al. 2017, arXiv
            1611.05431, Table 1): 32 with a `width` of 2 for 32x4d, of 4 for 32x8d.
        branch_dropout: Dropout rate, in [0, 1), ahead of a branch's second convolution (Wide
            ResNet: Zagoruyko and Komodakis 2016, arXiv 1605.07146, Figure 1d).
        first_unit_entry: Position of the activation between the stem and the first unit of a
            pre-activation net: in the `"stem"`, before its pooling (fb.resnet.torch); in the
            `"unit"`, shared by its two paths (the authors' code, keras.applications V2; equivalent
            without pooling); only in its `"branch"`, as in all other units (timm, KerasHub); or
            `"both"` (several ports).
        activation: `"relu"`, `"prelu"` (one slope per channel), `"prelu_shared"` (one per layer),
            `"leaky_relu"`, or the name of any Keras activation.
        residual_scale: Factor on the branch before the addition: a number; `"inverse_sqrt_units"`,
            1/sqrt(L) for L units; or `"learned"`, from 0: ReZero (arXiv 2003.04887) and, without
            normalisation, SkipInit (arXiv 2002.10444).
        zero_init: Let each branch start at 0: the scale of the norm that it ends with (Goyal et al.
            2017, arXiv 1706.02677), or else its last kernel.
        negative_slope: Slope for negative inputs; for PReLU its initial value. `None`: 0.25 for
            PReLU, 0.01 for leaky ReLU.
        stochastic_depth: Probability that the branch of the last unit is left out in training, in
            [0, 1) (Huang et al. 2016, arXiv 1603.09382: 0.5).
        stochastic_depth_rule: The other units': `"linear"`, growing from unit to unit, or
            `"uniform"`, the same.
        stochastic_depth_by: Whether a branch is left out for a mini-`"batch"` at a time (the
            paper, which multiplies by the probability of being kept at inference), or for each
            `"image"` by itself (later codes, which divide by it in training).
        initializer: Kernel initialiser of convolutions: `"he_normal"` (PReLU, section 2.2) or
            `"xavier_normal"` (which that section compares it with).
        initializer_mode: Fan that the variance is divided by: `"fan_out"` (PReLU equation 14, the
            authors' code), `"fan_in"` (equation 10) or `"fan_avg"`.
        initializer_truncated: Truncate the normal distribution at two standard deviations, as
            Keras's `HeNormal` does and the authors' code does not.
        initializer_slope_aware: Divide He's variance by 1 + slope² (PReLU, equation 15).
        normalization: `"batch"`; `"group"` (Wu and He 2018, arXiv 1803.08494); `"fixup"`, which in
            place of norms has learned numbers before each convolution and activation and at the end
            of each branch, kernels scaled by the number of units, and last kernels and a classifier
            that start at 0 (Zhang et al. 2019, arXiv 1901.09321); or `"none"`.
        norm_groups: Groups of channels of group normalisation (its paper: 32).
        norm_momentum: Momentum of the moving statistics, as in Keras, in [0, 1).
        norm_epsilon: Added to the variance before taking its square root.
        weight_standardization: Use kernels with their mean subtracted, divided by their deviation
            (Qiao et al. 2019, arXiv 1903.10520), and scaled so that without norms the activation
            keeps the variance of signals (Brock et al. 2021, arXiv 2101.08692).
        conv_bias: Which convolutions have a bias: `"never"` (the authors' code), `"without_norm"`
            (those not followed by normalisation; keras.applications V2), or `"always"`
            (keras.applications V1). Gates always have one.
        stem: `"conv"` one convolution, or `"deep"` three 3x3 (ResNet-D, arXiv 1812.01187, Figure
            2b): the first with the stride, the first two with half of the filters.
        stem_filters: Filters of the stem's convolution, of three the last.
        stem_kernel: Its size, odd.
        stem_stride: Its stride.
        stem_padded: Whether the stem's convolution and pooling use padding, so that the output size
            is `ceil(size / stride)`; the 14-layer net uses none (PReLU, Table 1: 224 to 109 to 36).
        stem_pool: Whether the stem ends with max pooling (ImageNet nets).
        stem_pool_size: Its size: 3 in residual nets, 2 in models A, B and C (PReLU, Table 3).
        stem_pool_stride: Its stride.
        stem_pool_padding: Padding of a 3x3 pooling: `"zeros"` (keras.applications), or `"excluded"`
            from the maximum (PyTorch). After a ReLU they are equivalent.
        pyramid: Bins per side at each level of spatial pyramid pooling, which replaces global
            average pooling (PReLU, section 2.3: 7, 3, 2, 1).
        dense: Units of the hidden dense layers between pooling and classifier, each followed by the
            network's activation and dropout (PReLU, Tables 1 and 3: 4096, 4096).
        dense_dropout: Their dropout rate, in [0, 1) (PReLU, section 3).
        dense_stddev: Standard deviation of their normal initialisation; the classifier's is a tenth
            of it (0.01 and 0.001 in PReLU, section 2.2). `None`: they are initialised like the
            convolutions, and the classifier as in the residual papers' code.

    Raises:
        ConfigError: For a value that is not allowed, or a combination that makes no valid network;
            the message states the rule.

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
    order: tuple[str, ...] = ()
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
    downsample_by: Literal["stride", "max_pool"] = "stride"
    projection_stride: Literal["conv", "avg_pool"] = "conv"
    width: float = 1.0
    groups: int = 1
    branch_dropout: float = 0.0
    first_unit_entry: Literal["stem", "unit", "branch", "both"] = "stem"
    activation: str = "relu"
    negative_slope: float | None = None
    residual_scale: float | ResidualScale = 1.0
    zero_init: bool = False
    stochastic_depth: float = 0.0
    stochastic_depth_rule: Literal["linear", "uniform"] = "linear"
    stochastic_depth_by: Literal["batch", "image"] = "batch"
    initializer: Literal["he_normal", "xavier_normal"] = "he_normal"
    initializer_mode: Literal["fan_out", "fan_in", "fan_avg"] = "fan_out"
    initializer_truncated: bool = False
    initializer_slope_aware: bool = False
    normalization: Normalization = "batch"
    norm_groups: int = 16
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-5
    weight_standardization: bool = False
    conv_bias: Literal["never", "without_norm", "always"] = "never"
    stem: Literal["conv", "deep"] = "conv"
    stem_filters: int = 16
    stem_kernel: int = 3
    stem_stride: int = 1
    stem_padded: bool = True
    stem_pool: bool = False
    stem_pool_size: int = 3
    stem_pool_stride: int = 2
    stem_pool_padding: Literal["zeros", "excluded"] = "zeros"
    pyramid: tuple[int, ...] = ()
    dense: tuple[int, ...] = ()
    dense_dropout: float = 0.5
    dense_stddev: float | None = None

    def check(self) -> None:
        """Checks ranges, then the rules for combinations."""
        for name in ("units", "filters"):
            values = getattr(self, name)
            positive = len(values) > 0 and all(value >= 1 for value in values)
            require(positive, name, values, "a list of whole numbers of at least 1")
        for name in ("pyramid", "dense"):
            values = getattr(self, name)
            fine = all(value >= 1 for value in values)
            require(
                fine, name, values, "a list, which may be empty, of whole numbers of at least 1"
            )
        for name in _STEM_SIZES:
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.groups >= 1, "groups", self.groups, "at least 1")
        require(self.width > 0, "width", self.width, "above 0")
        require(self.stem_kernel % 2 == 1, "stem_kernel", self.stem_kernel, "odd")
        for name in _IN_0_TO_1:
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        scale = self.residual_scale
        require(isinstance(scale, str) or scale > 0, "residual_scale", scale, "above 0")
        require(self.norm_groups >= 1, "norm_groups", self.norm_groups, "at least 1")
        require(self.norm_epsilon > 0, "norm_epsilon", self.norm_epsilon, "above 0")
        stddev = self.dense_stddev
        require(stddev is None or stddev > 0, "dense_stddev", stddev, "above 0, or None")
        require(self.activation != "", "activation", self.activation, "the name of an activation")
        for refused, rule in self._rules():
            if refused:
                raise ConfigError(rule)
        for filters in self.filters:
            self.inner_filters(filters)

    def _rules(self):
        """Yields pairs: whether a rule is broken, and its message."""
        plain, steps = self.shortcut == "none", self.steps
        named = f"placement={self.placement!r}" if not self.order else f"order={self.order}"
        yield (
            bool(self.order) and self.placement != "full_preactivation",
            "`order` replaces the placement, so only one of the two can be given. "
            f"Received: placement={self.placement!r}, order={self.order}.",
        )
        yield (
            bool(self.order) and plain,
            "`order` includes an addition, which a plain net, shortcut='none', does not have. "
            f"Received: order={self.order}.",
        )
        yield (
            len(self.units) != len(self.filters),
            "`units` and `filters` must have one entry per stage each. "
            f"Received: units={self.units}, filters={self.filters}.",
        )
        yield (
            plain and self.placement not in PLAIN,
            "A plain net has no addition, so shortcut='none' needs one of the placements "
            f"{quoted(PLAIN)}. Received: placement={self.placement!r}.",
        )
        yield (
            plain and self.stochastic_depth > 0,
            "Without shortcuts nothing is left of a unit without its branch, so shortcut='none' "
            f"needs stochastic_depth=0. Received: stochastic_depth={self.stochastic_depth}.",
        )
        scaled, fixup = self.residual_scale != 1, self.normalization == "fixup"
        received = (
            f"Received: residual_scale={self.residual_scale!r}, zero_init={self.zero_init}, "
            f"normalization={self.normalization!r}."
        )
        yield (
            plain and (scaled or self.zero_init or fixup),
            "A plain net has no branches: shortcut='none' needs residual_scale=1, zero_init=False "
            f"and a normalization other than 'fixup'. {received}",
        )
        yield (
            (fixup and scaled) or (self.zero_init and (fixup or self.residual_scale == "learned")),
            "A branch that starts at 0 in two ways never learns, and Fixup scales branches itself: "
            "of residual_scale='learned', zero_init=True and normalization='fixup' only one can be "
            f"given, and normalization='fixup' needs residual_scale=1. {received}",
        )
        yield (
            bool(self.starts_at_zero) and "act" in steps.last,
            "A branch that starts at 0 and ends with an activation may never learn: zero_init=True "
            f"and normalization='fixup' need another placement. {received[:-1]}, {named}.",
        )
        yield (
            self.block != "bottleneck" and (self.width, self.groups) != (1, 1),
            "`width` and `groups` are of a bottleneck's inner convolutions, so they need "
            "block='bottleneck'; the width of other blocks is `filters`. "
            f"Received: block={self.block!r}, width={self.width:g}, groups={self.groups}.",
        )
        groups, normed = self.norm_groups, {self.stem_filters, *self.stage_channels}
        normed |= {*map(self.inner_filters, self.filters)}
        normed |= {self.stem_filters // 2} if self.stem == "deep" else set()
        yield (
            self.normalization == "group" and any(channels % groups for channels in normed),
            "`norm_groups` must divide the channels of the stem and of all stages. "
            f"Received: norm_groups={groups}, channels {sorted(normed)}.",
        )
        yield (
            plain and self.projection == "C",
            "A plain net has no shortcuts to project: shortcut='none' needs projection 'A' or 'B', "
            "neither of which it uses. Received: projection='C'.",
        )
        channels = (self.stem_filters, *self.stage_channels)
        yield (
            not plain
            and not self.projects_every_unit
            and self.projection == "A"
            and list(channels) != sorted(channels),
            "Option A can only add channels, so the number of channels must not fall from stage to "
            "stage; projection='B' allows that. "
            f"Received: projection='A', channels of the stem and the stages {channels}.",
        )
        unnormalized, kind = not self.normalizes, f"normalization={self.normalization!r}"
        yield (
            unnormalized and "norm" in steps.after,
            f"{named} needs normalization='batch' or 'group'. Received: {kind}.",
        )
        yield (
            unnormalized and self.projection_norm is True,
            f"projection_norm=True needs normalization='batch' or 'group'. Received: {kind}.",
        )
        yield (
            self.first_unit_entry != "stem" and not self.preactivated,
            f"first_unit_entry={self.first_unit_entry!r} needs a pre-activation net, so placement "
            f"{' or '.join(PREACTIVATED)}. Received: {named}, whose stem "
            "always ends with the activation.",
        )
        yield (
            self.downsample_by == "max_pool" and self.downsample_at == "last_unit",
            "downsample_at='last_unit' needs downsample_by='stride'. "
            "Received: downsample_by='max_pool'.",
        )
        yield (
            self.projection_stride == "avg_pool"
            and self.projection == "A"
            and not self.projects_every_unit,
            "projection_stride='avg_pool' needs projections: projection 'B' or 'C'. "
            "Received: projection='A'.",
        )
        yield (
            self.branch_dropout > 0 and self.block == "single",
            "`branch_dropout` stands between two convolutions, and block='single' has one. "
            f"Received: branch_dropout={self.branch_dropout}.",
        )
        yield (
            self.stem == "deep" and (self.stem_kernel != 3 or self.stem_filters % 2 == 1),
            "stem='deep' is three 3x3 convolutions, the first two with half of the filters: it "
            "needs stem_kernel=3 and an even number of filters. "
            f"Received: stem_kernel={self.stem_kernel}, stem_filters={self.stem_filters}.",
        )
        yield (
            self.block == "basic2x2" and self.downsample_by == "stride" and len(self.units) > 1,
            "Pairs of 2x2 convolutions keep the spatial size, so block='basic2x2' with several "
            "stages needs downsample_by='max_pool'. Received: downsample_by='stride'.",
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
        """Weight layers as the papers count them: stem, branch convolutions, dense layers."""
        return 2 + sum(self.units) * len(KERNELS[self.block]) + len(self.dense)

    def inner_filters(self, filters: int) -> int:
        """Filters of a branch's convolutions but the last, in a stage with these `filters`.

        Example:
            >>> from keras_preact import ResNetConfig
            >>> config = ResNetConfig(block="bottleneck", projection="B", width=2, groups=4)
            >>> config.inner_filters(16)
            32
        """
        inner = round(filters * self.width, 6)  # a third of 6 is 2
        if inner % self.groups:
            raise ConfigError(
                "The filters of each stage times `width` must be a whole multiple of `groups`. "
                f"Received: filters={filters}, width={self.width:g}, groups={self.groups}."
            )
        return int(inner)

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Output channels of each stage."""
        return tuple(filters * EXPANSION[self.block] for filters in self.filters)

    @property
    def preactivated(self) -> bool:
        """Whether units begin with an activation or a norm (2016, section 4.1)."""
        return bool(self.steps.before)

    @property
    def steps(self) -> PlacementSteps:
        """Where a unit normalises and activates: by `order`, or else by `placement`."""
        if self.order:
            return steps_of(self.order, len(KERNELS[self.block]))
        return PLACEMENTS[self.placement]

    @property
    def normalizes(self) -> bool:
        """Whether the network has normalisation layers."""
        return self.normalization in ("batch", "group")

    @property
    def starts_at_zero(self) -> Literal["norm", "kernel"] | None:
        """What a branch ends with and starts at 0: the scale of a norm, or the last kernel."""
        if self.zero_init and self.normalizes and "norm" in self.steps.last:
            return "norm"
        return "kernel" if self.zero_init or self.normalization == "fixup" else None

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

    def depth_rate(self, unit: int) -> float:
        """Probability that the branch of a unit is left out in training (Huang et al., equation 4).

        Args:
            unit: Its number in the network, from 1.

        Example:
            >>> from keras_preact import ResNetConfig
            >>> config = ResNetConfig(units=(2, 2), filters=(16, 32), stochastic_depth=0.5)
            >>> [config.depth_rate(unit) for unit in (1, 2, 3, 4)]
            [0.125, 0.25, 0.375, 0.5]
        """
        share = unit / sum(self.units) if self.stochastic_depth_rule == "linear" else 1
        return self.stochastic_depth * share

    def differences(self, other: "ResNetConfig") -> dict[str, Any]:
        """Fields of another config that make its function of the same weights different.

        Example:
            >>> from keras_preact import ResNetConfig
            >>> ResNetConfig().differences(ResNetConfig(norm_epsilon=1e-3, norm_momentum=0.99))
            {'norm_epsilon': 0.001}
        """
        names = [name for name in self.field_names() if name not in _OF_LEARNING]
        values = {name: getattr(other, name) for name in names}
        return {name: value for name, value in values.items() if value != getattr(self, name)}
