"""ResNets for CIFAR with original units (Deep Residual Learning, 2015, section 4.2)."""

from keras_preact.applications.families import cifar
from keras_preact.applications.imagenet_utils import (
    CIFAR10_CLASSES,
    decode_cifar10_predictions,
    preprocessing,
)

ResNet8 = cifar("ResNet8", 8, 75_290, 12_239_488, placement="original")
ResNet14 = cifar("ResNet14", 14, 172_506, 26_395_264, placement="original")
ResNet20 = cifar("ResNet20", 20, 269_722, 40_551_040, placement="original")
ResNet32 = cifar("ResNet32", 32, 464_154, 68_862_592, placement="original")
ResNet44 = cifar("ResNet44", 44, 658_586, 97_174_144, placement="original")
ResNet56 = cifar("ResNet56", 56, 853_018, 125_485_696, placement="original")
ResNet110 = cifar("ResNet110", 110, 1_727_962, 252_887_680, placement="original")
ResNet164 = cifar("ResNet164", 164, 1_704_154, 244_500_992, placement="original")
ResNet272 = cifar("ResNet272", 272, 2_816_986, 404_933_120, placement="original")
ResNet542 = cifar("ResNet542", 542, 5_599_066, 806_013_440, placement="original")
ResNet1001 = cifar("ResNet1001", 1001, 10_328_602, 1_487_849_984, placement="original")
ResNet1202 = cifar("ResNet1202", 1202, 19_421_274, 2_829_238_912, placement="original")

decode_predictions = decode_cifar10_predictions
preprocess_input = preprocessing("cifar10", "cifar_resnet")

__all__ = [
    "CIFAR10_CLASSES",
    "ResNet8",
    "ResNet14",
    "ResNet20",
    "ResNet32",
    "ResNet44",
    "ResNet56",
    "ResNet110",
    "ResNet164",
    "ResNet272",
    "ResNet542",
    "ResNet1001",
    "ResNet1202",
    "decode_predictions",
    "preprocess_input",
]
