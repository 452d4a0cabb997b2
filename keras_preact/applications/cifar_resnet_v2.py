"""ResNets for CIFAR with full pre-activation units (Identity Mappings, 2016)."""

from keras_preact.applications.families import cifar
from keras_preact.applications.imagenet_utils import (
    CIFAR10_CLASSES,
    decode_cifar10_predictions,
    preprocessing,
)

ResNet8V2 = cifar("ResNet8V2", 8, 75_290, 12_239_488)
ResNet14V2 = cifar("ResNet14V2", 14, 172_506, 26_395_264)
ResNet20V2 = cifar("ResNet20V2", 20, 269_722, 40_551_040)
ResNet32V2 = cifar("ResNet32V2", 32, 464_154, 68_862_592)
ResNet44V2 = cifar("ResNet44V2", 44, 658_586, 97_174_144)
ResNet56V2 = cifar("ResNet56V2", 56, 853_018, 125_485_696)
ResNet110V2 = cifar("ResNet110V2", 110, 1_727_962, 252_887_680)
ResNet164V2 = cifar("ResNet164V2", 164, 1_703_258, 244_500_992)
ResNet272V2 = cifar("ResNet272V2", 272, 2_816_090, 404_933_120)
ResNet542V2 = cifar("ResNet542V2", 542, 5_598_170, 806_013_440)
ResNet1001V2 = cifar("ResNet1001V2", 1001, 10_327_706, 1_487_849_984)
ResNet1202V2 = cifar("ResNet1202V2", 1202, 19_421_274, 2_829_238_912)

decode_predictions = decode_cifar10_predictions
preprocess_input = preprocessing("cifar10", "cifar_resnet_v2")

__all__ = [
    "CIFAR10_CLASSES",
    "ResNet8V2",
    "ResNet14V2",
    "ResNet20V2",
    "ResNet32V2",
    "ResNet44V2",
    "ResNet56V2",
    "ResNet110V2",
    "ResNet164V2",
    "ResNet272V2",
    "ResNet542V2",
    "ResNet1001V2",
    "ResNet1202V2",
    "decode_predictions",
    "preprocess_input",
]
