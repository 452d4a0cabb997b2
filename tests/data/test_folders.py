"""Folders of images: layouts, splits, damaged files, sizes, streaming, and the report on them."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_preact.data import DataOptions, check_data, decode, load_data
from keras_preact.data.partition import stratified
from keras_preact.data.picture import Picture
from keras_preact.data.splits import ArraySplit
from keras_preact.errors import ConfigError, DataError

STREAM = DataOptions(memory_limit_mb=0)


def write(path, size=(8, 8), mode="RGB", seed=None):
    """A random image; the seed is made from its place, so that every file differs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(map(ord, str(path)[-12:])) if seed is None else seed
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def classes(root, names=("cat", "dog"), count=5, **options):
    for name in names:
        for i in range(count):
            write(root / name / f"{i}.png", **options)
    return root


def test_train_and_test_folders(tmp_path):
    classes(tmp_path / "train", count=4)
    classes(tmp_path / "test", count=2)
    data = load_data(f"folder:{tmp_path}")
    assert (len(data.train), len(data.test)) == (8, 4)
    assert data.class_names == ("cat", "dog") and data.num_classes == 2
    assert data.image_shape == (8, 8, 3) and data.flip
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4
    assert data.train.labels.dtype == np.int32 and not data.train.streams
    expected = np.asarray(Image.open(tmp_path / "train" / "dog" / "1.png"))
    np.testing.assert_array_equal(data.train.images([5])[0], expected)
    assert "8 training and 4 test" in repr(data)


@pytest.mark.parametrize("test", ["test", "Testing", "val", "validation", "Valid", "DEV"])
@pytest.mark.parametrize("train", ["Train", "training"])
def test_parts_by_their_usual_names(tmp_path, train, test):
    classes(tmp_path / train, count=3)
    classes(tmp_path / test, count=1)
    data = load_data(f"folder:{tmp_path}")
    assert (len(data.train), len(data.test)) == (6, 2)
    assert data.class_names == ("cat", "dog") and not data.notes
    assert data.tested == "its test part"


def test_a_part_that_is_not_used_is_said(tmp_path):
    for name, count in {"train": 3, "Val": 2, "test": 1}.items():
        classes(tmp_path / name, count=count)
    write(tmp_path / "unlabeled" / "a.png")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "list.csv").touch()
    data = load_data(f"folder:{tmp_path}")
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 4, 2)
    assert "6 training, 4 validation and 2 test images" in repr(data)
    assert data.notes[0].startswith("left out: 2 (.csv 1, of the system 1)")
    assert data.notes[1:] == ("not used: the folder 'unlabeled'",)
    assert data.notes[1] in check_data(str(tmp_path)).summary()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("val", "test"), "'test', 'val', which all hold 'cat', 'dog'. There is none for training"),
        (("Set A", "Set B"), "'Set A', 'Set B', which all hold 'cat', 'dog'. Rename them"),
        (("eval", "lessons", "holdout"), "which all hold"),
        (("train", "Training", "test"), "all for the part 'train'"),
        (("val", "dev", "train"), "all for the part 'validation'"),
        (("training",), "Received: 'training'"),
        (("seg_train/seg_train", "seg_test/seg_test", "seg_pred/a"), "'seg_test', 'seg_train'"),
        (("train_set", "test_set", "docs/a/b"), "which all hold 'cat', 'dog'"),
        (("set/train", "set/test"), r"Received: 'set'. Did you mean '.*/set'\?"),
    ],
)
def test_parts_that_are_not_clear_are_refused(tmp_path, names, words):
    """Never classes called Testing and Training."""
    for name in names:
        classes(tmp_path / name, count=2)
    for read in (load_data, check_data):
        with pytest.raises(DataError, match=words):
            read(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        # As contests have them: to be told apart by their names, or without any labels.
        (("train/cat.1.png", "train/dog.1.png", "test/1.png"), r"'test', 'train', without such f"),
        (
            ("train/cat/1.png", "train/dog/1.png", "test1/1.png", "Test/1.png"),
            "train' alone, it is s",
        ),
        (("train/cat/1.png", "train/dog/1.png", "val/1.png"), "Received: 'val', without such"),
        (("training/1.png", "validation/1.png"), "'training', 'validation', without such"),
    ],
)
def test_parts_without_class_folders_are_refused(tmp_path, files, words):
    """Never classes called train and test."""
    for file in files:
        write(tmp_path / file)
    with pytest.raises(DataError, match=words):
        load_data(f"folder:{tmp_path}")


def test_parts_may_write_names_differently(tmp_path):
    """As archives of a Mac do, or numbers with zeros ahead; the classes are the same."""
    classes(tmp_path / "train", names=("b", "01", "caf\u00e9"))
    classes(tmp_path / "test", names=("b ", "1", "cafe\u0301"), count=1)
    data = load_data(f"folder:{tmp_path}")
    assert data.class_names == ("01", "b", "caf\u00e9")
    expected = [np.asarray(Image.open(next((tmp_path / "test" / name).iterdir())))
                for name in ("1", "b ", "cafe\u0301")]  # fmt: skip
    np.testing.assert_array_equal(data.test.images(slice(None)), expected)


@pytest.mark.parametrize("other", ["Cat", "cat ", "01", "cafe\u0301"])
def test_names_that_are_nearly_the_same_are_said(tmp_path, other):
    classes(tmp_path, names=("1", "cat", "caf\u00e9", other))
    for notes in (load_data(f"folder:{tmp_path}").notes, check_data(str(tmp_path)).notes):
        (note,) = notes
        assert "nearly the same name" in note and repr(other) in note


def test_classes_of_sub_folders_alone_are_classes(tmp_path):
    """Each class by year, say; other names in each, or images beside them."""
    for name in ("cat/2023", "cat/2024", "dog/2024", "dog/2025"):
        write(tmp_path / name / "a.png")
    assert load_data(f"folder:{tmp_path}").class_names == ("cat", "dog")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_class_whose_name_is_no_text(tmp_path):
    classes(tmp_path)
    wrong = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    os.mkdir(wrong)
    write(tmp_path / "new.png").rename(os.path.join(os.fsdecode(wrong), "0.png"))
    for read in (load_data, check_data):
        with pytest.raises(
            DataError, match=r"must be UTF-8.* Received: 'caf\\\\xe9'. Rename the"
        ) as e:
            read(f"folder:{tmp_path}")
        str(e.value).encode()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_files_whose_names_are_no_text(tmp_path):
    """They are read, and what is wrong with one can be said."""
    classes(tmp_path)
    name = os.fsdecode(os.path.join(os.fsencode(tmp_path / "cat"), b"caf\xe9.png"))
    write(tmp_path / "new.png").rename(name)
    data = load_data(f"folder:{tmp_path}", seed=None)
    assert len(data.test) == 11
    with open(name, "wb"):
        pass
    with pytest.raises(DataError, match="0 bytes") as caught:
        load_data(f"folder:{tmp_path}")
    str(caught.value).encode()


def test_a_class_may_be_called_train(tmp_path):
    data = load_data(f"folder:{classes(tmp_path, names=('car', 'train'))}")
    assert data.class_names == ("car", "train")


def test_split_by_seed(tmp_path):
    path = f"folder:{classes(tmp_path, count=10)}"
    options = DataOptions(test_fraction=0.3)
    first, again, other = (load_data(path, options=options, seed=s) for s in (0, 0, 1))
    assert np.bincount(first.test.labels).tolist() == [3, 3]
    everything = slice(None)
    np.testing.assert_array_equal(first.test.images(everything), again.test.images(everything))
    assert (first.test.images(everything) != other.test.images(everything)).any()


@settings(max_examples=60)
@given(
    st.lists(st.integers(2, 40), min_size=1, max_size=6),
    st.floats(0.01, 0.99),
    st.integers(0, 1000),
)
def test_stratified_split(counts, fraction, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    split = ArraySplit(np.zeros((len(labels), 1, 1, 1), np.uint8), labels)
    train, test = stratified(split, fraction, seed)
    assert sorted([*train, *test]) == list(range(len(labels)))
    in_test = np.bincount(labels[test], minlength=len(counts))
    for count, chosen in zip(counts, in_test, strict=True):
        assert 1 <= chosen <= count - 1
        assert abs(chosen - fraction * count) <= 1


def test_hidden_and_other_files(tmp_path):
    root = classes(tmp_path)
    write(root / "cat" / ".hidden.png")
    write(root / ".cache" / "a.png")
    write(root / "cat" / "below" / "deep.PNG")
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "labels.csv").write_text("a,b")
    (root / "dog" / "x.jpg").mkdir()  # a folder, whatever its name
    data = load_data(f"folder:{root}")
    assert data.class_names == ("cat", "dog")
    assert len(data.train) + len(data.test) == 11
    (note,) = data.notes
    assert note.startswith("left out: 4 (hidden 2, ")
    assert ".txt 1" in note and ".csv 1" in note
    write(root / "beside.png")
    assert "in no class folder 1" in load_data(f"folder:{root}").notes[0]


@pytest.mark.parametrize(
    "name",
    ["Thumbs.db", "desktop.ini", "#recycle", "@Recycle", "@tmp", "lost+found", ".Trashes",
     ".dropbox.cache", "Network Trash Folder", "_vti_cnf", "~snapshot", "__pycache__"],
)  # fmt: skip
def test_what_systems_leave_is_no_data(tmp_path, name):
    root = classes(tmp_path)
    for folder in (root, root / "cat", root / "dog" / "below"):
        write(folder / name / "a.png")
    data = load_data(f"folder:{root}")
    assert data.class_names == ("cat", "dog") and len(data.train) + len(data.test) == 10
    assert data.notes[0].startswith("left out: 3 (")


def test_links(tmp_path):
    root = classes(tmp_path / "set")
    os.symlink(root, root / "cat" / "loop")
    os.symlink(root, root / "up")
    os.symlink(classes(tmp_path / "elsewhere", names=("owl",)) / "owl", root / "owl")
    os.symlink(root / "cat" / "0.png", root / "dog" / "link.png")
    data = load_data(f"folder:{root}")
    os.symlink(classes(tmp_path / "more", names=("cats",)) / "cats", root / "cat" / "more")
    data = load_data(f"folder:{root}")
    assert data.class_names == ("cat", "dog", "owl")
    assert len(data.train) + len(data.test) == 21
    assert data.notes == ("left out: 2 (a link in a circle 2)",)
    os.symlink("self", root / "cat" / "self")
    os.symlink(tmp_path / "gone", root / "ant")  # a class, once
    os.symlink("/dev/zero", root / "cat" / "endless.png")
    (note,) = load_data(f"folder:{root}").notes
    assert note.startswith("left out: 5 (") and "a link to nothing 2" in note


def damaged(root):
    """A folder with one good file per class and five damaged ones."""
    classes(root, count=3)
    whole = write(root / "cat" / "cut.png", size=(64, 64)).read_bytes()
    (root / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "cat" / "empty.jpg").touch()
    (root / "dog" / "text.jpg").write_text("this is text")
    (root / "dog" / "pages.jpg").write_bytes(b"%PDF-1.7")
    os.symlink(root / "nowhere", root / "dog" / "dangling.png")
    return root


@pytest.mark.parametrize("options", [DataOptions(), STREAM, DataOptions(image_size=4)])
def test_damaged_files_are_named_before_training(tmp_path, options):
    root = damaged(tmp_path)
    with pytest.raises(DataError) as caught:
        load_data(f"folder:{root}", options=options)
    message = str(caught.value)
    for part in (
        "5 image files",
        "cut.png",
        "truncated",
        "empty.jpg",
        "0 bytes",
        "neither JPEG, PNG",
    ):
        assert part in message
    for part in ("a PDF file", "dangling.png: No such file", "--on-bad-image skip"):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("memory", [None, 0])
def test_damaged_files_can_be_skipped(tmp_path, memory):
    options = DataOptions(on_bad_image="skip", memory_limit_mb=memory)
    data = load_data(f"folder:{damaged(tmp_path)}", options=options)
    assert len(data.train) + len(data.test) == 6
    assert [os.path.basename(path) for path, _ in data.skipped] == [
        "cut.png",
        "empty.jpg",
        "dangling.png",
        "pages.jpg",
        "text.jpg",
    ]
    reference = load_data(f"folder:{classes(tmp_path / 'good', count=3)}")
    assert len(reference.train) == len(data.train)
    assert data.train.images(slice(None)).shape == (4, 8, 8, 3)


def test_more_than_five_damaged_files(tmp_path):
    root = classes(tmp_path)
    for i in range(8):
        (root / "cat" / f"bad{i}.png").touch()
    with pytest.raises(DataError, match=r"8 image files.*bad4\.png.*; and 3 more") as caught:
        load_data(f"folder:{root}")
    assert "bad5" not in str(caught.value)


def test_a_class_of_damaged_files_only(tmp_path):
    root = classes(tmp_path)
    for path in (root / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none in 1 of 2 classes .*'dog'"):
        load_data(f"folder:{root}", options=DataOptions(on_bad_image="skip"))
    for path in (root / "cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="10 image files are damaged"):
        load_data(f"folder:{root}", options=DataOptions(on_bad_image="skip"))


def test_structure_that_is_no_data_set(tmp_path):
    (tmp_path / ".file").touch()
    wrong = {"none": f"'none', which is missing in '{os.getcwd()}'", "x" * 300: "is missing"}
    for path, words in {**wrong, str(tmp_path / ".file"): "which is not a folder"}.items():
        with pytest.raises(DataError, match=f"Expected a folder.*{words}"):
            load_data(f"folder:{path}")
    with pytest.raises(DataError, match="Received: none"):
        load_data(f"folder:{tmp_path}")
    classes(tmp_path / "train", count=2)
    with pytest.raises(DataError, match=r"'train' and one of 'test'.*Received: 'train'"):
        load_data(f"folder:{tmp_path}")
    (tmp_path / "train" / "empty").mkdir()
    (tmp_path / "train" / "empty" / "a.svg").touch()
    with pytest.raises(DataError, match=r"1 of 3 classes .*'empty'.*Left out: 1 \(\.svg 1\)"):
        load_data(f"folder:{tmp_path / 'train'}")


def test_train_and_test_with_different_classes(tmp_path):
    classes(tmp_path / "train", names=("a", "b", "c"))
    classes(tmp_path / "val", names=("a", "b", "d", "e"))
    expected = r"3 and 4 classes; only in train \(1\): 'c'; only in val \(2\): 'd', 'e'"
    with pytest.raises(DataError, match=expected):
        load_data(f"folder:{tmp_path}")


def test_a_class_with_one_image_cannot_be_split(tmp_path):
    with pytest.raises(DataError, match="at least 2 images"):
        load_data(f"folder:{classes(tmp_path, count=1)}")


@pytest.mark.parametrize("first", [(8, 8), (12, 8)])
def test_mixed_sizes(tmp_path, first):
    root = classes(tmp_path, size=first)
    write(root / "dog" / "large.png", size=(40, 20))
    with pytest.raises(DataError, match=r"2 sizes from .*x8 to 40x20 .*image_size"):
        load_data(f"folder:{root}")
    data = load_data(f"folder:{root}", options=DataOptions(image_size=6))
    assert data.image_shape == (6, 6, 3)


def test_images_that_are_no_squares_keep_their_shape(tmp_path):
    assert load_data(f"folder:{classes(tmp_path, size=(12, 8))}").image_shape == (8, 12, 3)


@pytest.mark.parametrize("memory", [None, 0])
def test_channels(tmp_path, memory):
    def load(channels):
        options = DataOptions(channels=channels, memory_limit_mb=memory)
        return load_data(f"folder:{tmp_path}", options=options)

    classes(tmp_path, mode="L")
    data = load(None)
    assert data.image_shape == (8, 8, 1)
    assert data.train.images([0, 1]).shape == (2, 8, 8, 1)
    assert load(3).train.images([0]).shape == (1, 8, 8, 3)
    write(tmp_path / "cat" / "colour.png")
    assert load(None).image_shape == (8, 8, 3)
    assert load(1).image_shape == (8, 8, 1)


@pytest.mark.parametrize("size", [None, 6, 16])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_streamed_images_equal_those_in_memory(tmp_path, size, mode):
    root = classes(tmp_path, mode=mode, size=(9, 9))
    held = load_data(f"folder:{root}", options=DataOptions(image_size=size))
    read = load_data(f"folder:{root}", options=DataOptions(image_size=size, memory_limit_mb=0))
    assert read.train.streams and not held.train.streams
    assert read.image_shape == held.image_shape
    order = np.array([3, 0, 3, 5])
    np.testing.assert_array_equal(read.train.images(order), held.train.images(order))
    np.testing.assert_array_equal(read.train.labels, held.train.labels)
    np.testing.assert_array_equal(read.train.examples(order)[1], held.train.labels[order])
    for data in (held, read):
        assert data.train.raw(0).shape == (9, 9, held.image_shape[2])


def test_a_file_that_vanishes_is_named(tmp_path):
    data = load_data(f"folder:{classes(tmp_path)}", options=STREAM)
    for path in (tmp_path / "cat").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"cat.*\.png: No such file"):
        data.train.images(slice(None))


def test_progress(tmp_path):
    classes(tmp_path / "train", count=3)
    classes(tmp_path / "test", count=1)
    calls = []
    load_data(f"folder:{tmp_path}", on_progress=lambda *call: calls.append(call))
    assert calls == [(6, 8), (8, 8)]


def test_report(tmp_path):
    root = damaged(tmp_path)
    write(root / "cat" / "grey.png", mode="L")
    for name in (str(root), f"folder:{root}"):
        report = check_data(name)
        rows = [{"class": "cat", "all": 4}, {"class": "dog", "all": 3}]
        assert report.rows() == rows
        assert report.sizes == {(8, 8): 7}
        assert report.modes == {"RGB": 6, "L": 1}
        assert len(report.bad) == 5 and not report.ok
        assert "5 image files are damaged" in report.problems[0]


def test_report_of_good_and_of_mixed_sizes(tmp_path):
    classes(tmp_path / "train")
    classes(tmp_path / "val", count=1)
    report = check_data(str(tmp_path))
    assert report.ok and not report.bad
    assert report.rows()[0] == {"class": "cat", "train": 5, "test": 1}
    write(tmp_path / "val" / "cat" / "large.png", size=(30, 20))
    assert "from 8x8 to 30x20" in check_data(str(tmp_path)).problems[0]


CIFAR10 = os.environ.get("KERAS_PREACT_CIFAR10_JPEG")


@pytest.mark.skipif(not CIFAR10, reason="KERAS_PREACT_CIFAR10_JPEG names no folder")
@pytest.mark.slow
def test_cifar10_as_a_folder():
    data = load_data(f"folder:{CIFAR10}")
    assert (len(data.train), len(data.test)) == (50_000, 10_000)
    assert data.image_shape == (32, 32, 3)
    assert set(np.bincount(data.train.labels)) == {5000}
    assert set(np.bincount(data.test.labels)) == {1000}


@pytest.mark.parametrize("options", [{}, {"range": [0, 100], "alpha": "white"}])
def test_formats_side_by_side_are_read_as_asked(tmp_path, options):
    """In memory and from their files, and what they hold counts, not how they are called."""
    suffixes = (".webp", ".bmp", ".TIFF", ".gif", ".png", ".apng", ".jpg")
    for name in ("cat", "dog"):
        for k, suffix in enumerate(suffixes):
            image = Image.open(write(tmp_path / "new.png", seed=k)).convert("RGBA")
            image.putalpha(100)
            path = tmp_path / name / f"{k}{suffix}"
            path.parent.mkdir(exist_ok=True)
            image.save(path, "PNG" if suffix in (".jpg", ".apng") else None)
    (tmp_path / "new.png").unlink()
    held, read = (
        load_data(f"folder:{tmp_path}", seed=None, options=DataOptions(**options, **memory))
        for memory in ({}, {"memory_limit_mb": 0})
    )
    assert len(held.train) == 14 and read.train.streams and not held.notes
    how = DataOptions(**options).reading
    expected = [decode(tmp_path / "cat" / f"{k}{suffix}", how=how)
                for k, suffix in enumerate(suffixes)]  # fmt: skip
    for data in (held, read, held.train.subset(np.arange(14)), read.train.subset(np.arange(14))):
        split = getattr(data, "train", data)
        np.testing.assert_array_equal(split.images(np.arange(7)), expected)
    formats = check_data(str(tmp_path)).formats
    assert formats == {"WebP": 2, "BMP": 2, "TIFF": 2, "GIF": 2, "PNG": 6}


@pytest.fixture
def few_looked_at(monkeypatch):
    """A folder of 40 images, of which 4 of each part are looked at before they are needed."""
    monkeypatch.setattr("keras_preact.data.folders.LOOKED_AT", 4)


def unlooked(root, options=None):
    """A file of a folder that is not among those that are looked at."""
    data = load_data(f"folder:{root}", options=options or DataOptions())
    held = data.train._held.there
    return root / "dog" / f"{np.flatnonzero(~held)[-1] - 20}.png"


@pytest.mark.parametrize("options", [DataOptions(), STREAM], ids=["held", "streamed"])
def test_files_are_decoded_when_they_are_needed(tmp_path, few_looked_at, monkeypatch, options):
    decoded, pixels = [], Picture.pixels
    monkeypatch.setattr(Picture, "pixels", lambda self: decoded.append(self._name) or pixels(self))
    root = classes(tmp_path, count=20)
    data = load_data(f"folder:{root}", options=options)
    assert len(set(decoded)) <= 5  # the first, for its size, and the sample
    assert data.notes[-1].startswith("4 of 40 files were checked; the others are decoded when")
    whole = load_data(f"folder:{root}", options=DataOptions(on_bad_image="skip"))
    for _ in range(2):
        decoded.clear()
        for part in ("train", "test"):
            order = np.random.default_rng(0).permutation(len(getattr(data, part)))
            images, labels = getattr(data, part).examples(order)
            expected = getattr(whole, part).examples(order)
            np.testing.assert_array_equal(images, expected[0])
            np.testing.assert_array_equal(labels, expected[1])
    assert len(decoded) == (40 if data.train.streams else 0)
    assert data.train.decoded is not data.train.streams


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("cut", r"\.png: .*"),
        ("size", r"\.png: 9 x 7 pixels, where earlier images have 8 x 8; set a size"),
        ("colour", r"\.png: in colour, where the images checked first are grey; choose"),
    ],
)
@pytest.mark.parametrize("options", [DataOptions(), STREAM], ids=["held", "streamed"])
def test_what_is_found_on_the_way_is_named(tmp_path, few_looked_at, options, damage, message):
    root = classes(tmp_path, count=20, mode="L" if damage == "colour" else "RGB")
    file = unlooked(root)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-30])
    else:
        write(file, size=(9, 7) if damage == "size" else (8, 8))
    data = load_data(f"folder:{root}", options=options)
    with pytest.raises(DataError, match=file.name.removesuffix(".png") + message):
        data.train.images(slice(None)), data.test.images(slice(None))


def test_all_are_looked_at_where_damaged_ones_are_left_out(tmp_path, few_looked_at):
    root = classes(tmp_path, count=20)
    unlooked(root).write_bytes(b"none")
    data = load_data(f"folder:{root}", options=DataOptions(on_bad_image="skip"))
    assert len(data.skipped) == 1 and len(data.train) + len(data.test) == 39
    assert not check_data(str(root)).ok


def test_groups_that_given_parts_share_are_told(tmp_path):
    for part, names in (("train", ("p1", "p2")), ("test", ("p2", "p3"))):
        for name in names:
            for label in ("cat", "dog"):
                write(tmp_path / part / label / f"{name}_0.png")
    data = load_data(f"folder:{tmp_path}", options=DataOptions(group=r"(p\d)_"))
    (note,) = data.notes
    report = check_data(f"folder:{tmp_path}", options=DataOptions(group=r"(p\d)_"))
    assert f"{note}." in report.warnings
    with pytest.raises(ConfigError, match="a regular expression with parentheses"):
        check_data(f"folder:{tmp_path}", options=DataOptions(group="p"))
    assert note.startswith(
        "1 groups have images in the training and in the test part, such as 'p2'"
    )
    (tmp_path / "test" / "cat" / "p2_0.png").unlink()
    (tmp_path / "test" / "dog" / "p2_0.png").unlink()
    assert not load_data(f"folder:{tmp_path}", options=DataOptions(group=r"(p\d)_")).notes


@pytest.mark.parametrize("pattern", [r"(p\d)?_", r"(?:(p\d)|\d)"])
def test_a_group_that_is_not_in_a_name_is_said(tmp_path, pattern):
    root = classes(tmp_path)
    write(root / "cat" / "p1_0.png")
    with pytest.raises(DataError, match=r"`group` must be .* does not match '.*cat.*0\.png'"):
        load_data(f"folder:{root}", options=DataOptions(group=pattern))
