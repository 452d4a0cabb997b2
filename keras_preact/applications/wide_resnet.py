"""Wide ResNets: fewer layers with more filters (Zagoruyko and Komodakis 2016, arXiv 1605.07146).

Those for CIFAR are ResNets V2 with 16, 32 and 64 times the second number as filters, option B, and,
with `branch_dropout`, dropout between the convolutions. Their first number counts the stem, the
convolutions of the units and the three projections, and not the classifier. Those for ImageNet are
original bottlenecks whose inner convolutions have twice the filters.
"""

from keras_preact.applications.families import cifar, imagenet

_REFERENCE = "Wide Residual Networks, 2016"
_IMAGENET = {"placement": "original", "stride_on": "3x3", "width": 2, "reference": _REFERENCE}


def _cifar(builder, depth, factor, parameters, multiply_adds):
    """Of 6n + 4 layers: 3 stages of n units, 3 projections, the stem."""
    filters = (16 * factor, 32 * factor, 64 * factor)
    reference = f"Wide Residual Networks ({depth} with projections)"
    return cifar(
        builder,
        depth,
        parameters,
        multiply_adds,
        reference=reference,
        filters=filters,
        projection="B",
    )


WideResNet16_4 = _cifar("WideResNet16_4", 16, 4, 2_748_890, 392_612_352)
WideResNet28_10 = _cifar("WideResNet28_10", 28, 10, 36_479_194, 5_243_328_768)
WideResNet50_2 = imagenet("WideResNet50_2", 50, 68_883_240, 11_398_021_120, **_IMAGENET)
WideResNet101_2 = imagenet("WideResNet101_2", 101, 126_886_696, 22_753_050_624, **_IMAGENET)

__all__ = [
    "WideResNet16_4",
    "WideResNet28_10",
    "WideResNet50_2",
    "WideResNet101_2",
]
