"""Arrays in .npz files: shapes, ranges and labels that fit, and those that are refused."""

import pickle
import re
import zipfile

import numpy as np
import pytest

from keras_preact.data import DataOptions, check_data, load_data
from keras_preact.data.balance import image_weights
from keras_preact.data.parts import PARTS
from keras_preact.errors import ConfigError, DataError


def random_images(n=12, shape=(6, 6, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def good(**changes):
    labels = np.arange(12) % 3
    arrays = {
        "x_train": random_images(),
        "y_train": labels,
        "x_test": random_images(6),
        "y_test": labels[:6],
    }
    return {key: value for key, value in (arrays | changes).items() if value is not None}


def load(tmp_path, arrays, **options):
    np.savez(tmp_path / "data.npz", **arrays)
    return load_data(f"npz:{tmp_path / 'data.npz'}", options=DataOptions(**options))


def test_whole_file(tmp_path):
    data = load(tmp_path, good())
    assert (len(data.train), len(data.test), data.image_shape) == (12, 6, (6, 6, 3))
    assert data.class_names == ("0", "1", "2")
    np.testing.assert_array_equal(data.train.images(slice(None)), random_images())
    assert data.train.labels.dtype == np.int32
    report = check_data(str(tmp_path / "data.npz"))
    assert report.rows()[2] == {"class": "2", "train": 4, "test": 2}
    assert report.ok and report.sizes == {(6, 6): 18}


@pytest.mark.parametrize("keys", [("x", "y"), ("x_train", "y_train")])
def test_a_training_part_alone_is_split(tmp_path, keys):
    data = load(tmp_path, dict(zip(keys, (random_images(), np.arange(12) % 3), strict=True)))
    assert (len(data.train), len(data.test)) == (9, 3)
    assert sorted(data.test.labels) == [0, 1, 2]


@pytest.mark.parametrize("called", PARTS["validation"])
def test_a_validation_part_stands_in_for_the_test_where_there_is_none(tmp_path, called):
    validation = {f"x_{called}": random_images(3, seed=1), f"y_{called}": np.arange(3)}
    data = load(tmp_path, good(**validation))
    assert [*map(len, data.parts().values())] == [12, 3, 6] and data.notes == ()
    np.testing.assert_array_equal(data.validation.images([2]), validation[f"x_{called}"][2:])
    row = check_data(str(tmp_path / "data.npz")).rows()[0]
    assert row == {"class": "0", "train": 4, "validation": 1, "test": 2}
    data = load(tmp_path, good(**validation, x_test=None, y_test=None))
    assert [*data.parts()] == ["train", "test"] and len(data.test) == 3


def test_columns_of_the_training_images(tmp_path):
    """They go with their images wherever these go, as a table's do."""
    images, group = random_images(24), np.arange(24) // 4
    weight = np.arange(24) / 4
    arrays = {"X": images, "y": np.arange(24) % 3, "weight": weight[:, None], "group": group}
    whole = {images[k].tobytes(): (weight[k], str(group[k])) for k in range(24)}
    data = load(tmp_path, arrays, validation=0.2)
    said = "sample weights: the array 'weight'"
    assert data.notes == (said,) and said in check_data(str(tmp_path / "data.npz")).summary()
    sides = []
    for part in data.for_classes("210").parts().values():
        known = zip(part.columns["weight"], part.columns["group"], strict=True)
        images = part.images(slice(None))
        assert [*known] == [whole[image.tobytes()] for image in images]
        sides.append({*part.columns["group"]})
    assert sum(map(len, sides)) == len(set.union(*sides)) == 6  # each group on one side
    expected = data.train.columns["weight"] / data.train.columns["weight"].mean()
    np.testing.assert_allclose(image_weights(data.train), expected, rtol=1e-6)

    arrays = good(w=np.ones(12), patient=np.array(["a", "b", "c", "d"] * 3), weight_train=[1] * 12)
    data = load(tmp_path, arrays, weight_column="w", group="patient")
    assert data.train.columns["weight"].tolist() == [1.0] * 12 and not data.test.columns
    assert data.train.columns["group"][:5].tolist() == ["a", "b", "c", "d", "a"]
    assert data.notes[0] == "not used: 'weight_train'"
    assert not load(tmp_path, arrays, weight_column="").train.columns


def test_what_is_converted(tmp_path):
    grey = load(tmp_path, good(x_train=random_images()[..., 0], x_test=random_images(6)[..., 0]))
    assert grey.image_shape == (6, 6, 1)
    floats = load(tmp_path, good(x_train=random_images() / 255, x_test=random_images(6) / 255))
    np.testing.assert_array_equal(floats.train.images(slice(None)), random_images())
    wide = load(tmp_path, good(x_train=random_images().astype(np.int64)))
    np.testing.assert_array_equal(wide.train.images(slice(None)), random_images())
    columns = load(tmp_path, good(y_train=(np.arange(12) % 3)[:, None]))
    assert columns.train.labels.shape == (12,)
    named = load(tmp_path, good(class_names=np.array(["a", "b", "c"])))
    assert named.class_names == ("a", "b", "c")
    assert load(tmp_path, good(), image_size=4, channels=1).image_shape == (4, 4, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": None}, "missing 'y_train'"),
        ({"x_train": None, "y_train": None}, "missing 'x_train', 'y_train'"),
        ({"y_test": None}, "missing 'y_test'"),
        ({"x_train": random_images(shape=(6, 6, 4))}, r"shape \(12, 6, 6, 4\)\.$"),
        ({"x_train": random_images(shape=(3, 6, 6))}, "channels last: np.moveaxis"),
        ({"x_train": random_images(0)}, "shape"),
        ({"x_train": random_images()[0]}, "one label for each of 6 images"),
        ({"x_train": random_images() - 128.0}, r"float64 from -128\.0 to 127\.0"),
        ({"x_train": random_images() * 1.0}, "floats from 0 to 1"),
        ({"x_train": np.full((12, 6, 6), np.nan)}, "NaN or infinity in 12 of 12 images"),
        ({"x_train": random_images().astype(np.int32) * 2}, "int32 from 0 to 510"),
        ({"x_train": random_images() > 9}, r"Received: bool.* astype\('uint8'\)"),
        ({"x_train": random_images().astype("u2") * 16}, "uint16 from 0 to .* Scale them to 0"),
        ({"y_train": np.arange(11) % 3}, r"12 images. Received: shape \(11,\)\.$"),
        ({"y_train": np.eye(3)[np.arange(12) % 3]}, r"one-hot labels use y_train\.argmax"),
        ({"y_train": np.arange(12) % 3 * 1.0}, r"Received: float64.* y_train\.astype\(int"),
        ({"y_train": np.arange(12) > 5}, r"For booleans use y_train\.astype\(int\)"),
        ({"y_train": (np.arange(12) % 3)[None]}, r"one label .* shape \(1, 12\)\.$"),
        ({"y_test": np.array([2**63, 0, 1, 2, 0, 1], "u8")}, "1 of 6 in y_test up to 92"),
        ({"y_train": np.arange(12) % 3 - 1}, "smallest -1"),
        ({"y_train": np.array(["a", "b", "c"] * 4)}, r"Received: \['a' 'b' 'c'\]\. For strings"),
        (
            {"y_train": np.array([10**9, *[0, 1, 2] * 3, 1, 2])},
            "1000000000 in y_train, .* For other ids",
        ),
        ({"class_names": np.array("cat")}, "a list of strings, one per class"),
        ({"class_names": np.array([b"\xff", b"b", b"c"])}, "must be UTF-8"),
        ({"class_names": np.array([1, 2, 3])}, "a list of strings"),
        ({"class_names": np.array([], "U1")}, "a list of strings"),
        ({"class_names": np.array(["a", "", " "])}, "not blank. Received: '', ' '"),
        ({"class_names": np.array(["a", "caf\udce9", "c"])}, r"must be UTF-8.*caf\\\\xe9"),
        ({"class_names": np.array(["a", "\ud83d", "c"])}, r"must be UTF-8.*ud83d"),
        ({"class_names": np.array(["a", None, "c"])}, "`class_names` .* Python objects"),
        ({"x_train": np.full((12, 6, 6), "a")}, "must hold numbers"),
        ({"y_train": np.arange(12) % 2 * 2}, r"1 without, for example \[1\]"),
        ({"y_train": np.zeros(12, int)}, "2 classes are needed.*one class alone|from 0 to 0"),
        ({"y_test": np.arange(6)}, r"from 0 to 2\. Received: 3 of 6 in y_test up to 5"),
        ({"class_names": np.array(["a", "b"])}, "from 0 to 1, the indices of 2 class_n"),
        ({"class_names": np.array(["a", "b", "c", "d"])}, r"for example \[3\]"),
        ({"x_test": random_images(6, (5, 6, 3))}, r"same shape.*\(6, 6, 3\) and \(5, 6, 3\)"),
        ({"y_train": np.array([{}] * 12, object)}, "`y_train` .* Python objects"),
        ({"x_val": random_images(6)}, "missing 'y_val'"),
        ({"y_dev": np.arange(3)}, "missing 'x_dev'"),
        ({"x_val": random_images(6), "y_val": np.arange(5)}, "`y_val` must hold one label"),
        ({"x_val": random_images(6), "y_val": np.arange(6)}, "3 of 6 in y_val up to 5"),
        (
            {"x_valid": random_images(3, (6, 5, 3)), "y_valid": np.arange(3)},
            r"`x_train` and `x_valid` .* Received: \(6, 6, 3\) and \(6, 5, 3\)",
        ),
        (
            {"x_val": random_images(3), "x_DEV": random_images(3), "y_val": np.arange(3)},
            "'x_val', 'x_DEV', all for the part 'validation'",
        ),
        ({"weight_train": np.ones(11)}, r"`weight_train` must hold one weight for each of 12"),
        ({"weight_train": [[1, 1]] * 12}, r"shape \(12, 2\)\. Rename it"),
        ({"weight_train": [np.nan, -1, *[1] * 10]}, "`weight_train` .* Received: 'nan', '-1.0'"),
        ({"weight_train": [np.inf, *[1] * 11]}, "finite and at least 0.*'inf'"),
        ({"weight_train": ["heavy", *["1"] * 11]}, "Received: 'heavy'"),
        ({"weight_train": np.ones(12) * 1j}, r"Received: '1j', .* and 7 more"),
        ({"group_train": np.arange(11)}, "`group_train` must hold one group for each of 12"),
        ({"group_train": [np.nan, *[1] * 11]}, "a group for each of 12 .* none for 1"),
        ({"group_train": [" ", *["a"] * 11]}, "none for 1"),
    ],
)
def test_what_is_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        load(tmp_path, good(**changes))


@pytest.mark.parametrize("field", ["weight_column", "group"])
def test_an_array_that_an_option_names_is_there(tmp_path, field):
    with pytest.raises(DataError, match=rf"array 'y_trian' \(data\.{field}\).* mean 'y_train'\?"):
        load(tmp_path, good(), **{field: "y_trian"})


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"x_more": random_images(2), "group_test": [0, 1]}, "not used: 'x_more', 'group_test'"),
        ({"x": random_images(2), "Y": [0, 1]}, "not used: 'x', 'Y'"),  # beside x_train, y_train
        (
            {"weight_train": np.ones(12)},
            "sample weights: the array 'weight_train'",
        ),
        ({"classes": np.array(["a", "b", "c"])}, "not used: 'classes'"),
        ({"meta": np.array([{}], object)}, "not used: 'meta'"),  # nor read
        (
            {"x_train": random_images() // 16, "x_test": random_images(6) // 16},
            "all images are dark: pixel values range from 0 to 15 of 255; multiply them by 17",
        ),
    ],
)
def test_what_is_said_of_arrays(tmp_path, changes, note):
    assert load(tmp_path, good(**changes)).notes == (note,)
    assert note in check_data(str(tmp_path / "data.npz")).summary()


def test_names_may_be_bytes(tmp_path):
    names = np.array([name.encode() for name in ("é", "b", "c")])
    assert load(tmp_path, good(class_names=names)).class_names == ("é", "b", "c")


def test_files_that_are_no_npz(tmp_path):
    path = tmp_path / "data.npz"
    with pytest.raises(DataError, match="which is missing"):
        load_data(f"npz:{path}")
    for data in (b"text", b"", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", pickle.dumps({"x": 1})):
        path.write_bytes(data)  # and nothing is said of loading it in a way that is not safe
        with pytest.raises(DataError, match=r"Expected an \.npz file.*it is not a zip file$"):
            load_data(f"npz:{path}")
    with zipfile.ZipFile(path, "w") as file:
        for key in ("x", "y"):
            file.writestr(f"{key}.npy", "no array")
    with pytest.raises(DataError, match="`x` must be an array"):
        load_data(f"npz:{path}")
    np.savez(path, **good())
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match=r"Expected an \.npz file"):
        load_data(f"npz:{path}")
    np.save(tmp_path / "array.npy", random_images())
    with pytest.raises(DataError, match=r"Expected an \.npz file"):
        load_data(f"npz:{tmp_path / 'array.npy'}")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_size", 0),
        ("test_fraction", 0.0),
        ("test_fraction", 1.0),
        ("on_bad_image", "ignore"),
        ("memory_limit_mb", -1),
        ("channels", 4),
        ("range", (4095.0, 0.0)),
        ("range", (1.0,)),
        ("alpha", "grey"),
    ],
)
def test_options_that_are_refused(field, value):
    with pytest.raises(ConfigError, match=re.escape(f"Received: {field}={value!r}")):
        DataOptions(**{field: value})
