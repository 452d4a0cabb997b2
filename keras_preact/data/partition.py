"""Splits of a source into training, validation and test images."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from keras_preact.data.options import DataOptions
from keras_preact.data.random import epoch_order
from keras_preact.data.splits import ALL, Split
from keras_preact.errors import DataError


def parts_of(
    splits: dict[str, Split], fraction: float, seed: int | None
) -> dict[str, Split | str | None]:
    """`train`, `validation`, `test` and `tested` of an `ImageData`.

    Where there is no part `"test"`, the only part is split; without a `seed` it is both of them.
    """
    if "test" in splits:
        return {name: splits.get(name) for name in ("train", "validation", "test")}
    (whole,) = splits.values()
    if seed is None:
        return {"train": whole, "test": whole, "tested": ALL}
    train, test = stratified(whole, fraction, seed)
    parts = {"train": whole.subset(train), "test": whole.subset(test)}
    return {**parts, "tested": f"{fraction:.0%} of its images, not trained on"}


def held_out(train: Split, options: DataOptions, seed: int) -> tuple[Split, Split] | None:
    """The training part without the images that take the place of the test part, and those.

    Args:
        train: The training part of the source.
        options: `DataOptions`, of which `holdout`, `folds` and `fold` count.
        seed: decides which images are held out.

    Returns:
        Two splits; `None` where none are to be held out.

    Raises:
        DataError: there are fewer images than are to be held out, or a class has too few.
    """
    if options.folds:
        held = np.flatnonzero(fold_of_each(train, options.folds, seed) == options.fold)
        rest = np.setdiff1d(np.arange(len(train)), held)
        return train.subset(rest), train.subset(held)
    return share_of(train, options.holdout, "holdout", seed)


def share_of(train: Split, wanted: float | None, name: str, seed: int) -> tuple | None:
    """The training part without a number of its images, or below 1 a share, and those.

    Args:
        train: The training part.
        wanted: how many, the same share of each class; `None` or 0: none.
        name: of the option that says so.
        seed: decides which.
    """
    if not wanted:
        return None
    share = wanted if wanted < 1 else wanted / len(train)
    if share >= 1:
        raise DataError(
            f"`{name}` must be less than the {len(train)} training images. "
            f"Received: {name}={wanted:g}."
        )
    rest, held = stratified(train, share, seed)
    return train.subset(rest), train.subset(held)


def fold_of_each(split: Split, folds: int, seed: int) -> np.ndarray:
    """Which fold each image is in, int `[n]`: as many of each class in each, to one image.

    Images of one group are in one fold, and so the classes are as even as the groups allow.

    Raises:
        DataError: a class has fewer images, or there are fewer groups, than folds.
    """
    labels, groups = split.labels, split.columns.get("group")
    if groups is not None:
        return _part_of_each(labels, groups, [1 / folds] * folds, seed)
    found = np.empty(len(labels), int)
    first = 0  # goes on from class to class, so that the folds are equally large as well
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < folds:
            raise DataError(
                f"Each class needs at least {folds} training images, one for each fold. "
                f"Received: {len(members)} of class {label}."
            )
        places = np.arange(first, first + len(members)) % folds
        found[members[epoch_order(seed, int(label), len(members))]] = places
        first = places[-1] + 1
    return found


def stratified(split: Split, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two parts, both sorted, with `fraction` of each class in the second.

    Every class has at least one image in each part. Images of one group are in one part, and so
    the share is that only as nearly as the groups allow.

    Raises:
        DataError: a class has only one image, or only one group.
    """
    labels, groups = split.labels, split.columns.get("group")
    if groups is not None:
        held = _part_of_each(labels, groups, [1 - fraction, fraction], seed) == 1
        return np.flatnonzero(~held), np.flatnonzero(held)
    test = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise DataError(
                "Each class needs at least 2 images to be split into a training and a test part. "
                f"Received: {len(members)} image of class {label}."
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        test.append(members[epoch_order(seed, int(label), len(members))[:count]])
    test = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(labels)), test), test


def _part_of_each(labels, groups, shares, seed):
    """Which part each image is in, whole groups in one; classes as near to the shares as can be.

    From the largest group on, each goes where it lessens most what the classes are off by.
    """
    _, groups = np.unique(groups, return_inverse=True)
    classes, labels = np.unique(labels, return_inverse=True)
    counts = np.zeros((groups.max() + 1, len(classes)))
    np.add.at(counts, (groups, labels), 1)
    order = epoch_order(seed, 0, len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    missing = np.outer(shares, counts.sum(axis=0))  # of each class in each part
    part = np.empty(len(counts), int)
    for group in order:
        # What the square of what is missing falls by, seen beside the size of each class.
        gain = ((2 * missing - counts[group]) * counts[group] / counts.sum(axis=0)).sum(axis=1)
        part[group] = np.argmax(gain / np.asarray(shares))
        missing[part[group]] -= counts[group]
    there = [np.unique(labels[part[groups] == k]) for k in range(len(shares))]
    if lacking := [k for k, found in enumerate(there) if len(found) < len(classes)]:
        few = np.setdiff1d(np.arange(len(classes)), there[lacking[0]])[0]
        count = (counts[:, few] > 0).sum()
        raise DataError(
            f"Each class needs images of at least {len(shares)} groups, some for each part. "
            f"Received: class {classes[few]} in {count} groups, which could not be "
            "split. Split the images yourself, or ignore the groups "
            "(data.group=null for a folder, data.group='' for others)."
        )
    return part[groups]


def groups_across(groups: dict[str, Iterable | None]) -> Iterator[str]:
    """A line for each two parts that have images of the same groups, as given parts may.

    Args:
        groups: That of each image of a part, by what the lines call the part; `None` without any.
    """
    known = {part: found for part, found in groups.items() if found is not None}
    there = {part: {*np.asarray(found).tolist()} for part, found in known.items()}
    for one, other in itertools.combinations(there, 2):
        if both := there[one] & there[other]:
            yield (
                f"{len(both):,} groups have images in the {one} and in the {other} part, such as "
                f"{min(both, key=str)!r}: the {other} images are not new to the network"
            )
