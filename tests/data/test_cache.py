"""The cache on disk: the same images, whole or not there, noticed when it is damaged, shared."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from keras_preact.data import Augmentation, DataOptions, load_data
from keras_preact.data.augment import augment
from keras_preact.data.cache import _Writer
from keras_preact.data.picture import Picture
from keras_preact.errors import ConfigError, DataError, SaveError


def photos(root, count=6, mode="RGB", sizes=((40, 30), (25, 50), (30, 30))):
    """Images of several sizes in two classes."""
    random = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for k in range(count):
            width, height = sizes[k % len(sizes)]
            coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            image = coarse.resize((width, height), Image.Resampling.BICUBIC).convert(mode)
            image.save(root / label / f"{k}.jpg", quality=90)
    return root


def load(root, cache=None, **options):
    options = DataOptions(image_size=16, memory_limit_mb=0, cache=cache and str(cache), **options)
    return load_data(f"folder:{root}", options=options)


def folders(cache):
    return sorted(path for path in cache.iterdir() if path.is_dir())


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", ["none", "crop", "imagenet"])
def test_images_are_those_of_the_files(tmp_path, mode, kind):
    root = photos(tmp_path / "photos", mode=mode)
    split, kept = load(root).train, load(root, tmp_path / "cache").train
    assert kept.image_shape == split.image_shape == (16, 16, 3 if mode == "RGB" else 1)
    for epoch in range(2):
        arguments = {"seed": 1, "epoch": epoch, "flip": True}
        expected = augment(split, np.arange(len(split)), Augmentation(kind), **arguments)
        found = augment(kept, np.arange(len(split)), Augmentation(kind), **arguments)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(kept.raw(3), split.raw(3))


def test_files_are_decoded_once(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos")
    first = load(root, tmp_path / "cache")
    expected = first.train.images(slice(None))
    monkeypatch.setattr(Picture, "_decode", None)  # no file is decoded again
    again = load(root, tmp_path / "cache")
    np.testing.assert_array_equal(again.train.images(slice(None)), expected)
    assert again.notes == first.notes and repr(again) == repr(first)
    (only,) = folders(tmp_path / "cache")
    assert sorted(os.listdir(only)) == ["about.json", "index.npy", "pixels"]


@pytest.mark.parametrize(
    "change",
    [
        {"orientation": "apply"},
        {"alpha": "white"},
        {"range": (0, 200)},
        {"channels": 1},
        {"cache_shorter": 20},
        "touched",
        "more",
    ],
    ids=str,
)
def test_a_cache_of_other_files_or_other_reading_is_another(tmp_path, change):
    root, cache = photos(tmp_path / "photos"), tmp_path / "cache"
    load(root, cache)
    if change == "touched":
        os.utime(root / "cat" / "0.jpg", (1, 1))
    elif change == "more":
        Image.new("RGB", (20, 20)).save(root / "cat" / "new.jpg")
    options = change if isinstance(change, dict) else {}
    found, expected = load(root, cache, **options), load(root, **{**options, "cache_shorter": None})
    assert len(folders(cache)) == 2 and len(found.train) == len(expected.train)
    if "cache_shorter" not in options:
        np.testing.assert_array_equal(
            found.train.images(slice(None)), expected.train.images(slice(None))
        )


def test_larger_images_are_kept_smaller_if_asked(tmp_path):
    root = photos(tmp_path / "photos")
    split = load(root, tmp_path / "cache", cache_shorter=20).train
    assert {split.raw(k).shape[:2] for k in range(len(split))} == {(20, 26), (40, 20), (20, 20)}
    difference = split.images(slice(None)).astype(int) - load(root).train.images(slice(None))
    assert np.abs(difference).mean() < 4
    same = load(root, tmp_path / "cache", cache_shorter=200).train
    np.testing.assert_array_equal(same.raw(0), load(root).train.raw(0))


def test_damaged_files_are_named_or_left_out(tmp_path):
    root, cache = photos(tmp_path / "photos"), tmp_path / "cache"
    (root / "cat" / "1.jpg").write_bytes(b"none")
    with pytest.raises(DataError, match=r"1 image file is damaged: .*1\.jpg"):
        load(root, cache)
    assert not folders(cache)
    for _ in range(2):
        data = load(root, cache, on_bad_image="skip")
        assert len(data.train) + len(data.test) == 11 and len(data.skipped) == 1
    with pytest.raises(DataError, match=r"1\.jpg"):
        load(root, cache)


@pytest.mark.parametrize("damage", ["pixels", "cut", "index", "about", "gone", "count"])
def test_damage_is_noticed(tmp_path, damage):
    root, cache = photos(tmp_path / "photos"), tmp_path / "cache"
    load(root, cache)
    (folder,) = folders(cache)
    if damage == "pixels":
        data = bytearray((folder / "pixels").read_bytes())
        data[len(data) // 2] ^= 1
        (folder / "pixels").write_bytes(data)
    elif damage == "cut":
        os.truncate(folder / "pixels", 1000)
    elif damage == "gone":
        (folder / "pixels").unlink()
    elif damage == "count":
        np.save(folder / "index.npy", np.load(folder / "index.npy")[:-1])
    else:
        name = "index.npy" if damage == "index" else "about.json"
        (folder / name).write_bytes((folder / name).read_bytes()[:-40])
    with pytest.raises(DataError, match=r"undamaged image cache.* Delete it; the same command"):
        data = load(root, cache)
        for part in (data.train, data.test):
            part.images(slice(None))


def test_several_at_once_make_one(tmp_path, monkeypatch):
    root, cache, made = photos(tmp_path / "photos", count=20), tmp_path / "cache", []
    end = _Writer.end
    monkeypatch.setattr(_Writer, "end", lambda self, f: made.append(end(self, f)))
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(load(root, cache).train.images([0, 5])))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len(found) == 4
    for images in found:
        np.testing.assert_array_equal(images, found[0])


KILLED = """
import os, signal, sys
from keras_preact.data import DataOptions, load_data
from keras_preact.data import cache
put, count = cache._Writer.put, 0
def dying(self, *arguments):
    global count
    count += 1
    if count == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, *arguments)
cache._Writer.put = dying
load_data("folder:" + sys.argv[1], options=DataOptions(image_size=16, cache=sys.argv[2]))
"""


def test_killed_in_the_making_it_is_not_there(tmp_path):
    root, cache = photos(tmp_path / "photos", count=20), tmp_path / "cache"
    command = [sys.executable, "-c", KILLED, str(root), str(cache)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert not [path for path in folders(cache) if not path.name.startswith(".")]
    expected = load(root).train.images(slice(None))
    np.testing.assert_array_equal(load(root, cache).train.images(slice(None)), expected)
    assert len(folders(cache)) == 1  # what was left is gone


def test_where_nothing_can_be_written(tmp_path):
    root = photos(tmp_path / "photos")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SaveError, match="cache of images could not be written"):
        load(root, tmp_path / "file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache_shorter": 100}, "`cache_shorter` must be .*with a `cache`"),
        ({"cache": "x", "cache_shorter": 10}, "None, or at least `image_size`, with a `cache`"),
        ({"cache": "x", "cache_shorter": 10, "image_size": 16}, "Received: cache_shorter=10"),
        ({"cache": "x"}, "`cache` must be None, but for 'folder:PATH', .*Data here: 'digits'"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ConfigError, match=message):
        load_data("digits", options=DataOptions(**options))
