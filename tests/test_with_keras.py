"""Files with this package's classes open in a new process in which no room has been imported."""

import ast
import gc
import json
import pathlib
import sys

import keras
import numpy as np
import pytest

from keras_preact import ResNetConfig, build_network
from keras_preact.rewrite import dense
from keras_preact.training import SGD
from keras_preact.training.optimizer import OneCycle

ROOT = pathlib.Path(__file__).parents[1]
IMAGES = np.random.default_rng(0).random((2, 16, 16, 1)).astype("float32")

NETWORKS = {
    **{
        f"{packaging}-{activation}": ({"activation": activation}, {"packaging": packaging})
        for packaging, activation in (
            ("flat", "prelu_shared"),
            ("nested", "prelu"),
            ("nested", "swish"),
            ("repeated", "leaky_relu"),
            ("repeated", "prelu"),
        )
    },
    "recomputed": ({}, {"packaging": "repeated", "recompute": True}),
    "16-bits": ({}, {"packaging": "repeated", "dtype": "mixed_bfloat16"}),
    "excluded-padding": ({"stem_pool": True, "stem_pool_padding": "excluded"}, {}),
    "gated": ({"shortcut": "exclusive_gating"}, {"packaging": "repeated"}),
    "pyramid": ({"pyramid": (2, 1), "dense": (6,), "activation": "prelu"}, {}),
}

OPEN = """
import json, pathlib, sys
import numpy as np
images = np.load("images.npy")
found = {}
for path in sorted(pathlib.Path().glob("*.keras")):
    model = keras.saving.load_model(path)
    found[path.stem] = keras.ops.convert_to_numpy(model(images)).tolist()
names = [name for name in keras.saving.get_custom_objects() if name.startswith("keras_preact>")]
print(json.dumps([found, names]))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a file of each kind, and what the networks in them say of the same images."""
    folder, scores = tmp_path_factory.mktemp("saved"), {}
    np.save(folder / "images.npy", IMAGES)

    def save(name, model):
        model.save(folder / f"{name}.keras")
        scores[name] = keras.ops.convert_to_numpy(model(IMAGES))

    for name, (fields, arguments) in NETWORKS.items():
        config = ResNetConfig(units=(4,), filters=(4,), stem_filters=4, **fields)
        save(name, build_network(config, input_shape=(16, 16, 1), classes=3, **arguments))
        if config.pyramid:
            trained = build_network(config, input_shape=(8, 8, 1), classes=3)
            save("dense", dense(trained))
    layers = [keras.Input((16, 16, 1)), keras.layers.Flatten(), keras.layers.Dense(1)]
    trained = keras.Sequential(layers)
    trained.compile(SGD(OneCycle(0.1, 10, 2), l2=1e-4), "mse")
    trained.fit(IMAGES, np.zeros((2, 1)), verbose=0)
    save("compiled", trained)
    return folder, scores


@pytest.mark.slow
@pytest.mark.parametrize("first", ["keras_preact", "keras"])
def test_files_open_where_only_the_package_was_imported(saved, first, run_python):
    folder, scores = saved
    second = {"keras", "keras_preact"} - {first}
    said = run_python(f"import {first}, {second.pop()}{OPEN}", folder)
    found, names = json.loads(said.splitlines()[-1])
    assert found.keys() == scores.keys()
    for name, expected in scores.items():
        np.testing.assert_allclose(found[name], expected, atol=1e-5, err_msg=name)
    assert {*names} == {*registered()}


def test_garbage_is_collected_once_keras_is_imported():
    assert "keras" in sys.modules and gc.isenabled()


def registered():
    """The names of all classes that the sources register."""
    for base in (ROOT / "keras_preact", ROOT / "tuning"):
        for path in base.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                for decorator in getattr(node, "decorator_list", ()):
                    if "register_keras_serializable" in ast.unparse(decorator):
                        yield f"keras_preact>{node.name}"
