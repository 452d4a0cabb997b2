"""Units left out and reordered, exactly, and the gradient path by path."""

import itertools
import math

import keras
import numpy as np
import pytest

from keras_preact.analysis import dissect, gradient_propagation, lesions, path_lengths
from keras_preact.analysis.gradients import backward
from keras_preact.analysis.lesion import _Network, _swapped
from keras_preact.analysis.paths import along
from keras_preact.errors import ConfigError
from keras_preact.weights import load_weights_by_layer, weights_by_layer

numpy = keras.ops.convert_to_numpy

#: Fields of a network, and the units whose shortcut is the identity (the second of stage 2 is).
VARIANTS = {
    "full pre-activation": ({}, "stage1_unit1 stage2_unit2"),
    "original, projections": (
        {"placement": "original", "projection": "B"},
        "stage1_unit1 stage2_unit2",
    ),
    "BN after addition, nested": (
        {"placement": "bn_after_addition", "packaging": "nested"},
        "stage1_unit1 stage2_unit2",
    ),
    "ReLU before addition": ({"placement": "relu_before_addition", "projection": "C"}, ""),
    "scaled": ({"shortcut": "constant_scaling", "placement": "original"}, ""),
    "gated": ({"shortcut": "exclusive_gating"}, ""),
    "dropout": ({"shortcut": "dropout"}, "stage1_unit1 stage2_unit2"),
}

#: What runs with --run-slow.
SLOW = {"scaled", "dropout"}


def error(model, batches):
    wrong = [model.predict_on_batch(x).argmax(axis=1) != labels for x, labels in batches]
    return np.mean(wrong)


def without_branch(model, unit):
    """The weights with which a unit's branch gives zeros: its last convolution's and norm's."""
    weights = weights_by_layer(model)
    for layer in (f"{unit}_conv2", f"{unit}_norm2"):
        if "norm" in layer and "1" not in weights.get(layer, {}):
            continue
        for index in ("0", "1"):
            if index in weights[layer]:
                weights[layer][index] = np.zeros_like(weights[layer][index])
    return weights


@pytest.mark.parametrize(
    ("fields", "identities"),
    [
        pytest.param(*row, id=name, marks=pytest.mark.slow if name in SLOW else ())
        for name, row in VARIANTS.items()
    ],
)
@pytest.mark.sample(2)
def test_a_unit_that_is_left_out_is_its_shortcut_alone(
    fields, identities, network, batches, randomize
):
    model = randomize(network(**fields))
    before = weights_by_layer(model)
    anatomy = dissect(model)
    steps = _Network(anatomy, batches)
    signals, found = steps.signals(batches[0][0]), []
    np.testing.assert_allclose(signals[-1], model.predict_on_batch(batches[0][0]), rtol=1e-5)
    for k in steps.units:
        x, unit = signals[k], anatomy.pieces[k]
        y = steps.without[k](x, signals[k + 1])
        if unit.hands_on and x.shape == y.shape:
            assert y is x  # to the last bit
            found.append(unit.name)
            continue
        load_weights_by_layer(model, without_branch(model, unit.name))
        np.testing.assert_array_equal(y, steps.whole[k](x, None))
        load_weights_by_layer(model, before)
    assert found == identities.split()


@pytest.mark.thorough
def test_errors_are_those_of_networks_with_other_weights(network, batches):
    model = network(units=(3, 1), placement="original")
    scores = model.predict_on_batch(np.concatenate([images for images, _ in batches]))
    model.get_layer("predictions").bias.assign(-scores.mean(axis=0))  # so that classes differ
    steps = _Network(dissect(model), batches)
    assert steps.of_one_shape() == [steps.units[:3]]
    orders = [*itertools.permutations(range(3))]
    places = [[steps.units[k] for k in order] for order in orders]
    found = steps.errors([steps.ordered([*order, *steps.units[3:]]) for order in places])
    weights, expected = weights_by_layer(model), []
    for order in orders:
        moved = dict(weights)
        for place, k in enumerate(order, 1):
            for name, values in weights.items():
                if name.startswith(f"stage1_unit{k + 1}_"):
                    moved[name.replace(f"unit{k + 1}", f"unit{place}")] = values
        load_weights_by_layer(model, moved)
        expected.append(error(model, batches))
    assert found.tolist() == expected
    assert len({*expected}) > 1


@pytest.mark.thorough
def test_tables_of_lesions(network, batches, randomize):
    model = randomize(network(units=(2, 3)))
    before = [numpy(variable) for variable in model.variables]
    anatomy = dissect(model)
    found = lesions(anatomy, batches, most=3, draws=2, seed=1)
    whole = error(model, batches)
    assert found.removals["error"][0] == whole
    assert found.removals["removed"].tolist() == [0, 1, 1, 2, 2, 3, 3]
    assert found.orders["swaps"].tolist() == [1, 1, 2, 2, 3, 3]
    assert found.units["rise"].tolist() == (found.units["error"] - whole).tolist()
    again = lesions(anatomy, batches, most=3, draws=2, seed=1)
    assert again.removals.equals(found.removals) and again.orders.equals(found.orders)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_swaps_stay_among_units_of_one_shape():
    random = np.random.default_rng(0)
    orders = {tuple(_swapped([*range(1, 8)], [[1, 2, 3], [5, 6]], 2, random)) for _ in range(50)}
    assert len(orders) > 5
    for order in orders:
        assert {*order[:3]} == {1, 2, 3} and {*order[4:6]} == {5, 6}
        assert (order[3], order[6]) == (4, 7)


def test_plain_nets_lose_units_that_keep_the_shape(network, batches):
    anatomy = dissect(network(shortcut="none", placement="original"))
    found = lesions(anatomy, batches, draws=1)
    known = found.units["error"].notna()
    assert found.units["unit"][known].tolist() == ["stage1_unit1", "stage2_unit2"]
    assert found.orders.empty  # no two of one shape
    assert path_lengths(anatomy, batches).empty


@pytest.mark.parametrize(
    ("policy", "packaging"),
    [
        ("mixed_bfloat16", "repeated"),
        pytest.param("mixed_float16", "flat", marks=pytest.mark.slow),
    ],
)
@pytest.mark.thorough
def test_networks_of_16_bits(policy, packaging, network, batches):
    keras.config.set_dtype_policy(policy)
    anatomy = dissect(network(packaging=packaging, placement="original", projection="B"))
    found = lesions(anatomy, batches, most=1, draws=1)
    assert found.units["error"].between(0, 1).all()
    assert np.isfinite(path_lengths(anatomy, batches, draws=1)["norm"]).all()


def test_networks_without_scores_are_refused(network, batches):
    with pytest.raises(ConfigError, match="ends with logits or a softmax"):
        lesions(dissect(network(include_top=False)), batches)
    with pytest.raises(ConfigError, match="`draws` must be"):
        lesions(dissect(network()), batches, draws=0)


@pytest.mark.thorough
def test_all_paths_together_are_the_gradient(network, batches):
    gated = {"placement": "original", "shortcut": "shortcut_only_gating", "projection": "B"}
    anatomy = dissect(network(**gated))
    gradient, parts = backward(anatomy, *batches[0])
    parts, whole = [*parts], gradient
    for _, through, _, _ in parts:
        whole = through(whole)
    names = [unit.name for unit in anatomy.units]
    sums = [0.0] * 4
    for taken in itertools.product([False, True], repeat=3):
        path = {name for name, passed in zip(names, taken, strict=True) if passed}
        sums[len(path)] += numpy(along(parts, gradient, path))
    np.testing.assert_allclose(sum(sums), whole, atol=1e-5 * np.abs(whole).max())


@pytest.mark.thorough
def test_lengths_of_paths_have_their_numbers_and_norms(network, batches):
    scaled = {"shortcut": "constant_scaling", "shortcut_scale": 0.5, "branch_scale": 1.0}
    anatomy = dissect(network(units=(4,), filters=(4,), **scaled))
    found = path_lengths(anatomy, batches, draws=2)
    assert found["paths"].tolist() == [math.comb(4, k) for k in range(5)]
    gradients = gradient_propagation(anatomy, batches)
    assert found["norm"][0] == pytest.approx(gradients["direct"].iloc[0], rel=1e-5)
    head = gradients["gradient"].iloc[-1]
    assert found["norm"][0] == pytest.approx(head * 0.5**4, rel=1e-5)  # through shortcuts alone
    np.testing.assert_allclose(found["product"], found["paths"] * found["norm"])
    assert found["share"].sum() == pytest.approx(1)
