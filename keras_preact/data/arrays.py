"""Images in NumPy's `.npz` files."""

import os
import zipfile
from collections.abc import Callable

import numpy as np

from keras_preact.data.balance import checked_weights
from keras_preact.data.classes import check_names
from keras_preact.data.images import dark, to_channels
from keras_preact.data.keys import keys_of
from keras_preact.data.options import DataOptions
from keras_preact.data.partition import parts_of
from keras_preact.data.picture import Picture
from keras_preact.data.splits import ArraySplit, ImageData
from keras_preact.data.tables import is_blank
from keras_preact.data.threads import threaded
from keras_preact.errors import DataError, reason, some


def load_npz(
    path: str,
    options: DataOptions,
    seed: int = 0,
    on_progress: "Callable[[int, int], None] | None" = None,
) -> ImageData:
    """The images of a file with `x_train`, `y_train` and optionally other parts.

    Parts have the names in `PARTS`, in upper or lower case: `x_test` and `y_test`, `x_val` and
    `y_val` (or `x_valid`, `x_validation`, `x_dev`), which take the place of a test part where there
    is none. `x` and `y` are other names for a training part alone; `class_names` (strings) is
    optional. Training images may have weights and groups as a table has, in `weight_train` and
    `group_train` (or `weight` and `group`, or as in the options).

    Images: `[n, height, width]` (grey) or `[n, height, width, 1 or 3]`, whole numbers from 0 to
    255, or floats which all lie in 0 to 1 and are multiplied by 255. Labels: integers from 0, each
    class with at least one training image. Weights: finite, at least 0. Groups: numbers or strings.
    These all have the shape `[n]` or `[n, 1]`.

    Raises:
        DataError: the file, a key, a shape, a range or a type is invalid.
    """
    arrays, keys, others = _read(path, options)
    images = {part: _images(arrays[of["x"]], of["x"], options) for part, of in keys.items()}
    labels = {
        part: _labels(arrays[of["y"]], of["y"], len(images[part])) for part, of in keys.items()
    }
    names = _texts(arrays["class_names"]) if "class_names" in arrays else None
    class_names = _class_names(names, {keys[part]["y"]: labels[part] for part in keys})
    train, count = keys["train"], len(images["train"])
    columns = {
        use: check(arrays[train[use]], train[use], count)
        for use, check in (("weight", _weights), ("group", _groups))
        if use in train
    }
    shape = images["train"].shape[1:]
    for part, of in keys.items():
        if images[part].shape[1:] != shape:
            raise DataError(
                f"`{train['x']}` and `{of['x']}` must hold images of the same shape. "
                f"Received: {shape} and {images[part].shape[1:]}."
            )
    known = {"train": columns}
    splits = {part: ArraySplit(images[part], labels[part], known.get(part)) for part in keys}
    notes = [f"not used: {some(others)}"] if others else []
    if "weight" in columns:
        notes.append(f"sample weights: the array {train['weight']!r}")
    highest = max(int(array.max()) for array in images.values())
    return ImageData(
        name=f"npz:{path}",
        **parts_of(splits, options.test_fraction, seed),
        class_names=class_names,
        image_shape=shape,
        notes=(*notes, *dark(highest)),
        named=names is not None,
    )


def fit_array(images: np.ndarray, options: DataOptions) -> np.ndarray:
    """uint8 images `[n, h, w, c]` in the size and the channels that the options ask for."""
    images = to_channels(images, options.channels)
    geometry = options.geometry
    if geometry.keeps(images.shape[1:]):
        return images
    return np.stack(threaded(lambda image: geometry.fit(Picture(image)), images))


def _read(path: str, options: DataOptions):
    """The arrays that are used, what those of each part are called, and the names of others."""
    try:
        # What is no zip file NumPy takes for another of its kinds, and advises what is not safe.
        if not zipfile.is_zipfile(path) and os.path.isfile(path):
            raise ValueError("it is not a zip file")
        with np.load(path, allow_pickle=False) as file:
            keys = keys_of(file.files, options, path)
            used = {"class_names", *(key for of in keys.values() for key in of.values())}
            arrays = {key: _array(file, key) for key in file.files if key in used}
            others = [key for key in file.files if key not in used]
    except FileNotFoundError:
        raise DataError(f"Expected an .npz file. Received: {path!r}, which is missing.") from None
    except DataError:
        raise
    except Exception as error:  # damaged zip files raise many types
        raise DataError(
            f"Expected an .npz file, as np.savez writes it. Received: {path!r}, which is none or "
            f"is damaged: {reason(error)}"
        ) from None
    return arrays, keys, others


def _array(file, key: str) -> np.ndarray:
    """An array of a file; raises `DataError` for one of Python's objects, which may run code."""
    try:
        array = file[key]
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise DataError(
            f"`{key}` must be an array of numbers or strings. Received: Python objects, which may "
            "run code. For strings use np.array(list, dtype=str)."
        ) from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"`{key}` must be an array. Received: a file of another kind.")
    return array


def _images(images: np.ndarray, key: str, options: DataOptions) -> np.ndarray:
    """`images` as uint8 `[n, h, w, c]`, checked."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape or images.shape[3] not in (1, 3):
        first = images.ndim == 4 and images.shape[1] in (1, 3)
        fix = f" Put the channels last: np.moveaxis({key}, 1, 3)." if first else ""
        raise DataError(
            f"`{key}` must have the shape [n, height, width] or [n, height, width, 1 or 3]. "
            f"Received: shape {images.shape}.{fix}"
        )
    if images.dtype.kind not in "biuf":
        raise DataError(f"`{key}` must hold numbers. Received: {images.dtype}.")
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        lost = int((~np.isfinite(images)).reshape(len(images), -1).any(axis=1).sum())
        raise DataError(
            f"`{key}` must hold finite numbers. Received: NaN or infinity in {lost} of "
            f"{len(images)} images."
        )
    low, high = images.min(), images.max()
    whole = np.issubdtype(images.dtype, np.integer)
    if whole and low >= 0 and high <= 255:
        images = images.astype(np.uint8, copy=False)
    elif np.issubdtype(images.dtype, np.floating) and low >= 0 and high <= 1:
        images = np.rint(images * 255).astype(np.uint8)
    else:
        fix = "Undo the normalisation of the images."
        if low >= 0:
            fix = "Scale them to 0 to 255, and convert them with astype('uint8')."
        raise DataError(
            f"`{key}` must hold whole numbers from 0 to 255, or floats from 0 to 1. "
            f"Received: {images.dtype} from {low} to {high}. {fix}"
        )
    return fit_array(images, options)


def _each(values: np.ndarray, key: str, count: int, what: str, fix: str = "") -> np.ndarray:
    """`values` as `[n]`, checked to be one for each image."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (count,):
        raise DataError(
            f"`{key}` must hold one {what} for each of {count} images. "
            f"Received: shape {values.shape}.{fix}"
        )
    return values


def _weights(weights: np.ndarray, key: str, count: int) -> np.ndarray:
    fix = " Rename it if it is not a weight, or leave it out: data.weight_column=''."
    weights = _each(weights, key, count, "weight", fix)
    return np.array(checked_weights(weights.tolist(), f"`{key}`"))


def _groups(groups: np.ndarray, key: str, count: int) -> np.ndarray:
    """Groups as texts, none of them blank."""
    fix = " Rename it if it is not a group, or leave it out: data.group=''."
    texts = [_text(group).strip() for group in _each(groups, key, count, "group", fix).tolist()]
    if blank := sum(map(is_blank, texts)):
        raise DataError(
            f"`{key}` must hold a group for each of {count:,} images. Received: none for {blank:,}."
            " Give an image without a group one of its own."
        )
    return np.array(texts)


def _labels(labels: np.ndarray, key: str, count: int) -> np.ndarray:
    one_hot = labels.ndim == 2 and len(labels) == count
    fix = f" For one-hot labels use {key}.argmax(1)." if one_hot else ""
    labels = _each(labels, key, count, "label", fix)
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        kind = labels.dtype.kind
        received = f"{labels.dtype}, smallest {labels.min()}" if kind in "iuf" else f"{labels[:3]}"
        fix = {
            "b": f" For booleans use {key}.astype(int).",
            "f": f" For whole numbers use {key}.astype(int).",
            **dict.fromkeys(
                "US",
                f" For strings, np.unique({key}, return_inverse=True) gives class_names and "
                "numbers.",
            ),
        }.get(kind, "")
        raise DataError(f"`{key}` must hold whole numbers from 0. Received: {received}.{fix}")
    return labels


def _class_names(names: list[str] | None, labels: dict[str, np.ndarray]) -> tuple[str, ...]:
    """The names given, or the numbers as texts; checks that every class has training images.

    The labels are those of each array by its name, the training images' first.
    """
    (key, train), *_ = labels.items()
    most, images = int(train.max()), len(train)
    if names is None and most >= images:  # an id, for which no table of counts is made
        raise DataError(
            f"The labels must be class indices, 0, 1, 2, ... without gaps. Received: {most} "
            f"in {key}, which has {images} images. For other ids use np.unique({key}, "
            "return_inverse=True)[1]."
        )
    count = most + 1 if names is None else len(names)
    named = "" if names is None else f", the indices of {count} class_names"
    for key, values in labels.items():
        wrong = int((values >= count).sum())
        if wrong:
            raise DataError(
                f"The labels must be from 0 to {count - 1}{named}. "
                f"Received: {wrong} of {len(values)} in {key} up to {values.max()}."
            )
    empty = np.setdiff1d(np.arange(count), train)
    if count < 2:
        raise DataError("At least 2 classes are needed. Received: images of one class alone.")
    if len(empty):
        raise DataError(
            "Each class needs training images. "
            f"Received: {count} classes, {len(empty)} without, for example {empty[:5].tolist()}. "
            "Number the classes 0, 1, 2, ... without gaps."
        )
    return tuple(map(str, range(count) if names is None else names))


def _texts(names: np.ndarray, key: str = "class_names") -> list[str]:
    """Names as texts, which NumPy may hold as bytes."""
    if names.ndim != 1 or names.dtype.kind not in "US" or not len(names):
        raise DataError(
            f"`{key}` must be a list of strings, one per class, such as np.array(['cat', 'dog']). "
            f"Received: {names.dtype} of the shape {names.shape}."
        )
    escaped = [*map(_text, names.tolist())]
    check_names(escaped, f"Fix `{key}`.")
    return escaped


def _text(value) -> str:
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)
