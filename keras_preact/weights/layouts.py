"""The layer names of other libraries for residual networks, one table per library.

A row maps a layer name of the library to ours; `{stage}`, `{unit}`, `{conv}` and `{norm}` are
numbers, which start at 1 here and at the value in `starts` in the library.
"""

import dataclasses
import re
from typing import Any

from keras_preact.data import Geometry

_IMAGENET = {"stem_stride": 2, "stem_pool": True, "projection": "B"}

#: The fields that turn `ResNet50` into `keras.applications.ResNet50`, weight for weight.
KERAS_V1 = {
    "placement": "original",
    "conv_bias": "always",
    "norm_momentum": 0.99,
    "norm_epsilon": 1.001e-5,
}

#: The same for `ResNet50V2` and the other V2 networks.
KERAS_V2 = {
    "conv_bias": "without_norm",
    "stride_on": "3x3",
    "downsample_at": "last_unit",
    "subsample_shortcut": "max_pool",
    "first_unit_entry": "unit",
    "norm_momentum": 0.99,
    "norm_epsilon": 1.001e-5,
}

#: The networks of torchvision, and those of timm, KerasHub and transformers that follow them.
TORCH_V1 = {"placement": "original", "stride_on": "3x3"}

#: The pre-activation networks of timm and KerasHub.
TORCH_V2 = {
    "stride_on": "3x3",
    "first_unit_entry": "branch",
    "stem_pool_padding": "excluded",
}


#: The geometry of `keras.utils.load_img(target_size=...)`, with the usual size.
LOAD_IMG = Geometry(224, interpolation="nearest", crop="squash")

#: The geometry of torchvision's first weights, and timm's default.
RESIZE_256 = Geometry(224, shorter=256)

#: ResNet-D's shortcuts: its stem is recognised by its layers.
_D = {"projection_stride": "avg_pool"}

_TORCHVISION_BRANCHES = {
    "layer{stage}.{unit}.conv{conv}": "stage{stage}_unit{unit}_conv{conv}",
    "layer{stage}.{unit}.bn{norm}": "stage{stage}_unit{unit}_norm{norm}",
    "fc": "predictions",
}

_TIMM_V2_STAGES = {
    "stages.{stage}.blocks.{unit}.downsample.conv": "stage{stage}_unit{unit}_shortcut_conv",
    "stages.{stage}.blocks.{unit}.conv{conv}": "stage{stage}_unit{unit}_conv{conv}",
    "stages.{stage}.blocks.{unit}.norm{norm}": "stage{stage}_unit{unit}_norm{norm}",
    "norm": "head_norm",
    "head.fc": "predictions",
}

_KERAS_HUB_STAGES = {
    "stack{stage}_block{unit}_0_conv": "stage{stage}_unit{unit}_shortcut_conv",
    "stack{stage}_block{unit}_0_bn": "stage{stage}_unit{unit}_shortcut_norm",
    "stack{stage}_block{unit}_{conv}_conv": "stage{stage}_unit{unit}_conv{conv}",
    "stack{stage}_block{unit}_{conv}_bn": "stage{stage}_unit{unit}_norm{conv}",
    "predictions": "predictions",
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layer names of one library, and the properties of its networks.

    Args:
        name: The library and its networks, in words.
        fields: Fields of `ResNetConfig` that do not follow from the arrays.
        layers: Their layer names to ours; if two of theirs mean one of ours, the current one comes
            first.
        starts: The first value of each number in their names, if it is not 1.
        preprocessing: Preprocessing of images for the library's own weights, a name in
            `PREPROCESSINGS`; `None` if its files contain it.
        geometry: How image files are resized and cropped for its networks, likewise.

    Example:
        >>> from keras_preact.weights.layouts import LAYOUTS
        >>> torchvision = LAYOUTS[2]
        >>> torchvision.ours("layer1.0.bn2"), torchvision.theirs("stage4_unit3_conv1")
        ('stage1_unit1_norm2', 'layer4.2.conv1')
    """

    name: str
    fields: dict[str, Any]
    layers: dict[str, str]
    starts: dict[str, int] = dataclasses.field(default_factory=dict)
    preprocessing: str | None = None
    geometry: Geometry | None = None

    def ours(self, layer: str) -> str | None:
        """Our name of one of their layers; `None` if such networks do not have it."""
        shifts = {number: 1 - start for number, start in self.starts.items()}
        return _translated(self.layers.items(), layer, shifts)

    def theirs(self, layer: str) -> str | None:
        """Their name of one of our layers; `None` if they have none."""
        rows = [(ours, theirs) for theirs, ours in self.layers.items()]
        shifts = {number: start - 1 for number, start in self.starts.items()}
        return _translated(rows, layer, shifts)


def _translated(rows, name, shifts):
    for pattern, target in rows:
        texts = re.split(r"\{(\w+)\}", pattern)  # every second item is the name of a number
        numbers = [
            rf"(?P<{text}>\d{{1,4}})" if k % 2 else re.escape(text) for k, text in enumerate(texts)
        ]
        if match := re.fullmatch("".join(numbers), name):
            found = {
                key: int(value) + shifts.get(key, 0) for key, value in match.groupdict().items()
            }
            return target.format(**found)
    return None


LAYOUTS = (
    Layout(
        "ResNet of keras.applications",
        {**_IMAGENET, **KERAS_V1},
        {
            "conv1_conv": "stem_conv",
            "conv1_bn": "stem_norm",
            "conv{stage}_block{unit}_0_conv": "stage{stage}_unit{unit}_shortcut_conv",
            "conv{stage}_block{unit}_0_bn": "stage{stage}_unit{unit}_shortcut_norm",
            "conv{stage}_block{unit}_{conv}_conv": "stage{stage}_unit{unit}_conv{conv}",
            "conv{stage}_block{unit}_{conv}_bn": "stage{stage}_unit{unit}_norm{conv}",
            "predictions": "predictions",
            "probs": "predictions",
        },
        {"stage": 2},
        "caffe",
        LOAD_IMG,
    ),
    Layout(
        "ResNetV2 of keras.applications",
        {**_IMAGENET, **KERAS_V2},
        {
            "conv1_conv": "stem_conv",
            "conv{stage}_block{unit}_0_conv": "stage{stage}_unit{unit}_shortcut_conv",
            "conv{stage}_block{unit}_preact_bn": "stage{stage}_unit{unit}_norm1",
            "conv{stage}_block{unit}_{conv}_conv": "stage{stage}_unit{unit}_conv{conv}",
            "conv{stage}_block{unit}_{norm}_bn": "stage{stage}_unit{unit}_norm{norm}",
            "post_bn": "head_norm",
            "predictions": "predictions",
            "probs": "predictions",
        },
        {"stage": 2, "norm": 0},
        "tf",
        LOAD_IMG,
    ),
    Layout(
        "ResNet of torchvision or timm",
        {**_IMAGENET, **TORCH_V1},
        {
            "conv1": "stem_conv",
            "bn1": "stem_norm",
            "layer{stage}.{unit}.downsample.0": "stage{stage}_unit{unit}_shortcut_conv",
            "layer{stage}.{unit}.downsample.1": "stage{stage}_unit{unit}_shortcut_norm",
            **_TORCHVISION_BRANCHES,
        },
        {"unit": 0},
        "torch",
        RESIZE_256,
    ),
    Layout(
        "ResNet-D of timm",
        {**_IMAGENET, **TORCH_V1, **_D},
        {
            "conv1.0": "stem_conv",
            "conv1.1": "stem_norm1",
            "conv1.3": "stem_conv2",
            "conv1.4": "stem_norm2",
            "conv1.6": "stem_conv3",
            "bn1": "stem_norm",
            "layer{stage}.{unit}.downsample.1": "stage{stage}_unit{unit}_shortcut_conv",
            "layer{stage}.{unit}.downsample.2": "stage{stage}_unit{unit}_shortcut_norm",
            **_TORCHVISION_BRANCHES,
        },
        {"unit": 0},
        "torch",
        RESIZE_256,
    ),
    Layout(
        "pre-activation ResNet of timm",
        {**_IMAGENET, **TORCH_V2},
        {"stem.conv": "stem_conv", **_TIMM_V2_STAGES},
        {"stage": 0, "unit": 0},
        "tf",
        RESIZE_256,
    ),
    Layout(
        "pre-activation ResNet-D of timm",
        {**_IMAGENET, **TORCH_V2, **_D},
        {
            "stem.conv1": "stem_conv",
            "stem.conv{conv}": "stem_conv{conv}",
            "stem.norm{norm}": "stem_norm{norm}",
            **_TIMM_V2_STAGES,
        },
        {"stage": 0, "unit": 0},
        "tf",
        RESIZE_256,
    ),
    Layout(
        "ResNet of Hugging Face transformers",
        {**_IMAGENET, **TORCH_V1},
        {
            "embedder.embedder.convolution": "stem_conv",
            "embedder.embedder.normalization": "stem_norm",
            "encoder.stages.{stage}.layers.{unit}.shortcut.convolution": (
                "stage{stage}_unit{unit}_shortcut_conv"
            ),
            "encoder.stages.{stage}.layers.{unit}.shortcut.normalization": (
                "stage{stage}_unit{unit}_shortcut_norm"
            ),
            "encoder.stages.{stage}.layers.{unit}.layer.{conv}.convolution": (
                "stage{stage}_unit{unit}_conv{conv}"
            ),
            "encoder.stages.{stage}.layers.{unit}.layer.{conv}.normalization": (
                "stage{stage}_unit{unit}_norm{conv}"
            ),
            "classifier.1": "predictions",
        },
        {"stage": 0, "unit": 0, "conv": 0},
        "torch",
        Geometry(224, shorter=256, interpolation="bicubic", crop="center_floor"),
    ),
    Layout(
        "ResNet of KerasHub",
        {**_IMAGENET, **TORCH_V1},
        {"conv1_conv": "stem_conv", "conv1_bn": "stem_norm", **_KERAS_HUB_STAGES},
        {"stage": 0, "unit": 0},
    ),
    Layout(
        "ResNet-D (ResNet_vd) of KerasHub",
        {**_IMAGENET, **TORCH_V1, **_D},
        {
            "conv1_conv": "stem_conv",
            "conv2_conv": "stem_conv2",
            "conv3_conv": "stem_conv3",
            "conv1_bn": "stem_norm1",
            "conv2_bn": "stem_norm2",
            "conv3_bn": "stem_norm",
            **_KERAS_HUB_STAGES,
        },
        {"stage": 0, "unit": 0},
    ),
    Layout(
        "pre-activation ResNet of KerasHub",
        {**_IMAGENET, **TORCH_V2},
        {
            "conv1_conv": "stem_conv",
            "stack{stage}_block{unit}_0_conv": "stage{stage}_unit{unit}_shortcut_conv",
            "stack{stage}_block{unit}_pre_activation_bn": "stage{stage}_unit{unit}_norm1",
            "stack{stage}_block{unit}_{conv}_conv": "stage{stage}_unit{unit}_conv{conv}",
            "stack{stage}_block{unit}_{norm}_bn": "stage{stage}_unit{unit}_norm{norm}",
            "post_bn": "head_norm",
            "predictions": "predictions",
        },
        {"stage": 0, "unit": 0, "norm": 0},
    ),
)

#: This package's own layout, whose names need no table.
OWN = Layout("network of this package", {}, {})
