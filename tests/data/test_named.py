"""Named sets: digits, and tensorflow-datasets with real files, with mock data and with none."""

import hashlib
import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_preact.data import DataOptions, check_data, load_data
from keras_preact.data.named import _flip
from keras_preact.errors import ConfigError, DataError

tfds = pytest.importorskip("tensorflow_datasets")


def pixels(index, side=8):
    return np.random.default_rng(index).integers(0, 256, (side, side, 3), dtype=np.uint8)


def png(index, side=8):
    file = io.BytesIO()
    Image.fromarray(pixels(index, side)).save(file, "PNG")
    file.seek(0)
    return file


class PreactTiny(tfds.core.GeneratorBasedBuilder):
    """Encoded images, so that preparing it needs no TensorFlow."""

    VERSION = tfds.core.Version("1.0.0")
    SHAPE = (8, 8, 3)
    PARTS = {"train": 20, "test": 6}  # noqa: RUF012

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=self.SHAPE),
                    "label": tfds.features.ClassLabel(names=["owl", "fox"]),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {part: self._generate_examples(part, n) for part, n in self.PARTS.items()}

    def _generate_examples(self, part, n):
        for i in range(n):
            side = 8 if self.SHAPE[0] else 8 + i
            yield i, {"image": png(i, side), "label": self.label(part, i)}

    def label(self, part, i):
        return i % 2


class PreactTinyTrain(PreactTiny):
    """A set with a training part alone."""

    PARTS = {"train": 20}  # noqa: RUF012


class PreactTinySecret(PreactTiny):
    """A set that keeps the labels of its test part, as ImageNet does."""

    PARTS = {"train": 20, "validation": 4, "test": 6}  # noqa: RUF012

    def label(self, part, i):
        return -1 if part == "test" else i % 2


class PreactTinySizes(PreactTiny):
    """A set with images of different sizes."""

    SHAPE = (None, None, 3)


def load(name, tmp_path, **options):
    return load_data(name, options=DataOptions(data_dir=str(tmp_path), **options))


def all_bytes(split):
    return sorted(image.tobytes() for image in split.images(slice(None)))


def test_digits():
    data = load_data("digits")
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.image_shape == (8, 8, 1) and not data.flip
    images = data.train.images(slice(None))
    assert images.dtype == np.uint8 and (images.min(), images.max()) == (0, 255)
    other = load_data("digits", seed=7)
    np.testing.assert_array_equal(data.test.images(slice(None)), other.test.images(slice(None)))
    share = np.bincount(data.test.labels) / np.bincount(data.train.labels)
    np.testing.assert_allclose(share, 0.25, atol=0.015)
    assert check_data("digits").rows()[0]["class"] == "0"


def test_the_digits_of_the_test_part_never_change():
    digest = hashlib.sha256(load_data("digits").test.images(slice(None)).tobytes()).hexdigest()
    assert digest[:16] == "de85aee14a9506dd"


def test_digits_in_another_size():
    options = DataOptions(image_size=16, channels=3)
    assert load_data("digits", options=options).image_shape == (16, 16, 3)


@pytest.mark.parametrize("memory", [None, 0])
def test_array_records(tmp_path, memory):
    data = load("preact_tiny", tmp_path, memory_limit_mb=memory)
    assert (len(data.train), len(data.test)) == (20, 6)
    assert data.class_names == ("owl", "fox")
    assert data.train.streams == (memory == 0)
    assert np.bincount(data.train.labels).tolist() == [10, 10]
    assert all_bytes(data.train) == sorted(pixels(i).tobytes() for i in range(20))
    for image, label in zip(*data.train.examples(np.arange(4)), strict=True):
        index = next(i for i in range(20) if (pixels(i) == image).all())
        assert label == index % 2
    assert load("preact_tiny", tmp_path, image_size=5).image_shape == (5, 5, 3)


def test_without_a_test_part(tmp_path):
    data = load("preact_tiny_train", tmp_path, test_fraction=0.4)
    assert np.bincount(data.test.labels).tolist() == [4, 4]
    assert len(data.train) == 12
    streamed = load("preact_tiny_train", tmp_path, test_fraction=0.4, memory_limit_mb=0)
    assert all_bytes(streamed.test) == all_bytes(data.test)


def test_a_test_part_with_secret_labels_is_passed_over(tmp_path):
    assert len(load("preact_tiny_secret", tmp_path).test) == 4


def test_different_sizes(tmp_path):
    with pytest.raises(DataError, match="image_size"):
        load("preact_tiny_sizes", tmp_path)
    assert not (tmp_path / "preact_tiny_sizes").exists()  # refused before the download
    assert load("preact_tiny_sizes", tmp_path, image_size=8).image_shape == (8, 8, 3)


@pytest.mark.tensorflow
def test_tfrecord_files(tmp_path):
    builder = tfds.builder("preact_tiny", data_dir=tmp_path, file_format="tfrecord")
    builder.download_and_prepare()
    data = load("preact_tiny", tmp_path)
    assert all_bytes(data.test) == sorted(pixels(i).tobytes() for i in range(6))
    with pytest.raises(DataError, match=r"TFRecord.*does not fit.*another folder as data_dir"):
        load("preact_tiny", tmp_path, memory_limit_mb=0)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "oxford_flowers102"])
def test_mock_data(name):
    options = DataOptions(image_size=32 if "flowers" in name else None)
    with tfds.testing.mock_data(num_examples=5):
        data = load_data(name, options=options)
        assert len(data.train) == len(data.test) == 5
        assert data.train.images(slice(None)).shape == (5, *data.image_shape)
    assert data.num_classes == {"cifar100": 100, "oxford_flowers102": 102}.get(name, 10)
    assert data.flip == (name != "mnist")


def test_which_sets_may_be_mirrored():
    assert not any(map(_flip, ("mnist", "emnist/letters", "svhn_cropped:3.0.0", "omniglot")))
    assert all(map(_flip, ("cifar10", "imagenet2012", "fashion_mnist", "stanford_dogs")))


def test_unknown_names(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"Received: 'cifr10'. Did you mean 'cifar10'"):
        load("cifr10", tmp_path)
    with pytest.raises(ConfigError, match="Did you mean 'stanford_dogs'"):
        load("stanford_dog", tmp_path)
    with pytest.raises(ConfigError, match="Received: 'not a name'"):
        load("not a name", tmp_path)
    with pytest.raises(ConfigError, match="'mnist/foo' is not a version"):
        load("mnist/foo", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("photos", "./photos", str(tmp_path / "photos")):
        with pytest.raises(ConfigError, match=f"Did you mean 'folder:{name}'"):
            load(name, tmp_path)
    for name in ("a.npz", "/A.NPZ"):
        with pytest.raises(ConfigError, match=f"Did you mean 'npz:{name}'"):
            load(name, tmp_path)
    with pytest.raises(ConfigError, match="Expected 'folder:PATH'"):
        load("folder:", tmp_path)


def test_sets_that_are_no_images_are_refused_before_the_download(tmp_path):
    with pytest.raises(DataError, match="images with one class label"):
        load("ag_news_subset", tmp_path)
    assert not (tmp_path / "ag_news_subset").exists()


def test_what_has_to_be_downloaded_by_hand(tmp_path):
    with pytest.raises(
        DataError, match=r"manually.*manual_dir.*ILSVRC2012_img_train\.tar"
    ) as caught:
        load("imagenet2012", tmp_path, image_size=224)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [ConnectionError("no route"), OSError("disk full"), KeyError()])
def test_no_network(tmp_path, monkeypatch, error):
    from tensorflow_datasets.core.download import downloader

    def fail(*args, **kwargs):
        assert downloader.MAX_RETRIES <= 5  # with its own 10, tfds takes more than 3 minutes
        raise error

    before = downloader.MAX_RETRIES
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(DataError, match=r"'cifar10' could not be downloaded.*data_dir") as caught:
        load("cifar10", tmp_path)
    assert (str(error) or "KeyError") in str(caught.value)
    assert before == downloader.MAX_RETRIES


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'apache_beam'", name="apache_beam")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(DataError, match="pip install apache_beam"):
        load("cifar10", tmp_path)


WITHOUT_TENSORFLOW = """
import importlib.machinery, sys
finder = importlib.machinery.PathFinder
find = finder.find_spec
hidden = "tensorflow"
finder.find_spec = classmethod(
    lambda cls, name, *a, **k: None if name.split(".")[0] == hidden else find(name, *a, **k)
)
sys.path.insert(0, sys.argv[2])
import test_named
from keras_preact.data import Augmentation, Batches, DataOptions, load_data

data = load_data("preact_tiny", options=DataOptions(data_dir=sys.argv[1]))
images, labels = Batches(data.train, 4, augmentation=Augmentation())[0]
assert images.shape == (4, 8, 8, 3), images.shape
assert len(load_data("digits").test) == 360
assert "tensorflow" not in sys.modules
print("done")
"""


@pytest.mark.thorough
def test_everything_works_without_tensorflow(tmp_path):
    pytest.importorskip("jax")
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, tmp_path, os.path.dirname(__file__)]
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.stdout.endswith("done\n"), result.stderr


def test_the_room_is_light_to_import():
    code = (
        "import sys, keras_preact.data, keras_preact.data.load, keras_preact.data.check\n"
        "heavy = {'keras', 'tensorflow', 'tensorflow_datasets', 'sklearn', 'PIL', 'psutil'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stdout + result.stderr
