"""Data sets by name: `digits` of scikit-learn, and those of tensorflow-datasets."""

import contextlib
import importlib.util
import os

import numpy as np

from keras_preact.data.arrays import fit_array
from keras_preact.data.columns import TABLES
from keras_preact.data.options import DataOptions
from keras_preact.data.partition import parts_of
from keras_preact.data.splits import (
    ArraySplit,
    Encoded,
    EncodedSplit,
    Held,
    HeldSplit,
    ImageData,
)
from keras_preact.errors import ConfigError, DataError, near, quoted

KNOWN = ("digits", "cifar10", "cifar100", "imagenet2012")

#: What a path may be of, `KIND:PATH`, and the endings that tell it; and these in words.
KINDS = {"folder": (), **{kind: table.endings for kind, table in TABLES.items()}, "npz": ("npz",)}
*_OTHERS, _LAST = (f"{kind}:PATH" for kind in KINDS)
PATHS = f"{quoted(_OTHERS)} or {_LAST!r}"
_READS_LEFT_TO_RIGHT = ("mnist", "svhn", "omniglot", "digits", "cmaterdb", "dsprites")
_ITS_OWN = ("fashion_mnist", "pneumonia_mnist")  # "mnist" in name only: no signs to be read


def load_digits(options: DataOptions) -> ImageData:
    """The 1,797 digits of scikit-learn, 8x8 and grey, 0..16 scaled to 0..255.

    1,437 training and 360 test images, the same for every seed, so that accuracies can be compared.
    """
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    digits = load()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int32)
    order = np.arange(len(labels))
    train, test = train_test_split(order, test_size=360, stratify=labels, random_state=0)
    whole = ArraySplit(fit_array(images, options), labels)
    names = tuple(str(name) for name in digits.target_names)
    parts = whole.subset(np.sort(train)), whole.subset(np.sort(test))
    return ImageData("digits", *parts, names, whole.image_shape, flip=False)


def load_tfds(name: str, options: DataOptions, seed: int = 0) -> ImageData:
    """An image classification set of tensorflow-datasets; see `load_data`.

    The set is prepared as ArrayRecord files, which need no TensorFlow and can be read in any
    order. A set that was prepared as TFRecord files before is read with TensorFlow, its encoded
    images held in memory.
    """
    builder = _builder(name, data_dir=options.data_dir)
    keys = _keys(name, builder)  # these are known, and checked, before anything is downloaded
    image, label = (builder.info.features[key] for key in keys)
    shape = _shape(name, image, options)
    builder = _prepared(name, builder, options)
    sources = _sources(name, builder, keys, options)
    names = tuple(label.names or map(str, range(label.num_classes)))
    keep = options.fits(sum(map(len, sources.values())) * int(np.prod(shape)))
    splits = {
        part: _split(f"{name}/{part}", source, keys, shape, keep, options.geometry)
        for part, source in sources.items()
    }
    parts = parts_of(splits, options.test_fraction, seed)
    return ImageData(name, **parts, class_names=names, image_shape=shape, flip=_flip(name))


def _flip(name: str) -> bool:
    base = name.split("/")[0].split(":")[0]
    return base in _ITS_OWN or not any(sign in base for sign in _READS_LEFT_TO_RIGHT)


def _builder(name: str, **kwargs):
    """tfds' builder of a data set."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    try:
        return tfds.builder(name, **kwargs)
    except ValueError as error:  # DatasetNotFoundError is one
        if name.split("/")[0].split(":")[0] not in registered.list_imported_builders():
            raise ConfigError(unknown(name)) from None
        raise ConfigError(f"{name!r} is not a version of a data set: {_one_line(error)}") from None
    except Exception as error:
        raise DataError(f"{name!r} cannot be opened: {_one_line(error)}") from None


def _prepared(name: str, builder, options: DataOptions):
    """The builder of a set whose files are there; downloads and prepares them if need be."""
    if builder.is_prepared():
        return builder
    has = importlib.util.find_spec("array_record") is not None  # not on every system
    file_format = "array_record" if has else "tfrecord"
    builder = _builder(name, data_dir=options.data_dir, file_format=file_format)
    try:
        with _fewer_retries():
            builder.download_and_prepare()
    except ImportError as error:
        missing = f"pip install {error.name}" if error.name else "install it"
        raise DataError(f"{name!r} cannot be prepared: {error}. Fix: {missing}.") from None
    except Exception as error:  # each set has its own ways to fail
        raise DataError(_unavailable(name, error, options)) from None
    return builder


def kind_of(path: str) -> str:
    """One of `KINDS`, by how the path ends."""
    end = os.path.splitext(path)[1].lower().removeprefix(".")
    return next((kind for kind, endings in KINDS.items() if end in endings), "folder")


def unknown(name: str) -> str:
    """What is allowed where `name` is no data set."""
    from tensorflow_datasets.core import registered

    hint = near(name, KNOWN) or near(name, registered.list_imported_builders())
    if os.path.exists(name):
        hint = f" Did you mean {kind_of(name) + ':' + name!r}?"
    return (
        f"Expected one of {quoted(KNOWN)}, another image set of tensorflow-datasets, {PATHS}. "
        f"Received: {name!r}.{hint}"
    )


def _unavailable(name: str, error: Exception, options: DataOptions) -> str:
    if isinstance(error, AssertionError) and "anual" in str(error):
        reason = _one_line(error, 1000)
        return f"{name!r} must be downloaded manually. {reason} Then run again."
    return (
        f"{name!r} could not be downloaded or prepared: {_one_line(error)} Check the network and "
        "the disk, or give the folder of a prepared copy as data_dir. "
        f"Received: data_dir={options.data_dir!r}."
    )


def _one_line(error: Exception, most: int = 300) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else text[:most] + " ..."


@contextlib.contextmanager
def _fewer_retries():
    """Lets a download fail within seconds where there is no network (tfds: over 3 minutes)."""
    from tensorflow_datasets.core.download import downloader

    before = getattr(downloader, "MAX_RETRIES", 5)
    downloader.MAX_RETRIES = min(before, 5)
    try:
        yield
    finally:
        downloader.MAX_RETRIES = before


def _keys(name: str, builder) -> tuple[str, str]:
    """The names of the image and of the label in the examples of a set."""
    import tensorflow_datasets as tfds

    keys = builder.info.supervised_keys or ("image", "label")
    known = dict(builder.info.features.items())
    features = [known.get(key) for key in keys[:2]]
    wanted = (tfds.features.Image, tfds.features.ClassLabel)
    if len(keys) != 2 or not all(map(isinstance, features, wanted)):
        raise DataError(
            f"Expected a data set of images with one class label each. Received: {name!r} with "
            f"{quoted(known)}."
        )
    if features[0].np_dtype != np.uint8:
        raise DataError(
            f"Expected images of uint8. Received: {name!r} with {features[0].np_dtype.__name__}."
        )
    return keys


def _shape(name: str, feature, options: DataOptions) -> tuple[int, int, int]:
    height, width, channels = feature.shape
    channels = options.channels or (1 if channels == 1 else 3)
    if options.image_size is not None:
        height, width = options.geometry.size
        return height, width, channels
    if height is None or width is None:
        raise DataError(
            f"The images of {name!r} have different sizes. Set a size to resize and crop them to, "
            "such as image_size=224 (--set data.image_size=224)."
        )
    return height, width, channels


def _sources(name: str, builder, keys: tuple[str, str], options: DataOptions) -> dict:
    """The records of the parts that have labels; one for validation is the test part of a set
    that has no other.
    """
    parts = list(builder.info.splits) or ["train", "test"]  # unknown to tfds.testing.mock_data
    if "train" not in parts:
        raise DataError(f"Expected a part 'train' in {name!r}. Received: {quoted(parts)}.")
    sources = {}
    for part in ("train", "test", "validation"):
        if part in parts:
            source = _records(name, builder, part, keys, options)
            if len(source) and source[0][keys[1]] >= 0:  # -1: labels that are kept secret
                sources[part] = source
    if "test" not in sources and "validation" in sources:
        sources["test"] = sources.pop("validation")
    return sources


def _records(name: str, builder, part: str, keys: tuple[str, str], options: DataOptions):
    """A sequence of examples whose image is still encoded."""
    import tensorflow_datasets as tfds

    decoders = {keys[0]: tfds.decode.SkipDecoding()}
    try:
        return builder.as_data_source(split=part, decoders=decoders)
    except NotImplementedError:  # TFRecord files: no random access
        pass
    size = builder.info.splits[part].num_bytes
    what = f"{name!r} is prepared as TFRecord files ({builder.data_path})"
    fix = "Give another folder as data_dir, where it will be prepared as ArrayRecord files."
    if not options.fits(size):
        raise DataError(
            f"{what}, which allow no random access, and its part {part!r} ({size / 2**30:.1f} GiB) "
            f"does not fit in memory. {fix}"
        )
    try:
        examples = tfds.as_numpy(builder.as_dataset(split=part, decoders=decoders))
        return [{key: example[key] for key in keys} for example in examples]
    except ImportError:
        raise DataError(f"{what}, which only TensorFlow reads. Install it. Or: {fix}") from None


def _split(name: str, source, keys, shape, keep: bool, how) -> EncodedSplit:
    """The records as a split, whose images are decoded when they are asked for."""
    image_key, label_key = keys

    def read(index: int) -> tuple[bytes, int]:
        record = source[index]
        return record[image_key], int(record[label_key])

    encoded = Encoded(read, lambda index: f"{name}[{index}]", shape, how)
    everything = np.arange(len(source))
    if keep:
        return HeldSplit(Held(len(source), shape, encoded.how), encoded, everything)
    return EncodedSplit(encoded, everything)
