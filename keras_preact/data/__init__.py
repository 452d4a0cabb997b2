"""Images and labels: named data sets, folders, tables and arrays; augmentation; checks.

Example:
    >>> from keras_preact.data import Augmentation, Batches, load_data
    >>> data = load_data("digits")
    >>> batches = Batches(data.train, 128, augmentation=Augmentation("crop"), flip=data.flip)
    >>> images, labels = batches[0]
    >>> images.shape, images.dtype, labels.dtype
    ((128, 8, 8, 1), dtype('uint8'), dtype('int32'))
"""

from keras_preact.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Augmentation": ".augment",
        "Batches": ".batches",
        "DataOptions": ".options",
        "Geometry": ".geometry",
        "ImageData": ".splits",
        "Report": ".check",
        "Split": ".splits",
        "check_data": ".check",
        "decode": ".images",
        "epoch_order": ".random",
        "image_mean": ".statistics",
        "load_data": ".load",
        "prefetched": ".batches",
        "resize": ".images",
        "resize_and_crop": ".images",
    },
)
