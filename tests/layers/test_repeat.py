"""`Repeat`: the loop against the same units one after the other."""

import json

import keras
import numpy as np
import pytest

from keras_preact.layers import Repeat

SHAPE = (6, 6, 4)


def unit(name="unit", **conv):
    inputs = keras.Input(SHAPE)
    x = keras.layers.BatchNormalization(momentum=0.5, name=f"{name}_norm")(inputs)
    x = keras.layers.Conv2D(4, 3, padding="same", name=f"{name}_conv", **conv)(x)
    x = keras.layers.Dropout(0.5, name=f"{name}_dropout")(x)
    return keras.Model(inputs, keras.layers.Add(name=f"{name}_add")([inputs, x]), name=name)


def repeat(names=("a", "b", "c"), template=None, **arguments):
    """A built layer whose weights are all of different values."""
    layer = Repeat(template or unit(), names, **arguments)
    layer.build((None, *SHAPE))
    random = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(random.uniform(0.1, 0.3, weight.shape))
    return layer


def noise(count=8):
    return np.random.default_rng(3).normal(size=(count, *SHAPE)).astype("float32")


def test_weights_are_stacked_and_each_repetition_starts_from_its_own():
    layer = Repeat(unit(), ["a", "b", "c"])
    layer.build((None, *SHAPE))
    shapes = {weight.name: tuple(weight.shape) for weight in layer.weights}
    assert shapes["conv_kernel"] == (3, 3, 3, 4, 4)
    assert shapes["norm_moving_mean"] == (3, 4)
    kernels = keras.ops.convert_to_numpy(layer.stacks()["unit_conv", 0])
    assert not np.array_equal(kernels[0], kernels[1])
    # Glorot's bound is that of one repetition's fans, not of the stack's.
    bound = np.sqrt(6 / (9 * 4 + 9 * 4))
    assert 0.8 * bound < np.abs(kernels).max() <= bound


def test_a_weight_whose_initializer_has_another_name_starts_as_its_layer_says():
    inputs, few = keras.Input(SHAPE), keras.initializers.RandomNormal(0.1, 0.01)
    scale = keras.layers.DepthwiseConv2D(1, use_bias=False, depthwise_initializer=few)
    layer = Repeat(keras.Model(inputs, scale(inputs), name="unit"), ["a", "b"])
    layer(keras.Input(SHAPE))
    first, second = keras.ops.convert_to_numpy(layer.weights[0])
    assert 0.05 < first.min() < first.max() < 0.15
    assert first.shape == (1, 1, 4, 1) and (first != second).all()


def test_it_computes_what_the_units_compute_one_after_the_other():
    layer = repeat()
    one, x = unit(), noise()
    y = x
    for k in range(3):
        stacks = layer.stacks()
        for part in ("unit_norm", "unit_conv"):
            part = one.get_layer(part)
            part.set_weights([stacks[part.name, i][k] for i in range(len(part.weights))])
        y = one(y)
    np.testing.assert_allclose(layer(x), y, rtol=1e-5, atol=1e-4)


def train(layer, x, steps=1):
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    for _ in range(steps):
        model.train_on_batch(x, np.zeros_like(x))
    return [keras.ops.convert_to_numpy(weight) for weight in layer.weights]


def without_dropout():
    template = unit()
    template.get_layer("unit_dropout").rate = 0.0
    return template


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.sample(2)
def test_recomputing_changes_no_gradient_and_moves_statistics_once(count):
    def layer(recompute):
        keras.utils.set_random_seed(1)  # dropout drops the same in both, and when recomputed
        return repeat(list("abc"[:count]), unit(), recompute=recompute)

    kept, recomputed = (train(layer(recompute), noise()) for recompute in (False, True))
    for a, b in zip(kept, recomputed, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    layer = repeat(template=without_dropout(), recompute=True)
    before = keras.ops.convert_to_numpy(layer.stacks()["unit_norm", 2]).copy()
    x = noise()
    layer(x, training=True)
    after = keras.ops.convert_to_numpy(layer.stacks()["unit_norm", 2])
    expected = 0.5 * before[0] + 0.5 * x.mean(axis=(0, 1, 2))  # momentum 0.5
    np.testing.assert_allclose(after[0], expected, rtol=1e-4, atol=1e-5)


def test_frozen_it_neither_learns_nor_moves_its_statistics():
    layer = repeat(template=without_dropout())
    layer.trainable = False
    before = [keras.ops.convert_to_numpy(weight).copy() for weight in layer.weights]
    x = noise()
    np.testing.assert_allclose(layer(x, training=True), layer(x), rtol=1e-6)
    for old, new in zip(before, layer.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert layer.trainable_weights == []
    layer.trainable = True
    layer(x, training=True)
    assert (keras.ops.convert_to_numpy(layer.stacks()["unit_norm", 2]) != before[-2]).any()


def dropped(layer, x):
    return keras.ops.convert_to_numpy(layer(x, training=True))


def test_every_repetition_and_step_drops_what_it_draws_itself():
    def drop(name="unit"):
        inputs = keras.Input(SHAPE)
        return keras.Model(
            inputs, keras.layers.Dropout(0.5, name=f"{name}_drop")(inputs), name=name
        )

    x = np.ones((64, *SHAPE), "float32")
    share = [(dropped(Repeat(drop(), list("abc"[:count])), x) > 0).mean() for count in (1, 2, 3)]
    # Masks that were the same in each repetition would keep a half of the values every time.
    np.testing.assert_allclose(share, [1 / 2, 1 / 4, 1 / 8], atol=0.02)
    layer = Repeat(drop(), ["a", "b"])
    first, second = dropped(layer, x), dropped(layer, x)
    assert ((first > 0) == (second > 0)).mean() < 0.8
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer(x)), x)


def test_a_seed_of_the_template_is_kept():
    def drop():
        inputs = keras.Input(SHAPE)
        outputs = keras.layers.Dropout(0.5, seed=7, name="unit_drop")(inputs)
        return Repeat(keras.Model(inputs, outputs, name="unit"), ["a", "b"])

    x = np.ones((4, *SHAPE), "float32")
    np.testing.assert_array_equal(dropped(drop(), x), dropped(drop(), x))


def test_a_layer_frozen_in_the_template_stays_frozen():
    template = without_dropout()
    template.get_layer("unit_norm").trainable = False
    layer = repeat(template=template)
    for trainable in (True, False, True):
        layer.trainable = trainable
        before = [keras.ops.convert_to_numpy(weight).copy() for weight in layer.weights]
        after = train(layer, noise())
        changed = {
            weight.name for weight, a, b in zip(layer.weights, before, after, strict=True)
            if (a != b).any()
        }  # fmt: skip
        assert changed == ({"conv_kernel", "conv_bias"} if trainable else set())


def test_losses_of_the_units_are_added():
    template = unit(kernel_regularizer=keras.regularizers.L2(0.1))
    layer = repeat(template=template)
    layer(noise())
    kernels = keras.ops.convert_to_numpy(layer.stacks()["unit_conv", 0])
    np.testing.assert_allclose(sum(layer.losses), 0.1 * (kernels**2).sum(), rtol=1e-5)


def test_constraints_hold_for_each_repetition():
    template = unit(kernel_constraint=keras.constraints.MaxNorm(1.0, axis=[0, 1, 2]))
    layer = repeat(template=template)
    stack = layer.stacks()["unit_conv", 0]
    constrained = keras.ops.convert_to_numpy(stack.constraint(keras.ops.convert_to_tensor(stack)))
    assert np.sqrt((constrained**2).sum(axis=(1, 2, 3))).max() <= 1.0 + 1e-5


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.sample(2)
@pytest.mark.thorough
def test_mixed_precision_learns_in_float32_and_computes_in_16_bits(policy):
    keras.config.set_dtype_policy(policy)
    layer = repeat()
    before = [keras.ops.convert_to_numpy(weight).copy() for weight in layer.weights]
    assert keras.backend.standardize_dtype(layer(noise()).dtype) == policy.removeprefix("mixed_")
    after = train(layer, noise(), steps=12)  # the loss scale of float16 comes down first
    for old, new in zip(before, after, strict=True):
        assert new.dtype == np.float32 and np.isfinite(new).all() and (new != old).any()


def test_files_hold_the_names_of_the_repetitions(tmp_path):
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, repeat(recompute=True)(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(noise()), again(noise()))
    configs = [json.dumps(m.layers[-1].get_config()) for m in (model, again)]
    assert configs[0] == configs[1]
    store = {}
    again.layers[-1].save_own_variables(store)
    assert {key.split(".")[0] for key in store} == {
        f"{name}_{part}" for name in "abc" for part in ("norm", "conv")
    }
    del store["b_conv.0"]
    with pytest.raises(ValueError, match=r"no weights for \['b_conv.0'\]"):
        again.layers[-1].load_own_variables(store)


@pytest.mark.tensorflow
@pytest.mark.thorough
def test_a_saved_model_runs_the_loop_without_this_package(tmp_path):
    import tensorflow as tf

    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, repeat()(inputs))
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(loaded.serve(noise(5)), model(noise(5)), rtol=1e-5, atol=1e-5)


@pytest.mark.tensorflow
@pytest.mark.thorough
def test_replicas_of_a_mirrored_strategy_train_it(strategy):
    import tensorflow as tf

    with strategy.scope():
        layer = repeat(template=without_dropout())
        optimizer = keras.optimizers.SGD(1e-3)
        optimizer.build(layer.trainable_variables)

    @tf.function
    def step(x):
        def replica():
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(layer(x, training=True) ** 2) / 2
            variables = layer.trainable_variables
            optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)

        strategy.run(replica)

    step(noise())  # the same images on both: the step of one device
    alone = train(repeat(template=without_dropout()), noise())
    for a, b in zip(layer.weights, alone, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(a), b, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_repeated_is_refused():
    inputs = keras.Input(SHAPE)
    strided = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
    with pytest.raises(ValueError, match=r"keep the shape of its input.*\(None, 4, 4, 4\)"):
        Repeat(strided, ["a", "b"])
    assert Repeat(strided, ["a"])(inputs).shape == (None, 4, 4, 4)
    for names in ([], ["a", "a"]):
        with pytest.raises(ValueError, match=r"at least one repetition, each differently"):
            Repeat(unit(), names)
