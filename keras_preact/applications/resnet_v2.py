"""ResNets for ImageNet with full pre-activation units (Identity Mappings, 2016)."""

from keras_preact.applications.families import imagenet
from keras_preact.applications.imagenet_utils import decode_predictions, preprocessing

ResNet18V2 = imagenet("ResNet18V2", 18, 11_687_720, 1_814_073_344)
ResNet34V2 = imagenet("ResNet34V2", 34, 21_795_880, 3_663_761_408)
ResNet50V2 = imagenet("ResNet50V2", 50, 25_549_352, 3_857_973_248)
ResNet101V2 = imagenet("ResNet101V2", 101, 44_541_480, 7_570_194_432)
ResNet152V2 = imagenet("ResNet152V2", 152, 60_185_128, 11_282_415_616)
ResNet200V2 = imagenet("ResNet200V2", 200, 64_666_152, 14_776_270_848)

preprocess_input = preprocessing("tf", "resnet_v2")

__all__ = [
    "ResNet18V2",
    "ResNet34V2",
    "ResNet50V2",
    "ResNet101V2",
    "ResNet152V2",
    "ResNet200V2",
    "decode_predictions",
    "preprocess_input",
]
