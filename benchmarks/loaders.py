"""Loaders of image files as contenders: each a function from a `Spec` to a step, the next batch.

`fields` of the spec say which files, `folder`, and how they are changed: `"crop"` pads, crops and
mirrors images of one size; `"imagenet"` cuts a window of random scale out, mirrors it and shifts
its colours (He et al. 2015b, section 3.4). Each is written as users of the library write it.
"""

import functools
import itertools
import os


def ours(spec, cache=False):
    from keras_preact.data import Augmentation, Batches, DataOptions, load_data, prefetched

    folder = spec.fields["folder"]
    kept = {"cache": f"{os.path.abspath(folder)}.cache"} if cache else {}
    options = DataOptions(image_size=spec.image_size, memory_limit_mb=0, **kept)
    split = load_data(f"folder:{folder}", options=options, seed=None).train
    batches = Batches(
        split,
        spec.batch_size,
        shuffle=True,
        augmentation=Augmentation(spec.fields["kind"]),
        fill=(0, 0, 0),
        drop_remainder=True,
    )

    def endless():
        for batches.epoch in itertools.count():
            yield from prefetched(batches)

    feed = endless()
    return lambda: next(feed)


def tf_data(spec, antialias=False):
    import tensorflow as tf

    size, components = spec.image_size, _components(tf)

    def crop(data):
        image = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
        image = tf.pad(image, [[size // 8] * 2, [size // 8] * 2, [0, 0]])
        image = tf.image.random_crop(image, (size, size, 3))
        return tf.image.random_flip_left_right(image)

    def imagenet(data):
        shape = tf.io.extract_jpeg_shape(data)
        shorter = tf.random.uniform([], size * 256 // 224, size * 480 // 224 + 1, tf.int32)
        side = size * tf.minimum(shape[0], shape[1]) // shorter
        top = tf.random.uniform([], 0, shape[0] - side + 1, tf.int32)
        left = tf.random.uniform([], 0, shape[1] - side + 1, tf.int32)
        window = tf.stack([top, left, side, side])
        image = tf.io.decode_and_crop_jpeg(data, window, 3, dct_method="INTEGER_ACCURATE")
        image = tf.image.random_flip_left_right(
            tf.image.resize(image, (size, size), antialias=antialias)
        )
        image += tf.linalg.matvec(components, tf.random.normal([3], stddev=0.1))
        return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)

    change = {"crop": crop, "imagenet": imagenet}[spec.fields["kind"]]

    def read(path, label):
        return change(tf.io.read_file(path)), label

    files = _files(spec)
    data = tf.data.Dataset.from_tensor_slices((files, [0] * len(files)))
    data = data.shuffle(len(files)).repeat().map(read, num_parallel_calls=tf.data.AUTOTUNE)
    feed = iter(data.batch(spec.batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE))
    return lambda: next(feed)


def _components(tf):
    """ImageNet's colours, scaled by their deviations, as columns."""
    from keras_preact.data.draws import colour_shifts

    return tf.constant(colour_shifts([[1, 0, 0], [0, 1, 0], [0, 0, 1]]).T, tf.float32)


def torchvision(spec):
    import torch
    from torchvision import datasets
    from torchvision.transforms import v2

    size = spec.image_size

    class Scale(torch.nn.Module):
        def forward(self, image):
            shorter = int(torch.randint(size * 256 // 224, size * 480 // 224 + 1, ()))
            return v2.functional.resize(image, shorter)

    changes = {
        "crop": [v2.RandomCrop(size, padding=size // 8), v2.RandomHorizontalFlip()],
        "imagenet": [Scale(), v2.RandomCrop(size), v2.RandomHorizontalFlip()],
    }[spec.fields["kind"]]
    changes = v2.Compose([*changes, v2.PILToTensor()])  # the colours are left as they are
    loader = torch.utils.data.DataLoader(
        datasets.ImageFolder(spec.fields["folder"], changes),
        batch_size=spec.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=os.cpu_count(),
        persistent_workers=True,
    )
    feed = itertools.chain.from_iterable(itertools.repeat(loader))
    return lambda: next(feed)


def _files(spec):
    return [
        os.path.join(folder, name)
        for folder, _, names in os.walk(spec.fields["folder"])
        for name in names
        if name.lower().endswith((".jpg", ".jpeg"))
    ]


LOADERS = {
    "keras_preact, files": ours,
    "keras_preact, cache": functools.partial(ours, cache=True),
    "tf.data": tf_data,
    "tf.data, antialiased": functools.partial(tf_data, antialias=True),
    "torchvision": torchvision,
}
