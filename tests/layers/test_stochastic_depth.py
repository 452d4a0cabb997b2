"""Stochastic depth: what is left out, what it costs, and that inference knows nothing of it."""

import json

import keras
import numpy as np
import pytest

from keras_preact import (
    ResNetConfig,
    build_network,
    convert,
    fold_batch_norm,
    portable,
    residual_unit,
)
from keras_preact.layers import Repeat, StochasticDepth, repeat
from keras_preact.rewrite import unrolled
from keras_preact.weights import load_weights_by_layer, weights_by_layer
from keras_preact.weights.own import fields_of, layers_of

SMALL = ResNetConfig(units=(1, 4), filters=(4, 8), stem_filters=4, stochastic_depth=0.5)
PACKAGINGS = ("flat", "nested", "repeated")


def network(config=SMALL, packaging="flat", **arguments):
    return build_network(config, input_shape=(8, 8, 3), classes=3, packaging=packaging, **arguments)


def images(count=6):
    return np.random.default_rng(0).normal(size=(count, 8, 8, 3)).astype("float32")


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def rates(model):
    """Rate by unit, of layers and of loops."""
    found = {}
    for layer in model._flatten_layers():
        if isinstance(layer, Repeat) and layer.rates:
            found |= dict(zip(layer.names, layer.rates, strict=True))
        elif isinstance(layer, StochasticDepth) and layer.name.startswith("stage"):
            found[layer.name.removesuffix("_depth")] = layer.rate
    return found


@pytest.mark.parametrize("rule", ["linear", "uniform"])
@pytest.mark.parametrize("packaging", PACKAGINGS)
@pytest.mark.sample(6)
def test_rates_follow_the_rule(packaging, rule):
    model = network(SMALL.replace(stochastic_depth_rule=rule), packaging)
    names = ["stage1_unit1", *(f"stage2_unit{k}" for k in range(1, 5))]
    expected = [0.5 * k / 5 if rule == "linear" else 0.5 for k in range(1, 6)]  # equation 4
    assert rates(model) == pytest.approx(dict(zip(names, expected, strict=True)))
    assert rates(unrolled(model)) == rates(model)
    assert rates(keras.models.model_from_json(model.to_json())) == rates(model)


@pytest.mark.parametrize("by", ["batch", "image"])
@pytest.mark.sample(3)
@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_inference_is_that_of_the_network_without_it(packaging, by, randomize):
    """By mini-batch each branch is multiplied by its probability, as if its last kernel were."""
    config = SMALL.replace(stochastic_depth_by=by)
    plain = randomize(network(SMALL.replace(stochastic_depth=0.0)))
    model = network(config, packaging)
    load_weights_by_layer(model, weights_by_layer(plain))
    if by == "batch":
        for unit, rate in rates(model).items():
            last = plain.get_layer(f"{unit}_conv2")
            last.kernel.assign(last.kernel * (1 - rate))
    stand_in = {"batch": keras.layers.Rescaling, "image": keras.layers.Dropout}[by]
    for copy in (model, portable(model), unrolled(model, True)):
        np.testing.assert_allclose(copy(images()), plain(images()), rtol=1e-5, atol=1e-6)
    folded = fold_batch_norm(model)  # whose kernels are rounded anew
    np.testing.assert_allclose(folded(images()), plain(images()), rtol=1e-4, atol=1e-5)
    copy = portable(model)
    layers = [layer for layer in copy._flatten_layers() if layer.name.endswith("_depth")]
    assert len(layers) == 5 and {type(layer) for layer in layers} == {stand_in}
    found = fields_of(layers_of(json.loads(copy.to_json())), [*config.units])
    fields = ("stochastic_depth", "stochastic_depth_rule", "stochastic_depth_by")
    assert {k: found[k] for k in fields} == {k: getattr(config, k) for k in fields}


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("by", ["batch", "image"])
def test_the_expectation_is_that_of_the_whole_unit(by, loop):
    """Training has x + b F by mini-batch, x + b F / p by image; inference has the mean of it."""
    fields = {"normalization": "none", "stochastic_depth_by": by}
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 4))
    model, plain = (
        keras.Model(
            inputs,
            residual_unit(inputs, 4, name="unit", stochastic_depth=rate, **fields),
            name="unit",
        )
        for rate in (0.4, 0.0)
    )
    if loop:
        model = Repeat(model, ["one"])
        model.build(inputs.shape)
        model.set_weights([weight[None] for weight in plain.get_weights()])
    else:
        model.set_weights(plain.get_weights())
    draws = 100 if by == "batch" else 3000
    x = np.random.default_rng(1).normal(size=(1, 4, 4, 4)).astype("float32")
    branch = numpy(plain(x)) - x
    mean, kept = (0.6, 1) if by == "batch" else (1, 1 / 0.6)
    np.testing.assert_allclose(numpy(model(x)), x + mean * branch, rtol=1e-5, atol=1e-5)
    if by == "image":
        found = numpy(model(np.repeat(x, draws, 0), training=True))
    else:
        found = np.concatenate([numpy(model(x, training=True)) for _ in range(draws)])
    for one in found[:20]:
        errors = [np.abs(one - x[0] - factor * branch[0]).max() for factor in (0, kept)]
        assert min(errors) < 1e-5 < max(errors)
    error = np.abs(found.mean(0) - x[0] - mean * branch[0]).max() / np.abs(branch).max()
    assert error < 4 * kept * np.sqrt(0.6 * 0.4 / draws)  # four standard deviations of b


@pytest.mark.sample(2)
@pytest.mark.thorough
@pytest.mark.parametrize("recompute", [True, False])
def test_a_loop_leaves_out_what_it_draws(recompute, monkeypatch, randomize):
    """Loss, gradients and statistics are those of the network whose branches are left out.

    In the loop a unit that is left out is not computed: its statistics do not move, and nothing of
    it is learned, bit by bit.
    """
    config = SMALL.replace(units=(1, 5), projection="B")
    loops = network(config, "repeated", recompute=recompute)
    randomize(loops)
    start = weights_by_layer(loops)

    def factors(given, *_):
        pattern = [0.0, 2.0, 0.0, 1.5, 4.0][: len(given)] if len(given) > 1 else [1.25]
        return np.reshape(np.array(pattern, "float32"), (-1, 1, 1, 1, 1))

    monkeypatch.setattr(repeat, "branch_factors", factors)
    chosen = {}
    for layer in loops.layers:
        if isinstance(layer, Repeat):
            values = factors(layer.rates).ravel()
            chosen |= dict(zip(layer.names, values, strict=True))
    assert 0.0 in chosen.values()

    flat = network(config, "flat")
    load_weights_by_layer(flat, start)
    for layer in flat.layers:
        if isinstance(layer, StochasticDepth):
            layer._drawn.factor = chosen[layer.name.removesuffix("_depth")]
    labels = np.arange(6) % 3
    found = []
    for model in (loops, flat):
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        loss = model.train_on_batch(images(), labels)
        found.append((loss, weights_by_layer(model)))
    (loss, of_loops), (expected, of_flat) = found
    assert loss == pytest.approx(expected, rel=1e-4)
    for name, weights in of_flat.items():
        unit = "_".join(name.split("_")[:2])
        on_branch = "shortcut" not in name and unit in chosen
        for index, value in weights.items():
            if on_branch and chosen[unit] == 0:
                np.testing.assert_array_equal(of_loops[name][index], start[name][index])
            else:
                np.testing.assert_allclose(
                    of_loops[name][index], value, rtol=2e-3, atol=2e-5, err_msg=name
                )


@pytest.mark.thorough
def test_a_file_that_divides_in_training_keeps_its_outputs(randomize, tmp_path):
    """Mini-batches without a factor at inference, as development versions had them."""
    model = network(SMALL.replace(stochastic_depth_by="image"))
    randomize(model)
    config = model.get_config()
    for layer in config["layers"]:
        if layer["class_name"] == "StochasticDepth":
            layer["config"]["noise_shape"] = (1, 1, 1, 1)
            del layer["config"]["scale_at_inference"]
    old = keras.Model.from_config(config)
    old.set_weights(model.get_weights())
    old.save(tmp_path / "old.keras")
    again = convert(tmp_path / "old.keras", input_shape=(8, 8, 3))
    np.testing.assert_allclose(again(images()), model(images()), rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
def test_auto_packaging_saves_the_time_of_what_is_left_out():
    def loops(config):
        model = network(config, "auto")
        return sum(isinstance(layer, Repeat) for layer in model.layers)

    assert loops(SMALL.replace(stochastic_depth=0.0)) == 0
    assert loops(SMALL.replace(stochastic_depth_by="image")) == 0
    assert loops(SMALL) == 3  # each first and second unit by itself, then the others


def test_rates_must_fit():
    unit = next(x for x in network(packaging="repeated").layers if isinstance(x, Repeat))
    with pytest.raises(ValueError, match="one rate per repetition"):
        Repeat(unit.template(), ["a", "b"], rates=[0.1])
