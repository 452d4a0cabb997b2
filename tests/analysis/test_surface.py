"""Loss surfaces: directions, points, lines and planes exactly, and grids that outlive a kill."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pandas as pd
import pytest

from keras_preact.analysis import (
    in_words,
    loss_between,
    loss_surface,
    loss_trajectory,
    plot_between,
    plot_surface,
    plot_trajectory,
    surface_page,
)
from keras_preact.analysis.loss import cross_entropies
from keras_preact.analysis.surface import filter_normalized
from keras_preact.analysis.terrain import Terrain
from keras_preact.errors import ConfigError
from keras_preact.run import RunFolder
from keras_preact.weights import load_weights_by_layer, weights_by_layer

numpy = keras.ops.convert_to_numpy


def measured(model, batches):
    """Loss and error by the model's own predictions."""
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    scores = model.predict_on_batch(images)
    losses = keras.losses.sparse_categorical_crossentropy(labels, scores, from_logits=True)
    return float(np.mean(numpy(losses))), float(np.mean(scores.argmax(axis=1) != labels))


@pytest.mark.thorough
def test_a_softmax_that_is_0_has_the_loss_of_its_logits(network, batches):
    tables = []
    for activation in (None, "softmax"):
        model = network(classifier_activation=activation)
        kernel = model.get_layer("predictions").kernel
        kernel.assign(1e5 * numpy(kernel))
        tables.append(loss_surface(model, batches, points=2)["loss"])
    np.testing.assert_allclose(tables[1], tables[0])
    assert numpy(cross_entropies(np.float32([[1, 0, 0]]), [0], are_logits=False)) == [0]


def test_filters_of_a_direction_are_as_long_as_the_networks(network, batches, randomize):
    model = randomize(network(activation="prelu", projection="B"))
    terrain = Terrain(model, batches)
    direction, end = filter_normalized(terrain, np.random.default_rng(0)), 0
    names = set()
    for variable in terrain.variables:
        start, end = end, end + int(np.prod(variable.shape))
        part, own = direction[start:end].reshape(variable.shape), numpy(variable)
        names.add(variable.name)
        if variable.name != "kernel":
            assert not part.any()
            continue
        for channel in range(own.shape[-1]):
            lengths = np.linalg.norm(part[..., channel]), np.linalg.norm(own[..., channel])
            assert lengths[0] == pytest.approx(lengths[1])
    assert names >= {"kernel", "bias", "gamma", "beta", "alpha", "moving_mean"}
    assert end == len(direction) == model.count_params()


@pytest.mark.thorough
def test_points_are_networks_with_these_weights(network, batches, randomize):
    keras.config.set_dtype_policy("mixed_bfloat16")
    fields = {"units": (1, 4), "block": "single", "shortcut": "dropout"}
    model = randomize(network(packaging="repeated", **fields))
    before = [numpy(variable) for variable in model.variables]
    found = loss_surface(model, batches, points=3, seed=2)
    assert [*zip(found["x"], found["y"], strict=True)] == [
        *itertools.product([-1.0, 0.0, 1.0], repeat=2)
    ]
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)
    keras.config.set_dtype_policy("float32")
    flat = network(**fields)
    load_weights_by_layer(flat, weights_by_layer(model))
    terrain, random = Terrain(flat, batches), np.random.default_rng(2)
    first, second = (filter_normalized(terrain, random) for _ in range(2))
    for row in (found.iloc[4], found.iloc[2]):
        point = terrain.point() + row["x"] * first + row["y"] * second
        load_weights_by_layer(flat, weights_by_layer(model))
        end, moving = 0, [v for v in flat.non_trainable_variables if "float" in v.dtype]
        for variable in (*flat.trainable_variables, *moving):
            start, end = end, end + int(np.prod(variable.shape))
            variable.assign(point[start:end].reshape(variable.shape))
        loss, error = measured(flat, batches)
        assert row["loss"] == pytest.approx(loss, rel=1e-4)
        assert row["error"] == pytest.approx(error)


def test_a_line_ends_at_both_networks(network, batches, randomize):
    first, second = (randomize(network(units=(1, 1)), seed) for seed in (0, 1))
    found = loss_between(first, weights_by_layer(second), batches, points=4)
    assert found["x"].tolist() == pytest.approx([-0.5, 0, 1 / 6, 5 / 6, 1, 1.5])
    line = found.set_index("x")
    for x, model in ((0.0, first), (1.0, second)):
        assert line.loc[x, ["loss", "error"]].tolist() == pytest.approx(measured(model, batches))
    with pytest.raises(ConfigError, match="those of this network"):
        loss_between(first, weights_by_layer(network(units=(2, 1))), batches)


def test_a_training_in_a_plane_is_found_there(network, batches):
    model = network(units=(1,), filters=(4,))
    terrain, random = Terrain(model, batches), np.random.default_rng(0)
    end = weights_by_layer(model)
    axes = np.linalg.qr(random.normal(size=(terrain.trained, 2)))[0].T
    places = np.array([[3.0, 1.0], [2.0, -1.0], [0.5, 0.2], [0.0, 0.0]])
    states = {}
    for number, place in enumerate(places):
        moved = np.split(place @ axes, np.cumsum([int(np.prod(v.shape)) for v in _trained(model)]))
        for variable, step in zip(_trained(model), moved, strict=False):
            variable.assign_add(step.reshape(variable.shape))
        states[f"step {number}"] = weights_by_layer(model)
        load_weights_by_layer(model, end)
    found = loss_trajectory(model, states, batches, points=3)
    points = found.points[["x", "y"]].to_numpy()
    np.testing.assert_allclose(points[-1], 0, atol=1e-6)
    distances = [np.linalg.norm(some[:, None] - some[None], axis=-1) for some in (points, places)]
    np.testing.assert_allclose(*distances, atol=1e-5)
    shares = found.points[["explained_x", "explained_y"]].iloc[0]
    assert shares.sum() == pytest.approx(1) and shares.iloc[0] > shares.iloc[1]
    assert len(found.surface) == 9
    with pytest.raises(ConfigError, match="at least three"):
        loss_trajectory(model, dict([*states.items()][:2]), batches)


def _trained(model):
    return model.trainable_variables


#: A terrain without a network, slow enough to be killed at work.
HILL = """
import sys, time
import numpy as np
from keras_preact.analysis.terrain import Terrain
from keras_preact.run import RunFolder

class Hill(Terrain):
    def __init__(self, wait=0.0): self.wait = wait
    def at(self, point): time.sleep(self.wait); return float(point @ point) / 3, 0.5
    def _named(self, *vectors): return repr([v.tolist() for v in vectors])

def scan(folder, wait=0.0, tilt=1.0):
    places = [(x / 7, y / 7) for x in range(5) for y in range(5)]
    keep = (RunFolder(folder), "surface.jsonl")
    return Hill(wait).scan(np.ones(2), [np.eye(2)[0], tilt * np.eye(2)[1]], places, keep)
"""


@pytest.mark.thorough
def test_a_grid_goes_on_after_a_kill(tmp_path):
    space = {}
    exec(HILL, space)
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
    code = f"{HILL}\nscan(sys.argv[1], wait=0.1)"
    # Keras's NumPy backend is enough for a hill, and there soonest.
    environment = {**os.environ, "KERAS_BACKEND": "numpy"}
    command = [sys.executable, "-c", code, str(tmp_path / "killed")]
    process = subprocess.Popen(command, env=environment)
    file, folder = tmp_path / "killed" / "surface.jsonl", RunFolder(tmp_path / "killed")
    while len(folder.read_lines(file.name)) < 4:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = folder.read_lines(file.name)[1:]
    assert 3 <= len(kept) < 25
    with open(file, "ab") as log:
        log.write(b'{"x": 0.1, "los')  # as a power cut leaves it
    found = space["scan"](folder.path)
    assert found.iloc[: len(kept)].to_dict("records") == kept  # not computed again: same seconds
    whole = space["scan"](tmp_path / "whole")
    columns = ["x", "y", "loss", "error"]
    pd.testing.assert_frame_equal(found[columns], whole[columns], check_exact=True)
    assert len(folder.read_lines(file.name)) == 26
    with pytest.raises(ConfigError, match="for the same weights, images and directions"):
        space["scan"](folder.path, tilt=2.0)


def test_words_and_pictures():
    of = {"network": "net", "state": "trained"}
    grid = pd.DataFrame([*itertools.product([-1.0, 0.0, 1.0], repeat=2)], columns=["x", "y"])
    plane = grid.assign(
        loss=1 + 9 * (grid["x"] ** 2 + grid["y"] ** 2), error=0.5, seconds=0.5, **of
    )
    plane.loc[0, "loss"] = np.inf
    way = {"name": ["initial", "step 1", "trained"], "x": [1.0, 0.5, 0.0], "y": [0.0, 0.5, 0.0]}
    way |= {"loss": [3.0, 2.0, 1.0], "error": 0.5, "explained_x": 0.75, "explained_y": 0.2}
    line = {"x": [0.0, 0.5, 1.0], "loss": [1.0, 4.0, 2.0], "error": 0.5, "to": "other"}
    tables = {
        "surface": plane,
        "trajectory": pd.DataFrame({**of, **way}),
        "lines": pd.DataFrame({**of, **line}),
    }
    words = in_words(tables)
    assert "the loss is 1 at the weights" in words["Loss surface"][0]
    assert "0.0% are lower (2 points per second)" in words["Loss surface"][0]
    assert "two directions explain 95.0% of the trajectory from initial" in words["Trajectory"][0]
    assert "a barrier of 2 between its loss of 1 and" in words["Between two runs"][0]
    assert plot_surface(plane).axes[0].get_title() == "net, trained"
    page = surface_page(plane.assign(network="<net>"))
    assert "<h2>&lt;net&gt;, trained</h2>" in page and "//" not in page  # nothing from elsewhere
    heights = json.loads(re.search(r'data-heights="(.*?)"', page)[1])
    assert (heights[0][0], heights[1][1], heights[2][2]) == (1.0, 0.0, 1.0)  # no number is the top
    assert heights[1][0] == round(np.log(10) / np.log(19), 3)
    with pytest.raises(ConfigError, match="a plane"):
        surface_page(plane.drop(columns="y"))
    assert len(plot_surface(plane[plane["y"] == 0].drop(columns="y")).axes[0].lines) == 1
    texts = plot_trajectory(tables["trajectory"], plane).axes[0].texts
    assert [text.get_text() for text in texts] == ["initial", "step 1", "trained"]
    assert len(plot_between(tables["lines"]).axes) == 2
