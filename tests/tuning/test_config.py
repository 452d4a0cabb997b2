"""Searches as data: dimensions, what they make of a training, equal cost, and what is refused."""

import json

import keras
import pytest

from keras_preact.errors import ConfigError
from keras_preact.tuning import TuneConfig
from keras_preact.tuning.space import SEARCHES, Dimension

NAMED = [name for name in SEARCHES if name != "fields"]


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", NAMED)
def test_named_searches(name, quick):
    """Each value of each dimension makes a network, and the config survives JSON."""
    config = TuneConfig(name, quick=quick)
    assert TuneConfig.from_json(config.to_json()) == config
    size = 1
    first = {d.name: d.grid()[0] for d in config.dimensions()}
    for dimension in config.dimensions():
        size *= len(dimension.grid())
        for value in dimension.grid():
            config.training_config({**first, dimension.name: value}).resolve()
    assert config.planned() == size


def test_the_gate_bias_is_searched_as_in_the_paper():
    config = TuneConfig("gating-bias")
    training = config.training_config({"network.gate_bias": -7.0}, fold=0)
    network = training.resolve().network
    assert (network.depth, network.shortcut, network.gate_bias) == (110, "exclusive_gating", -7.0)
    (dimension,) = config.dimensions()
    assert dimension.grid() == [0, -1, -2, -3, -4, -5, -6, -7, -8, -9, -10]


def test_the_test_images_are_not_seen_by_a_search():
    config = TuneConfig(seed=5, training={"settings": {"data.image_size": 8}})
    values = {"network.gate_bias": 0.0}
    data = config.training_config(values, fold=0, number=2).resolve().data
    assert (data.holdout, data.folds, data.split_seed, data.image_size) == (0.1, None, 5, 8)
    data = config.replace(folds=4).training_config(values, fold=3).resolve().data
    assert (data.holdout, data.folds, data.fold) == (None, 4, 3)
    last = config.training_config(values, number=2)
    trial = config.training_config(values, fold=0)
    assert last.saved_model and not trial.saved_model  # which takes longer than a trial's epoch
    data = last.resolve().data
    assert (data.holdout, data.folds, data.split_seed, last.seed) == (None, None, 5, 7)


def test_dimensions():
    assert Dimension.of("x", {"low": 1, "high": 4}).grid() == [1, 2, 3, 4]
    steps = Dimension.of("x", {"low": 0.1, "high": 0.5, "step": 0.2}).grid()
    assert steps == pytest.approx([0.1, 0.3, 0.5])
    lists = Dimension.of("network.units", [[1, 1], [2, 2]])
    assert lists.decode(lists.codes()[1]) == [2, 2]
    flags = Dimension.of("recompute", [True, False])
    assert flags.decode(flags.codes()[1]) is False
    mixed = Dimension.of("network.gate_bias", [0, -1.5])
    assert mixed.codes() == [0.0, -1.5] and mixed.decode(0.0) == 0


def test_what_the_user_fixes_is_not_searched():
    config = TuneConfig("variant", training={"settings": {"network.activation": "prelu"}})
    assert "network.activation" not in [d.name for d in config.dimensions()]
    values = {d.name: d.grid()[0] for d in config.dimensions()}
    assert config.training_config(values).resolve().network.activation == "prelu"


@pytest.mark.parametrize(
    ("budget", "units"),
    [("parameters", 1), pytest.param("multiply_adds", 2, marks=pytest.mark.slow)],
)
@pytest.mark.thorough
def test_networks_of_equal_cost(budget, units):
    from keras_preact import build_network, count_multiply_adds

    def cost(search, values):
        config = within_budget(search, search.training_config(values))
        with keras.StatelessScope(initialize_variables=False):  # shapes are all that is counted
            model = build_network(config.resolve().network, input_shape=(32, 32, 3))
        return model.count_params() if budget == "parameters" else count_multiply_adds(model)

    from keras_preact.tuning.budget import within_budget

    search = TuneConfig("depth", budget=budget)
    values = {"units_per_stage": units, "network.placement": "full_preactivation"}
    reference = cost(search, {**values, "units_per_stage": 3})
    assert cost(search, values) == pytest.approx(reference, rel=0.08)
    amount = search.replace(budget_amount=100_000 if budget == "parameters" else 20_000_000)
    assert cost(amount, values) == pytest.approx(amount.budget_amount, rel=0.12)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"search": "bias"}, "one of 'gating-bias'"),
        ({"search": "fields"}, "needs `space`"),
        ({"space": {"network.gate_bais": [1]}}, "Did you mean 'gate_bias'"),
        ({"space": {"gate_bias": [1]}}, "A dimension must be a field of TrainConfig"),
        ({"space": {"network.gate_bias": []}}, "a list of different values"),
        ({"space": {"network.gate_bias": [1, 1]}}, "a list of different values"),
        ({"space": {"network.gate_bias": 1}}, "a mapping with low, high"),
        ({"space": {"network.gate_bias": {"low": 1, "high": 0}}}, "low < high"),
        ({"space": {"network.gate_bias": {"low": 0, "high": 1, "log": True}}}, "low above 0"),
        (
            {"space": {"network.gate_bias": {"low": 0.5, "high": 1}}},
            "a mapping with a step, for a grid",
        ),
        ({"space": {"network.shortcut": ["gated"]}}, "one of 'identity'"),
        ({"space": {"depth": [21]}}, r"2 \+ 6 n"),
        ({"space": {"width": [0]}}, "above 0"),
        ({"training": {"seed": 1}}, "left to the search"),
        ({"training": {"modell": "resnet20"}}, "modell"),
        ({"budget_amount": 5}, "None without a `budget`"),
        ({"budget": "seconds"}, "given for the budget 'seconds'"),
        (
            {"budget": "seconds", "budget_amount": 9, "oracle": "hyperband"},
            "another than 'hyperband'",
        ),
        (
            {"budget": "seconds", "budget_amount": 9, "training": {"batch_size": "auto"}},
            "a number with the budget 'seconds'",
        ),
        ({"budget": "parameters", "space": {"width": [1, 2]}}, "left to the search"),
        ({"oracle": "hyperband", "trials": 5}, "None for Hyperband"),
        ({"workers": 0}, "at least 1"),
        ({"oracle": "genetic"}, "'bayesian'"),
        ({"oracle": "hyperband"}, "needs 62 different trials, and the space has 11"),
        ({"holdout": 0}, "a fraction between 0 and 1"),
        ({"folds": 1}, "at least 2"),
        ({"training": {"settings": {"data.holdout": 0.2}}}, "choose the validation images"),
        ({"training": {"settings": "x"}}, "a mapping"),
        ({"space": {"seed": [1, 2]}}, "left to the search"),
        ({"space": {"settings": [1]}}, "names of fields"),
        ({"space": {"network.gate_bias": {"low": 0, "high": 1, "step": "a"}}}, "numbers"),
        ({"space": {"network.gate_bias": {"low": 0, "high": float("inf")}}}, "numbers"),
        ({"space": {"network.gate_bias": {"low": 0, "high": 1, "step": -1}}}, "step above 0"),
    ],
)
def test_what_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        TuneConfig(**fields)


def test_values_that_only_go_together_are_allowed():
    space = {"network.units": [[1, 1, 1, 1]], "network.filters": [[16, 16, 32, 32]]}
    config = TuneConfig("fields", space=space)
    assert config.training_config(config.first()).resolve().network.filters == (16, 16, 32, 32)


def test_the_config_is_a_file_of_json():
    text = json.dumps({"search": "depth", "space": {"units_per_stage": [1, 2]}})
    assert TuneConfig.from_json(text).planned() == 4
