"""Tables of images: the same images as from a folder, how tables are written, what is refused."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from keras_preact.cli import main
from keras_preact.data import DataOptions, check_data, load_data
from keras_preact.data.tables import list_table
from keras_preact.errors import DataError

PARTS = [(part, name) for part in ("train", "test") for name in ("10", "9")]
FILES = [f"{part}/{name}/{n}.png" for part, name in PARTS for n in range(3)]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """12 images in two parts of two classes, and one that is damaged."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for file in FILES:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / file)
    (root / "bad.png").write_bytes((root / FILES[0]).read_bytes()[:80])
    os.mkfifo(root / "pipe.png")
    return root


def rows(**others):
    """The rows of all files, shuffled, as a dictionary of columns."""
    parts, labels, _ = zip(*(file.split("/") for file in FILES), strict=True)
    columns = {"path": FILES, "label": labels, "split": parts, **others}
    order = np.random.default_rng(1).permutation(len(FILES))
    return {name: [values[k] for k in order] for name, values in columns.items()}


def csv(path, columns, mark=","):
    lines = [columns, *zip(*columns.values(), strict=True)]
    path.write_text("".join(f"{mark.join(map(str, line))}\n" for line in lines))
    return f"csv:{path}"


@pytest.mark.parametrize("memory", [None, 0])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_gives_what_the_folder_gives(images, kind, memory):
    path = images / f"all.{kind}"
    if kind == "csv":
        csv(path, rows())
    else:
        columns = rows()
        columns["label"] = [float(label) for label in columns["label"]]
        columns["split"] = pa.array(columns["split"]).dictionary_encode()
        pq.write_table(pa.table(columns), path)
    options = DataOptions(memory_limit_mb=memory)
    data = load_data(f"{kind}:{path}", options=options)
    assert data.name == f"{kind}:{path}" and not data.notes and data.tested == "its test part"
    assert data.class_names == ("9", "10") and data.train.streams == (memory == 0)
    folder = load_data(f"folder:{images}", options=options).for_classes(("9", "10"))
    for part in ("train", "test"):
        found, expected = (vars(each)[part] for each in (data, folder))
        order = np.argsort(expected.labels, kind="stable")
        np.testing.assert_array_equal(found.labels, expected.labels[order])
        np.testing.assert_array_equal(found.images(slice(None)), expected.images(order))
    assert check_data(str(path)).summary()[0] == "2 classes; images: 6 (train), 6 (test)"


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("File Name;CLASS\n{0};a\n{1};b\n", "a b"),
        ('image_path\ttarget\tother\n"{0}"\ta\t1\n{1}\tb\t2\n', "a b"),
        ('img|category\r\n{0}|"b,c"\r\n{1}|a\r\n', "a b,c"),
        ('path,label\n{0}, "b, c"\n\n{1},a\n,\n', "a b, c"),
        ("path,label,\n./{0},a,,,\nnot/../{1},b\n", "a b"),
        ("path,label\n{root}/{0},a\n../{name}/{1},b\n", "a b"),
        ("path,label\ntrain\\9\\0.png,a\n{1},b\n", "a b"),
        ("path,label\n{0},10\n{1},9\n{2},007\n", "007 9 10"),
        ("path,label\n{0},10.0\n{1},9.0\n", "9 10"),
        ("path,label\n{0},1.5\n{1},1.0\n", "1.0 1.5"),
        ("path,label\n{0},b\n{1},a\n{0},b\n", "a b"),
    ],
)
def test_how_tables_are_written(images, text, classes):
    path = images / "how.csv"
    text = text.format(*FILES, root=images, name=images.name)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes(text.encode(encoding))
        folder = list_table(str(path), "csv", DataOptions())
        assert " ".join(folder.class_names) == classes and [*folder.parts] == ["all"]
        paths = folder.parts["all"].paths
        assert all(map(os.path.isfile, paths)) and len({*paths}) == len(paths)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("path,label\n", "at least 2 classes.*Received: no rows"),
        ("{0},a\n{1},b\n", "one column for the path.*'train/10/0.png', 'a'.*data.path_column=NAME"),
        ("path,kind\n{0},a\n", "one column for the label.*data.label_column=NAME.*one label"),
        ("path,label,Class\n{0},a,b\n", "Received: 'label', 'Class'. Choose one.*label_column"),
        ("path,label,label\n{0},a,b\n", "Received: 'label', 'label'. Rename the others"),
        ("path,label\n{0},a,b\n", "line 2 has 3 cells, the first line 2: quote cells"),
        ('path,label\n{0},"a\n', "or is damaged: unexpected end of data"),
        ("path,label\n{0},a\n{1},\n{2},b\n", "in each row. Received: none in 1 of 3 rows.* row 2 "),
        ("path,label\n{0},a\n{1},NaN\n", "'label' must have a value"),
        ("path,label\n,a\n{1},b\n", "'path' must have a value"),
        ("path,label\n{0},a\n{1},a\n", "at least 2 classes.*Received: 'a'"),
        ("path,label\n{0},\"['a', 'b']\"\n{1},b\n", "must have one label.*Received: ..'a', 'b'"),
        ("path,label\n{0},a|b\n{1},b\n{2},a\n", "must have one label.*Received: 'a|b'"),
        ("path,label\n{0},a\n./{0},b\n", "1 files with several, such as .*0.png': 'a', 'b'"),
        ("path,label\nhttps://a.b/c.png,a\n{1},b\n", "1 URLs.* Download the images first"),
        (
            "path,label\nx.png,a\ny.png,b\n",
            "relative to the table's folder.* 2 paths of files that do not",
        ),
        ("path,label\ntrain/9/0,a\ntrain/9/1,b\n", "do not exist.*Add '.png' to them"),
        ("path,label\n{0},a\n{1},b\ntrain,b\n", "1 that are not files, such as .*train"),
        ("path,label\n{0},a\n{1},b\npipe.png,b\n", "1 that are not files, such as .*pipe"),
        ("path,label\n{0},caf\udce9\n{1},b\n", "must be UTF-8.*Save the table as UTF-8"),
        ("path,label,set\n{0},a,train\n{1},b,fold1\n", "'set' must say.*'fold1' in 1 rows"),
        ("path,label,set\n{0},a,train\n{1},b,\n", "'set' must say.*'' in 1 rows"),
        ("path,label,set\n{0},a,test\n{1},b,val\n", "Expected images to train on.* 'test', 'val'"),
        ("path,label,set\n{0},a,train\n{1},b,test\n", "none in 1 of 2 classes .part 'train'.: 'b'"),
        ("path,label,weight\n{0},a,1\n{1},b,heavy\n", "finite and at least 0.*Received: 'heavy'"),
        ("path,label,weight\n{0},a,1\n{1},b,-inf\n", "finite and at least 0.*Received: '-inf'"),
        ("path,label,group\n{0},a,1\n{1},b,\n", "'group' must have a value"),
        ("PAR1\0", "it is not text. It is a Parquet file: parquet:PATH"),
    ],
)
def test_what_is_refused(images, text, words):
    path = images / "refused.csv"
    path.write_bytes(text.format(*FILES).encode(errors="surrogateescape"))
    for read in (load_data, check_data):
        with pytest.raises(DataError, match=words) as caught:
            read(f"csv:{path}")
        assert b"\n" not in str(caught.value).encode()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"path": FILES[:2], "label": [["a", "b"], ["b"]]}, "one string or number.*list<"),
        ({"image": [{"bytes": b"1"}] * 2, "label": [0, 1]}, "in place of their paths"),
        ({"image": [b"1", b"2"], "label": [0, 1]}, "of type binary.*in place of their paths"),
        ({"path": FILES[:2], "label": [0, None]}, "'label' must have a value"),
        ({"path": FILES[:2], "label": [0.0, float("nan")]}, "'label' must have a value"),
    ],
)
def test_parquet_that_is_refused(tmp_path, images, columns, words):
    path = images / "refused.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match=words):
        load_data(f"parquet:{path}")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"Expected a table as Parquet.*is damaged"):
        load_data(f"parquet:{path}")


def test_a_folder_with_a_table_points_to_it(tmp_path):
    (tmp_path / "images").mkdir()
    csv(tmp_path / "labels.CSV", rows())
    with pytest.raises(DataError, match=r"Did you mean 'csv:.*/labels\.CSV'\?"):
        load_data(f"folder:{tmp_path}")


@pytest.mark.parametrize(("path", "words"), [("none", "No such file"), ("", "Is a directory")])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_no_file(tmp_path, kind, path, words):
    with pytest.raises(DataError, match=f"Expected a file with a table .{kind}.*{words}"):
        load_data(f"{kind}:{tmp_path}/{path}")


def test_parts_and_what_is_said_of_them(images):
    split = ["train"] * 4 + ["val"] * 4 + ["Testing"] * 4
    label = ["a", "b", "c", "c", "a", "b", "a", "b"] + ["a", "b"] * 2
    columns = {
        "path": FILES,
        "label": label,
        "split": split,
        "group": range(12),
        "weight": [2] * 12,
    }
    columns["path"] = [*FILES[:-1], FILES[1]]  # a file of both parts
    path = csv(images / "parts.csv", columns)
    lines = [
        "sample weights: the column 'weight'",
        f"in several parts: 1 files, such as '{images}/{FILES[1]}' (train and test): what is "
        "tested was trained on",
        "no test images of 1 of 3 classes: 'c'",
    ]
    data = load_data(path)
    assert [*data.lines()] == lines and data.train.columns["weight"].tolist() == [2] * 4
    assert [*map(len, data.parts().values())] == [4, 4, 4]
    report = check_data(path)
    assert [*report.notes] == lines and any("in both parts" in line for line in report.warnings)
    train = list_table(path.removeprefix("csv:"), "csv", DataOptions()).parts["train"]
    assert train.columns == {"group": ["0", "1", "2", "3"], "weight": [2.0] * 4}
    without = load_data(path, options=DataOptions(weight_column=""))
    assert "weight" not in without.train.columns and [*without.lines()] == lines[1:]
    columns["split"] = [part.replace("Testing", "train") for part in split]
    columns["path"] = FILES
    data = load_data(csv(images / "parts.csv", columns | {"label": ["a", "b"] * 6}))
    assert (len(data.train), len(data.test)) == (8, 4)
    path = csv(images / "parts.csv", columns | {"label": ["a", "b"] * 6, "split": ["test"] * 12})
    data = load_data(path, seed=None)
    assert len(data.test) == 12 and data.tested == "all its images"
    assert data.notes[0] == "all rows are of the part 'test', so it is ignored"


def test_columns_of_other_names(images, capsys):
    columns = rows(where=FILES, label2=["x", "y"] * 6, phase=["train", "train", "val", "val"] * 3)
    path = csv(images / "named.csv", columns).removeprefix("csv:")
    named = {"path_column": "where", "label_column": "label2", "split_column": "phase"}
    sets = [text for name, value in named.items() for text in ("--set", f"data.{name}={value}")]
    assert main(["check-data", path, *sets]) == 0
    assert "2 classes; images: 6 (train), 6 (test)" in capsys.readouterr().out
    assert load_data(f"csv:{path}", options=DataOptions(**named)).class_names == ("x", "y")
    with pytest.raises(DataError, match=r"'wher' .data.path_column.*Did you mean 'where'"):
        load_data(f"csv:{path}", options=DataOptions(path_column="wher"))


def test_damaged_and_missing_files_are_those_of_folders(images):
    columns = {"path": [*FILES, "bad.png", "gone.png", "how.csv"], "label": ["a", "b", "c"] * 5}
    path = csv(images / "damaged.csv", columns)
    with pytest.raises(DataError, match=r"3 image files are damaged.*No such file.*on-bad-image"):
        load_data(path)
    data = load_data(path, options=DataOptions(on_bad_image="skip"))
    assert len(data.train) + len(data.test) == 12
    assert [os.path.basename(file) for file, _ in data.skipped] == [
        "bad.png",
        "gone.png",
        "how.csv",
    ]
    assert not check_data(path).ok
