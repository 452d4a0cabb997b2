"""Augmentations of images in memory as contenders: each gives a batch of uint8 images a step.

`fields` of the spec name the `change`: `rand_augment` (2 operations at 9 of 30), `trivial_augment`,
`erasing` (of each image), or `resized_crop`. Each is written as users of the library write it.
"""

import functools

import numpy as np

#: What is done, as fields of this package's `Augmentation`.
CHANGES = {
    "rand_augment": {"kind": "none", "policy": "rand_augment"},
    "trivial_augment": {"kind": "none", "policy": "trivial_augment"},
    "erasing": {"kind": "none", "erasing": 1.0},
    "resized_crop": {"kind": "imagenet", "aspect": True, "colour": 0.0},
}


def ours(spec):
    from keras_preact.data import Augmentation, Batches
    from keras_preact.data.splits import ArraySplit

    images = _images(spec)
    batches = Batches(
        ArraySplit(images, np.zeros(len(images))),
        len(images),
        augmentation=Augmentation(**CHANGES[spec.fields["change"]]),
        fill=(128, 128, 128),
    )

    def step():
        batches.epoch += 1
        return batches[0]

    return step


def torchvision(spec, tensors):
    import torch
    from PIL import Image
    from torchvision.transforms import v2

    fill, size = (128, 128, 128), spec.image_size
    change = {
        "rand_augment": v2.RandAugment(fill=fill),
        "trivial_augment": v2.TrivialAugmentWide(fill=fill),
        "erasing": v2.RandomErasing(1.0, value=128),  # of tensors only
        "resized_crop": v2.Compose([v2.RandomResizedCrop(size), v2.RandomHorizontalFlip()]),
    }[spec.fields["change"]]
    torch.set_num_threads(1)
    images = _images(spec)
    if tensors:
        images = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in images]
        return lambda: torch.stack([change(image) for image in images])
    images = [Image.fromarray(image) for image in images]
    to_tensor = v2.PILToTensor()
    if spec.fields["change"] == "erasing":
        change, to_tensor = to_tensor, change
    return lambda: torch.stack([to_tensor(change(image)) for image in images])


def _images(spec):
    """Photographs, cut out of those of scikit-learn and scaled to the size."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    corners = np.random.default_rng(0).integers(0, 190, (spec.batch_size, 2)).tolist()
    return np.stack(
        [
            photographs[k % 2].resize((spec.image_size,) * 2, box=(x, y, x + 224, y + 224))
            for k, (x, y) in enumerate(corners)
        ]
    )


AUGMENTERS = {
    "keras_preact, arrays": ours,
    "torchvision, Pillow": functools.partial(torchvision, tensors=False),
    "torchvision, tensors": functools.partial(torchvision, tensors=True),
}
