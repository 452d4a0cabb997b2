"""Plans that are killed, or stopped and moved: every run ends as if nothing had happened."""

import random
import shutil
import signal
import time

import pandas as pd
import pytest

from keras_preact.papers import ReproduceConfig
from keras_preact.papers.plan import CONFIG
from keras_preact.run import RunFolder

pytestmark = pytest.mark.tensorflow

SMALL = {
    "network.units": [1, 1],
    "network.filters": [4, 8],
    "network.stem_filters": 4,
    "recipe.epochs": 1,
    "recipe.batch_size": 128,
}
ENTRIES = (
    {"table": "he2016-table1", "row": "original|dropout"},
    {"table": "he2016-table2", "row": "ResNet-110, full*", "runs": 1},
)

#: What the guide says is to be copied of a run that has finished.
KEPT = {"config.json", "data.json", "env.json", "log.jsonl", "resolved.json", "result.json"}


def plan(out):
    same = {"scale": "smoke", "dtype": "float32", "settings": SMALL}
    found = [{**entry, **same, "out": str(out / entry["table"])} for entry in ENTRIES]
    assert sum(len(ReproduceConfig.from_dict(entry).trainings()) for entry in found) == 3
    return found


def runs(out):
    return {str(path.parent.relative_to(out)): path.parent for path in out.glob("*/*/result.json")}


def tables(out):
    """The tables without their times."""
    frames = {path.parent.name: pd.read_csv(path) for path in out.glob("*/table.csv")}
    return {name: frame.drop(columns="seconds").to_csv() for name, frame in frames.items()}


@pytest.fixture(scope="module")
def undisturbed(zygote, outcome, tmp_path_factory):
    """The outcome of each run and of each table, and the seconds that they took."""
    out, start = tmp_path_factory.mktemp("undisturbed"), time.monotonic()
    assert zygote.run(out, plan=plan(out)) == 0, zygote.message
    seconds = time.monotonic() - start
    found = {name: outcome(path) for name, path in runs(out).items()}
    assert len(found) == 3 and len(tables(out)) == 2
    return found, tables(out), seconds


@pytest.mark.slow
def test_killed_at_random_moments(zygote, undisturbed, outcome, tmp_path, request):
    """SIGKILL while steps are timed, in trainings, in reports; then the same plan again."""
    expected, expected_tables, seconds = undisturbed
    kills = request.config.getoption("--kills")
    chance = random.Random(kills)
    done = compared = 0
    while done < kills:
        out = tmp_path / f"plan{compared}"
        while True:
            (child,) = zygote.start(out, {"plan": plan(out)})
            if done < kills:
                time.sleep(chance.uniform(0.05, seconds / 2))  # what is left takes less each time
                done += zygote.kill(child)
            code = zygote.wait()
            if code != -signal.SIGKILL:
                break
        assert code == 0, zygote.message
        assert {name: outcome(path) for name, path in runs(out).items()} == expected
        assert tables(out) == expected_tables
        compared += 1
        shutil.rmtree(out)
    print(f"{done} kills, {compared} plans compared")


@pytest.mark.thorough
def test_a_plan_that_was_stopped_goes_on_elsewhere(zygote, undisturbed, outcome, tmp_path):
    """SIGTERM within the second run; the first one's few files and the whole of the second go."""
    expected, expected_tables, _ = undisturbed
    here, there = tmp_path / "here", tmp_path / "there"
    lines = 11 + 1 + 6  # a run has 11 steps and 1 epoch
    stop = {"append_log": [lines, "SIGTERM"]}
    assert zygote.run(here, plan=plan(here), faults=stop) == 128 + signal.SIGTERM
    ((name, ended),) = runs(here).items()
    assert outcome(ended) == expected[name]
    for path in ended.iterdir():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in here.glob("*/*"):
        if path.is_file() and path.name != CONFIG:
            path.unlink()
    here.rename(there)
    before = RunFolder(there / name).result
    assert zygote.run(there, plan=plan(there)) == 0, zygote.message
    found = {path: outcome(folder) for path, folder in runs(there).items() if path != name}
    assert found == {path: one for path, one in expected.items() if path != name}
    assert RunFolder(there / name).result == before
    assert tables(there) == expected_tables
