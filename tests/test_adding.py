"""What `docs/inside/adding.md` adds works, and can be taken away: its diffs, applied to a copy."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "inside" / "adding.md"

#: Tests that are generated from the tables, and what of them is new.
GENERATED = {
    "tests/residual/test_combinations.py": "test_pairwise and no_relu_after and layer_scale",
    "tests/weights/test_own.py": "test_a_graph_says and (no_relu_after or layer_scale)",
    "tests/drawing/test_drawings.py": "test_a_gallery_has_every_variant",
    "tests/training/test_config.py": "bag_of_tricks",
}

#: One training that uses all five, in a process that imports the copy.
CODE = """
import contextlib, io, json, pathlib, pytest, sys

sys.argv[1:] = []
generated = json.loads(pathlib.Path("generated.json").read_text())
collected = []
class Count:
    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            collected.append((report.nodeid, report.outcome))
quiet = ["--run-slow", "-n", "0", "-q", "-p", "no:cacheprovider", "-p", "no:warnings"]
words = " or ".join(f"({words})" for words in generated.values())
assert pytest.main([*quiet, *generated, "-k", words], [Count()]) == 0

import keras, numpy as np
from keras_preact import ResNetConfig, TrainConfig, convert, load_data
from keras_preact.cli import main
from keras_preact.export import export
from keras_preact.training.engines import make_engine
from keras_preact.training.job import prepare

def said(*argv):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main([*argv])
    return " ".join(out.getvalue().split())

variant = {"placement": "no_relu_after_addition", "shortcut": "layer_scale"}
small = {"units": [1, 3], "filters": [8, 16], "stem_filters": 8}
settings = {f"network.{name}": value for name, value in {**small, **variant}.items()}
settings |= {"recipe.warmup_steps": 0, "augmentation.scale": [16, 20]}
config = TrainConfig("resnet8v2", "jsonl:images/metadata.jsonl", "bag_of_tricks", epochs=1,
                     batch_size=8, image_size=16, dtype="float32", packaging="repeated",
                     settings=settings)
job = prepare(config, make_engine(config))
assert job.parts.recipe.mixup == 0.2 and job.data.class_names == ("cat", "dog")
before = {w.path: np.array(w) for w in job.engine.model.trainable_weights}
((row,),) = job.engine.train(job.batches, 0, 1)
job.engine.sync()
assert np.isfinite(row["loss"])
for weight in job.engine.model.trainable_weights:
    assert np.any(np.array(weight) != before[weight.path]), weight.path
job.engine.model.save("net.keras")
found = export("net.keras", "weights")
again = convert("net.keras")
print(json.dumps({
    "tests": collected,
    "placement and shortcut": [again.count_params(), job.engine.model.count_params()],
    "difference": found.difference,
    "written": sorted(path.name for path in pathlib.Path(found.path).iterdir()),
    "export --help": said("export", "--help"),
    "check-data": said("check-data", "images/metadata.jsonl"),
    "check-data --help": said("check-data", "--help"),
    "recipes": said("recipes"),
    "draw": said("draw", "layer_scale", "--out", "unit.svg"),
}))
"""


def git_apply(diff, folder, *options):
    """Applies a diff as its reader would, wherever the folder is."""
    alone = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    command = ["git", "apply", *options]
    subprocess.run(command, input=diff, text=True, cwd=folder, env=alone, check=True)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*.py")}


@pytest.mark.thorough
def test_what_the_page_adds_works_and_can_be_taken_away(tmp_path, run_python):
    copy, ignore = tmp_path / "copy", shutil.ignore_patterns("__pycache__", "tuning", "kept")
    for folder in ("keras_preact", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignore)
    shutil.copytree(ROOT / "tuning", copy / "keras_preact" / "tuning")
    shutil.copy(ROOT / "pyproject.toml", copy)
    diffs, before = re.findall(r"```diff\n(.*?)```", PAGE.read_text(), re.DOTALL), contents(copy)
    for diff in diffs:
        git_apply(diff, copy)
    changed = {path.relative_to(copy).as_posix() for path, text in contents(copy).items()
               if text != before[path]}  # fmt: skip
    assert changed == set(re.findall(r"(?m)^\+\+\+ b/(.*)$", "".join(diffs))) and len(changed) == 6

    (copy / "images").mkdir()
    random, lines = np.random.default_rng(0), []
    for k in range(24):
        Image.fromarray(random.integers(0, 256, (20, 20, 3), "uint8")).save(
            copy / f"images/{k}.png"
        )
        part = "train" if k < 16 else "test"
        lines.append(
            json.dumps({"file_name": f"{k}.png", "label": ["cat", "dog"][k % 2], "split": part})
        )
    (copy / "images" / "metadata.jsonl").write_text("\n".join(lines))
    (copy / "generated.json").write_text(json.dumps(GENERATED))
    found = json.loads(run_python(CODE, copy, PYTHONPATH=str(copy)).splitlines()[-1])

    ran = {test.split("::")[0]: test for test, outcome in found["tests"] if outcome == "passed"}
    assert ran.keys() == GENERATED.keys()
    read, trained = found["placement and shortcut"]
    assert read == trained
    assert found["difference"] < 1e-4 and found["written"] == ["model.json", "model.weights.h5"]
    assert "openvino, weights, or several" in found["export --help"]
    assert ".parquet, .jsonl) or .npz" in found["check-data --help"]
    assert "8 (test)" in found["check-data"] and "bag_of_tricks ResNets on" in found["recipes"]
    assert "depthwise" in (copy / "unit.svg").read_text() and "unit.svg" in found["draw"]

    for diff in diffs:
        git_apply(diff, copy, "--reverse")
    assert contents(copy) == before
