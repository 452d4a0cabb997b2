"""ResNets for ImageNet with full pre-activation units (Identity Mappings, 2016)."""

from keras_preact.applications.families import imagenet
from keras_preact.applications.imagenet_utils import decode_predictions, preprocessing

ResNet10V2 = imagenet("ResNet10V2", 10, 5_417_000, 889_229_312)
ResNet12V2 = imagenet("ResNet12V2", 12, 5_490_984, 1_120_440_320)
ResNet14BottleneckV2 = imagenet(
    "ResNet14BottleneckV2", 14, 10_057_256, 1_237_581_824, block="bottleneck"
)
ResNet14ImageNetV2 = imagenet("ResNet14ImageNetV2", 14, 5_786_408, 1_351_651_328)
ResNet16V2 = imagenet("ResNet16V2", 16, 6_967_080, 1_582_862_336)
ResNet18V2 = imagenet("ResNet18V2", 18, 11_687_720, 1_814_073_344)
ResNet26BottleneckV2 = imagenet(
    "ResNet26BottleneckV2", 26, 15_987_496, 2_111_045_632, block="bottleneck"
)
ResNet26V2 = imagenet("ResNet26V2", 26, 17_958_440, 2_738_917_376)
ResNet34V2 = imagenet("ResNet34V2", 34, 21_795_880, 3_663_761_408)
ResNet38BottleneckV2 = imagenet(
    "ResNet38BottleneckV2", 38, 21_917_736, 2_984_509_440, block="bottleneck"
)
ResNet50V2 = imagenet("ResNet50V2", 50, 25_549_352, 3_857_973_248)
ResNet101V2 = imagenet("ResNet101V2", 101, 44_541_480, 7_570_194_432)
ResNet152V2 = imagenet("ResNet152V2", 152, 60_185_128, 11_282_415_616)
ResNet200V2 = imagenet("ResNet200V2", 200, 64_666_152, 14_776_270_848)
ResNet269V2 = imagenet("ResNet269V2", 269, 102_065_704, 19_798_687_744)

preprocess_input = preprocessing("tf", "resnet_v2")

__all__ = [
    "ResNet10V2",
    "ResNet12V2",
    "ResNet14BottleneckV2",
    "ResNet14ImageNetV2",
    "ResNet16V2",
    "ResNet18V2",
    "ResNet26BottleneckV2",
    "ResNet26V2",
    "ResNet34V2",
    "ResNet38BottleneckV2",
    "ResNet50V2",
    "ResNet101V2",
    "ResNet152V2",
    "ResNet200V2",
    "ResNet269V2",
    "decode_predictions",
    "preprocess_input",
]
