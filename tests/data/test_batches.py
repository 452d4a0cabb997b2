"""Batches: order, epochs, remainders, resumption, training with Keras; and statistics."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_preact.data import Augmentation, Batches, epoch_order, image_mean, prefetched
from keras_preact.data import statistics as statistics_module
from keras_preact.data.splits import ArraySplit, Encoded, EncodedSplit
from keras_preact.errors import ConfigError


def numbered(n, channels=3):
    """Images whose pixels all hold their own index."""
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 4, 4, channels))
    return ArraySplit(images.copy(), np.arange(n) % 2)


def seen(batches):
    return [images[:, 0, 0, 0].tolist() for images, _ in (batches[i] for i in range(len(batches)))]


@settings(max_examples=60)
@given(st.integers(1, 200), st.integers(1, 70), st.booleans(), st.integers(0, 9))
def test_every_image_once(n, batch_size, shuffle, epoch):
    batches = Batches(numbered(n), batch_size, shuffle=shuffle, seed=3, epoch=epoch)
    parts = seen(batches)
    flat = list(itertools.chain(*parts))
    assert sorted(flat) == list(range(n))
    assert all(len(part) == batch_size for part in parts[:-1])
    assert flat == (epoch_order(3, epoch, n).tolist() if shuffle else list(range(n)))


def test_drop_remainder():
    assert [len(part) for part in seen(Batches(numbered(10), 4, drop_remainder=True))] == [4, 4]
    with pytest.raises(ConfigError, match="at most 10"):
        Batches(numbered(10), 11, drop_remainder=True)


def test_types_and_bounds():
    batches = Batches(numbered(10), 4)
    images, labels = batches[2]
    assert images.dtype == np.uint8 and images.shape == (2, 4, 4, 3)
    assert labels.dtype == np.int32 and labels.tolist() == [0, 1]
    for index in (3, -1):
        with pytest.raises(IndexError):
            batches[index]
    with pytest.raises(ConfigError, match="batch_size"):
        Batches(numbered(10), 0)
    with pytest.raises(ConfigError, match="seed"):
        Batches(numbered(10), 1, seed=-1)


def test_epochs_differ_and_can_be_taken_up_again():
    def build(epoch=0):
        augmentation = Augmentation("crop", pad=1)
        return Batches(
            numbered(30), 8, shuffle=True, seed=5, augmentation=augmentation, epoch=epoch
        )

    batches, epochs = build(), []
    for _ in range(3):
        batches.on_epoch_begin()
        epochs.append([batches[i][0] for i in range(len(batches))])
        batches.on_epoch_end()
    assert batches.epoch == 3
    assert any((a != b).any() for a, b in zip(epochs[0], epochs[1], strict=True))
    again = build(epoch=2)
    for image, expected in zip((again[i][0] for i in range(4)), epochs[2], strict=True):
        np.testing.assert_array_equal(image, expected)


def test_repeated_images_are_changed_differently_and_can_be_taken_up_anywhere():
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    split = ArraySplit(images, np.arange(50) % 7)
    keys = {"shuffle": True, "seed": 5, "epoch": 2, "augmentation": Augmentation(pad=2)}
    once, batches = Batches(split, 12, **keys), Batches(split, 12, repeats=3, **keys)
    assert len(batches) == len(once) and [batches.size(k) for k in range(5)] == [12] * 4 + [2]
    assert [len({*batches.places(k).tolist()}) for k in range(5)] == [4] * 4 + [1]
    assert batches.indices(2)[:4].tolist() == once.indices(2)[:4].tolist()
    assert not {*batches.indices(3).tolist()} <= {*batches.indices(2).tolist()}
    whole, labels = batches[1]
    np.testing.assert_array_equal(labels, split.labels[batches.places(1)])
    copies = whole.reshape(3, 4, -1)  # the first ones of four images, then the second ones
    assert all((copies[a] != copies[b]).any(1).all() for a, b in ((0, 1), (0, 2), (1, 2)))
    np.testing.assert_array_equal(whole[:4], once.part(0, slice(4, 8))[0])
    again = Batches(split, 12, repeats=3, **keys)  # by one that has seen nothing before
    np.testing.assert_array_equal(again.part(1, slice(6, 12))[0], whole[6:])
    np.testing.assert_array_equal(again.blend(1, 0.4, 1.0), batches.blend(1, 0.4, 1.0))
    assert len({*batches.blend(1, 0.4).tolist()}) == 6, "each pair is blended in another way"
    for more in ({"shuffle": False}, {"balanced": True}):
        words = "`repeats` must be 1 unless shuffle is True and balanced is False"
        with pytest.raises(ConfigError, match=words):
            Batches(split, 12, repeats=3, **{**keys, **more})
    with pytest.raises(ConfigError, match="`repeats` must be at least 1"):
        Batches(split, 12, repeats=0, **keys)


def test_the_padding_is_the_mean_unless_given():
    split = ArraySplit(np.full((20, 8, 8, 3), (10, 20, 30), np.uint8), np.zeros(20))
    images, _ = Batches(split, 20, augmentation=Augmentation())[0]
    assert (images == (10, 20, 30)).all()
    images, _ = Batches(split, 20, augmentation=Augmentation(), fill=[0, 0, 99.6])[0]
    assert {tuple(v) for v in images.reshape(-1, 3).tolist()} == {(10, 20, 30), (0, 0, 100)}
    for more in ({"policy": "rand_augment"}, {"erasing": 0.5}, {"cutout": 4}):
        batches = Batches(split, 20, augmentation=Augmentation("none", **more))
        assert batches.fill.tolist() == [10, 20, 30]
    assert Batches(split, 20, augmentation=Augmentation("none", jitter=0.4)).fill == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_fit_asks_for_each_batch_of_each_epoch(workers):
    import keras

    class Recorded(Batches):
        def __getitem__(self, index):
            asked.add((self.epoch, index))
            return super().__getitem__(index)

    asked = set()
    augmentation = Augmentation("crop", pad=1)
    batches = Recorded(
        numbered(30), 12, shuffle=True, augmentation=augmentation, epoch=4, workers=workers
    )
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(batches, initial_epoch=4, epochs=6, verbose=0, callbacks=[batches.callback()])
    assert asked == {(epoch, index) for epoch in (4, 5) for index in range(3)}
    assert batches.epoch == 6


@pytest.mark.parametrize("channels", [1, 3])
def test_image_mean_equals_numpy(channels):
    images = np.random.default_rng(0).integers(0, 256, (700, 5, 7, channels), dtype=np.uint8)
    split = ArraySplit(images, np.zeros(700))
    for kind, axes in (("pixel", 0), ("channel", (0, 1, 2))):
        mean, std = image_mean(split, kind)
        assert mean.dtype == std.dtype == np.float32
        np.testing.assert_allclose(mean, images.mean(axes), rtol=1e-6)
        np.testing.assert_allclose(std, images.std(axes), rtol=1e-5)
    with pytest.raises(ConfigError, match="'pixel', 'channel'"):
        image_mean(split, "image")


def test_constant_images_have_no_deviation():
    split = ArraySplit(np.full((9, 3, 3, 3), 77, np.uint8), np.zeros(9))
    mean, std = image_mean(split)
    assert mean.tolist() == [77] * 3 and std.tolist() == [0] * 3


def test_image_mean_of_streamed_images_reads_a_fixed_sample(monkeypatch):
    import io

    from PIL import Image

    def read(index):
        asked.append(index)
        file = io.BytesIO()
        Image.new("L", (2, 2), index % 256).save(file, "PNG")
        return file.getvalue(), 0

    asked = []
    monkeypatch.setattr(statistics_module, "SAMPLE", 50)
    split = EncodedSplit(Encoded(read, str, (2, 2, 1)), np.arange(300), np.zeros(300))
    first, second = image_mean(split)[0], image_mean(split)[0]
    assert len(asked) == 100 and len(set(asked)) == 50
    assert first == second
    asked.clear()
    mean, _ = image_mean(split, "pixel")  # the papers', of all
    assert len(asked) == 300
    np.testing.assert_allclose(mean, (np.arange(300) % 256).mean(), rtol=1e-6)


def test_statistics_are_written_down_to_the_last_bit():
    images = np.random.default_rng(0).integers(0, 256, (70, 5, 7, 3), dtype=np.uint8)
    split = ArraySplit(images, np.zeros(70))
    for kind in ("pixel", "channel"):
        found = statistics_module.statistics(split, kind)
        again = found.from_dict(json.loads(json.dumps(found.to_dict())))
        assert again.images == 70 and (again.mean == found.mean).all()
        assert (again.deviation == found.deviation).all()
        np.testing.assert_allclose(found.channel_mean, images.mean((0, 1, 2)), rtol=1e-6)


def test_shares_of_a_batch_are_the_batch():
    """Machines and devices that take a share each see together what one alone would."""
    batches = Batches(numbered(50), 20, shuffle=True, augmentation=Augmentation("crop"), epoch=3)
    whole, labels = batches[1]
    shares = [batches.part(1, slice(start, start + 5)) for start in range(0, 20, 5)]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in shares]), whole)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in shares]), labels)
    found = list(prefetched(batches, 1, 3, lambda size: slice(size // 2, None)))
    np.testing.assert_array_equal(found[0][0], whole[10:])
    assert [len(labels) for _, labels in found] == [10, 5]
    assert [batches.size(k) for k in range(3)] == [20, 20, 10]


def test_mixing_is_a_function_of_seed_epoch_and_pair():
    batches = Batches(numbered(400), 100, shuffle=True, seed=5)
    assert batches.blend(0, 0.0) is None
    blends = np.concatenate([batches.blend(k, 0.4) for k in range(4)])
    np.testing.assert_array_equal(blends[::2], blends[1::2])
    assert 0 <= blends.min() < 0.1 and 0.9 < blends.max() <= 1
    # Beta(0.4, 0.4): mean 1/2, variance 1/4 / (2 * 0.4 + 1)
    assert abs(blends.mean() - 0.5) < 0.06
    assert abs(blends.var() - 0.25 / 1.8) < 0.03
    np.testing.assert_array_equal(batches.blend(2, 0.4), blends[200:300])
    batches.epoch = 1
    assert not np.array_equal(batches.blend(2, 0.4), blends[200:300])
