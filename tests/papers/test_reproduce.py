"""Reproducing a table: what is trained at each scale, and runs that end, fail, are interrupted."""

import concurrent.futures
import dataclasses
import io
import itertools
import json
import math
import re

import keras
import numpy as np
import pandas as pd
import PIL.Image
import pytest
from scipy.stats import mannwhitneyu, spearmanr

from keras_preact import training
from keras_preact.cli import main
from keras_preact.config import KERNELS
from keras_preact.console import make_console
from keras_preact.errors import ConfigError, DivergedError, StoppedError
from keras_preact.papers import (
    ReproduceConfig,
    paper_rows,
    paper_tables,
    report,
    reproduce,
    reproduced_frame,
    reproduction,
    scales,
    tables,
)
from keras_preact.papers.agreement import pairs_in_order, rank_agreement
from keras_preact.papers.plan import FAILURE, figures_of_tests, read_config
from keras_preact.papers.results import agreement_of
from keras_preact.papers.scales import rows_to_train, scaled
from keras_preact.run import RunFolder, environment

CIFAR = [
    table for table in paper_tables()
    if any(row.kind == "row" and row.data == "cifar10" for row in paper_rows(table))
]  # fmt: skip


@pytest.mark.parametrize("scale", ["short", "smoke"])
@pytest.mark.parametrize("table", CIFAR)
@pytest.mark.thorough
def test_scales_keep_what_a_table_compares(table, scale):
    rows = rows_to_train(table, scale)
    assert len(rows) > 1
    full, small = [], []
    for row in rows:
        theirs, mine = row.config().resolve(), scaled(row, scale).resolve()
        same = {"epochs": 1, "batch_size": 1, "warmup_steps": 0}
        assert mine.recipe.replace(**same) == theirs.recipe.replace(**same)
        images = {"short": 50_000, "smoke": 1437}[scale]
        steps = mine.recipe.epochs * (images // mine.recipe.batch_size)
        share = theirs.recipe.warmup_steps / 64_000  # steps of the paper's
        assert mine.recipe.warmup_steps == pytest.approx(share * steps, abs=0.5)
        assert mine.network.replace(units=(1,) * 3) == theirs.network.replace(units=(1,) * 3)
        for found, network in ((full, theirs.network), (small, mine.network)):
            convolutions = len(KERNELS[network.block])
            found.append(network.units[0] / (2 if convolutions == 1 else 1))
    # Deeper networks stay deeper, and equally deep ones equally deep.
    assert pd.Series(small).rank().tolist() == pd.Series(full).rank().tolist()
    assert min(small) >= {"short": 3, "smoke": 2}[scale]
    assert max(small) <= 9


def test_the_smoke_table_is_what_the_guide_says():
    trainings = ReproduceConfig("he2016-table1", scale="smoke").trainings()
    assert len(trainings) == 16
    for one in trainings:
        parts = one.config.resolve()
        assert (parts.network.depth, one.config.data) == (14, "digits")
        assert parts.recipe.epochs * (1437 // parts.recipe.batch_size) >= 200
        assert one.rows[0].settings.items() <= one.config.settings.items()


def test_what_is_trained():
    config = ReproduceConfig("he2015-figure1", runs=2, out="mine", settings={"recipe.epochs": 3})
    found = [(one.rows[0].row, one.seed, one.config.out) for one in config.trainings()]
    assert found == [
        ("plain-20", 0, "mine/plain-20-seed0"),
        ("plain-56", 0, "mine/plain-56-seed0"),
        ("plain-20", 1, "mine/plain-20-seed1"),
        ("plain-56", 1, "mine/plain-56-seed1"),
    ]
    assert {one.config.resolve().recipe.epochs for one in config.trainings()} == {3}
    assert config.command == (
        "keras-preact reproduce he2015-figure1 --runs 2 --out mine --set recipe.epochs=3"
    )
    # One set of images for all: rows that differ in their images would be the same.
    assert {row.data for row in rows_to_train("he2016-table3", "full")} == {"cifar10", "cifar100"}
    assert {row.data for row in ReproduceConfig("he2016-table3", data="svhn").rows()} == {"cifar10"}
    assert str(ReproduceConfig("he2016-table3", data="npz:a/b.npz").folder) == (
        "runs/he2016-table3-full-b"
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"table": "he2017-table1"}, "`table` must be one of 'he2016-table1'"),
        ({"table": "he2015-table5"}, "must have networks that can be trained"),
        (
            {"table": "he2015-table6", "row": "NIN"},
            "network that can be trained at scale='full': 'ResNe",
        ),
        (
            {"table": "he2015-table6", "row": "ResNet-110", "scale": "short"},
            "'ResNet-56'. Received: row='ResNet-110'. scale='full' has all of the paper's depths",
        ),
        ({"row": "nothing"}, "a pattern"),
        ({"table": "he2015-table2", "scale": "smoke"}, "`scale` must be 'full'"),
        ({"scale": "tiny"}, "'full', 'short', 'smoke'"),
        ({"runs": 0}, "`runs` must be at least 1"),
        ({"settings": {"network.depth": 3}}, "Received: depth=3"),
    ],
)
def test_mistakes(fields, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        ReproduceConfig(**fields)


ROWS = ["ResNet-110, original", "ResNet-110, BN after addition", "ResNet-110, ReLU before addition"]
ERRORS = {"original": 0.3, "bn_after_addition": 0.5, "relu_before_addition": 0.1}


class Fake:
    """In place of training: errors by the row, and what goes wrong when told to."""

    def __init__(self):
        self.trained, self.fails = [], {}
        sizes = {"training_images": 50_000, "test_images": 10_000}
        shape = {"image_shape": [32, 32, 3], "classes": [*"abcdefghij"]}
        self.data = {**sizes, **shape}  # as CIFAR-10 has them

    def __call__(self, config, console=None):
        name = config.out.rpartition("/")[2]
        run = RunFolder.create(config.out, name="")
        parts = config.resolve()
        env = {**environment(), "backend": "none", "devices": "CPU:0"}
        run.write_json("env.json", {**env, "decided": {"dtype": "float32"}})
        run.write_json("resolved.json", parts.to_dict())
        run.write_json("data.json", self.data)
        run.write_json("config.json", config.to_dict())
        if error := self.fails.get(name):
            raise error
        self.trained.append(name)
        error = ERRORS[parts.network.placement] + 0.01 * config.seed
        for epoch in (1, 2):
            run.append_log({"epoch": epoch, "loss": 2 / epoch, "test_error": error})
        for step in range(1, 51):
            run.append_log({"step": step, "loss": 3 - step / 50}, "steps.jsonl")
        result = {"test_accuracy": 1 - error, "parameters": 1234, "multiply_adds": 5678}
        if not config.seed:  # early versions noted none
            result |= {"balanced_accuracy": 0.5, "worst_recall": 0.25}
        run.write_json("result.json", {**result, "seconds": 90.0 + config.seed})


@pytest.fixture
def fake(monkeypatch):
    """A training that takes no time, and a table of three rows."""
    fake = Fake()
    kept = [row for row in paper_rows("he2016-table2") if row.row in ROWS]
    monkeypatch.setattr(scales, "paper_rows", lambda *_: kept)
    monkeypatch.setattr(training, "train", fake)
    monkeypatch.setattr(keras.backend, "clear_session", lambda: None)  # takes a second
    return fake


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr(report, "_figures", lambda *_: {})


def config_in(out, **fields):
    fields = {"runs": 2, "settings": {"recipe.epochs": 164}, **fields}  # as long as the paper's
    return ReproduceConfig("he2016-table2", scale="smoke", out=str(out), **fields)


def test_a_table_goes_on_and_ends(fake, no_pictures, tmp_path):
    out = tmp_path / "table"
    stopped = "ResNet-110_ReLU_before_addition-seed0"
    fake.fails = {
        stopped: StoppedError("stopped", 15),
        "ResNet-110_BN_after_addition-seed0": DivergedError("no number"),
    }
    said = io.StringIO()
    console = make_console(said)
    with pytest.raises(StoppedError):
        reproduce(config_in(out), console=console)
    assert fake.trained == ["ResNet-110_original-seed0"]
    assert "no number" in (out / "ResNet-110_BN_after_addition-seed0" / FAILURE).read_text()
    frame = reproduced_frame(out).set_index("row")
    assert frame["runs"].tolist() == [1, 1, 0]
    fake.fails = {}
    (out / stopped / "config.json").unlink()  # the fake knows no checkpoints
    for path in (out / stopped).iterdir():
        path.unlink()
    found = reproduce(config_in(out), console=console)
    assert (len(fake.trained), found.left) == (1 + 4, 0)
    assert reproduce(config_in(out)).left == 0 and len(fake.trained) == 5  # nothing twice
    frame = found.frame.set_index("row")
    original = frame.loc["ResNet-110, original"]
    assert (original["paper"], original["median"]) == (6.61, pytest.approx(30.5))
    assert (original["least"], original["greatest"]) == (pytest.approx(30), pytest.approx(31))
    assert original["difference"] == pytest.approx(30.5 - 6.61)
    assert (original["failed"], original["layers"], original["seconds"]) == (2, 14, 90.5)
    assert (original["balanced_accuracy"], original["worst_recall"]) == (50, 25)
    diverged = frame.loc["ResNet-110, BN after addition"]
    assert (diverged["greatest"], diverged["failed"], diverged["diverged"]) == (100, 2, 1)
    assert pd.isna(diverged["balanced_accuracy"])
    assert frame.loc["ResNet-110, ReLU before addition", "failed"] == 0
    assert (out / "report.html").read_text().count("<tr class=failed>") == 2
    mine = [[30, 31], [100, 51], [10, 11]]
    assert found.agreement == rank_agreement(mine, [6.61, 8.17, 7.84])
    assert "[3/6] ResNet-110, ReLU before addition, seed 0" in said.getvalue()
    assert "left for the table" in said.getvalue()


@pytest.mark.drawn
@pytest.mark.thorough
def test_the_report(fake, tmp_path, capsys):
    out = tmp_path / "table"
    argv = ["reproduce", "he2016-table2", "--scale", "smoke", "--runs", "2", "--out", str(out)]
    assert main([*argv, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["row"] for row in printed["rows"]] == ROWS
    assert printed["orders"] == []
    assert printed["agreement"]["word"] in ("agrees", "disagrees", "undecided")
    assert main(argv) == 0
    shown = capsys.readouterr().out
    assert "30.50" in shown and "Order compared with the paper's" in shown
    page = (out / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing from elsewhere
    assert page.count("data:image/png;base64,") == 2
    assert "<td class=number>30.50</td>" in page
    assert "failed>" not in page  # of ten epochs, none is too many errors
    text = (out / "report.md").read_text()
    assert "| ResNet-110, BN after addition | 14 | 8.17 |" in text
    assert "keras-preact reproduce he2016-table2 --runs 2 --scale smoke --out" in text
    # The lowest error should be that of full pre-activation, which this table has no runs of.
    assert report._ORDERS not in text
    assert "compare the order of the rows" in text and " processors; none on CPU:0" in text
    assert pd.read_csv(out / "table.csv")["median"].round(1).tolist() == [30.5, 50.5, 10.5]
    for name in ("errors", "curves"):
        assert (out / f"{name}.png").stat().st_size > 10_000


@pytest.mark.thorough
def test_the_papers_order_is_counted_over_pairs_of_runs(fake, no_pictures, tmp_path, monkeypatch):
    order = "test_error: {} < {}; training_loss: {} < {}".format(*ROWS[1::-1], *ROWS[:2])
    about = paper_tables()["he2016-table2"]
    about = {about.table: dataclasses.replace(about, order=order)}
    for module in (report, tables):
        monkeypatch.setattr(module, "paper_tables", lambda: about)
    fake.fails = {"ResNet-110_BN_after_addition-seed1": DivergedError("no number")}
    out = reproduce(config_in(tmp_path / "table", runs=3)).folder
    text = (out / "report.md").read_text()
    # The other way round: of three and three, none in order in one case of twenty.
    assert f"| test error | {ROWS[1]} | {ROWS[0]} | 0 of 9 | 1 |" in text
    # Equal losses, but for the one that is infinite: it is so however the six are dealt out to
    # the two rows with that one among the greater.
    assert f"| training loss | {ROWS[0]} | {ROWS[1]} | 6 of 9 | 0.5 |" in text
    assert "<td class=number>6 of 9</td>" in (out / "report.html").read_text()
    table = pd.read_csv(out / "orders.csv")
    assert table["chance"].tolist() == [1.0, 0.5] and table["pairs"].tolist() == [9, 9]


def test_pairs_in_order_are_those_of_mann_and_whitney():
    assert pairs_in_order([1, 2, 3], [4, 5, 6]) == (9, 9, pytest.approx(1 / 20))
    assert pairs_in_order([3, 1], [2, 4]) == (3, 4, pytest.approx(2 / 6))
    assert pairs_in_order([1, 1], [1, 1]) == (2, 4, 1)
    assert pairs_in_order([1], [2]) == (1, 1, 0.5)
    random = np.random.default_rng(0)
    lesser, greater = random.normal(size=6), random.normal(0.5, size=7)
    theirs = mannwhitneyu(greater, lesser, alternative="greater", method="exact")
    assert pairs_in_order(lesser, greater) == (theirs.statistic, 42, pytest.approx(theirs.pvalue))
    many = pairs_in_order(range(0, 40, 2), range(1, 41, 2))
    assert many[:2] == (210, 400) and many.chance == pytest.approx(0.399, abs=0.001)


def test_what_differs_between_runs_is_said(fake, tmp_path):
    config = config_in(tmp_path / "table")
    out = reproduce(config).folder
    text = (out / "report.md").read_text()
    assert "| row | layers | paper | median |" in text  # the zoo's have 110 layers
    assert "| row | balanced accuracy | worst recall | training loss |" in text
    assert "several backends" not in text and "fails share" not in text
    run = RunFolder(out / "ResNet-110_original-seed1")
    run.write_json("env.json", {**run.read_json("env.json"), "backend": "jax"})
    run.write_json("data.json", {**fake.data, "training_images": 1437})
    (run.path / "steps.jsonl").unlink()  # as in results/, which has no steps
    (out / "ResNet-110_original-seed0-copy").mkdir()
    report.write_reproduction(out)
    text = (out / "report.md").read_text()
    assert "several backends or dtypes" in text
    assert "164 epochs of 50,000 images (digits)" in text and "of 1,437 images" in text


def test_20_percent_is_the_limit_on_cifar_10_only(fake, no_pictures, tmp_path):
    fake.data.update(image_shape=[8, 8, 1], training_images=1437, test_images=360)
    frame = reproduce(config_in(tmp_path / "table")).frame
    assert frame["median"].max() > 50 and frame["failed"].tolist() == [0, 0, 0]


@pytest.mark.slow
def test_one_training_is_tested_in_all_ways_of_its_rows(tmp_path, monkeypatch, capsys):
    config = ReproduceConfig(
        "he2016-table5",
        row="ResNet-152, original*",
        runs=1,
        data=f"folder:{image_folders(tmp_path / 'images')}",
        out=str(tmp_path / "table"),
        settings={
            "network.units": [1, 1], "network.filters": [4, 8], "network.stem_filters": 4,
            "recipe.epochs": 1, "recipe.batch_size": 4,
        },
    )  # fmt: skip
    (one,) = config.trainings()
    assert [row.test for row in one.rows] == ["--size 224", "--size 320"]
    monkeypatch.setattr(reproduction, "_tested", stop)
    with pytest.raises(StoppedError):
        reproduce(config)
    assert one.is_trained and not one.has_ended
    monkeypatch.undo()
    monkeypatch.setattr(training, "train", stop)  # the training is not repeated
    monkeypatch.setattr(reproduction, "_tested", without_weights)
    assert reproduce(config).left == 1  # and the other trainings would go on
    monkeypatch.undo()
    monkeypatch.setattr(training, "train", stop)
    found = reproduce(config.replace(row="ResNet-152, original"))
    assert [*figures_of_tests(one.folder)] == ["--size 320"]  # of the row that is wanted
    found = reproduce(config)
    tests = RunFolder(one.folder).read_json("tests.json")
    assert found.left == 0 and [*tests] == ["--size 320", "--size 224"]
    expected = [100 * tests[row.test]["top1_error"] for row in one.rows]
    assert found.frame["median"].tolist() == pytest.approx(expected)
    assert found.frame["runs"].tolist() == [1, 1]
    assert "1 of 1 runs have finished" in (found.folder / "report.md").read_text()
    capsys.readouterr()
    assert main(["evaluate", str(one.folder), "--size", "320", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).items() >= tests["--size 320"].items()


def stop(*_, **__):
    raise StoppedError("stopped", 15)


def without_weights(*_):
    raise ConfigError("no weights")


def image_folders(path):
    """Two classes of images, 12 to train with and 8 to test with."""
    random = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 4)):
        for name in ("cat", "dog"):
            (path / part / name).mkdir(parents=True)
            for k in range(count):
                image = random.integers(0, 256, (40, 50, 3), np.uint8)
                PIL.Image.fromarray(image).save(path / part / name / f"{k}.png")
    return path


def test_a_folder_is_of_one_table(fake, tmp_path):
    reproduction._open(config_in(tmp_path / "table"))
    for fields in ({"data": "cifar10"}, {"settings": {"recipe.epochs": 2}}, {"dtype": "float32"}):
        with pytest.raises(ConfigError, match=f"`{next(iter(fields))}` must be that of the table"):
            reproduce(config_in(tmp_path / "table", **fields))
    with pytest.raises(ConfigError, match="that `keras-preact reproduce` wrote"):
        reproduced_frame(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").write_text("kept")
    with pytest.raises(ConfigError, match="new or empty"):
        reproduce(config_in(tmp_path / "other"))


@pytest.mark.thorough
def test_a_folder_is_told_all_that_was_asked_for(tmp_path):
    def told(row, **fields):
        reproduction._open(config_in(tmp_path / "table", row=row, **fields))
        report.write_reproduction(tmp_path / "table")
        config = read_config(tmp_path / "table")
        assert config.command in (tmp_path / "table/report.md").read_text()
        return config.row, config.runs, len(config.trainings())

    before, after = "ResNet-110, ReLU before*", "ResNet-110, BN after*"
    assert told(before) == (before, 2, 2)
    assert told(after, runs=1) == (f"{before}|{after}", 2, 4)
    assert told(before, runs=1) == (f"{before}|{after}", 2, 4)
    assert told("ResNet-110*", runs=3) == ("ResNet-110*", 3, 15)
    assert told(before, runs=None) == ("ResNet-110*", 3, 15)
    assert told("ResNet-164*") == ("*", 3, 30)  # all that there are


@pytest.mark.slow
def test_many_processes_may_begin_a_table_at_once(tmp_path):
    for k in range(4):
        config = config_in(tmp_path / str(k))
        with concurrent.futures.ThreadPoolExecutor(8) as pool:  # file locks part threads as well
            folders = [*pool.map(reproduction._open, [config] * 8)]
        assert {folder.path for folder in folders} == {config.folder}
        assert read_config(config.folder) == config


def test_what_another_process_has_is_left_to_it(fake, no_pictures, tmp_path):
    import filelock

    config = config_in(tmp_path / "table")
    reproduction._open(config)
    with filelock.FileLock(config.folder / ".ResNet-110_original-seed1.lock"):
        assert reproduce(config).left == 1 and len(fake.trained) == 5
    assert reproduce(config).left == 0


def test_rank_agreement():
    assert rank_agreement([[1.0]], [2.0]) is None
    once = rank_agreement([[1.0], [2.0]], [5.0, 6.0])
    assert (once.spearman, once.low, once.high, once.word) == (1, -1, 1, "undecided")
    rows = [[5.0, 5.1], [4.0, 4.1], [3.0, 3.1], [2.0, 2.1], [1.0, 1.1]]
    against = rank_agreement(rows, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert (against.spearman, against.word, against.places) == (-1, "disagrees", 5)
    assert against.chance == pytest.approx(2 / 120)
    # The same of four rows comes about too often to say anything.
    four = rank_agreement(rows[1:], [1.0, 2.0, 3.0, 4.0])
    assert (four.word, four.chance) == ("undecided", pytest.approx(2 / 24))
    # Medians, as in the table: the means are in the other order.
    odd = rank_agreement([[1.0, 1.1, 9.0], [2.0, 2.1, 2.2]], [1.0, 2.0])
    assert odd.spearman == 1


@pytest.mark.parametrize("places", [3, 5, 7])
@pytest.mark.thorough
def test_the_chance_of_an_order_is_that_of_all_permutations(places):
    random = np.random.default_rng(places)
    mine, theirs = random.normal(size=(2, places))
    found = rank_agreement([[error] for error in mine], theirs)
    ways = [spearmanr(way, theirs)[0] for way in itertools.permutations(mine)]
    assert found.spearman == pytest.approx(spearmanr(mine, theirs)[0])
    beyond = np.abs(ways) >= abs(found.spearman) - 1e-9
    assert found.chance == pytest.approx(beyond.mean())


def test_of_many_rows_the_chance_is_drawn():
    rows = [[k, k + 0.1] for k in range(12)]
    assert rank_agreement(rows, range(12)).chance == pytest.approx(1e-4)
    mine = np.random.default_rng(0).normal(size=20)
    found = rank_agreement([[error] for error in mine], range(20))
    assert found.chance == pytest.approx(spearmanr(mine, range(20)).pvalue, abs=0.02)


def test_where_the_paper_fails_is_the_last_place():
    values = [row.error for row in paper_rows("he2015-rectifiers-initialization")]
    assert values == [33.82, 33.90, None, None, 38.56, math.inf]
    known = [value for value in values if value]
    mine = [[10.0 * k, 10.0 * k + 1] for k in range(4)]
    assert rank_agreement(mine, known).spearman == 1


def test_rows_of_one_training_count_once(tmp_path):
    """Two networks in four tests each are two places, however the tests differ."""
    rows = [row for row in paper_rows("he2015-rectifiers-table4") if row.kind == "row"]
    runs = {kind: RunFolder.create(tmp_path / kind, name="") for kind in ("ReLU", "PReLU")}
    for kind, run in runs.items():
        run.write_json("config.json", {})
        run.write_json("result.json", {"test_accuracy": 0.5})
        tests = {row.test: row.error for row in rows if row.row.startswith(kind)}
        figures = {test: {"top1_error": error / 100} for test, error in tests.items()}
        run.write_json("tests.json", figures)
    found = agreement_of([(row, [runs[row.row.partition(",")[0]]]) for row in rows])
    assert (found.places, found.spearman, found.word) == (2, 1, "undecided")


def test_errors_on_different_images_are_ranked_apart():
    mine = [[10.0, 10.1], [12.0, 12.1], [40.0, 40.1], [42.0, 42.1]]
    theirs = [6.61, 6.37, 25.16, 24.33]
    assert rank_agreement(mine, theirs).spearman == pytest.approx(0.6)
    apart = rank_agreement(mine, theirs, ["cifar10", "cifar10", "cifar100", "cifar100"])
    assert (apart.spearman, apart.places) == (pytest.approx(-1), 4)
    assert (apart.word, apart.chance) == ("undecided", pytest.approx(2 / 4))
    assert rank_agreement(mine, theirs, range(4)) is None
    drawn = rank_agreement(mine * 3, theirs * 3, ["a", "a", "b", "b"] * 3)
    # Each group has its six in this order of halves in one of twenty, and both may be reversed.
    assert (drawn.word, drawn.chance) == ("disagrees", pytest.approx(2 / 400, abs=2e-3))
