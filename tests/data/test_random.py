"""Random numbers from (seed, epoch, index): fixed values, uniform, without correlations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_preact.data import epoch_order
from keras_preact.data.random import hashed, normal, repeated_draws, uniform

whole = st.integers(0, 2**63 - 1)


def splitmix(key, parts):
    """The same hash in plain Python."""
    for part in parts:
        key = ((key ^ part) + 0x9E3779B97F4A7C15) % 2**64
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            key = (key ^ (key >> shift)) * factor % 2**64
        key ^= key >> 31
    return key


@settings(max_examples=50)
@given(whole, whole, st.lists(whole, min_size=1, max_size=5))
def test_the_hash_equals_plain_python(seed, epoch, indices):
    expected = [splitmix(0, (seed, epoch, index)) for index in indices]
    assert hashed(seed, epoch, np.array(indices)).tolist() == expected


def test_golden_values():
    """The numbers of a training must not change with a version of this package or of NumPy."""
    assert hashed(0, 0, np.arange(2)).tolist() == [2558736989570252433, 3400964856525257824]
    np.testing.assert_array_equal(
        uniform(1, 2, np.array([3]), 2), [[0.07166370763826013, 0.8633317146052892]]
    )
    assert epoch_order(0, 0, 8).tolist() == [0, 1, 6, 3, 5, 4, 2, 7]


@pytest.mark.parametrize("axis", ["index", "epoch", "seed", "draw"])
@pytest.mark.sample(4)
def test_uniform_along_every_argument(axis):
    n = 20_000
    if axis == "index":
        numbers = uniform(0, 0, np.arange(n), 1)
    elif axis == "epoch":
        numbers = np.concatenate([uniform(0, epoch, np.arange(1), 1) for epoch in range(n)])
    elif axis == "seed":
        numbers = np.concatenate([uniform(seed, 0, np.arange(1), 1) for seed in range(n)])
    else:
        numbers = uniform(0, 0, np.arange(1), n)
    numbers = numbers.ravel()
    counts = np.histogram(numbers, 20, (0, 1))[0]
    chi_square = ((counts - n / 20) ** 2 / (n / 20)).sum()
    assert chi_square < 45  # 19 degrees of freedom: exceeded once in 1,500
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.03
    assert numbers.min() >= 0 and numbers.max() < 1


def test_draws_are_independent_of_each_other():
    numbers = uniform(0, 0, np.arange(20_000), 4)
    assert np.abs(np.corrcoef(numbers.T) - np.eye(4)).max() < 0.03
    np.testing.assert_array_equal(uniform(0, 0, np.arange(5), 2, first=2), numbers[:5, 2:])


def test_normal():
    numbers = normal(0, 0, np.arange(20_000), 3)
    assert np.abs(numbers.mean(0)).max() < 0.03
    assert np.abs(numbers.std(0) - 1).max() < 0.03
    assert np.isfinite(numbers).all() and np.abs(numbers).max() < 6.5


@given(whole, st.integers(0, 1000), st.integers(0, 300))
def test_the_order_is_a_permutation(seed, epoch, n):
    assert sorted(epoch_order(seed, epoch, n).tolist()) == list(range(n))


def test_the_order_depends_on_seed_and_epoch_only():
    orders = [tuple(epoch_order(seed, epoch, 50)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9
    assert orders[4] == tuple(epoch_order(1, 1, 50))


@settings(max_examples=100)
@given(st.integers(1, 150), st.integers(1, 7), st.integers(1, 70), st.integers(0, 9))
def test_repeated_draws(n, repeats, batch_size, epoch):
    """Against lists: an image's copies in a row, cut into batches, in each sorted by the copy."""
    order = epoch_order(3, epoch, n)
    drawn = repeated_draws(order, repeats, batch_size)
    copies = [(place, copy) for place in order.tolist() for copy in range(repeats)][:n]
    batches = [copies[first : first + batch_size] for first in range(0, n, batch_size)]
    batches = [sorted(batch, key=lambda one: one[1]) for batch in batches]
    assert drawn.tolist() == [place + copy * n for batch in batches for place, copy in batch]
    assert drawn.dtype == np.int64 and len({*drawn.tolist()}) == n
    times = np.bincount(drawn % n, minlength=n)[order]
    assert (times == np.clip(n - repeats * np.arange(n), 0, repeats)).all()
    if repeats == 1:
        np.testing.assert_array_equal(drawn, order)
    if batch_size >= 2 * repeats:
        whole = (drawn[: n // batch_size * batch_size] % n).reshape(-1, batch_size)
        assert (whole[:, 1:] != whole[:, :-1]).all(), "neighbours are different images"


def test_repeated_draws_do_not_change_with_a_version():
    drawn = repeated_draws(epoch_order(0, 0, 8), repeats=3, batch_size=4)
    assert drawn.tolist() == [0, 1, 8, 16, 6, 9, 14, 17]
