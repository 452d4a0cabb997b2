"""Notebooks run from top to bottom and are kept with the clean outputs of a whole run."""

import pathlib
import re

import nbclient
import nbformat
import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"

#: What each notebook's cell with the tag `parameters` says instead for a short run.
SHORT = {
    "1_quick_start": {"EPOCHS": 1, "FINE_TUNING": 1},
    "2_the_residual_unit": {"DEEP": "resnet8v2"},
    "3_why_depth_needs_shortcuts": {"DEPTH": 20, "IMAGES": 16, "EPOCHS": 1},
    "4_gates_and_their_bias": {"MODEL": "resnet8", "BIASES": (-6,), "EPOCHS": 1, "IMAGES": 16},
    "5_rectifiers": {"DEPTH": 20, "IMAGES": 16, "STUDY": 1, "EPOCHS": 1},
    "6_tuning": {"BIASES": [0.0], "EPOCHS": 1, "FINAL_SEEDS": 0},
    "7_lesions": {"DEPTH": 14, "EPOCHS": 1, "DRAWS": 1},
    "8_loss_surfaces": {"DEPTH": 32, "EPOCHS": 2, "IMAGES": 16, "POINTS": 3, "REACH": 0.5},
}

#: Those that are short enough for CI; the others take up to two minutes even so.
BRIEF = ("2_the_residual_unit",)

mark = pytest.mark
notebooks = mark.parametrize("name", SHORT)


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def execute(notebook, folder):
    resources = {"metadata": {"path": folder}}
    nbclient.NotebookClient(notebook, timeout=900, resources=resources).execute()


def test_all_are_here():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == [*SHORT]


@notebooks
def test_is_kept_executed(name):
    cells = code(read(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert "/tmp/" not in str(outputs)
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 600_000


@notebooks
def test_links_lead_somewhere(name):
    text = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text):
        assert (FOLDER / link).exists(), link


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=mark.thorough if n in BRIEF else mark.slow) for n in SHORT]
)
def test_runs_in_short(name, tmp_path):
    notebook = read(name)
    (cell,) = (c for c in code(notebook) if "parameters" in c.metadata.get("tags", []))
    assert re.findall(r"^(\w+) =", cell.source, flags=re.MULTILINE) == [*SHORT[name]]
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in SHORT[name].items())
    execute(notebook, tmp_path)


@pytest.mark.slow
@pytest.mark.tensorflow
@notebooks
def test_runs(name, tmp_path):
    execute(read(name), tmp_path)
