"""`load_data`: images from any source."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable

import numpy as np

from keras_preact.checked import require
from keras_preact.data.arrays import load_npz
from keras_preact.data.classes import distinct
from keras_preact.data.folders import load_folder
from keras_preact.data.named import KINDS, PATHS, kind_of, load_digits, load_tfds
from keras_preact.data.options import DataOptions
from keras_preact.data.partition import groups_across, held_out, share_of
from keras_preact.data.parts import Folder
from keras_preact.data.splits import ALL, ImageData
from keras_preact.data.tables import list_table
from keras_preact.data.tree import list_folder
from keras_preact.errors import ConfigError, quoted

_DEFAULTS = DataOptions()
_LOOKED_AT = 64  # test images that stand for all where two data sets are compared


def load_data(
    name_or_path: str,
    *,
    options: DataOptions = _DEFAULTS,
    seed: int | None = 0,
    on_progress: "Callable[[int, int], None] | None" = None,
) -> ImageData:
    """Loads images and labels from a named data set, a folder, a table, or a file of arrays.

    Args:
        name_or_path: `"digits"`, `"cifar10"`, `"cifar100"`, `"imagenet2012"` or the name of any
            other image classification set of tensorflow-datasets; `"folder:PATH"`, a folder with
            one sub-folder of images per class, or with such folders in `train` and `test` (or
            `training`, `testing`) and optionally `val` (or `valid`, `validation`, `dev`), which
            replaces a missing `test`; `"csv:PATH"` or `"parquet:PATH"`, a table with a column of
            image paths (`path`, `file`, `image`, ...), one of labels (`label`, `class`, ...) and
            optionally one of parts (`split`, `set`, ...); `"npz:PATH"`, a file with the arrays
            `x_train`, `y_train` and optionally `x_test`, `y_test`, `x_val`, `y_val`, `weight_train`
            and `group_train`.
        options: image size, channels, reading of pixel values, splits, damaged files, memory.
        seed: seed of the split, where the source has no test part or images are held out, unless
            set in the options. `None`: a source without a test part is not split; both parts
            contain all images.
        on_progress: called with `(done, total)` while files are read and decoded.

    Returns:
        An `ImageData` with the parts, class names and image shape. Images are decoded when first
        used, and kept if all fit in memory; otherwise they are decoded in every epoch.

    Raises:
        ConfigError: the name is unknown.
        DataError: data is missing, damaged or inconsistent; the message says what to do.

    Example:
        >>> from keras_preact import load_data
        >>> load_data("digits").train.images([0, 1]).shape
        (2, 8, 8, 1)
    """
    seed = seed if options.split_seed is None else options.split_seed
    data = _load(name_or_path, options, seed, on_progress)
    data = dataclasses.replace(data, class_names=distinct(data.class_names))
    if parts := held_out(data.train, options, seed):
        held = "images held out of its training part"
        data = dataclasses.replace(data, train=parts[0], test=parts[1], tested=held)
    if options.validation == 0:
        data = dataclasses.replace(data, validation=None)
    # Not those that `holdout` would take, of which a search may leave out the same.
    elif parts := share_of(data.train, options.validation, "validation", (seed or 0) + 1):
        data = dataclasses.replace(data, train=parts[0], validation=parts[1])
    if data.tested != ALL:
        parts = {"training": data.train, "validation": data.validation, "test": data.test}
        groups = {
            name: part.columns.get("group") for name, part in parts.items() if part is not None
        }
        data = dataclasses.replace(data, notes=(*data.notes, *groups_across(groups)))
    return data


def _load(name_or_path, options, seed, on_progress):
    kind, path = source(name_or_path)
    kinds, cache = [f"{kind}:PATH" for kind in KINDS if kind != "npz"], options.cache
    fits = cache is None or f"{kind}:PATH" in kinds
    require(fits, "cache", cache, f"None, but for {quoted(kinds)}", f"Data here: {name_or_path!r}.")
    if kind == "folder" and options.group is not None:
        check_pattern(options.group)
    elif kind not in KINDS:
        wanted = f"None, but for {quoted([*kinds, 'npz:PATH'])}"
        require(options.group is None, "group", options.group, wanted)
    if kind == "npz":
        return load_npz(path, options, seed, on_progress)
    if kind in KINDS:
        return load_folder(listed(kind, path, options), options, seed, on_progress)
    if name_or_path == "digits":
        return load_digits(options)
    return load_tfds(name_or_path, options, seed)


def check_pattern(pattern: str) -> None:
    """Raises `ConfigError` for what is no regular expression with parentheses."""
    try:
        groups = re.compile(pattern).groups
    except re.error:
        groups = 0
    expected = r"a regular expression with parentheses, such as '(patient\d+)_', for a folder"
    require(groups >= 1, "group", pattern, expected)


def listed(kind: str, path: str, options: DataOptions) -> Folder:
    """The image files of a folder or a table by part and class, without opening any."""
    return list_folder(path) if kind == "folder" else list_table(path, kind, options)


def source(name_or_path: str, paths: bool = False) -> tuple[str, str]:
    """`(one of KINDS, path)` or `("name", name)`; with `paths`, bare paths are taken too."""
    kind, _, path = str(name_or_path).partition(":")
    if kind in KINDS:
        if not path:
            raise ConfigError(f"Expected '{kind}:PATH'. Received: {name_or_path!r}.")
        return kind, os.path.expanduser(path)
    path = os.path.expanduser(name_or_path)
    is_path = name_or_path.startswith((".", "~", os.sep)) or kind_of(name_or_path) != "folder"
    if paths and (is_path or os.path.exists(path)):
        return kind_of(path), path
    if is_path:
        raise ConfigError(
            f"Expected the name of a data set, {PATHS}. "
            f"Received: {name_or_path!r}. Did you mean '{kind_of(path)}:{name_or_path}'?"
        )
    return "name", name_or_path


def place_of(name_or_path: str) -> str:
    """Where a data set is, however its path is written; the name of one that has no path."""
    kind, path = source(name_or_path)
    return path if kind == "name" else os.path.realpath(path)


def facts_of(data: ImageData) -> dict:
    """What a run writes down of its images, to tell whether others are the same."""
    labels = vars(data.train).get("labels")  # those of some sets are read with the images
    some = np.linspace(0, len(data.test) - 1, min(len(data.test), _LOOKED_AT)).astype(int)
    return {
        "image_shape": list(data.image_shape),
        "classes": list(data.class_names),
        "training_images": len(data.train),
        "test_images": len(data.test),
        **({"validation_images": len(data.validation)} if data.validation else {}),
        "labels_sha256": labels is not None and hashlib.sha256(labels.tobytes()).hexdigest(),
        "test_sha256": hashlib.sha256(data.test.images(some).tobytes()).hexdigest(),
    }
