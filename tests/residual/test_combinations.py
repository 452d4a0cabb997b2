"""Block x placement x shortcut x activation x what came later: each builds, trains, is saved.

And each is the same network in every packaging. Always a cover of all values runs, with
`--thorough` one of all pairs of values, with `--run-slow` all legal combinations.
"""

import itertools
import json

import keras
import numpy as np
import pytest

from keras_preact import ResNetConfig, build_network
from keras_preact.config import Block, Placement, Shortcut
from keras_preact.errors import ConfigError
from keras_preact.placements import PLACEMENTS, PLAIN
from keras_preact.shortcuts import SHORTCUTS
from keras_preact.weights import load_weights_by_layer, weights_by_layer

LATER = {
    "": {},
    "stochastic depth": {"stochastic_depth": 0.3},
    "ReZero": {"residual_scale": "learned"},
    "SkipInit": {"residual_scale": "learned", "normalization": "none", "conv_bias": "without_norm"},
    "Fixup": {"normalization": "fixup"},
    "zero init": {"zero_init": True, "residual_scale": "inverse_sqrt_units"},
    "group norm": {"normalization": "group", "norm_groups": 2},
    "standardized": {"weight_standardization": True, "residual_scale": 0.5},
}
#: Steps until every weight has a gradient, where that is not at once.
STEPS = {"ReZero": 2, "SkipInit": 2, "zero init": 2, "Fixup": 3}
FIELDS = {
    "block": Block.__args__,
    "placement": Placement.__args__,
    "shortcut": Shortcut.__args__,
    "activation": ("relu", "prelu", "prelu_shared", "leaky_relu", "elu"),
    "later": tuple(LATER),
}
SMALL = {"units": (1, 2), "filters": (4, 8), "stem_filters": 4, "gate_bias": -1.0}
#: So that every branch of a small mini-batch has images that take it.
SMALL |= {"stochastic_depth_by": "image"}


def named(values):
    """The name of a combination's tests."""
    return "-".join(map(str, values))


def config(values):
    """The config of a combination, or None when it is not legal."""
    block = values[0]
    fields = dict(zip(FIELDS, values, strict=True))
    fields |= LATER[fields.pop("later")]
    projection = "B" if block == "bottleneck" else "A"
    try:
        return ResNetConfig(**SMALL, **fields, projection=projection)
    except ConfigError:
        return None


def chosen(row):
    """Whether a row is among all: what came later goes with one activation of each row in turn."""
    *places, activation, later = (
        values.index(x) for x, values in zip(row, FIELDS.values(), strict=True)
    )
    return not later or (sum(places) + later) % len(FIELDS["activation"]) == activation


ALL = [row for row in filter(chosen, itertools.product(*FIELDS.values())) if config(row)]


def covered_by(rows, size, cover=()):
    """A few of the rows that have all sets of `size` values that any row has, chosen greedily.

    They begin with those of another cover.
    """

    sets = {row: set(itertools.combinations(enumerate(row), size)) for row in rows}
    cover = [*cover]
    missing = set().union(*sets.values()).difference(*(sets[row] for row in cover))
    while missing:
        cover.append(max(rows, key=lambda row: len(sets[row] & missing)))
        missing -= sets[cover[-1]]
    return cover


SINGLE = covered_by(ALL, 1)
PAIRWISE = covered_by(ALL, 2, SINGLE)


def test_every_legal_combination_is_there():
    of_all = 3 * (len(SHORTCUTS) * len(PLACEMENTS) + len(PLAIN))
    assert sum(row[-1] == "" for row in ALL) == 5 * of_all
    kept = {name: sum(row[-1] == name for row in ALL) / of_all for name in LATER if name}
    assert all(0.6 < share <= 1 for share in kept.values()), kept
    assert len(SINGLE) < 10
    assert len(PAIRWISE) < 2 * len(SHORTCUTS) * len(PLACEMENTS)


def check(values, tmp_path):
    cfg = config(values)
    model = build_network(cfg, input_shape=(8, 8, 3), classes=3)
    random = np.random.default_rng(0)
    x = random.normal(size=(16, 8, 8, 3)).astype("float32")
    y = random.integers(0, 3, 16)
    # Its velocities tell the smallest gradient, which beside a weight of 1 may be rounded away.
    optimizer = keras.optimizers.SGD(1.0, momentum=0.01)
    model.compile(optimizer, "sparse_categorical_crossentropy", run_eagerly=True)
    # What starts at 0 keeps gradients from what is behind it until it has learned.
    for _ in range(STEPS.get(values[-1], 1)):
        assert np.isfinite(model.train_on_batch(x, y))
    for weight, velocity in zip(model.trainable_weights, optimizer.momentums, strict=True):
        assert np.isfinite(keras.ops.convert_to_numpy(weight)).all(), weight.path
        assert keras.ops.convert_to_numpy(velocity).any(), f"{weight.path} received no gradient"
    expected = keras.ops.convert_to_numpy(model(x))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert json.loads(again.to_json())["config"] == json.loads(model.to_json())["config"]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(again(x)), expected, atol=1e-6)
    assert ResNetConfig.from_json(cfg.to_json()) == cfg


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(
            values, id=named(values), marks=() if values in SINGLE else pytest.mark.thorough
        )
        for values in PAIRWISE
    ],
)
def test_pairwise(values, tmp_path):
    check(values, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("values", ALL, ids=named)
def test_all(values, tmp_path):
    check(values, tmp_path)


def trained_one_step(model, weights):
    """The weights after one step, from given ones: what the gradients and the statistics say."""
    load_weights_by_layer(model, weights)
    random = np.random.default_rng(0)
    x = random.normal(size=(8, 8, 8, 3)).astype("float32")
    y = random.integers(0, 3, 8)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", run_eagerly=True)
    model.train_on_batch(x, y)
    return weights_by_layer(model)


def check_packagings(values):
    still = {"dropout_rate": 0.0, "stochastic_depth": 0.0}  # each packaging draws its own
    cfg = config(values).replace(units=(1, 4), **still)
    kinds = [("flat", False), ("nested", False), ("repeated", False), ("repeated", True)]
    flat, *others = (
        build_network(cfg, input_shape=(8, 8, 3), classes=3, packaging=kind, recompute=recompute)
        for kind, recompute in kinds
    )
    start = weights_by_layer(flat)
    x = np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype("float32")
    outputs = keras.ops.convert_to_numpy(flat(x))
    expected = trained_one_step(flat, start)
    for model in others:
        load_weights_by_layer(model, start)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(model(x)), outputs, atol=1e-5)
        received = trained_one_step(model, start)
        for layer, arrays in expected.items():
            for index, array in arrays.items():
                np.testing.assert_allclose(
                    received[layer][index], array, atol=1e-5, rtol=1e-4, err_msg=layer
                )


@pytest.mark.parametrize("values", SINGLE, ids=named)
@pytest.mark.sample(9)
def test_packagings(values):
    check_packagings(values)


@pytest.mark.slow
@pytest.mark.parametrize("values", ALL, ids=named)
def test_packagings_all(values):
    check_packagings(values)
