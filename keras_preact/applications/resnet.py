"""ResNets for ImageNet with original units (Deep Residual Learning, 2015, Table 1).

ResNet-D (He T. et al. 2019, "Bag of Tricks for Image Classification with Convolutional Neural
Networks", Figure 2) has three 3x3 convolutions in the stem, the stride on a bottleneck's 3x3, and
an average pooling before the projections that halve the map.
"""

from keras_preact.applications.families import imagenet
from keras_preact.applications.imagenet_utils import decode_predictions, preprocessing

ResNet10 = imagenet("ResNet10", 10, 5_418_792, 889_229_312, placement="original")
ResNet12 = imagenet("ResNet12", 12, 5_492_776, 1_120_440_320, placement="original")
ResNet14Bottleneck = imagenet(
    "ResNet14Bottleneck", 14, 10_064_936, 1_237_581_824, block="bottleneck", placement="original"
)
ResNet14ImageNet = imagenet("ResNet14ImageNet", 14, 5_788_200, 1_351_651_328, placement="original")
ResNet16 = imagenet("ResNet16", 16, 6_968_872, 1_582_862_336, placement="original")
ResNet18 = imagenet("ResNet18", 18, 11_689_512, 1_814_073_344, placement="original")
ResNet26 = imagenet("ResNet26", 26, 17_960_232, 2_738_917_376, placement="original")
ResNet26Bottleneck = imagenet(
    "ResNet26Bottleneck", 26, 15_995_176, 2_111_045_632, block="bottleneck", placement="original"
)
ResNet34 = imagenet("ResNet34", 34, 21_797_672, 3_663_761_408, placement="original")
ResNet38Bottleneck = imagenet(
    "ResNet38Bottleneck", 38, 21_925_416, 2_984_509_440, block="bottleneck", placement="original"
)
ResNet50 = imagenet("ResNet50", 50, 25_557_032, 3_857_973_248, placement="original")
ResNet101 = imagenet("ResNet101", 101, 44_549_160, 7_570_194_432, placement="original")
ResNet152 = imagenet("ResNet152", 152, 60_192_808, 11_282_415_616, placement="original")
ResNet200 = imagenet("ResNet200", 200, 64_673_832, 14_776_270_848, placement="original")
ResNet269 = imagenet("ResNet269", 269, 102_073_384, 19_798_687_744, placement="original")

_D = {
    "placement": "original",
    "stride_on": "3x3",
    "projection_stride": "avg_pool",
    "stem": "deep",
    "stem_kernel": 3,
    "reference": "Bag of Tricks, 2019, Figure 2",
}
ResNet50D = imagenet("ResNet50D", 50, 25_576_264, 4_328_824_832, **_D)
ResNet101D = imagenet("ResNet101D", 101, 44_568_392, 8_041_046_016, **_D)

preprocess_input = preprocessing("caffe", "resnet")

__all__ = [
    "ResNet10",
    "ResNet12",
    "ResNet14Bottleneck",
    "ResNet14ImageNet",
    "ResNet16",
    "ResNet18",
    "ResNet26",
    "ResNet26Bottleneck",
    "ResNet34",
    "ResNet38Bottleneck",
    "ResNet50",
    "ResNet50D",
    "ResNet101",
    "ResNet101D",
    "ResNet152",
    "ResNet200",
    "ResNet269",
    "decode_predictions",
    "preprocess_input",
]
