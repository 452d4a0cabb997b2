"""Makes the golden files: tiny networks of tf2cv's own code, saved as it saves them.

    TF_USE_LEGACY_KERAS=1 python tests/weights/golden/make.py

with tf2cv 0.0.18, tf-keras and tensorflow 2.21. Values are sixteenths, so that the archives are
small; the images are `np.sin` of whole numbers, which the test makes again.
"""

import pathlib
import zipfile

import numpy as np
from tf2cv.models.preresnet import PreResNet
from tf2cv.models.preresnet_cifar import CIFARPreResNet
from tf2cv.models.resnet import ResNet
from tf2cv.models.resnet_cifar import CIFARResNet

FOLDER = pathlib.Path(__file__).parent


def networks():
    for version, cifar, imagenet in (("", CIFARResNet, ResNet), ("_v2", CIFARPreResNet, PreResNet)):
        basic, wide = [[4, 4], [8], [12]], [[8, 8], [16], [24]]
        yield f"cifar_basic{version}", cifar(basic, 4, False)
        yield f"cifar_bottleneck{version}", cifar(wide, 4, True)
        basic, wide = [[4, 4], [8], [8], [12]], [[8, 8], [16], [16], [24]]
        yield f"imagenet_basic{version}", imagenet(basic, 4, False, True, classes=10)
        yield f"imagenet_bottleneck{version}", imagenet(wide, 4, True, True, classes=10)
        yield f"imagenet_3x3{version}", imagenet(wide, 4, True, False, classes=10)


def values(weight, random):
    kind = weight.name.rpartition("/")[2].removesuffix(":0")
    low, high = {"gamma": (8, 24), "moving_variance": (8, 48)}.get(kind, (-8, 9))
    return random.integers(low, high, weight.shape).astype("float32") / 16


def main():
    outputs = {}
    for name, network in networks():
        shape = (2, *network.in_size, 3)
        network.build(shape)
        random = np.random.default_rng(0)
        for weight in network.weights:
            weight.assign(values(weight, random))
        images = np.sin(np.arange(np.prod(shape), dtype="float64")).reshape(shape)
        outputs[name] = network(images.astype("float32"), training=False).numpy()
        file = FOLDER / f"{name}.tf2.h5"
        network.save_weights(str(file))
        with zipfile.ZipFile(f"{file}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.write(file, file.name)
        file.unlink()
    np.savez_compressed(FOLDER / "outputs.npz", **outputs)


if __name__ == "__main__":
    main()
