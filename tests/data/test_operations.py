"""The operations of the policies against formulas, their draws against the papers' ranges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from keras_preact.data import Augmentation
from keras_preact.data.augment import augment
from keras_preact.data.draws import policy_draws
from keras_preact.data.operations import POLICIES, RAND_AUGMENT, TRIVIAL_AUGMENT, chosen
from keras_preact.data.splits import ArraySplit

NAMES = [*RAND_AUGMENT]
SHAPES = [(8, 8), (33, 20, 3), (224, 224, 3)]


def image_of(shape, seed=0):
    """A smooth image with a grain, so that no two of its parts are alike."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    smooth = 90 * rows / shape[0] + 60 * columns / shape[1]
    smooth = smooth[..., None] * [1, 0.7, 0.4] if len(shape) == 3 else smooth
    return (smooth + np.random.default_rng(seed).integers(20, 90, shape)).astype(np.uint8)


def on(image, name, amount, policy="rand_augment"):
    fill = (1, 2, 3) if image.ndim == 3 else 1
    return np.asarray(POLICIES[policy][name].change(Image.fromarray(image), amount, fill))


def grey_of(image):
    return np.asarray(Image.fromarray(image).convert("L")).astype(float)


def blend(image, other, amount):
    """What Pillow's enhancements do: away from another image, or towards it."""
    return np.clip(other + (1 + amount) * (image.astype(float) - other), 0, 255)


def smooth(image):
    padded = image.astype(float)
    total = sum(np.roll(padded, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1))
    inner = (total + 4 * padded) / 13
    padded[1:-1, 1:-1] = inner[1:-1, 1:-1]
    return padded


def grey_like(image):
    grey = grey_of(image)
    return grey[..., None] if image.ndim == 3 else grey


FORMULAS = {
    "identity": lambda image, amount: image,
    "solarize": lambda image, amount: np.where(image < amount, image, 255 - image),
    "posterize": lambda image, amount: image >> (8 - round(amount)) << (8 - round(amount)),
    "brightness": lambda image, amount: blend(image, 0, amount),
    "contrast": lambda image, amount: blend(image, round(grey_of(image).mean()), amount),
    "color": lambda image, amount: blend(image, grey_like(image), amount),
    "sharpness": lambda image, amount: blend(image, smooth(image), amount),
    "auto_contrast": lambda image, amount: (
        (image - image.min((0, 1)).astype(float)) * 255 / np.ptp(image, (0, 1))
    ),
    "equalize": lambda image, amount: np.asarray(ImageOps.equalize(Image.fromarray(image))),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", FORMULAS)
def test_an_operation_is_its_formula(name, shape):
    image, row = image_of(shape), RAND_AUGMENT[name]
    exact = name in ("identity", "solarize", "posterize", "equalize")
    for strength in (0, 9, 30):
        amount = row.least + (row.most - row.least) * strength / 30
        for signed in (amount, -amount) if row.signed else (amount,):
            expected = FORMULAS[name](image, signed)
            # Pillow cuts off fractions, and the image that it moves away from is rounded.
            np.testing.assert_allclose(on(image, name, signed), expected, atol=0 if exact else 2.1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_images_move_by_whole_pixels(shape):
    image, fill = image_of(shape), np.array([1, 2, 3] if len(shape) == 3 else 1, np.uint8)
    for axis, name in ((1, "translate_x"), (0, "translate_y")):
        side = shape[axis]
        for policy, most in (("rand_augment", side), ("trivial_augment", min(side, 32))):
            for amount in (0.4, -0.4, 0.0):
                shift = round(amount * most)
                places = np.arange(side) + shift
                inside = (places >= 0) & (places < side)
                expected = np.take(image, np.clip(places, 0, side - 1), axis)
                np.moveaxis(expected, axis, 0)[~inside] = fill
                np.testing.assert_array_equal(on(image, name, amount, policy), expected)


@pytest.mark.parametrize("amount", [0.3, -0.3, 0.99, 0.0])
def test_shears_keep_the_corner_and_move_rows_and_columns(amount):
    image = image_of((9, 14, 3))
    for name, turned in (("shear_x", image), ("shear_y", image.transpose(1, 0, 2))):
        expected = np.empty_like(turned)
        expected[:] = (1, 2, 3)
        for row in range(len(turned)):
            for column in range(turned.shape[1]):
                place = int(np.floor(column + 0.5 + amount * (row + 0.5)))
                if 0 <= place < turned.shape[1]:
                    expected[row, column] = turned[row, place]
        found = on(image, name, amount)
        found = found if name == "shear_x" else found.transpose(1, 0, 2)
        np.testing.assert_array_equal(found, expected)


def test_rotation_is_in_degrees():
    image = image_of((12, 12, 3))
    for degrees in (0, 90, -90):
        expected = np.rot90(image, degrees // 90)
        np.testing.assert_array_equal(on(image, "rotate", degrees), expected)
    corner = on(image, "rotate", 30.0)[0, 0]
    np.testing.assert_array_equal(corner, (1, 2, 3))


@pytest.mark.parametrize("policy", POLICIES)
def test_no_operation_mirrors(policy):
    """So that digits and letters keep their labels."""
    letter = np.zeros((16, 16), np.uint8)
    letter[2:14, 3:6], letter[11:14, 3:12] = 255, 255  # an L
    for name, row in POLICIES[policy].items():
        for strength in range(31):
            amount = row.least + (row.most - row.least) * strength / 30
            for signed in {amount, -amount} if row.signed else {amount}:
                found = on(letter, name, signed, policy)
                assert not np.array_equal(found, letter[:, ::-1]), (name, signed)
                assert not np.array_equal(found, letter[::-1]), (name, signed)


#: The papers' ranges; RandAugment's are AutoAugment's, TrivialAugment's its wide ones.
RANGES = {
    "rand_augment": {
        "solarize": (256, 0), "posterize": (8, 4), "rotate": (-30, 30),
        **dict.fromkeys(("brightness", "contrast", "color", "sharpness"), (-0.9, 0.9)),
        **dict.fromkeys(("shear_x", "shear_y"), (-0.3, 0.3)),
        **dict.fromkeys(("translate_x", "translate_y"), (-150 / 331, 150 / 331)),
    },
    "trivial_augment": {
        "solarize": (256, 0), "posterize": (8, 2), "rotate": (-135, 135),
        **dict.fromkeys(("brightness", "contrast", "color", "sharpness"), (-0.99, 0.99)),
        **dict.fromkeys(("shear_x", "shear_y"), (-0.99, 0.99)),
        **dict.fromkeys(("translate_x", "translate_y"), (-1, 1)),  # of 32 pixels
    },
}  # fmt: skip


@settings(max_examples=100)
@given(
    st.sampled_from([*POLICIES]),
    st.integers(0, 13),
    st.integers(0, 30),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
)
def test_amounts_are_in_the_papers_ranges(policy, place, magnitude, strength, sign):
    numbers = np.array([[[(place + 0.5) / 14, strength, sign]]])
    [[(change, amount)]] = chosen(policy, numbers, magnitude)
    row = POLICIES[policy][NAMES[place]]
    assert change is row.change
    low, high = RANGES[policy].get(NAMES[place], (0, 0))
    share = (magnitude if policy == "rand_augment" else int(strength * 31)) / 30
    start = 0 if low == -high else low  # signed: from nothing outwards
    end = low if low == -high and sign < 0.5 else high
    expected = start + (end - start) * share
    assert amount == pytest.approx(expected)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_operation_is_drawn_as_often(policy):
    augmentation = Augmentation("none", policy=policy)
    numbers = policy_draws(np.arange(14000), augmentation, 0, 0)
    assert numbers.shape == (14000, 2 if policy == "rand_augment" else 1, 3)
    drawn = chosen(policy, numbers, 9)
    names = {row.change: name for name, row in POLICIES[policy].items()}
    counts = dict.fromkeys(NAMES, 0)
    for image in drawn:
        for change, _ in image:
            counts[names[change]] += 1
    expected = 1000 * numbers.shape[1]
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_what_is_drawn_never_changes():
    """Trainings that were begun by an earlier version go on with the same images."""
    names = {
        policy: {row.change: name for name, row in POLICIES[policy].items()} for policy in POLICIES
    }
    found = {}
    for policy in POLICIES:
        numbers = policy_draws(np.arange(3), Augmentation("none", policy=policy), 1, 2)
        found[policy] = [
            [(names[policy][change], round(amount, 4)) for change, amount in image]
            for image in chosen(policy, numbers, 9)
        ]
    assert found == GOLDEN


def test_of_grey_images_saturation_is_nothing():
    image = image_of((8, 8))
    np.testing.assert_array_equal(on(image, "color", 0.9), image)


def test_an_image_is_what_its_operations_make_of_it():
    images = np.stack([image_of((16, 16, 3), seed) for seed in range(40)])
    augmentation = Augmentation("none", policy="rand_augment", operations=3, magnitude=15)
    keys = {"seed": 3, "epoch": 1}
    found, _ = augment(
        ArraySplit(images, np.zeros(40)), np.arange(40), augmentation, flip=True, fill=5, **keys
    )
    drawn = chosen("rand_augment", policy_draws(np.arange(40), augmentation, 3, 1), 15)
    for image, operations, result in zip(images, drawn, found, strict=True):
        expected = Image.fromarray(image)
        for change, amount in operations:
            expected = change(expected, amount, (5, 5, 5))
        np.testing.assert_array_equal(result, np.asarray(expected))
    assert {len(operations) for operations in drawn} == {3}
    assert TRIVIAL_AUGMENT.keys() == RAND_AUGMENT.keys()


GOLDEN = {
    "rand_augment": [
        [("translate_y", 0.136), ("contrast", 0.27)],
        [("shear_x", 0.09), ("rotate", -9.0)],
        [("solarize", 179.2), ("auto_contrast", 0.0)],
    ],
    "trivial_augment": [[("translate_y", 0.7333)], [("shear_x", 0.264)], [("solarize", 170.6667)]],
}
