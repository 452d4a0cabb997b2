"""Classes are names: told apart, compared and matched by them, never by their place alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from keras_preact import load_data
from keras_preact.data.classes import distinct, key_of, places
from keras_preact.errors import DataError

CAFE = "café", "café"  # as a Mac and as others write it


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=9))
def test_names_are_told_apart_and_kept_where_they_are(names):
    found = distinct(names)
    assert len({*map(key_of, found)}) == len(found) == len(names)
    for name, new in zip(names, found, strict=True):
        assert new.startswith(name)
        if sum(key_of(other) == key_of(name) for other in names) == 1:
            assert new == name or " #" in new  # made of another's name and number


@given(st.lists(st.text("abc019 ", max_size=3), unique_by=key_of, min_size=1), st.randoms())
def test_a_network_s_classes_are_found_in_any_order(mine, random):
    theirs = random.sample(mine, len(mine))
    found = places(mine, theirs)
    assert [mine[k] for k in found] == theirs


@pytest.mark.parametrize(
    ("mine", "theirs", "found"),
    [
        ([str(k) for k in range(12)], sorted(str(k) for k in range(12)), None),
        (["a", CAFE[0]], [CAFE[1], "a"], [1, 0]),
        (["01", "02", "10"], ["1", "10", "2"], [0, 2, 1]),
        (["cat", "dog", "owl"], ["owl", "cat"], [2, 0]),
        (["cat ", "dog"], ["\tdog", " cat"], [1, 0]),
        (["9" * 5000, "000", "a"], ["a", "0", "0" + "9" * 5000], [2, 1, 0]),
        (["crane", "crane", "dog"], ["crane", "crane", "dog"], [0, 1, 2]),
    ],
)
def test_matched(mine, theirs, found):
    found = [int(name) for name in theirs] if found is None else found
    assert places(mine, theirs).tolist() == found


@pytest.mark.parametrize(
    ("mine", "theirs", "words"),
    [
        (["cat", "dog"], ["cat", "bog"], r"Received: 'bog' Did you mean 'dog'\?"),
        (["0", "1"], ["cat", "dog"], "are '0', '1'. Received: 'cat', 'dog'"),
        (["0", "1"], ["1", "2"], "Received: '2'"),
        (["crane", "dog", "crane"], ["crane", "crane", "dog"], "repeated names"),
        (["Cat", "dog"], ["cat", "dog"], r"Did you mean 'Cat'\?$"),
        (["1", "2"], ["1.0", "2"], r"Received: '1\.0'\.$"),
    ],
)
def test_where_names_cannot_say_it(mine, theirs, words):
    with pytest.raises(DataError, match=words):
        places(mine, theirs)


@pytest.mark.parametrize("memory", [None, 0])
def test_images_keep_their_classes(memory, tmp_path):
    """Folders 0 to 11 sort 0, 1, 10, 11, 2; each image holds its class."""
    for k in range(12):
        for n in range(2):
            path = tmp_path / str(k) / f"{n}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((2, 2), k, "uint8")).save(path)
    from keras_preact.data import DataOptions

    options = DataOptions(memory_limit_mb=memory)
    data = load_data(f"folder:{tmp_path}", options=options, seed=None)
    assert len(data.train) == len(data.test) == 24  # without a seed nothing is split
    data = data.for_classes([str(k) for k in range(12)])
    for split in (data.train, data.test.subset(np.arange(5, 20))):
        images, labels = split.examples(slice(None))
        assert images[:, 0, 0, 0].tolist() == labels.tolist() == split.labels.tolist()


def test_a_class_may_have_a_name_twice(tmp_path):
    x, y = np.zeros((6, 2, 2), "uint8"), np.arange(6) % 3
    names = np.array([b"crane", b"crane", b"dog"])
    np.savez(tmp_path / "x.npz", x=x, y=y, class_names=names)
    assert load_data(f"npz:{tmp_path}/x.npz").class_names == ("crane #0", "crane #1", "dog")
