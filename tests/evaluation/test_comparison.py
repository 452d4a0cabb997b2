"""`compare --html`: each difference once, whatever state and version the runs are of."""

import json
import pathlib
import re
import shutil

import pytest

from keras_preact.cli import main
from keras_preact.evaluation import compare_page
from keras_preact.evaluation.classes import MACRO
from keras_preact.evaluation.runs import plot_logs
from keras_preact.run import RunFolder

KEPT = pathlib.Path(__file__).parents[1] / "kept"


@pytest.fixture
def run(tmp_path):
    """Makes a copy of a run of an earlier version, with files changed: `{name: {key: value}}`."""

    def make(name, kept="v0.1.0/finished-float32", **files):
        shutil.copytree(KEPT / kept, tmp_path / name, ignore=shutil.ignore_patterns("checkpoints"))
        folder = RunFolder(tmp_path / name)
        for file, changes in files.items():
            folder.write_json(f"{file}.json", {**folder.read_json(f"{file}.json"), **changes})
        return folder.path

    return make


def tables(page):
    """`{headline: {first cell: the other cells}}`, and whatever is no table."""
    found = {}
    for section in page.split("<h2>")[1:]:
        headline, _, body = section.partition("</h2>")
        rows = re.findall(r"<tr[^>]*>(.*?)</tr>", body)
        cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]
        found[headline] = {first: others for first, *others in cells}
    return found


def test_only_what_differs_is_listed(run):
    resolved = RunFolder(KEPT / "v0.1.0/finished-float32").read_json("resolved.json")
    recipe = {**resolved["recipe"], "mixup": 0.2, "later": 1}
    network = {**resolved["network"], "units": [2, 2]}
    a = run("a")
    b = run("<b>", config={"seed": 1, "out": "b"}, resolved={"recipe": recipe, "network": network})
    page = compare_page([a, b, a])
    found = tables(page)
    config = found["Differences in the config"]
    assert config.pop("recipe.later") == ["–", "1", "–"]  # one more that only a later version has
    assert config == {
        "": ["A", "B", "C"],
        "seed": ["0", "1", "0"],
        "network.units": ["[1]", "[2, 2]", "[1]"],
        "recipe.mixup": ["0.0", "0.2", "0.0"],
    }
    assert page.index("recipe.mixup") < page.index("versions have: 1<") < page.index("later")
    assert "None: 1,437 training images, 360 test images, 10 classes." in page
    assert "<b>A, B, C</b> Linux, 2 processors; tensorflow on CPU:0, float32; Python 3.11" in page
    assert "<code>" in page and "&lt;b&gt;</code>" in page and "<b></code>" not in page
    assert not re.search(r'(src|href)="(?!data:)', page), "nothing from elsewhere"


def test_results_stand_beside_the_first_ones(run):
    by_class = {"balanced_accuracy": 0.5, "worst_recall": 0.25, "worst_class": "7 & 8"}
    a = run("a", result={**by_class, **dict.fromkeys(MACRO, 0.75), "roc_auc": None})
    b = run("b")
    log = RunFolder(b).log
    (b / "log.jsonl").write_text(json.dumps({**log[0], "test_error": 0.5}) + "\n")
    (b / "result.json").unlink()
    found = tables(compare_page([a, b]))["Results"]
    last = RunFolder(a).log[-1]
    right = 1 - last["test_error"]
    assert found["epochs"] == ["3 of 3", "1 of 3"]
    assert found["test accuracy"] == [f"{right:.2%}", f"50.00% ({50 - 100 * right:+.2f})"]
    assert found["balanced accuracy"] == ["50.00%", "–"]
    assert found["class with the lowest recall"] == ["7 &amp; 8", "–"]
    assert [found[name] for name in ("macro F1", "average precision")] == 2 * [["75.00%", "–"]]
    assert "ROC AUC" not in found  # neither has it
    assert found["training loss"] == [f"{last['loss']:.4f}", f"{log[0]['loss']:.4f}"]
    assert found["parameters"] == ["1,362", "–"]


def test_accuracies_on_other_images_are_not_subtracted(run):
    names = [f"class {k}" for k in range(3)]
    b = run("b", data={"classes": names, "test_images": 12_000, "labels_sha256": "ab" * 32})
    moved = run("c", data={"classes": [str(9 - k) for k in range(10)]})
    page = compare_page([run("a"), b, moved])
    found = tables(page)
    assert "The test images differ" in page and "In brackets" not in page
    assert not any("(" in cell for cell in found["Results"]["test accuracy"])
    assert found["Differences in the images"] == {
        "": ["A", "B", "C"],
        "classes": ["10", "3", "10, in another order"],
        "classes not in all runs": [
            "&#x27;0&#x27;, &#x27;1&#x27;, &#x27;2&#x27; and 7 more",
            "&#x27;class 0&#x27;, &#x27;class 1&#x27;, &#x27;class 2&#x27;",
            "&#x27;9&#x27;, &#x27;8&#x27;, &#x27;7&#x27; and 7 more",
        ],
        "test_images": ["360", "12,000", "360"],
        "labels_sha256": ["f708df4b", "abababab", "f708df4b"],
    }


def test_runs_of_any_state_and_version_are_compared(run, tmp_path, capsys):
    early = run("early", "v0.1.0-early/interrupted")
    begun = run("begun", "v0.1.0/interrupted")
    (begun / "log.jsonl").unlink()
    bare = run("bare")
    row = {"epoch": 1, "test_error": 0.5, "seconds": 1.0, "images_per_second": 9.0}
    (bare / "log.jsonl").write_text(f"{json.dumps(row)}\n")
    paths = [str(path) for path in (early, begun, bare)]
    page = tmp_path / "new" / "page.html"
    assert main(["compare", *paths, "--html", str(page)]) == 0
    assert capsys.readouterr().out == f"page: {page}\n"
    found = tables(page.read_text())
    assert found["Results"]["epochs"] == ["1 of 2", "0 of 2", "1 of 3"]
    assert found["Results"]["training time"][1:] == ["–", "1.0 s"]
    assert not (tmp_path / "compare.png").exists()
    assert main(["compare", str(begun), "--html", str(page)]) == 0
    assert "<img" not in page.read_text(), "there is no curve yet"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.json", "{}"),
        ("resolved.json", '{"recipe": {"epochs": 3}, "network": 5}'),
        ("data.json", '{"classes": 5}'),
        ("data.json", '{"classes": [], "training_images": "<", "test_images": 1}'),
        ("env.json", "[]"),
        ("result.json", '{"parameters": "many"}'),
        ("log.jsonl", '{"epoch": 1, "loss": "x", "test_error": 1, "seconds": 1}\n'),
    ],
)
def test_a_damaged_run_is_named(file, text, run, capsys):
    path = run("a")
    (path / file).write_text(text)
    assert main(["compare", str(path), "--html", str(path.parent / "page.html")]) == 2
    assert f"{path} is damaged" in capsys.readouterr().err
    assert not (path.parent / "page.html").exists()


def test_learning_rates_far_apart_are_drawn_by_their_powers():
    def scale(*rates):
        logs = {k: ([{"epoch": 1, "learning_rate": x}], "run") for k, x in enumerate(rates)}
        return plot_logs(logs).axes[2].get_yscale()

    assert scale(0.1, 0.05) == scale(0.1, 0.0) == scale() == "linear"
    assert scale(0.1, 0.001) == "log"
