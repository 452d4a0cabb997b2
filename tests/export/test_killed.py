"""Exports that are killed leave what was there before, or all of what is new."""

import json
import os
import shutil

import numpy as np
import pytest

from keras_preact import ResNetConfig, build_network, load_trained
from keras_preact.cli import main

#: What is imported once; a child a try is forked before any network is built, and killed at a
#: moment that is drawn from the time that a whole try took.
KILLING = """
import os, random, shutil, signal, sys, time
from keras_preact.export import export
from keras_preact.console import import_keras_quietly
from keras_preact.trained import load_trained
import keras_preact.export.formats

network, out, kills = sys.argv[1], sys.argv[2], int(sys.argv[3])

def tried(until=None):
    started, child = time.monotonic(), os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        export(network, "keras", out)
        os._exit(0)
    if until is not None:
        time.sleep(until)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return time.monotonic() - started

whole = tried()
shutil.copytree(out, f"{out}-whole")
drawn = random.Random(0)
for k in range(kills):
    shutil.rmtree(out, ignore_errors=True)
    if k % 2 == 0:  # beside what was there before; else with nothing there
        shutil.copytree(f"{out}-whole", out)
    tried(whole * (0.4 + 0.6 * drawn.random()))
    os.makedirs(out, exist_ok=True)
    shutil.copytree(out, f"{out}-{k}")
"""


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("kills", [50])
def test_an_export_that_is_killed_is_whole_or_not_there(kills, tmp_path, run_python, randomize):
    config = ResNetConfig(units=(1,), filters=(4,), stem_filters=4)
    model = randomize(build_network(config, input_shape=(8, 8, 1), classes=3))
    model.save(tmp_path / "net.keras")
    out = tmp_path / "out"
    run_python(KILLING, tmp_path, tmp_path / "net.keras", out, kills)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype("float32")
    expected, found = model.predict_on_batch(images), 0
    for k in ("whole", *range(kills)):
        folder = tmp_path / f"out-{k}"
        listed = folder / "exports.json"
        names = json.loads(listed.read_bytes()) if listed.is_file() else ()
        assert all((folder / name).is_file() for name in names)
        there = [p.name for p in folder.iterdir() if not p.name.startswith(".")]
        assert {*there} <= {"README.md", "classes.json", "exports.json", "geometry.json",
                            "model.keras"}  # fmt: skip
        if "model.keras" in there:
            found += 1
            scores = load_trained(folder / "model.keras").model.predict_on_batch(images)
            np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert found > kills // 2  # those beside which one was there, and the one of no kill
    again = shutil.copytree(tmp_path / f"out-{kills - 1}", tmp_path / "again")
    assert (
        main(["export", str(tmp_path / "net.keras"), "--format", "keras", "--out", str(again)]) == 0
    )
    assert not [name for name in os.listdir(again) if name.startswith(".partial")]
