"""Classes of unequal size: weights and shares against formulas, draws that are equal and exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight

from keras_preact.data import Augmentation, Batches
from keras_preact.data.balance import balanced_draws, image_weights, log_shares
from keras_preact.data.splits import ArraySplit
from keras_preact.errors import ConfigError, DataError


def split_of(labels, weights=None, side=4):
    """Images whose pixels are all different."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (len(labels), side, side, 1)).astype("uint8")
    split = ArraySplit(images, np.array(labels))
    split.columns = {} if weights is None else {"weight": np.array(weights, float)}
    return split


labels_of_some = st.lists(st.integers(0, 4), min_size=1, max_size=200)


@settings(max_examples=60)
@given(labels_of_some, st.integers(0, 9), st.integers(0, 9))
def test_classes_come_equally_often(labels, seed, epoch):
    labels, n = np.array(labels), len(labels)
    drawn = balanced_draws(seed, epoch, labels)
    assert drawn.dtype == np.int64 and len({*drawn.tolist()}) == n, "each time another number"
    classes, counts = np.unique(labels[drawn % n], return_counts=True)
    assert counts.max() - (counts.min() if len(classes) == len({*labels.tolist()}) else 0) <= 1
    times = np.bincount(drawn % n, minlength=n)  # of each image, within its class
    assert all(np.ptp(times[labels == label]) <= 1 for label in classes)
    for place, count in enumerate(times):
        again = np.sort(drawn[drawn % n == place]) // n
        assert again.tolist() == [*range(count)]
    np.testing.assert_array_equal(drawn, balanced_draws(seed, epoch, labels))


def test_draws_differ_from_epoch_to_epoch_and_do_not_change_with_the_version():
    labels = np.repeat([0, 1, 2], [14, 5, 1])
    drawn = [balanced_draws(0, epoch, labels) for epoch in range(3)]
    assert drawn[0].tolist() == [
        3, 0, 79, 1, 15, 9, 11, 39, 17, 16, 6, 119, 18, 19, 59, 99, 14, 37, 5, 35,
    ]  # fmt: skip
    assert (drawn[0] != drawn[1]).any()
    counts = sum(np.bincount(labels[d % 20], minlength=3) for d in drawn)
    assert counts.tolist() == [20, 20, 20], "what one epoch lacks another has"
    often = np.mean([np.bincount(balanced_draws(1, e, labels) % 20)[:14] for e in range(300)], 0)
    np.testing.assert_allclose(often, 20 / 3 / 14, rtol=0.2)  # of a large class all come alike


def test_balanced_batches_can_be_taken_up_anywhere():
    split = split_of([0] * 30 + [1] * 3)
    keys = {"shuffle": True, "balanced": True, "seed": 4, "augmentation": Augmentation(pad=2)}
    batches = Batches(split, 8, epoch=2, **keys)
    whole = [batches[k] for k in range(len(batches))]
    labels = np.concatenate([labels for _, labels in whole])
    assert len(labels) == 33 and abs(2 * labels.sum() - 33) == 1
    for k in (3, 0):  # in any order, by one that has seen nothing before
        again = Batches(split, 8, epoch=2, **keys)
        for found, expected in zip(again[k], whole[k], strict=True):
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(split.labels[again.places(k)], whole[k][1])
        assert again.blend(k, 0.5).tolist() == batches.blend(k, 0.5).tolist()
    of_three = np.concatenate([images for images, _ in whole])[labels == 1].reshape(-1, 16)
    assert len(np.unique(of_three, axis=0)) > 10, "an image is changed in another way each time"
    with pytest.raises(ConfigError, match="`balanced` must be False unless shuffle is True"):
        Batches(split, 8, balanced=True)


@given(labels_of_some)
def test_weights_of_classes_are_those_of_scikit_learn(labels):
    found = image_weights(split_of(labels), balanced=True)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, compute_sample_weight("balanced", labels), rtol=1e-6)
    assert image_weights(split_of(labels)) is None


def test_weights_of_a_table_multiply_those_of_classes():
    labels, own = [0, 0, 0, 1], [1, 2, 0, 6]
    np.testing.assert_allclose(image_weights(split_of(labels, own)), np.array(own) / 2.25)
    both = np.array(own) * compute_sample_weight("balanced", labels)
    found = image_weights(split_of(labels, own), balanced=True)
    np.testing.assert_allclose(found, both / both.mean(), rtol=1e-6)
    batches = Batches(split_of(labels, own), 3, shuffle=True, weights=found)
    np.testing.assert_array_equal(batches.weights(1), found[batches.places(1)])
    with pytest.raises(DataError, match=r"must not all be 0.*all 4 training images"):
        image_weights(split_of(labels, [0] * 4))
    with pytest.raises(ConfigError, match="`weights` must be an array of 4 numbers"):
        Batches(split_of(labels), 3, weights=found[1:])


def test_shares_of_classes():
    found = log_shares(np.array([1, 0, 1, 1]), "ab")
    np.testing.assert_allclose(found, np.log([1 / 4, 3 / 4]), rtol=1e-6)
    with pytest.raises(DataError, match="none of class 'b'"):
        log_shares(np.array([0, 2]), "abc")
