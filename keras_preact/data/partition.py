"""Which images of a source are trained on and which are tested."""

import numpy as np

from keras_preact.data.random import epoch_order
from keras_preact.data.splits import ALL, Split
from keras_preact.errors import DataError


def train_and_test(
    splits: dict[str, Split], fraction: float, seed: int | None
) -> dict[str, Split | str]:
    """`train`, `test` and `tested` of an `ImageData`.

    Where there is no part `"test"`, the only part is split; without a `seed` it is both of them.
    """
    if "test" in splits:
        return {"train": splits["train"], "test": splits["test"]}
    (whole,) = splits.values()
    if seed is None:
        return {"train": whole, "test": whole, "tested": ALL}
    train, test = stratified(whole.labels, fraction, seed)
    parts = {"train": whole.subset(train), "test": whole.subset(test)}
    return {**parts, "tested": f"{fraction:.0%} of its images, not trained on"}


def validation_parts(train: Split, options, seed: int) -> tuple[Split, Split] | None:
    """The training part without the images that are held out, and those; `None` for none.

    Args:
        train: The training part of the source.
        options: `DataOptions`, of which `holdout`, `folds` and `fold` count.
        seed: decides which images are held out.

    Raises:
        DataError: there are fewer images than are to be held out, or a class has too few.
    """
    if options.folds:
        held = np.flatnonzero(fold_of_each(train.labels, options.folds, seed) == options.fold)
        rest = np.setdiff1d(np.arange(len(train)), held)
    elif options.holdout:
        share = options.holdout if options.holdout < 1 else options.holdout / len(train)
        if share >= 1:
            raise DataError(
                f"`holdout` must be less than the {len(train)} training images. "
                f"Received: holdout={options.holdout:g}."
            )
        rest, held = stratified(train.labels, share, seed)
    else:
        return None
    return train.subset(rest), train.subset(held)


def fold_of_each(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Which fold each image is in, int `[n]`: as many of each class in each, to one image.

    Raises:
        DataError: a class has fewer images than there are folds.
    """
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


def stratified(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of a training and a test part, both sorted, with `fraction` of each class in test.

    Every class has at least one image in each part.

    Raises:
        DataError: a class has only one image.
    """
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
