"""The two families of the papers: how a depth becomes a config."""

from collections.abc import Callable
from typing import Any

from keras_preact.applications.registry import register
from keras_preact.config import KERNELS, ResNetConfig
from keras_preact.weights.layouts import KERAS_V1, KERAS_V2

__all__ = ["KERAS_V1", "KERAS_V2", "cifar", "imagenet"]

#: Units per stage of each ImageNet depth (2015, Table 1; 200: 2016, footnote 3; 14 to 38 with
#: bottleneck units, 10 to 16, 26 and 269: not in the papers, as in osmr/imgclsmob).
_IMAGENET_UNITS = {
    "basic": {
        10: (1, 1, 1, 1),
        12: (2, 1, 1, 1),
        14: (2, 2, 1, 1),
        16: (2, 2, 2, 1),
        18: (2, 2, 2, 2),
        26: (3, 3, 3, 3),
        34: (3, 4, 6, 3),
    },
    "bottleneck": {
        14: (1, 1, 1, 1),
        26: (2, 2, 2, 2),
        38: (3, 3, 3, 3),
        50: (3, 4, 6, 3),
        101: (3, 4, 23, 3),
        152: (3, 8, 36, 3),
        200: (3, 24, 36, 3),
        269: (3, 30, 48, 8),
    },
}

#: The ImageNet depths of the papers.
_OF_THE_PAPERS = (18, 34, 50, 101, 152, 200)

#: CIFAR depths with bottleneck units (2016, section 4.1; 272 and 542: osmr/imgclsmob).
_CIFAR_BOTTLENECK = (164, 272, 542, 1001)


def imagenet(
    builder: str,
    depth: int,
    parameters: int,
    multiply_adds: int,
    block: str | None = None,
    reference: str | None = None,
    **fields: Any,
) -> Callable[..., Any]:
    """Registers a network for ImageNet: 7x7 stem, four stages, option B where dimensions change.

    `block` is only given if it is not the usual one of the depth: basic up to 34 layers, and
    `reference` if it is not one of He et al. or of osmr/imgclsmob.
    """
    block = block or ("basic" if depth in _IMAGENET_UNITS["basic"] else "bottleneck")
    usual = {
        "block": block,
        "units": _IMAGENET_UNITS[block][depth],
        "filters": (64, 128, 256, 512),
        "projection": "B",
        "stem_filters": 64,
        "stem_kernel": 7,
        "stem_stride": 2,
        "stem_pool": True,
    }
    config = ResNetConfig(**{**usual, **fields})
    of_2016 = config.preactivated or depth == 200
    paper = "Identity Mappings, 2016, Table 5" if of_2016 else "Deep Residual Learning, Table 1"
    reference = reference or (paper if depth in _OF_THE_PAPERS else "osmr/imgclsmob")
    return register(builder, config, (224, 224, 3), 1000, parameters, multiply_adds, reference)


def cifar(
    builder: str,
    depth: int,
    parameters: int,
    multiply_adds: int,
    reference: str | None = None,
    **fields: Any,
) -> Callable[..., Any]:
    """Registers a network for CIFAR: 3x3 stem, three stages of (depth - 2) // 3 weight layers.

    Basic nets (6n+2 layers) use option A where dimensions change, bottleneck nets (9n+2) option B
    (2015, section 4.2; 2016, appendix).
    """
    block = "bottleneck" if depth in _CIFAR_BOTTLENECK else "basic"
    units = (depth - 2) // (3 * len(KERNELS[block]))
    option = "B" if block == "bottleneck" else "A"
    config = ResNetConfig(**{"block": block, "units": (units,) * 3, "projection": option, **fields})
    of_2016 = config.preactivated or block == "bottleneck"
    paper = "Identity Mappings, 2016" if of_2016 else "Deep Residual Learning, section 4.2"
    reference = reference or ("osmr/imgclsmob" if depth in (272, 542) else paper)
    return register(builder, config, (32, 32, 3), 10, parameters, multiply_adds, reference)
