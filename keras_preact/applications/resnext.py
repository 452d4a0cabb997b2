"""ResNeXts for ImageNet: bottlenecks with a 3x3 convolution in groups (Xie et al. 2017).

"Aggregated Residual Transformations for Deep Neural Networks", arXiv 1611.05431, Table 1: 32x4d
means 32 groups of 4 filters in the first stage, twice as many in each further one.
"""

from keras_preact.applications.families import imagenet
from keras_preact.applications.imagenet_utils import decode_predictions, preprocessing

_SHARED = {
    "placement": "original",
    "stride_on": "3x3",
    "groups": 32,
    "reference": "Aggregated Residual Transformations, 2017",
}

ResNeXt50_32x4d = imagenet("ResNeXt50_32x4d", 50, 25_028_904, 4_230_479_872, width=2, **_SHARED)
ResNeXt101_32x8d = imagenet("ResNeXt101_32x8d", 101, 88_791_336, 16_414_015_488, width=4, **_SHARED)

preprocess_input = preprocessing("torch", "resnext")

__all__ = [
    "ResNeXt50_32x4d",
    "ResNeXt101_32x8d",
    "decode_predictions",
    "preprocess_input",
]
