"""The two families of the papers: how a depth becomes a config."""

from keras_preact.applications.registry import register
from keras_preact.config import KERNELS, ResNetConfig
from keras_preact.weights.layouts import KERAS_V1, KERAS_V2

__all__ = ["KERAS_V1", "KERAS_V2", "cifar", "imagenet"]

#: Block and units a stage of each ImageNet depth (2015, Table 1; 200: 2016, footnote 3).
_IMAGENET_UNITS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}

#: CIFAR depths with bottleneck units (2016, section 4.1).
_CIFAR_BOTTLENECK = (164, 1001)


def imagenet(builder, depth, parameters, multiply_adds, **fields):
    """Registers a network for ImageNet: 7x7 stem, four stages, option B where dimensions change."""
    block, units = _IMAGENET_UNITS[depth]
    config = ResNetConfig(
        block=block,
        units=units,
        filters=(64, 128, 256, 512),
        projection="B",
        stem_filters=64,
        stem_kernel=7,
        stem_stride=2,
        stem_pool=True,
        **fields,
    )
    of_2016 = config.preactivated or depth == 200
    reference = "Identity Mappings, 2016, Table 5" if of_2016 else "Deep Residual Learning, Table 1"
    return register(builder, config, (224, 224, 3), 1000, parameters, multiply_adds, reference)


def cifar(builder, depth, parameters, multiply_adds, **fields):
    """Registers a network for CIFAR: 3x3 stem, three stages of (depth - 2) / 3 weight layers.

    Basic nets (6n+2 layers) use option A where dimensions change, bottleneck nets (9n+2) option B
    (2015, section 4.2; 2016, appendix).
    """
    block = "bottleneck" if depth in _CIFAR_BOTTLENECK else "basic"
    units = (depth - 2) // (3 * len(KERNELS[block]))
    config = ResNetConfig(
        block=block,
        units=(units,) * 3,
        projection="B" if block == "bottleneck" else "A",
        **fields,
    )
    of_2016 = config.preactivated or block == "bottleneck"
    reference = "Identity Mappings, 2016" if of_2016 else "Deep Residual Learning, section 4.2"
    return register(builder, config, (32, 32, 3), 10, parameters, multiply_adds, reference)
