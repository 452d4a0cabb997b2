"""Augmentation against naive loops, and its promise: the same image, the same transformation."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_preact.data import Augmentation, load_data
from keras_preact.data.augment import augment, shift_and_flip, shift_colours
from keras_preact.data.draws import colour_shifts, scale_window
from keras_preact.data.images import resize
from keras_preact.data.splits import ArraySplit
from keras_preact.errors import ConfigError

#: All that may be done to an image.
EVERYTHING = [
    Augmentation(kind, policy=policy, aspect=True, jitter=0.4, erasing=0.5, cutout=3)
    for kind, policy in [
        ("none", "rand_augment"), ("crop", "trivial_augment"), ("imagenet", "rand_augment"),
    ]
]  # fmt: skip


def random_images(n, height, width, channels, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def split_of(n=40, height=16, width=16, channels=3):
    return ArraySplit(random_images(n, height, width, channels), np.arange(n) % 3)


def run(split, indices, augmentation, seed=0, epoch=0, flip=True, fill=0):
    return augment(
        split, np.asarray(indices), augmentation, seed=seed, epoch=epoch, flip=flip, fill=fill
    )


@settings(max_examples=60)
@given(
    st.integers(1, 5),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([1, 3]),
    st.integers(0, 4),
    st.integers(0, 99),
)
def test_shift_and_flip_equals_a_loop(n, height, width, channels, pad, seed):
    images = random_images(n, height, width, channels)
    random = np.random.default_rng(seed)
    offsets = random.integers(0, 2 * pad + 1, (n, 2))
    mirrored = random.random(n) < 0.5
    fill = random.integers(0, 256, channels)
    result = shift_and_flip(images, offsets, mirrored, pad, fill)
    for k in range(n):
        padded = np.empty((height + 2 * pad, width + 2 * pad, channels), np.uint8)
        padded[:] = fill
        padded[pad : pad + height, pad : pad + width] = images[k]
        top, left = offsets[k]
        window = padded[top : top + height, left : left + width]
        np.testing.assert_array_equal(result[k], window[:, ::-1] if mirrored[k] else window)
    assert result.dtype == np.uint8 and result.shape == images.shape


def test_shift_and_flip_leaves_its_input_alone():
    images = random_images(8, 6, 6, 3)
    before = images.copy()
    shift_and_flip(images, np.zeros((8, 2), int), np.ones(8, bool), 0)
    run(ArraySplit(images, np.zeros(8)), range(8), Augmentation("imagenet"))
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation("none"),
        Augmentation("crop"),
        Augmentation("imagenet"),
        Augmentation("imagenet", aspect=True),
        *EVERYTHING,
    ],
    ids=lambda a: "_".join([a.kind, *["aspect"] * a.aspect, *[a.policy] * bool(a.policy)]),
)
def test_pure_functions_of_seed_epoch_and_index(augmentation):
    split = split_of()
    whole, labels = run(split, range(40), augmentation, seed=3, epoch=5)
    order = np.random.default_rng(0).permutation(40)
    for part in (order[:1], order[1:14], order[14:]):
        images, part_labels = run(split, part, augmentation, seed=3, epoch=5)
        np.testing.assert_array_equal(images, whole[part])
        np.testing.assert_array_equal(part_labels, labels[part])
    assert whole.dtype == np.uint8 and whole.shape == (40, 16, 16, 3)
    if augmentation == Augmentation("none"):
        np.testing.assert_array_equal(whole, split.images(range(40)))
    else:
        for changed in ({"seed": 4, "epoch": 5}, {"seed": 3, "epoch": 6}):
            other, _ = run(split, range(40), augmentation, **changed)
            assert (other != whole).any((1, 2, 3)).sum() > 30


def test_crop_takes_all_windows_and_mirrors_half():
    images = np.zeros((8000, 8, 8, 1), np.uint8)
    images[:, 3, 2] = 255
    result, _ = run(ArraySplit(images, np.zeros(8000)), range(8000), Augmentation("crop", pad=2))
    rows, columns = (np.bincount(place, minlength=8) for place in np.nonzero(result)[1:3])
    uniform = np.array([0, 1600, 1600, 1600, 1600, 1600, 0, 0])  # rows 3 - 2 .. 3 + 2
    np.testing.assert_allclose(rows, uniform, atol=150)
    assert (rows[uniform == 0] == 0).all()
    straight_and_mirrored = np.array([800, 800, 800, 1600, 1600, 800, 800, 800])  # 0..4, 3..7
    np.testing.assert_allclose(columns, straight_and_mirrored, atol=150)


def test_flip_is_the_data_sets_unless_said():
    split = split_of()
    for said, own, expected in [(None, True, True), (None, False, False), (True, False, True)]:
        images, _ = run(split, range(40), Augmentation("crop", pad=0, flip=said), flip=own)
        same = (images == split.images(range(40))).all((1, 2, 3))
        assert same.all() != expected
        if expected:
            mirrored = images[~same]
            np.testing.assert_array_equal(mirrored, split.images(~same)[:, :, ::-1])
            assert 8 < len(mirrored) < 32


def test_padding_and_fill():
    assert Augmentation().padding((32, 32, 3)) == 4
    assert Augmentation().padding((4, 40, 3)) == 1
    assert Augmentation(pad=7).padding((32, 32, 3)) == 7
    assert Augmentation("imagenet").padding((32, 32, 3)) == 0
    split = ArraySplit(np.zeros((30, 8, 8, 3), np.uint8), np.zeros(30))
    images, _ = run(split, range(30), Augmentation(), fill=[1, 2, 3])
    values = {tuple(value) for value in images.reshape(-1, 3).tolist()}
    assert values == {(0, 0, 0), (1, 2, 3)}


def test_scales_of_the_papers():
    assert Augmentation("imagenet").scales((224, 224, 3)) == (256, 480)
    assert Augmentation("imagenet", scale=(256, 512)).scales((224, 224, 3)) == (256, 512)
    with pytest.raises(ConfigError, match=r"at least 224.*Received: scale=\(200, 300\)"):
        Augmentation("imagenet", scale=(200, 300)).scales((224, 224, 3))


def test_scale_window_equals_resize_then_crop():
    ramp = np.linspace(0, 255, 40).astype(np.uint8)
    image = np.broadcast_to(ramp[None, :, None], (40, 40, 3)).copy()
    split = ArraySplit(np.stack([image] * 50), np.zeros(50))
    augmentation = Augmentation("imagenet", scale=(40, 40), colour=0.0, flip=False)
    images, _ = run(split, range(50), augmentation)
    np.testing.assert_array_equal(images, split.images(range(50)))  # no room, no change
    augmentation = augmentation.replace(scale=(80, 80))
    images, _ = run(split, range(50), augmentation)
    whole = resize(image, (80, 80)).astype(int)
    lefts = set()
    for one in images.astype(int):
        errors = [np.abs(one[0] - whole[0, left : left + 40]).max() for left in range(41)]
        assert min(errors) <= 1
        lefts.add(int(np.argmin(errors)))
    assert len(lefts) > 15


@pytest.mark.parametrize("shape", [(32, 64, 3), (64, 32, 3)])
def test_a_window_fits_into_images_of_every_aspect(shape):
    """Else files would be called damaged, those alone that are decoded on the way."""
    augmentation = Augmentation("imagenet")
    scales = augmentation.scales(shape)
    for sides in ((60, 120), (120, 60), (33, 33), (200, 40), (31, 999)):
        for numbers in np.random.default_rng(0).random((50, 3)):
            (height, width), window = scale_window(sides, shape, numbers, scales)
            top, left, *size = window
            assert size == [*shape[:2]]
            assert 0 <= top <= height - shape[0] and 0 <= left <= width - shape[1]


def test_aspect_windows_have_area_and_shape_in_range():
    rows, columns = np.mgrid[0:100, 0:120]
    image = np.stack([2 * rows, 2 * columns, 0 * rows], -1).astype(np.uint8)
    split = ArraySplit(np.stack([image] * 200), np.zeros(200))
    images, _ = run(split, range(200), Augmentation("imagenet", aspect=True, colour=0.0))
    tall = np.ptp(images[..., 0].astype(int), axis=(1, 2)) / 2 + 1
    wide = np.ptp(images[..., 1].astype(int), axis=(1, 2)) / 2 + 1
    area, ratio = tall * wide / 12_000, wide / tall
    assert area.min() > 0.05 and area.max() < 1.01 and np.ptp(area) > 0.6
    assert ratio.min() > 0.65 and ratio.max() < 1.5 and np.ptp(ratio) > 0.4


def test_colours_shift_along_the_components():
    image = np.full((2, 2, 3), 128, np.uint8)
    np.testing.assert_array_equal(shift_colours(image, np.zeros(3, int)), image)
    shifts = colour_shifts(np.array([[-0.1, 0, 0], [0.1, 0, 0], [-100, 0, 0], [100, 0, 0]]))
    brighter = [shift_colours(image, shift)[0, 0].tolist() for shift in shifts]
    assert brighter == [[131, 131, 131], [125, 125, 125], [255, 255, 255], [0, 0, 0]]
    values = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    for shift in ([7, -200, 255], [-1, 0, 300]):
        expected = np.clip(values.astype(int) + shift, 0, 255)
        np.testing.assert_array_equal(shift_colours(values, np.array(shift)), expected)
    grey = split_of(channels=1)
    assert run(grey, range(4), Augmentation("imagenet"))[0].shape == (4, 16, 16, 1)


@pytest.mark.parametrize("augmentation", EVERYTHING, ids=lambda a: f"{a.kind}_{a.policy}")
@pytest.mark.parametrize("shape", [(1, 1, 3), (8, 8, 1), (8, 8, 3), (20, 33, 1), (224, 224, 3)])
def test_everything_at_every_size(augmentation, shape):
    split = split_of(6, *shape)
    before = split.images(slice(None)).copy()
    fill = [200, 100, 50][: shape[2]]
    images, _ = run(split, range(6), augmentation, fill=fill)
    assert images.shape == (6, *shape) and images.dtype == np.uint8
    np.testing.assert_array_equal(split.images(slice(None)), before)
    assert (images != before).any((1, 2, 3)).all()
    assert (images == fill).all(3).any((1, 2)).all()  # cut out


def test_a_policy_follows_the_window():
    """And jitter the policy, and erasing all, the images' own and those decoded from files."""
    split, keys = split_of(30), {"seed": 1, "epoch": 2}
    only = Augmentation("crop")
    both = only.replace(policy="rand_augment", operations=3, magnitude=20, jitter=0.3, cutout=4)
    windows, _ = run(split, range(30), only, fill=[9, 8, 7], **keys)
    rest = both.replace(kind="none")
    expected, _ = run(ArraySplit(windows, np.zeros(30)), range(30), rest, fill=[9, 8, 7], **keys)
    found, _ = run(split, range(30), both, fill=[9, 8, 7], **keys)
    np.testing.assert_array_equal(found, expected)


def test_erased_boxes_are_those_of_the_paper():
    split = ArraySplit(np.zeros((400, 50, 80, 1), np.uint8), np.zeros(400))
    images, _ = run(split, range(400), Augmentation("none", erasing=0.5), fill=255)
    erased = images[images.any((1, 2, 3))][..., 0] > 0
    assert 170 < len(erased) < 230
    tall, wide = erased.any(2).sum(1), erased.any(1).sum(1)
    np.testing.assert_array_equal(erased.sum((1, 2)), tall * wide)  # boxes without holes
    area, ratio = tall * wide / 4000, wide / tall
    assert 0.015 < area.min() < 0.06 and 0.3 < area.max() < 0.41
    assert 0.27 < ratio.min() < 0.5 and 2.5 < ratio.max() < 3.7


@pytest.mark.parametrize("side", [1, 4, 7, 40])
def test_cutout_is_a_square_around_any_pixel(side):
    split = ArraySplit(np.zeros((3000, 8, 10, 1), np.uint8), np.zeros(3000))
    images, _ = run(split, range(3000), Augmentation("none", cutout=side), fill=1)
    inside = []  # how often a row, and a column, is
    for length in (8, 10):
        first = np.arange(length) - side // 2
        place = np.arange(length)[:, None]
        inside.append(((first <= place) & (place < first + side)).mean(1))
    np.testing.assert_allclose(images[..., 0].mean(0), np.outer(*inside), atol=0.04)


def test_jitter_is_within_its_factors():
    grey = np.full((300, 4, 4, 3), 100, np.uint8)  # which contrast and saturation leave
    images, _ = run(ArraySplit(grey, np.zeros(300)), range(300), Augmentation("none", jitter=0.4))
    assert 60 <= images.min() < 65 and 135 < images.max() <= 140
    assert (np.ptp(images, (1, 2, 3)) == 0).all()
    split = split_of()
    images, _ = run(split, range(40), Augmentation("none", jitter=0.0))
    np.testing.assert_array_equal(images, split.images(range(40)))


def test_large_images_in_memory_and_on_disk_agree(tmp_path):
    from PIL import Image

    from keras_preact.data import DataOptions

    for k, image in enumerate(random_images(8, 40, 40, 3)):
        folder = tmp_path / ("a" if k % 2 else "b")
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{k}.png")
    held = load_data(f"folder:{tmp_path}").train
    read = load_data(f"folder:{tmp_path}", options=DataOptions(memory_limit_mb=0)).train
    for augmentation in (Augmentation("crop"), Augmentation("imagenet"), *EVERYTHING):
        expected = run(held, range(6), augmentation)
        for value, reference in zip(run(read, range(6), augmentation), expected, strict=True):
            np.testing.assert_array_equal(value, reference)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("kind", "crops"), ("pad", -1), ("scale", (300, 200)), ("scale", (256,))],
        *[("colour", -0.1), ("policy", "auto_augment"), ("operations", 0), ("operations", 15)],
        *[("magnitude", 31), ("magnitude", -1), ("jitter", 1.1), ("erasing", 1.5)],
        *[("erasing", -0.1), ("cutout", -1)],
    ],
)
def test_values_that_are_refused(field, value):
    with pytest.raises(ConfigError, match=f"`{field}` must be"):
        Augmentation(**{field: value})


def test_round_trip_through_json():
    augmentation = Augmentation("imagenet", scale=(256, 512), aspect=True, policy="rand_augment")
    assert Augmentation.from_json(augmentation.to_json()) == augmentation


def test_crop_is_fast():
    split = ArraySplit(random_images(128, 32, 32, 3), np.zeros(128))
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        run(split, np.arange(128), Augmentation())
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.01  # measured: 2 ms
