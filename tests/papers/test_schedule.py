"""Plans: what a file says, what its runs take here, and which of them fit into some hours."""

import json
import pathlib

import pytest

from keras_preact import training
from keras_preact.cli import main, parser_for
from keras_preact.cli.papers import reproduce_plan_of
from keras_preact.errors import ConfigError
from keras_preact.papers import ReproduceConfig, reproduce_plan, schedule, time_plan
from keras_preact.papers.schedule import Speed
from keras_preact.run import RunFolder, environment

RESULTS = pathlib.Path(__file__).parents[2] / "results"


def read(path, *options):
    return reproduce_plan_of(
        parser_for(argv := ["reproduce", str(path), *options]).parse_args(argv)["reproduce"]
    )


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.yaml")), ids=lambda path: path.name)
@pytest.mark.thorough
def test_plans_in_results_can_be_trained(path):
    """Tables and patterns of rows exist, and no two entries differ within a folder."""
    plan = read(path)
    folders = {}
    for entry in plan:
        assert entry.trainings()
        entry.refuse_other(folders.setdefault(entry.folder, entry))
    assert len(plan) > 1


@pytest.mark.thorough
def test_there_is_a_plan():
    depths = {
        one.config.resolve().network.depth
        for e in read(RESULTS / "evening.yaml")
        for one in e.trainings()
    }
    assert min(depths) == 20 and max(depths) == 110


def test_options_hold_where_an_entry_says_nothing(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "- {table: he2016-table1, row: original, runs: 3, set: {recipe.epochs: 4}}\n"
        "- {table: he2016-table2, scale: short, data: svhn}\n"
    )
    given = (
        "--runs",
        "2",
        "--data",
        "digits",
        "--set",
        "recipe.epochs=1",
        "--set",
        "recipe.ema=0.9",
    )
    assert read(path, *given) == [
        ReproduceConfig("he2016-table1", row="original", runs=3, data="digits",
                        settings={"recipe.epochs": 4, "recipe.ema": 0.9}),
        ReproduceConfig("he2016-table2", runs=2, scale="short", data="svhn",
                        settings={"recipe.epochs": 1, "recipe.ema": 0.9}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "which has none"),
        ("table: he2016-table1", "which has no list"),
        ("- he2016-table1", "An entry must name its table"),
        ("- {row: original}", "Received: {'row': 'original'}"),
        ("- {table: he2016-table1, rwo: dropout}", "entry 1: An entry has the options 'table'"),
        ("- {table: he2016-table1, rwo: dropout}", "Received: rwo='dropout'. Did you mean 'row'?"),
        ("- {table: he2016-tabel1}", "Did you mean 'he2016-table1'?"),
        ("- {table: he2016-table1, row: droput}", "row='droput'. Did you mean 'dropout'?"),
        ("- {table: he2016-table1}\n- {table: he2016-table1, runs: 0}", "entry 2: `runs` must be"),
        ("- {table: he2016-table1, set: recipe.epochs=1}", "`set` must be a mapping"),
        ("- {table: [", "Expected a YAML value. Received: table"),
    ],
)  # fmt: skip
def test_mistakes_in_a_plan(text, words, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert main(["reproduce", str(path)]) == 2
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1 and [*tmp_path.iterdir()] == [path]


def test_a_plan_that_is_not_there(capsys):
    assert main(["reproduce", "nowhere.yaml"]) == 2
    assert "`table` takes a YAML or JSON file. Received: nowhere.yaml" in capsys.readouterr().err


class Clock:
    """Time that passes when something is timed or trained: seconds an epoch, by the depth."""

    def __init__(self):
        self.now, self.timed, self.trained, self.slower = 0.0, [], [], 1.0

    def monotonic(self):
        return self.now

    perf_counter = monotonic

    def time(self, config):
        self.timed.append(config.resolve().network.depth)
        self.now += 1
        return Speed(10, 1.0, float(self.timed[-1]), 4.0)

    def train(self, config, console=None):
        run, parts = RunFolder.create(config.out, name=""), config.resolve()
        self.trained.append(config.out.rpartition("/")[2])
        seconds = self.slower * parts.network.depth
        self.now += seconds * parts.recipe.epochs
        env = {
            **environment(),
            **schedule._machine(config.devices),
            "decided": {"dtype": "float32"},
        }
        data = {"image_shape": [8, 8, 1], "classes": ["a"], "training_images": 1, "test_images": 1}
        files = {"env": env, "resolved": parts.to_dict(), "data": data, "config": config.to_dict()}
        for name, values in files.items():
            run.write_json(f"{name}.json", values)
        run.append_log({"epoch": parts.recipe.epochs, "step": 20, "loss": 1.0, "test_error": 0.5})
        result = {
            "test_accuracy": 0.5,
            "parameters": 1,
            "multiply_adds": 1,
            "images_per_second": 64,
        }
        result |= {"seconds": seconds * parts.recipe.epochs, "epochs": parts.recipe.epochs}
        run.write_json("result.json", result)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(schedule, "time", clock)
    monkeypatch.setattr(schedule, "_timed", clock.time)
    monkeypatch.setattr(training, "train", clock.train)
    monkeypatch.setattr("keras_preact.papers.report._figures", lambda *_: {})
    return clock


def entry(out, row, units, **fields):
    """An entry of two epochs; a unit more in each of three stages is six layers more."""
    settings = {"network.units": [units] * 3, "recipe.epochs": 2}
    fields = {"scale": "smoke", "runs": 1, "dtype": "float32", "settings": settings, **fields}
    return ReproduceConfig("he2016-table1", row=row, out=str(out), **fields)


@pytest.mark.slow
def test_whole_runs_are_packed_in_their_order(clock, tmp_path):
    plan = [
        entry(tmp_path / "a", "original|exclusive gating, bias -[67]", 2, runs=2),  # 14 layers
        entry(tmp_path / "b", "original", 9),  # 56 layers
        entry(tmp_path / "c", "dropout|*bias 0", 1),  # 8 layers
        entry(tmp_path / "a", "original|dropout", 2),
    ]
    each, deep, small = 4 + 2 * 14, 4 + 2 * 56, 4 + 2 * 8
    found = time_plan(plan, hours=(7 + 6 * each + deep + 3 * small - 1) / 3600)
    assert clock.timed == [14, 14, 56, 8, 8, 8, 14]  # a bias that is not 0 takes the time of others
    # One run of the third entry is left out for want of a second; of the last only what is new.
    assert [(one.runs, one.fits) for one in found] == [(6, 6), (1, 1), (3, 2), (1, 0)]
    assert [one.steps for one in found] == [120, 20, 60, 20]
    assert [one.hours * 3600 for one in found] == pytest.approx([6 * each, deep, 3 * small, each])
    assert {one.step_seconds for one in found} == {1.0} and not [*tmp_path.iterdir()]
    all_of_it = time_plan(plan)
    assert all(one.fits == one.runs for one in all_of_it)
    few = time_plan(plan, hours=(7 + 3 * small) / 3600)  # later, shorter ones fit
    assert [one.fits for one in few] == [1, 0, 1, 0]


@pytest.mark.thorough
def test_hours_that_run_out(clock, tmp_path):
    """Runs are twice as slow as was measured: the third is left out, and a shorter one is not."""
    plan = [entry(tmp_path / "a", "original", 2, runs=3), entry(tmp_path / "b", "dropout", 1)]
    seen = []
    clock.slower = 2.0
    found = reproduce_plan(plan, hours=(2 + 2 * 56 + 20) / 3600, on_planned=seen.extend)
    assert [one.fits for one in seen] == [3, 1]
    assert clock.trained == ["original-seed0", "original-seed1", "dropout-seed0"]
    assert [one.left for one in found] == [1, 0]
    assert "2 of 3 runs have finished" in (tmp_path / "a" / "report.md").read_text()
    # The next hours begin with what is left, and finished runs say what it takes.
    clock.timed.clear()
    left = time_plan(plan, hours=1)
    assert [(one.runs, one.fits) for one in left] == [(1, 1), (0, 0)] and not clock.timed
    assert left[0].hours * 3600 == pytest.approx(2 * 28) and left[0].step_seconds == 1.0
    reproduce_plan(plan, hours=1)
    assert clock.trained[3:] == ["original-seed2"]
    assert [one.runs for one in time_plan(plan)] == [0, 0]


def test_runs_of_another_machine_say_nothing_of_this_one(clock, tmp_path):
    plan = [entry(tmp_path / "a", "original", 2, runs=2)]
    reproduce_plan([plan[0].replace(runs=1)])
    assert clock.timed == [14]
    run = RunFolder(tmp_path / "a" / "original-seed0")
    run.write_json("env.json", {**run.read_json("env.json"), "processor": "another"})
    assert time_plan(plan)[0].hours * 3600 == 4 + 2 * 14 and clock.timed == [14, 14]


def test_a_run_of_devices_that_are_not_here_says_nothing_of_this_machine(clock, tmp_path):
    plan = [entry(tmp_path / "a", "original", 2, runs=2)]
    reproduce_plan([plan[0].replace(runs=1)])
    run = RunFolder(tmp_path / "a" / "original-seed0")
    run.write_json("config.json", {**run.config, "devices": "gpu:7"})
    assert time_plan(plan)[0].hours * 3600 == 4 + 2 * 14


def test_what_is_left_of_a_folder_is_that_of_all_its_entries(clock, tmp_path):
    for rows in (("original", "dropout"), ("dropout", "original")):
        plan = [entry(tmp_path / rows[0], row, 2) for row in rows]
        (found,) = reproduce_plan(plan, hours=(2 + 4 + 2 * 14) / 3600)
        assert found.left == 1


@pytest.mark.thorough
def test_what_does_not_fit_is_not_begun(clock, tmp_path):
    plan = [entry(tmp_path / "a", "original", 9), entry(tmp_path / "b", "original", 1)]
    (found,) = reproduce_plan(plan, hours=(2 + 20) / 3600)
    assert found.folder == tmp_path / "b" and not (tmp_path / "a").exists()


def test_a_folder_is_of_one_training(tmp_path):
    plan = [entry(tmp_path / "a", "original", 2), entry(tmp_path / "a", "dropout", 3)]
    with pytest.raises(ConfigError, match=r"`settings` must be that of the table in .*/a"):
        time_plan(plan)
    with pytest.raises(ConfigError, match=r"`hours` must be above 0, or None. Received: hours=0"):
        time_plan(plan[:1], hours=0)


def test_the_command_says_what_fits(clock, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"table": "he2016-table1", "row": row, "out": row, "runs": 2}
        for row in ("original", "dropout")
    ]
    pathlib.Path("mine.json").write_text(json.dumps(rows))
    argv = [
        "reproduce",
        "mine.json",
        "--scale",
        "smoke",
        "--set",
        "recipe.epochs=2",
        "--dtype",
        "float32",
    ]
    hours = ["--hours", str((2 + 3 * 32) / 3600)]
    assert main([*argv, *hours, "--dry-run"]) == 0
    out, err = capsys.readouterr()
    lines = " ".join(out.split())
    assert "original original 2 40 1.000 64.0 s 2 of 2" in lines
    assert "dropout dropout 2 40 1.000 64.0 s 1 of 2" in lines
    assert "4 runs, about 2.1 min; 3 fit." in lines and [*tmp_path.iterdir()] == [
        tmp_path / "mine.json"
    ]
    assert main([*argv, *hours, "--dry-run", "--json"]) == 0
    out, err = capsys.readouterr()
    found = [json.loads(line) for line in out.splitlines()]
    assert [one["fits"] for one in found] == [2, 1] and "3 fit." in err
    assert main([*argv, *hours]) == 0
    out = capsys.readouterr().out
    assert "3 fit." in out and "dropout/dropout-seed1: left out" in out
    assert "1 runs belong to other processes, could not be tested, or did not fit" in out
    # A single table, by its name.
    assert (
        main(
            [
                "reproduce",
                "he2016-table1",
                "--row",
                "original",
                *argv[2:],
                "--out",
                "one",
                "--runs",
                "1",
                *hours,
            ]
        )
        == 0
    )
    assert clock.trained[-1] == "original-seed0" and "1 fit." in capsys.readouterr().out
