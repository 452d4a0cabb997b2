"""Optimisers against Keras's own and NumPy, and the schedules of the rate."""

import inspect

import keras
import numpy as np
import pytest

from keras_preact import ResNetConfig, build_network
from keras_preact.applications import create_model
from keras_preact.training import RECIPES, SGD, Recipe
from keras_preact.training.algorithms import _FIELDS, OPTIMIZERS
from keras_preact.training.engine import scaled_optimizer
from keras_preact.training.optimizer import learning_rate_schedule, optimizer, steps_from_head
from keras_preact.weights.allowed import CLASSES

NAMES = pytest.mark.parametrize("name", OPTIMIZERS)


def rates(recipe, steps_per_epoch, steps):
    schedule = learning_rate_schedule(recipe, steps_per_epoch)
    values = [schedule(step) if callable(schedule) else schedule for step in steps]
    return [float(keras.ops.convert_to_numpy(value)) for value in values]


def test_he2016_warms_up_and_decays_at_32k_and_48k_iterations():
    # 390 whole batches of 128 in 50,000 images; 164 epochs are 63,960 steps.
    steps = [0, 399, 400, 31_979, 31_980, 47_969, 47_970, 63_959]
    expected = [0.01, 0.01, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    assert rates(RECIPES["he2016_cifar"], 390, steps) == pytest.approx(expected)


def test_he2015_has_no_warm_up():
    assert rates(RECIPES["he2015_cifar"], 390, [0, 31_980]) == pytest.approx([0.1, 0.01])


def test_imagenet_decays_at_epochs_30_and_60():
    recipe = RECIPES["he2016_imagenet"]
    steps = [0, 29_999, 30_000, 59_999, 60_000]
    assert rates(recipe, 1000, steps) == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])


def test_cosine_with_linear_warm_up():
    recipe, per_epoch = Recipe(epochs=10), 100
    steps = np.array([0, 25, 50, 500, 999])
    expected = np.where(
        steps < 50, 0.1 * steps / 50, 0.05 * (1 + np.cos(np.pi * (steps - 50) / 950))
    )
    assert rates(recipe, per_epoch, steps) == pytest.approx(expected, abs=1e-6)
    assert rates(Recipe(warmup_steps=0, epochs=1), 10, [0, 10]) == pytest.approx([0.1, 0.0])


@pytest.mark.parametrize(("epochs", "per_epoch"), [(2, 390), (10, 11), (1, 1), (50, 11)])
@pytest.mark.sample(4)
def test_a_short_training_warms_up_for_a_twentieth_and_never_exceeds_its_rate(epochs, per_epoch):
    steps = epochs * per_epoch
    values = rates(RECIPES["he2016_cifar"].replace(epochs=epochs), per_epoch, range(steps))
    warmup = 400 if steps > 800 else steps // 20
    marks = [warmup, round(steps / 2), round(steps * 3 / 4)]
    expected = [(0.01, 0.1, 0.01, 0.001)[sum(k >= mark for mark in marks)] for k in range(steps)]
    assert values == pytest.approx(expected)


def test_one_cycle_rises_and_falls_linearly():
    recipe, per_epoch = Recipe(epochs=10, schedule="one_cycle", warmup_steps=200), 100
    steps = np.array([0, 100, 200, 600, 1000])
    expected = np.minimum(0.1 * steps / 200, 0.1 * (1000 - steps) / 800)
    assert rates(recipe, per_epoch, steps) == pytest.approx(expected, abs=1e-7)


def test_the_torch_row_decays_from_epochs_81_and_122_on():
    steps = [0, 79, 80, 120, 121, 199]  # one step an epoch
    expected = [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    assert rates(RECIPES["he2016_cifar_torch"], 1, steps) == pytest.approx(expected)


def test_constant_rate():
    assert rates(Recipe(schedule="step", warmup_steps=0), 10, [0, 299]) == [0.1, 0.1]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
@pytest.mark.parametrize("decayed", ["all", "kernels"])
def test_steps_are_the_papers_update(nesterov, decay, decayed):
    inputs = keras.Input((3,))
    x = keras.layers.PReLU(name="slope")(keras.layers.Dense(4, name="dense")(inputs))
    model = keras.Model(inputs, x)
    sgd = SGD(0.1, momentum=0.9, nesterov=nesterov, l2=0.01, decay=decay, decayed=decayed)
    sgd.build(model.trainable_variables)
    decays = {"kernel": True, "bias": decayed == "all", "alpha": False}
    random = np.random.default_rng(0)
    w = [random.normal(size=v.shape).astype("float32") for v in model.trainable_variables]
    v = [np.zeros_like(value) for value in w]
    for variable, value in zip(model.trainable_variables, w, strict=True):
        variable.assign(value)
    for _ in range(3):
        gradients = [random.normal(size=value.shape).astype("float32") for value in w]
        sgd.apply([keras.ops.convert_to_tensor(g) for g in gradients])
        for k, variable in enumerate(model.trainable_variables):
            l2 = 0.01 if decays[variable.path.rsplit("/", 1)[-1]] else 0.0
            g = gradients[k] + (l2 * w[k] if decay == "coupled" else 0.0)
            w[k] = w[k] - (0.1 * l2 * w[k] if decay == "decoupled" else 0.0)
            v[k] = 0.9 * v[k] - 0.1 * g
            w[k] = w[k] + (0.9 * v[k] - 0.1 * g if nesterov else v[k])
    for variable, value in zip(model.trainable_variables, w, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), value, rtol=1e-5)


@NAMES
def test_arguments_are_those_of_keras(name):
    """Those of one alone, with their defaults; what a recipe says itself is refused."""
    row = OPTIMIZERS[name]
    every = [getattr(keras.optimizers, OPTIMIZERS[n].keras) for n in ("sgd", "adam", "lion")]
    shared = set.intersection(*({*inspect.signature(cls).parameters} for cls in every))
    found = inspect.signature(getattr(keras.optimizers, row.keras)).parameters
    shared -= {"beta_1", "beta_2"}
    own = {n: p.default for n, p in found.items() if n not in shared}
    of_recipe = {"momentum", "nesterov"} if name == "sgd" else set()
    assert {n: value for n, value in own.items() if n not in of_recipe} == row.arguments
    made = optimizer(Recipe(optimizer=name, optimizer_arguments=row.arguments), 10)
    assert row.arguments.items() <= made.get_config().items()
    assert of_recipe <= {*_FIELDS} and {*_FIELDS} <= shared | {"momentum", "nesterov"}


@NAMES
@pytest.mark.parametrize("decay", [None, "coupled", "decoupled"])
@pytest.mark.sample(21)
def test_steps_are_keras_own_after_the_rules(name, decay):
    """Decay by rule and a rate for each stage, then what Keras's optimiser does to each weight."""
    if (name, decay) == ("adamw", "coupled"):
        return
    recipe = Recipe(
        optimizer=name, learning_rate=0.01, weight_decay=0.1, decay=decay, layer_decay=0.5
    )
    steps, random = {"stem": 2, "stage1": 1, "predictions": 0}, np.random.default_rng(0)
    layers = [keras.layers.Dense(3, name=layer) for layer in steps]
    variables = keras.Sequential([keras.Input((3,)), *layers]).trainable_variables
    others = [keras.Variable(variable.value) for variable in variables]
    ours = optimizer(recipe)
    ours.build(variables)
    cls = getattr(keras.optimizers, OPTIMIZERS[name].keras)
    fields = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    rates = [0.01 * 0.5 ** steps[v.path.split("/")[-2]] for v in variables]
    theirs = [cls(rate, **fields) for rate in rates]
    for _ in range(3):
        gradients = [random.normal(size=v.shape).astype("float32") for v in variables]
        ours.apply([keras.ops.convert_to_tensor(g) for g in gradients])
        for k, (own, other, g) in enumerate(zip(theirs, others, gradients, strict=True)):
            if variables[k].name == "kernel" and recipe.decoupled:
                other.assign(other * (1 - rates[k] * 0.1))
            elif variables[k].name == "kernel":
                g = g + 0.1 * keras.ops.convert_to_numpy(other)
            own.apply([keras.ops.convert_to_tensor(g)], [other])
    assert recipe.decoupled == ((decay or OPTIMIZERS[name].decay) == "decoupled")
    for variable, other in zip(variables, others, strict=True):
        found, expected = map(keras.ops.convert_to_numpy, (variable, other))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=variable.path)


@NAMES
def test_all_of_the_state_is_among_the_variables_under_float16(name):
    """Keras's Nadam leaves out a part of its own there."""

    def names(policy):
        made = scaled_optimizer(optimizer(Recipe(optimizer=name)), policy)
        made.build([keras.Variable(np.ones((2, 3)), name="kernel")])
        return [variable.name for variable in made.variables]

    assert names("mixed_float16")[-len(names("float32")) :] == names("float32")
    assert not any("variable" in name for name in names("float32"))  # numbered in each process


@pytest.mark.parametrize("decayed", ["all", "kernels"])
def test_every_variable_is_decayed_or_spared_by_rule(decayed):
    model = create_model("resnet8v2", activation="prelu", shortcut="exclusive_gating")
    sgd = SGD(decayed=decayed, l2=1e-4)
    names = {}
    for variable in model.trainable_variables:
        names.setdefault(variable.path.rsplit("/", 1)[-1], set()).add(sgd.decays(variable.path))
    spared = {"alpha"} if decayed == "all" else {"alpha", "bias", "gamma", "beta"}
    everything = {"kernel", "bias", "gamma", "beta", "alpha"}
    assert names == {name: {name not in spared} for name in everything}


@NAMES
def test_every_optimizer_survives_saving(name):
    recipe = Recipe(optimizer=name, ema=0.9, clip_norm=1.0, layer_decay=0.7, scalar_rate=0.1)
    made = optimizer(recipe, 100)
    saved = keras.saving.serialize_keras_object(made)
    assert saved["registered_name"] == f"keras_preact>{OPTIMIZERS[name].keras}"
    assert saved["class_name"] in CLASSES[saved["module"]]
    again = keras.saving.deserialize_keras_object(saved)
    assert again.get_config() == made.get_config()
    assert (again.layer_decay, again.global_clipnorm, again.ema_momentum) == (0.7, 1.0, 0.9)
    assert again.scalar_rate == 0.1


@pytest.mark.parametrize("packaging", ["flat", "nested", "repeated"])
@pytest.mark.sample(3)
def test_learned_scales_and_offsets_have_a_rate_of_their_own(packaging):
    config = ResNetConfig(units=(4,), filters=(4,), stem_filters=4, normalization="fixup")
    model = build_network(config, input_shape=(8, 8, 3), packaging=packaging)
    variables = model.trainable_variables
    before = [keras.ops.convert_to_numpy(variable) for variable in variables]
    made = optimizer(Recipe(learning_rate=1.0, momentum=0.0, weight_decay=0.0, scalar_rate=0.1))
    made.build(variables)
    made.apply([keras.ops.ones(variable.shape) for variable in variables])
    for variable, old in zip(variables, before, strict=True):
        is_scalar = variable.shape == () or (packaging == "repeated" and variable.shape == (3,))
        step = old - keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(step, 0.1 if is_scalar else 1.0, atol=1e-5)


def test_round_trip():
    sgd = optimizer(RECIPES["he2016_cifar"].replace(decay="decoupled", ema=0.9), 100)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(sgd))
    assert again.get_config() == sgd.get_config()
    assert (again.l2, again.decayed, again.momentum) == (1e-4, "all", 0.9)
    assert (again.decay, again.use_ema, again.ema_momentum) == ("decoupled", True, 0.9)


def test_schedules_survive_saving():
    schedule = learning_rate_schedule(Recipe(schedule="one_cycle"), 100)
    saved = keras.saving.serialize_keras_object(schedule)
    assert keras.saving.deserialize_keras_object(saved).get_config() == schedule.get_config()


@pytest.mark.parametrize("decayed", ["all", "kernels"])
@pytest.mark.sample(2)
@pytest.mark.thorough
def test_the_same_weights_decay_in_every_packaging(decayed):
    config = ResNetConfig(units=(1, 4), filters=(4, 8), stem_filters=4, activation="prelu")

    def decaying(packaging):
        model = build_network(config, input_shape=(8, 8, 3), packaging=packaging)
        decays = SGD(l2=1e-4, decayed=decayed).decays
        return sum(int(np.prod(w.shape)) for w in model.trainable_weights if decays(w.path))

    assert decaying("flat") == decaying("nested") == decaying("repeated") > 0


@pytest.mark.thorough
def test_the_same_weights_are_as_far_from_the_head_in_every_packaging():
    config = ResNetConfig(units=(1, 4), filters=(4, 8), stem_filters=4, activation="prelu")

    def weights(packaging):
        model = build_network(config, input_shape=(8, 8, 3), packaging=packaging)
        steps = steps_from_head([w.path for w in model.trainable_weights])
        sizes = [int(np.prod(w.shape)) for w in model.trainable_weights]
        return [sum(n for n, s in zip(sizes, steps, strict=True) if s == step) for step in range(5)]

    assert weights("flat") == weights("nested") == weights("repeated")
    head, stage2, stage1, stem, beyond = weights("flat")
    assert (head, stem, beyond) == (3 * 8 + 8 * 10 + 10, 3 * 3 * 3 * 4 + 3 * 4, 0)
    assert stage2 > stage1 > 0
