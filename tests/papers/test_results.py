"""What results/ says is what the files of its runs say."""

import io
import pathlib
import re
import runpy

import pandas as pd
import pytest

from keras_preact.papers import reproduced_frame
from keras_preact.papers.plan import read_config
from keras_preact.papers.results import orders_of, runs_by_row
from keras_preact.run import RunFolder

RESULTS = pathlib.Path(__file__).parents[2] / "results"
FOLDERS = sorted(path.parent for path in RESULTS.glob("*/reproduce.json"))
RUNS = sorted(path.parent for path in RESULTS.glob("fashion-mnist/*/result.json"))


def test_each_folder_has_its_sentence():
    text = (RESULTS / "README.md").read_text()
    links = re.findall(r"\]\(([\w-]+)/report\.md\)", text)
    assert sorted(links) == [folder.name for folder in FOLDERS]


#: Headlines of the text, and which folders the numbers below them are of.
SECTIONS = {
    "Plain nets and ResNets": "degradation",
    "Where BN and ReLU stand": "placements*|warmup-110",
    "What stands on the shortcut": "shortcuts*|placements-110",
    "How exact this is": "*-110",
}


@pytest.mark.parametrize("headline", SECTIONS)
def test_errors_in_the_text_are_those_of_the_tables(headline):
    """Each is the median, the least or the greatest of a row, or the paper's figure."""
    known = {"2.05", "1.31", "0.25", "0.95"}  # training losses, a gate, a correlation
    for folder in FOLDERS:
        if any(map(folder.match, SECTIONS[headline].split("|"))):
            frame = pd.read_csv(folder / "table.csv")
            ours = frame[["median", "least", "greatest"]].stack() + 1e-9  # halves are rounded up
            known |= {f"{value:.1f}" for value in ours}
            known |= {f"{float(value):.2f}" for value in frame["paper"].dropna() if value != "fail"}
    text = (
        (RESULTS / "README.md").read_text().partition(f"## {headline}\n")[2].partition("\n## ")[0]
    )
    said = re.findall(r"(?<![\d,.+])(\d\d\.\d|\d\.\d\d)(?![\d.]| points)", " ".join(text.split()))
    assert said and {*said} <= known


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_single_runs_are_what_the_table_says(folder):
    run = RunFolder(folder)
    recipe = run.read_json("resolved.json")["recipe"]
    numbers = f"{recipe['epochs']} | {run.result['test_accuracy']:.2%} |".replace("%", " %")
    million = f"{run.result['parameters'] / 1e6:.2f} M"
    command = "keras-preact train " + " ".join(
        f"--{name} {run.config[name]}"
        for name in ("model", "data", "recipe", "epochs")
        if run.config[name] is not None
    )
    assert f"{million} | {numbers} `{command}` |" in (RESULTS / "README.md").read_text()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.thorough
def test_tables_and_report_are_those_of_the_runs(folder):
    config, frame = read_config(folder), reproduced_frame(folder)
    orders = orders_of(config.table, runs_by_row(folder))
    for name, found in {"table": frame, "orders": orders}.items():
        again = pd.read_csv(io.StringIO(found.to_csv(index=False)))
        pd.testing.assert_frame_equal(pd.read_csv(folder / f"{name}.csv"), again)
    report = (folder / "report.md").read_text()
    assert config.command in report
    for row in frame[frame["runs"] > 0].itertuples():
        assert re.search(rf"\| {re.escape(row.row)} \|.* {row.median:.2f} \|", report), row.row
    for picture in re.findall(r"\((\w+\.png)\)", report):
        assert (folder / picture).stat().st_size > 10_000


def test_the_photographs_test_images_are_found_in_both_layouts(tmp_path):
    """A folder for each class, or one for all and a table, as the archive has them."""
    tested = runpy.run_path(str(RESULTS / "recipes" / "images.py"))["tested"]
    own, archive = tmp_path / "own" / "n01" / "a.JPEG", tmp_path / "archive" / "images" / "a.JPEG"
    for path in (own, archive):
        path.parent.mkdir(parents=True)
        path.touch()
    (tmp_path / "archive" / "val_annotations.txt").write_text("b.JPEG\tn02\t0\na.JPEG\tn01\t0\n")
    assert tested(tmp_path / "own", "n01") == [own]
    assert tested(tmp_path / "archive", "n01") == [archive]
    with pytest.raises(OSError, match="val_annotations"):
        tested(tmp_path / "nowhere", "n01")
