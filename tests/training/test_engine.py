"""Steps: the same on one device and on several, in one part and in several, on host and device."""

import pathlib
import random
import subprocess
import sys
from typing import get_args, get_type_hints

import keras
import numpy as np
import pytest
from PIL import Image

from keras_preact import TrainConfig
from keras_preact.data import Augmentation, Batches
from keras_preact.data import blend as blend_module
from keras_preact.data.splits import ArraySplit
from keras_preact.errors import ConfigError
from keras_preact.layers import BatchNormalization
from keras_preact.training.algorithms import OPTIMIZERS
from keras_preact.training.checkpoint import Checkpoints
from keras_preact.training.engines import make_engine
from keras_preact.training.job import prepare
from keras_preact.training.recipes import Recipe
from keras_preact.training.statistics import average_statistics
from keras_preact.weights import layers_with_weights

ROOT = pathlib.Path(__file__).parents[2]
TWO = "cpu:0,cpu:1"
JAX = keras.backend.backend() == "jax"
SMALL = {
    "network.units": [1],
    "network.filters": [8],
    "network.stem_filters": 8,
    # A ReLU makes a last bit grow where it lifts a value over zero, on one device whose weights are
    # changed by a bit as well as on two; what is smooth keeps to rounding on every processor.
    "network.activation": "silu",
    "recipe.learning_rate": 0.01,
}
EVERYTHING = {
    "recipe.repeats": 3,
    "recipe.mixup": 0.2,
    "recipe.cutmix": 1.0,
    "recipe.label_smoothing": 0.1,
    "recipe.ema": 0.9,
    "recipe.decay": "decoupled",
    "recipe.layer_decay": 0.8,
    "recipe.clip_norm": 0.1,
    "recipe.loss": "binary_crossentropy",
    "recipe.balance": "weights",
    "recipe.optimizer": "nadam",  # which has a state of its own besides those of the weights
    "recipe.learning_rate": 0.002,
}


SMALLEST = {"network.units": [1], "network.filters": [4], "network.stem_filters": 4}
BALANCES = get_args(get_type_hints(Recipe)["balance"])


def config(settings=None, **fields):
    defaults = {"model": "resnet20v2", "dtype": "float32", "batch_size": 64}
    return TrainConfig(**{**defaults, **fields}, settings={**SMALL, **(settings or {})})


def job(settings=None, **fields):
    chosen = config(settings, **fields)
    return prepare(chosen, make_engine(chosen))


def train(job, steps=20, first=0):
    return np.array(
        [
            [row["loss"], row["accuracy"], row["gradient_norm"], row["learning_rate"]]
            for rows in job.engine.train(job.batches, first, steps)
            for row in rows
        ]
    )


@pytest.fixture(scope="module")
def unequal(tmp_path_factory):
    """A table of images of three classes of 30, 14 and 4 images, with a weight of each."""
    root, random = tmp_path_factory.mktemp("unequal"), np.random.default_rng(0)
    lines = ["path,label,split,weight"]
    for k, label in enumerate("a" * 30 + "b" * 14 + "c" * 4):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), "uint8")).save(root / f"{k}.png")
        part = "train" if k % 2 else "test"
        lines.append(f"{k}.png,{label},{part},{0.2 * (k % 7)}")
    (root / "images.csv").write_text("\n".join(lines))
    return f"csv:{root}/images.csv"


def with_optimizer(name, settings=None, **fields):
    """A smallest network, with all that is between gradient and weight."""
    own = {"recipe.optimizer": name, "recipe.decay": None, "recipe.warmup_steps": 0}
    return job({**EVERYTHING, **SMALLEST, **own, **(settings or {})}, **fields)


#: One with a state besides that of the weights, and one of layers' norms.
ALWAYS = ("nadam", "lamb")
of_every_optimizer = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in ALWAYS else pytest.mark.thorough) for n in OPTIMIZERS],
)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "settings",
    [pytest.param({}, marks=pytest.mark.slow), EVERYTHING],
    ids=["plain", "everything"],
)
@pytest.mark.thorough
def test_one_device_and_two_with_synchronized_statistics(settings):
    """R14: equal to 1e-5 over 20 steps."""
    one, two = job(settings), job(settings, devices=TWO, sync_batch_norm=True)
    assert (one.engine.replicas, two.engine.replicas) == (1, 2)
    np.testing.assert_allclose(train(two), train(one), rtol=1e-5, atol=1e-6)
    images = one.data.test.images(np.arange(33))
    np.testing.assert_allclose(two.engine.predict(images), one.engine.predict(images), atol=1e-5)


@pytest.mark.slow
@of_every_optimizer
def test_one_device_and_two_with_every_optimizer(name):
    one, two = with_optimizer(name), with_optimizer(name, devices=TWO, sync_batch_norm=True)
    np.testing.assert_allclose(train(two, 8), train(one, 8), rtol=1e-5, atol=1e-6)
    for variable, value in one.engine.state().items():
        np.testing.assert_allclose(two.engine.state()[variable], value, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("packaging", ["flat", "repeated"])
def test_parts_of_a_batch_are_devices(packaging):
    """`bn_batch` does on one device what two do, moving statistics included."""
    fields = {"packaging": packaging}
    more = {"network.units": [1 if packaging == "flat" else 4]}
    one, two = job({"recipe.bn_batch": 32, **more}, **fields), job(more, devices=TWO, **fields)
    np.testing.assert_allclose(train(two), train(one), rtol=1e-5, atol=1e-6)
    for name, value in one.engine.state().items():
        np.testing.assert_allclose(two.engine.state()[name], value, atol=1e-5, err_msg=name)


@pytest.mark.tensorflow
@pytest.mark.thorough
def test_replicas_hold_the_same_statistics():
    """Keras lets those of each replica drift apart, and saves the first one's."""
    two = job(devices=TWO)
    train(two, 3)
    moved = [v for v in two.engine.model.non_trainable_weights if "moving" in v.path]
    assert moved
    for variable in moved:
        first, second = (np.array(v) for v in variable.value.values)
        np.testing.assert_array_equal(first, second)


@pytest.mark.tensorflow
def test_replicas_drop_out_different_values():
    """Keras gives all of them the same seed."""
    import tensorflow as tf

    from keras_preact.training.engine_tf import _seeds_of_replicas

    two = job({"network.shortcut": "dropout"}, devices=TWO)
    layers = [x for x in two.engine.model.layers if isinstance(x, keras.layers.Dropout)]

    @tf.function
    def masks():
        with _seeds_of_replicas(2):
            drop = lambda: layers[0](tf.ones((4, 64)), training=True)  # noqa: E731
            return two.engine.strategy.run(drop)

    first, second = two.engine.strategy.experimental_local_results(masks())
    assert not np.array_equal(first, second)
    assert train(two, 2).shape == (2, 4)


@pytest.mark.tensorflow
@pytest.mark.thorough
def test_every_image_is_predicted_once():
    """R13: on any number of devices, whatever the last batch is."""
    one, two = job(), job(devices=TWO)
    for images in (1, 2, 5, 31, 32, 33):
        chosen = one.data.test.images(np.arange(images))
        expected = one.engine.predict(chosen)
        assert expected.shape == (images, 10)
        np.testing.assert_allclose(expected.sum(1), 1, rtol=1e-5)
        np.testing.assert_allclose(two.engine.predict(chosen), expected, atol=1e-5)


@pytest.mark.tensorflow
def test_what_devices_cannot_share_is_refused():
    with pytest.raises(ConfigError, match="a multiple of 2, the number of devices"):
        job(devices=TWO, batch_size=33)
    with pytest.raises(ConfigError, match="mixed_float16 supports one device only"):
        job(devices=TWO, dtype="mixed_float16")
    with pytest.raises(ConfigError, match="even on each device"):
        job({"recipe.mixup": 0.2}, devices=TWO, batch_size=30)


def test_parts_must_divide_a_batch():
    with pytest.raises(ConfigError, match="`bn_batch` must be a divisor of 64"):
        job({"recipe.bn_batch": 48})


def test_unknown_devices_are_refused():
    with pytest.raises(ConfigError, match="`devices` must be 'auto' or some of"):
        make_engine(config(devices="gpu:7"))


@pytest.mark.parametrize(
    ("loss", "clip", "dtype"),
    [
        ("categorical_crossentropy", None, "float32"),
        ("binary_crossentropy", 0.01, "float32"),
        ("binary_crossentropy", 0.01, "mixed_float16"),  # clipped without its scale
    ],
)
@pytest.mark.sample(3)
def test_a_step_is_the_formula(loss, clip, dtype):
    """Loss, gradient and update of one step against Keras's own pieces."""
    settings = {"recipe.label_smoothing": 0.1, "recipe.warmup_steps": 0}
    one = job({**settings, "recipe.loss": loss, "recipe.clip_norm": clip}, dtype=dtype)
    model = one.engine.model
    images, labels = one.batches[0]
    scores = keras.ops.convert_to_numpy(model(images.astype("float32"), training=True))
    scores = scores.astype("float32")
    targets = 0.9 * np.eye(10)[labels] + 0.01
    if loss == "categorical_crossentropy":
        shifted = scores - scores.max(1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        expected, gradient = -(targets * logs).sum(1), np.exp(logs) - targets
    else:
        chances = 1 / (1 + np.exp(-scores.astype("float64")))
        logs = targets * np.log(chances) + (1 - targets) * np.log(1 - chances)
        expected, gradient = -logs.mean(1), (chances - targets) / 10
    before = one.engine.state()
    (row,) = train(one, 1)
    after = one.engine.state()
    rounding = 1e-5 if dtype == "float32" else 1e-3
    assert row[0] == pytest.approx(expected.mean(), rel=rounding)
    assert row[1] == pytest.approx((scores.argmax(1) == labels).mean())
    assert row[3] == pytest.approx(0.01)
    # The bias of the classifier is not decayed: its gradient is the mean of (score - target), and
    # Nesterov's first step is 1.9 times rate times gradient, which is clipped to a norm below that
    # which is logged.
    name = next(n for n in before if n.startswith("model.") and n.endswith("bias"))
    step = 0.019 * gradient.mean(0) * (clip / row[2] if clip else 1)
    assert clip is None or clip < row[2] / 2
    atol = 50 * rounding * np.abs(step).max()
    np.testing.assert_allclose(after[name] - before[name], -step, rtol=0, atol=atol)


def blended(values, share):
    """Values and what they are blended with: the neighbour of each pair."""
    neighbours = values.reshape(-1, 2, *values.shape[1:])[:, ::-1].reshape(values.shape)
    return share, values, 1 - share, neighbours


@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize("mixup", [pytest.param(0, marks=pytest.mark.thorough), 0.7])
@pytest.mark.sample(4)
def test_a_step_over_classes_of_unequal_size_is_the_formula(balance, mixup, unequal):
    """Two losses of a blend, each with its weight, of logits to which logarithms of shares come."""
    settings = {"recipe.balance": balance, "recipe.mixup": mixup, "recipe.warmup_steps": 0}
    one = job({**SMALLEST, **settings}, data=unequal, batch_size=8)
    train_part, engine = one.data.train, one.engine
    counts = np.bincount(train_part.labels)
    weights = train_part.columns["weight"]
    if balance == "weights":
        weights = weights * (24 / (3 * counts))[train_part.labels]
    weights = (weights / weights.mean())[one.batches.places(0)]
    images, labels = one.batches[0]
    targets, share = np.eye(3)[labels], np.ones(8)
    if mixup:
        share = one.batches.blend(0, mixup).astype(float)
        s, x, rest, other = blended(images.astype("float32"), share[:, None, None, None])
        images = (s * x + rest * other).astype("float32")
    scores = keras.ops.convert_to_numpy(engine.model(images.astype("float32"), training=True))
    scores, right = scores.astype(float), scores.argmax(1) == labels
    if balance == "logit_adjustment":
        scores += np.log(counts / 24)
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    _, w, _, w_other = blended(weights, share)
    _, t, _, t_other = blended(targets, share)
    own, other = (share * w)[:, None], ((1 - share) * w_other)[:, None]
    expected = -((own * t + other * t_other) * logs).sum(1).mean()
    gradient = (own * (np.exp(logs) - t) + other * (np.exp(logs) - t_other)).mean(0)
    before = engine.state()
    (row,) = train(one, 1)
    name = next(n for n in before if n.startswith("model.") and n.endswith("bias"))
    step = engine.state()[name] - before[name]
    assert row[0] == pytest.approx(expected, rel=1e-5) and row[1] == right.mean()
    np.testing.assert_allclose(step, -0.019 * gradient, atol=5e-4 * np.abs(step).max())


@pytest.mark.parametrize(
    "balance", ["sampling", pytest.param("logit_adjustment", marks=pytest.mark.slow)]
)
@pytest.mark.thorough
def test_devices_share_weighted_images_and_go_on_in_an_epoch(balance, unequal):
    settings = {**SMALLEST, "recipe.balance": balance, "recipe.mixup": 0.7}
    fields = {"data": unequal, "batch_size": 4}
    one = job(settings, **fields)
    sync = {} if JAX else {"sync_batch_norm": True}
    two = job(settings, devices=TWO, **sync, **fields)
    two.engine.holds_images = JAX
    train(one, 3)
    there = one.engine.state()
    rest = train(one, 6, first=3)
    for other, rtol in ((job(settings, **fields), 0), (two, 1e-4)):
        other.engine.restore(there)
        np.testing.assert_allclose(train(other, 6, first=3), rest, rtol=rtol, atol=rtol / 10)


@pytest.mark.thorough
def test_images_that_count_for_nothing():
    """Not even where two of them are blended: no division by zero."""
    one = job({**SMALLEST, "recipe.mixup": 0.7})
    one.batches._weights = np.zeros(len(one.data.train), "float32")
    (row,) = train(one, 1)
    assert row[0] == row[2] == 0


def test_sigmoids_have_no_shares_to_adjust():
    with pytest.raises(ConfigError, match="'categorical_crossentropy' with balance='logit_adj"):
        job({"recipe.balance": "logit_adjustment", "recipe.loss": "binary_crossentropy"})


def test_the_average_of_the_weights_is_used_for_a_while():
    one = job({"recipe.ema": 0.5, "recipe.warmup_steps": 0})
    weights, kernel = [], one.engine.model.trainable_variables[0]
    for _ in range(3):
        train(one, 1)
        weights.append(keras.ops.convert_to_numpy(kernel))
    with one.engine.averaged():
        # Keras starts the average with the weights after the first step.
        average = 0.25 * weights[0] + 0.25 * weights[1] + 0.5 * weights[2]
        np.testing.assert_allclose(keras.ops.convert_to_numpy(kernel), average, atol=1e-6)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel), weights[2])


@pytest.mark.thorough
def test_a_state_comes_back_and_another_networks_is_refused():
    settings = {"network.shortcut": "dropout"}
    first, second = job(settings), job(settings)
    train(first, 2)
    second.engine.restore(first.engine.state())
    np.testing.assert_array_equal(train(second, 3), train(first, 3))
    other = job({"network.filters": [16]})
    with pytest.raises(ConfigError, match="the same network and optimiser"):
        other.engine.restore(first.engine.state())


@of_every_optimizer
@pytest.mark.parametrize(
    "dtype",
    [
        "float32",
        pytest.param("mixed_bfloat16", marks=pytest.mark.slow),
        pytest.param("mixed_float16", marks=pytest.mark.slow),
    ],
)
def test_every_optimizer_goes_on_to_the_last_bit(dtype, name, tmp_path):
    """From a checkpoint after a random step: all that the next one depends on is in it."""
    settings, steps = {"network.shortcut": "dropout"}, 6
    one = with_optimizer(name, settings, dtype=dtype)
    stop = random.Random(name).randrange(1, steps)
    train(one, stop)
    Checkpoints(tmp_path).save(one.engine.state(), {"step": stop})
    rest, after = train(one, steps, stop), one.engine.state()
    saved = Checkpoints(tmp_path).latest()[0].state
    other = with_optimizer(name, settings, dtype=dtype)
    other.engine.restore(saved)
    for variable, value in other.engine.state().items():
        np.testing.assert_array_equal(value, saved[variable], err_msg=variable)
    one.engine.restore(saved)
    np.testing.assert_array_equal(train(one, steps, stop), rest)
    for variable, value in one.engine.state().items():
        np.testing.assert_array_equal(value, after[variable], err_msg=variable)


@pytest.mark.parametrize("balance", ["none", "sampling"])
@pytest.mark.sample(2)
@pytest.mark.thorough
def test_statistics_over_many_images(balance):
    """`precise_bn` of the first norm against NumPy, over the images that an epoch trains on."""
    one = job({"recipe.precise_bn": 6 * 64, "recipe.balance": balance})
    train(one, 2)
    labels = one.data.train.labels
    some = one.data.train.subset(np.flatnonzero((labels == 1) | (np.arange(len(labels)) % 4 == 0)))
    average_statistics(one.engine, some, momentum=0.9)
    layers = layers_with_weights(one.engine.model)
    norm = next(layer for layer in layers if isinstance(layer, BatchNormalization))
    balanced = balance == "sampling"
    order = Batches(some, 64, shuffle=True, balanced=balanced).indices(0)[: 6 * 64]
    assert (np.sum(some.labels[order] == 1) < 50) == balanced  # of a third of the images
    images = some.images(order).astype("float32")
    features = keras.Model(one.engine.model.input, norm.input)(images)
    values = keras.ops.convert_to_numpy(features).astype("float64")
    mean, variance = map(keras.ops.convert_to_numpy, (norm.moving_mean, norm.moving_variance))
    np.testing.assert_allclose(mean, values.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(variance, values.var((0, 1, 2)), rtol=1e-3)


@pytest.mark.skipif(not JAX, reason="the test of TensorFlow is another")
@pytest.mark.parametrize("held", [True, False], ids=["held", "streamed"])
def test_two_devices_train_as_one_under_jax(held):
    """R14: statistics are always those of the whole batch there."""
    one, two = job(EVERYTHING), job(EVERYTHING, devices=TWO)
    assert (one.engine.replicas, two.engine.replicas) == (1, 2)
    two.engine.holds_images = held
    np.testing.assert_allclose(train(two, 5), train(one, 5), rtol=1e-4, atol=1e-6)
    images = one.data.test.images(np.arange(33))
    np.testing.assert_allclose(two.engine.predict(images), one.engine.predict(images), atol=1e-4)
    with pytest.raises(ConfigError, match="several devices take the statistics over the whole"):
        job({"recipe.bn_batch": 16}, devices=TWO)


@pytest.mark.skipif(not JAX, reason="the device augments under JAX")
@pytest.mark.parametrize(
    ("count", "shape"),
    [
        (200, (64, 64, 3)),
        (32, (224, 224, 3)),
        (32, (224, 224, 1)),
        (64, (20, 33, 1)),
        (64, (2, 1, 3)),
    ],
    ids=lambda value: "x".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_the_device_augments_as_the_host_does(count, shape):
    """To the last bit, black and white images with their many ties of rounding included."""
    import jax

    from keras_preact.training.augment_jax import augmented, draws

    images = np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
    images[::3] = np.where(images[::3] > 127, 255, 0)
    split = ArraySplit(images, np.zeros(count))
    on_device = jax.jit(augmented, static_argnames="pad")
    for augmentation in (
        Augmentation("none"),
        Augmentation("crop"),
        Augmentation("imagenet"),
        Augmentation("imagenet", aspect=True),
    ):
        pad, keys = augmentation.padding(shape), {"shuffle": True, "seed": 3, "fill": [77]}
        for epoch in range(3):
            batches = Batches(split, count, augmentation=augmentation, epoch=epoch, **keys)
            places = batches.places(0)
            fill = np.broadcast_to(batches.fill, shape[2:])
            found = on_device(images[places], draws(batches, places), fill, pad=pad)
            np.testing.assert_array_equal(found, batches[0][0])


@pytest.mark.skipif(not JAX, reason="the device holds the images under JAX")
def test_images_on_the_device_and_from_the_host_train_alike():
    held, streamed = job(EVERYTHING), job(EVERYTHING)
    held.engine.holds_images = True
    np.testing.assert_allclose(train(streamed, 5), train(held, 5), rtol=1e-4)


@pytest.mark.skipif(not JAX, reason="the device holds the images under JAX")
def test_windows_cut_on_two_devices_train_alike_and_go_on_where_they_were(monkeypatch):
    # A busy machine may be so slow that one step is as long as several should be.
    monkeypatch.setattr("keras_preact.training.engine_jax.SECONDS", 1e6)
    windows = {**EVERYTHING, "augmentation.kind": "imagenet", "augmentation.flip": True}
    streamed, held = job(windows), job(windows, devices=TWO)
    held.engine.holds_images = True
    start = held.engine.state()
    rows = train(held, 5)
    np.testing.assert_allclose(train(streamed, 5), rows, rtol=1e-4, atol=1e-6)
    held.engine.restore(start)
    train(held, 3)
    there = held.engine.state()
    train(held, 1)
    held.engine.restore(there)
    np.testing.assert_array_equal(train(held, 5, first=3), rows[3:])
    calls = [len(rows) for rows in held.engine.train(held.batches, 0, 20)]
    assert sum(calls) == 20 and max(calls) > 1


@pytest.mark.skipif(not JAX, reason="the device holds the images under JAX")
def test_images_are_held_where_they_fit():
    engine = make_engine(config())
    split = ArraySplit(np.zeros((10, 64, 64, 3), np.uint8), np.zeros(10))
    windows = {"augmentation": Augmentation("imagenet")}
    equal = Batches(split, 4, drop_remainder=True, **windows)
    assert engine._hold(equal) is None  # on a CPU
    engine.holds_images = True
    assert engine._hold(Batches(split, 4, **windows)) is None  # the last one is smaller
    for share, held in [(0.41, False), (0.39, True)]:
        engine.memory = lambda share=share: (0, split.images(slice(None)).nbytes / share)
        assert (engine._hold(equal) is not None) == held
    for more in ({"policy": "rand_augment"}, {"jitter": 0.1}, {"erasing": 0.1}, {"cutout": 1}):
        beyond = {"augmentation": Augmentation("crop", **more)}  # which the device does not know
        assert engine._hold(Batches(split, 5, drop_remainder=True, **beyond)) is None
    images = engine._hold(equal)[0]
    assert (images.dtype, images.shape) == ("uint8", (10, 64, 64, 3))


@pytest.mark.skipif(not JAX, reason="of JAX's compilations; TensorFlow has one switch for all")
def test_xla_is_told_to_be_deterministic_in_each_compilation(monkeypatch):
    import jax

    from keras_preact.training.engine_jax import DETERMINISTIC

    engine = make_engine(config(deterministic=True))
    assert engine.compiled(jax.numpy.sin)(0.0) == 0  # a name that XLA knows, on every device
    monkeypatch.setitem(DETERMINISTIC, "no_such_option", True)
    one = job(SMALLEST, deterministic=True)

    def held():
        one.engine.holds_images = True
        train(one, 1)

    for compile in (
        lambda: train(one, 1),
        held,
        lambda: one.engine.predict(one.batches[0][0]),
        lambda: one.engine.compiled(jax.numpy.sin)(0.0),
    ):
        with pytest.raises(jax.errors.JaxRuntimeError, match="'no_such_option'"):
            compile()
    assert make_engine(config()).compiled(jax.numpy.sin)(0.0) == 0


BITS = """
import hashlib
from tests.training.test_engine import JAX, SMALLEST, job, train

for deterministic in (False, True)[JAX:]:  # on a CPU it changes nothing under JAX
    # Convolutions large enough to be shared among threads.
    one = job({**SMALLEST, "network.filters": [16]}, deterministic=deterministic)
    print(hashlib.sha256(train(one, 8).tobytes()).hexdigest())
    for value in one.engine.state().values():
        print(hashlib.sha256(value.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_another_process_trains_the_same_bits(run_python):
    """On a CPU, alone or while others compute."""
    alone = run_python(BITS, ROOT)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            beside = run_python(BITS, ROOT)
        finally:
            busy.kill()
    assert beside == alone and len(set(alone.split())) > 10


@pytest.mark.parametrize("cutmix", [0.0, 1.0])
def test_blending_ends_where_the_recipe_says(cutmix):
    """Of five epochs the last two have images as they are, by the same step; CutMix's too."""
    recipe = {"recipe.mixup": 0.4, "recipe.cutmix": cutmix, "recipe.blend_until": 0.6}
    one = job({**SMALLEST, **recipe}, epochs=5)
    images, labels = one.batches[0]
    targets = np.eye(10, dtype="float32")[labels]
    for epoch in range(5):
        one.batches.epoch = epoch
        blend, _ = one.engine.extras(one.batches, 0)
        assert blend.shape == one.batches.blend(0, 0.4, cutmix).shape
        found = map(
            keras.ops.convert_to_numpy, blend_module.blended(images.astype("f4"), targets, blend)
        )
        same = [np.array_equal(a, b) for a, b in zip(found, (images, targets), strict=True)]
        assert same == [epoch >= 3] * 2
