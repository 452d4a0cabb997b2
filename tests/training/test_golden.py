"""The first steps of a training against the same network and steps in plain Keras, to rounding.

One network has what this package computes by itself: batch normalisation, PReLU, units in a loop, a
projection, and the step with its decay and its schedule. What it is compared with is written out
below in Keras's own layers and trained by `train_on_batch`, in this process and on the same images.
A kernel that computes anything else fails: fourteen small faults are tried, one by one.
"""

import contextlib

import keras
import numpy as np
import pytest

from keras_preact import TrainConfig
from keras_preact.layers import BatchNormalization, PReLU, Repeat
from keras_preact.training import optimizer as optimizers
from keras_preact.training.engine import Engine
from keras_preact.training.engines import make_engine
from keras_preact.training.job import prepare
from keras_preact.weights import load_weights_by_layer, weights_by_layer

STEPS, LATER = 3, 12
RATES = [0.01, *[0.1] * (LATER - 1)]  # he2016_cifar begins at a tenth
DECAY, EPSILON, MOMENTUM = 0.01, 0.05, 0.9  # larger than usual, so that a fault in them is seen
SETTINGS = {
    "network.units": [1, 3],
    "network.filters": [8, 8],
    "network.stem_filters": 8,
    "network.projection": "B",
    "network.activation": "prelu",
    "network.norm_epsilon": EPSILON,
    "network.norm_momentum": MOMENTUM,
    "recipe.preprocessing": "standardize",
    "recipe.weight_decay": DECAY,
    "recipe.warmup_steps": 1,
}


def job():
    fields = {"dtype": "float32", "batch_size": 32, "packaging": "repeated"}
    config = TrainConfig("resnet20v2", recipe="he2016_cifar", settings=SETTINGS, **fields)
    return prepare(config, make_engine(config))


def stock_network(images):
    """The network of `SETTINGS` in Keras's own layers, decay of all but slopes as penalties."""
    layers, decay = keras.layers, keras.regularizers.L2(DECAY / 2)
    mean, deviation = images.mean((0, 1, 2)), images.std((0, 1, 2))

    def conv(x, name, kernel=3, stride=1):
        if kernel == 3 and stride == 2:
            x = layers.ZeroPadding2D(1)(x)
        padding = "same" if stride == 1 else "valid"
        return layers.Conv2D(
            8, kernel, stride, padding, use_bias=False, kernel_regularizer=decay, name=name
        )(x)

    def norm_act(x, norm, act):
        x = layers.BatchNormalization(
            -1, MOMENTUM, EPSILON, gamma_regularizer=decay, beta_regularizer=decay, name=norm
        )(x)
        return layers.PReLU(shared_axes=[1, 2], name=act)(x)

    def branch(x, unit, k, stride=1):
        x = norm_act(conv(x, f"{unit}_conv1", 3, stride), f"{unit}_norm{k}", f"{unit}_act{k}")
        return conv(x, f"{unit}_conv2")

    inputs = keras.Input(images.shape[1:])
    x = layers.Normalization(mean=mean, variance=deviation**2)(inputs)
    x = norm_act(conv(x, "stem_conv"), "stem_norm", "stem_act")
    x = x + branch(x, "stage1_unit1", 1)
    for unit in ("stage2_unit1", "stage2_unit2", "stage2_unit3"):
        activated = norm_act(x, f"{unit}_norm1", f"{unit}_act1")
        first = unit == "stage2_unit1"
        shortcut = conv(activated, f"{unit}_shortcut_conv", 1, 2) if first else x
        x = shortcut + branch(activated, unit, 2, 2 if first else 1)
    x = layers.GlobalAveragePooling2D()(norm_act(x, "head_norm", "head_act"))
    decays = {"kernel_regularizer": decay, "bias_regularizer": decay}
    return keras.Model(inputs, layers.Dense(10, name="predictions", **decays)(x))


def flat(weights):
    return {
        f"{layer}.{index}": keras.ops.convert_to_numpy(value)
        for layer, values in weights.items()
        for index, value in values.items()
    }


def stock_steps(model, start, batches):
    """Loss and weights after each step of plain Keras."""
    load_weights_by_layer(model, start)
    for variable in model.optimizer.variables:
        if "momentum" in variable.path:
            variable.assign(np.zeros(variable.shape))
    found = []
    for rate, (images, labels) in zip(RATES, batches, strict=True):
        model.optimizer.learning_rate = rate
        model.reset_metrics()
        logs = model.train_on_batch(images, labels, return_dict=True)
        found.append((logs["crossentropy"], flat(weights_by_layer(model))))
    return found


def steps(job, start, count=STEPS):
    """Loss and weights after each step of this package's loop."""
    load_weights_by_layer(job.engine.model, start)
    found = []
    for rows in job.engine.train(job.batches, 0, count):
        job.engine.sync()
        found += [(row["loss"], flat(weights_by_layer(job.engine.model))) for row in rows]
    return found


def next_bits(weights, random):
    """Each weight, the next number above it or below."""
    return {
        layer: {
            index: np.nextafter(value, np.float32(random.choice([-99, 99], value.shape)))
            for index, value in values.items()
        }
        for layer, values in weights.items()
    }


def distance(one, other):
    """Of all weights, as a share of their length."""
    apart = sum(np.square(one[name] - other[name], dtype=float).sum() for name in one)
    return np.sqrt(apart / sum(np.square(value, dtype=float).sum() for value in one.values()))


@pytest.fixture(scope="module")
def plain():
    """Where to start, and what plain Keras makes of it, and of weights that are one bit apart."""
    random, begun = np.random.default_rng(0), job()
    start = {
        layer: {index: np.array(value) for index, value in values.items()}
        for layer, values in weights_by_layer(begun.engine.model).items()
    }
    for layer, values in start.items():
        if "norm" in layer or "act" in layer:  # so that no scale is 1, no offset 0, no slope alike
            for index in [*values][:2]:
                values[index] += random.normal(0, 0.1, values[index].shape).astype("float32")
    batches = [begun.batches[k] for k in range(LATER)]
    images = begun.data.train.images(slice(None)).astype("float64")
    model = stock_network(images)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metric = keras.metrics.SparseCategoricalCrossentropy("crossentropy", from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), cross_entropy, weighted_metrics=[metric])
    apart = next_bits(start, random)
    return start, stock_steps(model, start, batches), stock_steps(model, apart, batches)


def agree(found, expected):
    """To rounding: the loss to 1e-6 of it, each weight to 1e-5 of the largest beside it."""
    for (loss, weights), (stock_loss, stock_weights) in zip(found, expected, strict=True):
        np.testing.assert_allclose(loss, stock_loss, rtol=1e-6)
        assert weights.keys() == stock_weights.keys()
        for name, value in stock_weights.items():
            largest = np.abs(value).max()
            np.testing.assert_allclose(weights[name], value, 0, 1e-5 * largest, err_msg=name)


def test_steps_are_those_of_plain_keras(plain):
    start, expected, one_bit = plain
    found = steps(job(), start, LATER)
    agree(found[:STEPS], expected[:STEPS])
    for (_, ours), (_, stock), (_, beside) in zip(found, expected, one_bit, strict=True):
        assert 0 < distance(stock, ours) < 10 * distance(stock, beside) < 1e-4


def by_a_thousandth(value):
    """The same value with a gradient that is a thousandth too large."""
    return value + 0.001 * (value - keras.ops.stop_gradient(value))


def called(cls, change):
    """A fault in a layer: `change` takes its `call`, the layer, its inputs and how it is called."""

    def apply(monkeypatch):
        call = cls.call

        def wrong(self, inputs, training=None):
            return change(lambda x: call(self, x, training=training), self, inputs)

        monkeypatch.setattr(cls, "call", wrong)

    return apply


def with_number(name, factor):
    """Calls a layer while one of its numbers is another."""

    def change(call, layer, inputs):
        right = getattr(layer, name)
        setattr(layer, name, right * factor)
        outputs = call(inputs)
        setattr(layer, name, right)
        return outputs

    return change


def slopes_too_fast(call, layer, inputs):
    slopes = by_a_thousandth(layer.alpha.value) - keras.ops.stop_gradient(layer.alpha.value)
    return call(inputs) + slopes * keras.ops.minimum(inputs, 0)


def wrong_objective(monkeypatch):
    right = Engine.objective

    def objective(*arguments):
        value, *others = right(*arguments)
        return 1.001 * value, *others

    monkeypatch.setattr(Engine, "objective", objective)


def optimizer_with(**changes):
    """A fault in an argument of the optimiser."""

    def apply(monkeypatch):
        right = optimizers.CLASSES["SGD"]

        def wrong(learning_rate, **kwargs):
            return right(**{"learning_rate": learning_rate, **kwargs, **changes})

        monkeypatch.setitem(optimizers.CLASSES, "SGD", wrong)

    return apply


FAULTS = {
    "none": lambda monkeypatch: None,
    "epsilon of norms": called(BatchNormalization, with_number("epsilon", 1.01)),
    "momentum of norms": called(BatchNormalization, with_number("momentum", 1.001)),
    "gradient of norms": called(BatchNormalization, lambda call, _, x: call(by_a_thousandth(x))),
    "gradient of rectifiers": called(PReLU, lambda call, _, x: call(by_a_thousandth(x))),
    "gradient of slopes": called(PReLU, slopes_too_fast),
    "gradient of a loop": called(Repeat, lambda call, _, x: call(by_a_thousandth(x))),
    "scale of the loss": wrong_objective,
    "slopes decay": lambda patch: patch.setattr(optimizers.Rules, "decays", lambda *_: True),
    "kernels alone decay": optimizer_with(decayed="kernels"),
    "decoupled decay": optimizer_with(decay="decoupled"),
    "a little less decay": optimizer_with(l2=DECAY / 1.01),
    "momentum": optimizer_with(momentum=0.901),
    "Nesterov's momentum": optimizer_with(nesterov=True),
    "no warm-up": optimizer_with(learning_rate=0.1),
}


#: Single operations are slow on JAX, where it takes --run-slow.
MARKS = pytest.mark.slow if keras.backend.backend() == "jax" else ()


@pytest.mark.sample(18)
@pytest.mark.parametrize("fault", [pytest.param(name, marks=MARKS) for name in FAULTS])
def test_a_small_fault_is_seen(fault, plain, monkeypatch):
    start, expected, _ = plain
    FAULTS[fault](monkeypatch)
    with uncompiled():
        found = steps(job(), start)
    with pytest.raises(AssertionError) if fault != "none" else contextlib.nullcontext():
        agree(found, expected[:STEPS])


@contextlib.contextmanager
def uncompiled():
    """Runs steps operation by operation: a network of a fault is not worth compiling."""
    if keras.backend.backend() == "jax":
        import jax

        with jax.disable_jit():
            yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
