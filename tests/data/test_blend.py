"""Mixup and CutMix against loops, and their draws against the distributions."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from keras_preact.data import Batches
from keras_preact.data.blend import blend_draws, blended
from keras_preact.data.random import uniform
from keras_preact.data.splits import ArraySplit


def draws(pairs=2000, mixup=0.0, cutmix=1.0, shape=(20, 30, 3), seed=0, epoch=0):
    return blend_draws(seed, epoch, np.arange(pairs), mixup, cutmix, shape)


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99), st.sampled_from([0.2, 1.0]))
def test_a_box_is_that_of_the_paper(height, width, seed, parameter):
    """Its area is a share of the image's before it is cut off at the edges, and then counts."""
    found = draws(20, cutmix=parameter, shape=(height, width), seed=seed)
    numbers = uniform(seed, 0, np.arange(20), 4, first=1000)
    for k, (number, _, down, across) in enumerate(numbers):
        root = (1 - beta.ppf(number, parameter, parameter)) ** 0.5
        box = []
        for side, place in ((height, down), (width, across)):
            centre, half = int(place * side), int(side * root) // 2
            box.append((max(centre - half, 0), min(centre + half, side)))
        (top, bottom), (left, right) = box
        share = 1 - (bottom - top) * (right - left) / (height * width)
        expected = np.float32([share, top, left, bottom, right])
        np.testing.assert_array_equal(found[2 * k : 2 * k + 2], [expected] * 2)


def test_both_have_half_of_the_pairs_each():
    both, mixed = draws(mixup=0.4), draws(mixup=0.4, cutmix=0.0)
    assert both.shape == (4000, 5) and mixed.shape == (4000,)
    cut = (both[:, 3] > both[:, 1]) & (both[:, 4] > both[:, 2])
    assert 1700 < cut.sum() < 2050  # some boxes have no pixel
    whole = ~cut & (both[:, 0] < 1)
    np.testing.assert_array_equal(both[whole, 0], mixed[whole])  # the pairs that are mixed
    assert draws(cutmix=0.0) is None
    share = draws()[:, 0]
    assert 0.45 < share.mean() < 0.75 and share.min() < 0.2 and share.max() == 1


def test_a_pure_function_of_seed_epoch_and_pair():
    batches = Batches(
        ArraySplit(np.zeros((40, 8, 8, 1), np.uint8), np.arange(40)), 10, shuffle=True
    )
    found = [batches.blend(k, 0.3, 1.0) for k in (3, 0, 2, 1)]
    again = [batches.blend(k, 0.3, 1.0) for k in (3, 0, 2, 1)]
    np.testing.assert_array_equal(found, again)
    assert batches.blend(0, 0.0, 0.0) is None and batches.blend(0, 0.0, 1.0).shape == (10, 5)
    batches.epoch = 1
    assert not np.array_equal(batches.blend(3, 0.3, 1.0), found[0])


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_images_and_targets_are_blended_alike(mixup, cutmix):
    random = np.random.default_rng(0)
    images = random.random((24, 7, 5, 3), "float32")
    targets = np.eye(24, dtype="float32")
    blend = draws(12, mixup, cutmix, shape=(7, 5), seed=4)
    found = map(keras.ops.convert_to_numpy, blended(images, targets, blend))
    found_images, found_targets = found
    for k, row in enumerate(blend.reshape(24, -1)):
        other, share, box = k ^ 1, row[0], row[1:].astype(int)
        expected = share * targets[k] + (1 - share) * targets[other]
        np.testing.assert_allclose(found_targets[k], expected, atol=1e-6)
        if len(box) and box[2] > box[0] and box[3] > box[1]:
            image = images[k].copy()
            top, left, bottom, right = box
            image[top:bottom, left:right] = images[other, top:bottom, left:right]
            np.testing.assert_array_equal(found_images[k], image)
            assert share == np.float32(1 - (bottom - top) * (right - left) / 35)
        else:
            image = share * images[k] + (1 - share) * images[other]
            np.testing.assert_allclose(found_images[k], image, atol=1e-6)
    assert found_targets.sum(1) == pytest.approx(1)
