"""What is measured inside the runs of a table: the measures, a killed study, its report."""

import json

import numpy as np
import pandas as pd
import pytest

from keras_preact.cli import main
from keras_preact.errors import ConfigError
from keras_preact.papers import ReproduceConfig, inside, paper_rows, paper_tables, reproduce
from keras_preact.papers.inside import LAST, MEASURES
from keras_preact.run import RunFolder


def surface(height):
    places = np.linspace(-1, 1, 5)
    rows = [{"x": x, "y": y, "loss": height(x, y)} for x in places for y in places]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("height", "concave"),
    [
        (lambda x, y: x**2 + 2 * y**2, 0),
        (lambda x, y: x**2 - y**2, 50),
        (lambda x, y: -np.hypot(x, y), 100 * 26 / 30),  # straight but for 0 on two of ten lines
    ],
)
def test_the_plane_is_measured_by_second_differences(height, concave):
    assert MEASURES["non_convexity"].value(surface(height)) == pytest.approx(concave)


def test_the_loss_nearby_is_the_median_within_half_the_plane():
    found = MEASURES["loss_nearby"].value(surface(lambda x, y: 3 + abs(x) + abs(y)))
    assert found == pytest.approx(0.5)  # four places, all half a norm away


def test_measures_of_units_paths_and_eigenvalues():
    units = pd.DataFrame({"error": [0.5, np.nan, 0.7], "rise": [0.1, np.nan, 0.3]})
    assert MEASURES["error_without_a_unit"].value(units) == pytest.approx(60)
    assert MEASURES["rise_without_a_unit"].value(units) == pytest.approx(20)
    paths = pd.DataFrame({"length": range(5), "paths": [1, 4, 6, 4, 1]})
    paths["product"] = [0.04, 0.5, 0.44, 0.01, 0.01]
    values = [MEASURES[f"gradient_{name}"].value(paths) for name in ("from", "to", "paths")]
    assert values == [1, 2, pytest.approx(100 * 10 / 16)]
    eigenvalues = pd.DataFrame({"eigenvalue": [8.0, 3.0, -2.0]})
    assert MEASURES["largest_eigenvalue"].value(eigenvalues) == 8
    assert MEASURES["negative_curvature"].value(eigenvalues) == pytest.approx(25)
    assert MEASURES["negative_curvature"].value(eigenvalues + 2) == 0


def test_what_tables_say_of_measures():
    studies = [table for table in paper_tables().values() if table.also]
    assert {table.table for table in studies} == {"veit2016-lesions", "li2018-surfaces"}
    facts = [row for table in studies for row in paper_rows(table.table) if row.kind == "fact"]
    assert facts and {row.metric for row in facts} <= {*MEASURES}
    assert inside.paper_figures("veit2016-lesions")[0] == (
        "VGG, error without a layer: 90, chance (section 4.1)."
    )
    assert ReproduceConfig("veit2016-lesions").measured() == "lesions"
    assert ReproduceConfig("he2016-table2", also="refinement").measured() == "refinement"
    assert not ReproduceConfig("he2016-table2").measured()
    with pytest.raises(ConfigError, match="`also` must be some of 'lesions'"):
        ReproduceConfig("he2016-table2", also="lesion")


STUDY = (
    "reproduce", "veit2016-lesions", "--scale", "smoke", "--row", "plain-20|ResNet-20 V2",
    "--images", "64", "--also", "lesions", "--set", "recipe.epochs=2",
    "--set", "network.units=[2,1,1]", "--set", "network.filters=[4,4,8]",
    "--set", "network.stem_filters=4", "--out",
)  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A small table with its runs analysed."""
    out = tmp_path_factory.mktemp("study") / "table"
    assert main([*STUDY, str(out)]) == 0
    return out


@pytest.mark.thorough
def test_a_study_measures_every_run_and_reports_it(study, capsys):
    runs = [study / f"{name}-seed0" for name in ("plain-20", "ResNet-20_V2")]
    assert all((run / LAST).is_file() for run in runs)
    frame = pd.read_csv(study / "inside.csv")
    rises = frame[frame["measure"] == "rise_without_a_unit"].set_index("row")["median"]
    for row, run in zip(("plain-20", "ResNet-20 V2"), runs, strict=True):
        units = pd.read_csv(run / "analysis" / "lesions.csv")
        assert rises[row] == pytest.approx(100 * units["rise"].median())
    text = (study / "report.md").read_text()
    assert "| rise without a unit | ResNet-20 V2 | plain-20 |" in text
    assert "The paper: ResNet-110, longest path of those that carry the gradient: 17" in text
    assert "Lesions. plain-20, trained: removing one unit" in text
    page = (study / "report.html").read_text()
    assert "<h2>Inside the networks</h2>" in page
    for name in ("lesions", "path_lengths"):
        assert (study / f"{name}.png").is_file()
        assert f"({name}.png)" in text


@pytest.mark.thorough
def test_a_study_goes_on_where_it_was_killed(study, capsys):
    """What was trained and analysed is not done again, and surfaces of a run are in the report."""
    run, other = study / "ResNet-20_V2-seed0", study / "plain-20-seed0"
    table = pd.read_csv(run / "analysis" / "lesions.csv")
    (run / LAST).unlink()
    height = surface(lambda x, y: x**2 + y**2)
    of = {"network": other.name, "state": "trained"}
    height.assign(**of, error=0.5, seconds=0.1).to_csv(
        other / "analysis" / "surface.csv", index=False
    )
    before = {path: path.stat().st_mtime_ns for path in study.glob("*/*.json*")}
    seen = (other / LAST).stat().st_mtime_ns
    capsys.readouterr()
    assert main([*STUDY, str(study), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "ResNet-20_V2-seed0, trained weights" in err and "plain-20" not in err
    assert {path: path.stat().st_mtime_ns for path in study.glob("*/*.json*")} == before
    assert (run / LAST).is_file() and (other / LAST).stat().st_mtime_ns == seen
    pd.testing.assert_frame_equal(pd.read_csv(run / "analysis" / "lesions.csv"), table)
    assert {one["row"] for one in json.loads(out)["inside"]} == {"plain-20", "ResNet-20 V2"}
    assert "plain-20" in (study / "surface.html").read_text()


@pytest.mark.thorough
def test_another_measurement_is_another_table(study):
    config = ReproduceConfig.from_dict(RunFolder(study).read_json("reproduce.json"))
    with pytest.raises(ConfigError, match="`also` must be that of the table"):
        reproduce(config.replace(also="refinement"))
