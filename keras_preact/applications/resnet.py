"""ResNets for ImageNet with original units (Deep Residual Learning, 2015, Table 1)."""

from keras_preact.applications.families import imagenet
from keras_preact.applications.imagenet_utils import decode_predictions, preprocessing

ResNet18 = imagenet("ResNet18", 18, 11_689_512, 1_814_073_344, placement="original")
ResNet34 = imagenet("ResNet34", 34, 21_797_672, 3_663_761_408, placement="original")
ResNet50 = imagenet("ResNet50", 50, 25_557_032, 3_857_973_248, placement="original")
ResNet101 = imagenet("ResNet101", 101, 44_549_160, 7_570_194_432, placement="original")
ResNet152 = imagenet("ResNet152", 152, 60_192_808, 11_282_415_616, placement="original")
ResNet200 = imagenet("ResNet200", 200, 64_673_832, 14_776_270_848, placement="original")

preprocess_input = preprocessing("caffe", "resnet")

__all__ = [
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNet101",
    "ResNet152",
    "ResNet200",
    "decode_predictions",
    "preprocess_input",
]
