"""The networks of Delving Deep into Rectifiers (2015), and the VGG nets that it builds on.

Plain nets without normalisation: max pooling halves the feature map; spatial pyramid pooling and
two hidden dense layers precede the classifier. `activation` is `"relu"`, `"prelu"` (one slope per
channel) or `"prelu_shared"` (one per layer). The default is that of the paper's best result for the
network: one slope per channel; ReLU for the 30-layer net and the VGG nets, which have no other.
"""

from collections.abc import Callable
from typing import Any

from keras_preact.applications.imagenet_utils import decode_predictions, preprocessing
from keras_preact.applications.registry import register
from keras_preact.config import ResNetConfig

_SHARED = {
    "placement": "original",
    "shortcut": "none",
    "downsample_by": "max_pool",
    "normalization": "none",
    "conv_bias": "always",
    "dense": (4096, 4096),
    "dense_stddev": 0.01,
}

#: Table 3.
_OF_3X3 = {
    "block": "single",
    "stem_filters": 96,
    "stem_kernel": 7,
    "stem_stride": 2,
    "stem_pool": True,
    "stem_pool_size": 2,
    "pyramid": (7, 3, 2, 1),
    "activation": "prelu",
}

#: Table 1; the sizes of the feature maps, 36 and 18, are in Table 1 of arXiv:1412.1710.
_OF_2X2 = {
    "block": "basic2x2",
    "filters": (128, 256),
    "stem_filters": 64,
    "stem_kernel": 7,
    "stem_stride": 2,
    "stem_padded": False,
    "stem_pool": True,
    "stem_pool_stride": 3,
    "pyramid": (6, 3, 2, 1),
}

#: The last 2x2 pooling is a pyramid of one level, which at 224 pixels is the same.
_VGG = {
    "block": "single",
    "filters": (64, 128, 256, 512, 512),
    "stem_filters": 64,
    "pyramid": (7,),
}


def _net(
    builder: str, place: str, parameters: int, multiply_adds: int, **fields: Any
) -> Callable[..., Any]:
    """Registers a plain net of the paper for ImageNet."""
    reference = f"Delving Deep into Rectifiers, {place}"
    config = ResNetConfig(**_SHARED, **fields)
    return register(builder, config, (224, 224, 3), 1000, parameters, multiply_adds, reference)


VGG13 = _net("VGG13", "section 2.2", 133_047_848, 11_308_466_176, units=(1, 2, 2, 2, 2), **_VGG)
VGG19 = _net("VGG19", "Table 3", 143_667_240, 19_632_062_464, units=(1, 2, 4, 4, 4), **_VGG)
RectifierNet14 = _net(
    "RectifierNet14",
    "Table 1",
    75_004_200,
    919_573_184,
    units=(2, 3),
    activation="prelu",
    **_OF_2X2,
)
# The paper adds 16 layers of 256 filters to the 14-layer net and does not say where; here they
# follow the layers of that net that have 256 filters.
RectifierNet30 = _net(
    "RectifierNet30", "Figure 3", 79_192_296, 2_205_127_360, units=(2, 11), **_OF_2X2
)
RectifierNetA = _net(
    "RectifierNetA",
    "Table 3",
    178_032_072,
    19_058_106_368,
    units=(5, 5, 5),
    filters=(256, 512, 512),
    **_OF_3X3,
)
RectifierNetB = _net(
    "RectifierNetB",
    "Table 3",
    183_343_048,
    23_219_904_512,
    units=(6, 6, 6),
    filters=(256, 512, 512),
    **_OF_3X3,
)
RectifierNetC = _net(
    "RectifierNetC",
    "Table 3",
    330_623_944,
    53_463_130_112,
    units=(6, 6, 6),
    filters=(384, 768, 896),
    **_OF_3X3,
)

preprocess_input = preprocessing("caffe", "rectifier")

__all__ = [
    "VGG13",
    "VGG19",
    "RectifierNet14",
    "RectifierNet30",
    "RectifierNetA",
    "RectifierNetB",
    "RectifierNetC",
    "decode_predictions",
    "preprocess_input",
]
