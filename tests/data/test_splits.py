"""What validates: held out of the training images, the same share of each class, no test image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_preact.data import DataOptions, load_data
from keras_preact.data.partition import fold_of_each, stratified
from keras_preact.data.splits import ArraySplit
from keras_preact.errors import ConfigError, DataError


def split_of(labels, **columns):
    """A split of which only the labels, and what else is known, count."""
    split = ArraySplit(np.zeros((len(labels), 1, 1, 1), np.uint8), labels)
    split.columns = columns
    return split


@given(
    counts=st.lists(st.integers(5, 23), min_size=1, max_size=6),
    folds=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_folds_share_each_class_and_all_images(counts, folds, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    found = fold_of_each(split_of(labels), folds, seed)
    for members in [np.ones(len(labels), bool), *(labels == k for k in range(len(counts)))]:
        sizes = np.bincount(found[members], minlength=folds)
        assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(found, fold_of_each(split_of(labels), folds, seed))


def images_of(split):
    return {image.tobytes() for image in split.images(slice(None))}


def test_held_out_images_are_training_images():
    whole = load_data("digits")
    data = load_data("digits", options=DataOptions(holdout=200))
    assert len(data.test) == pytest.approx(200, abs=5)
    assert len(data.train) + len(data.test) == len(whole.train)
    assert images_of(data.train) | images_of(data.test) == images_of(whole.train)
    share = load_data("digits", options=DataOptions(holdout=0.25))
    assert len(share.test) == pytest.approx(len(whole.train) / 4, abs=5)
    assert data.class_names == whole.class_names and data.image_shape == whole.image_shape


def test_each_training_image_validates_once():
    whole = load_data("digits").train
    parts = [load_data("digits", options=DataOptions(folds=3, fold=fold)) for fold in range(3)]
    assert sum(len(part.test) for part in parts) == len(whole)
    assert set().union(*(images_of(part.test) for part in parts)) == images_of(whole)
    assert all(len(part.train) + len(part.test) == len(whole) for part in parts)


def test_the_split_has_a_seed_of_its_own():
    options = DataOptions(holdout=0.1, split_seed=3)
    first, second = (load_data("digits", options=options, seed=seed) for seed in (0, 1))
    assert images_of(first.test) == images_of(second.test)
    other = load_data("digits", options=options.replace(split_seed=4))
    assert images_of(first.test) != images_of(other.test)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"holdout": 0}, "a number of images, a fraction"),
        ({"holdout": 2.5}, "a number of images, a fraction"),
        ({"folds": 1}, "at least 2"),
        ({"folds": 3, "fold": 3}, "from 0 to 2"),
        ({"fold": 1}, "from 0 to 0"),
        ({"folds": 3, "holdout": 0.1}, "Leave out one"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        DataOptions(**options)


def test_too_few_images():
    with pytest.raises(DataError, match="less than the 1437 training images"):
        load_data("digits", options=DataOptions(holdout=1437))
    with pytest.raises(DataError, match="at least 200 training images, one for each fold"):
        load_data("digits", options=DataOptions(folds=200))


@given(
    groups=st.lists(st.integers(1, 6), min_size=20, max_size=60),
    classes=st.integers(1, 3),
    parts=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_groups_are_on_one_side(groups, classes, parts, seed):
    """Each group of one class, as a patient is ill or not."""
    group = np.repeat(np.arange(len(groups)), groups)
    split = split_of(group % classes, group=group)
    folds = fold_of_each(split, parts, seed)
    train, held = stratified(split, 1 / parts, seed)
    assert sorted([*train, *held]) == [*range(len(group))]
    for part in (folds, np.isin(np.arange(len(group)), held)):
        assert all(len(set(part[group == k])) == 1 for k in range(len(groups)))
    for k in range(classes):
        here = split.labels == k
        # No further off than the largest group is large.
        assert abs((here[held]).sum() - here.sum() / parts) <= max(groups)
        sizes = np.bincount(folds[here], minlength=parts)
        assert sizes.max() - sizes.min() <= 2 * max(groups)


def test_groups_that_cannot_be_divided():
    split = split_of([0, 0, 0, 1, 1, 1], group=["a", "a", "a", "b", "c", "d"])
    with pytest.raises(DataError, match=r"Received: class 0 in 1 groups, .*data.group=''"):
        stratified(split, 0.3, seed=0)


def test_validation_is_a_part_of_the_training_images():
    whole = load_data("digits")
    assert whole.validation is None
    for wanted, count in ((0.1, 144), (100, 100)):
        data = load_data("digits", options=DataOptions(validation=wanted))
        assert len(data.validation) == pytest.approx(count, abs=5)
        assert images_of(data.train) | images_of(data.validation) == images_of(whole.train)
        assert not images_of(data.train) & images_of(data.validation)
        assert images_of(data.test) == images_of(whole.test)
    both = load_data("digits", options=DataOptions(validation=0.1, folds=5, fold=1))
    assert len(both.train) + len(both.validation) + len(both.test) == len(whole.train)
    with pytest.raises(DataError, match="`validation` must be less than the 1437 training images"):
        load_data("digits", options=DataOptions(validation=2000))


def test_classes_of_all_parts_are_those_of_a_network():
    data = load_data("digits", options=DataOptions(validation=0.1))
    turned = data.for_classes(data.class_names[::-1])
    for name, part in data.parts().items():
        np.testing.assert_array_equal(9 - part.labels, turned.parts()[name].labels)
