"""Each shortcut against its formula in NumPy, dimension changes included."""

import keras
import numpy as np
import pytest

from keras_preact import ResNetConfig, residual_unit
from keras_preact.errors import ConfigError
from keras_preact.residual.parts import Parts

GATED = ("exclusive_gating", "shortcut_only_gating")


def unit_model(filters, stride, **fields):
    inputs = keras.Input((6, 5, 4))
    return keras.Model(inputs, residual_unit(inputs, filters, stride, name="u", **fields))


def outputs(model, x, *names):
    tensors = [model.get_layer(name).output for name in names]
    return [keras.ops.convert_to_numpy(y) for y in keras.Model(model.input, tensors)(x)]


def conv1x1(x, layer, stride):
    weights = [keras.ops.convert_to_numpy(w) for w in layer.weights]
    y = np.tensordot(x[:, ::stride, ::stride], weights[0][0, 0], 1)
    return y + weights[1] if layer.use_bias else y


def changed(x, model, filters, stride, projection):
    """h(x) of the options A and B in NumPy."""
    if projection == "B" and (stride > 1 or filters != 4):
        return conv1x1(x, model.get_layer("u_shortcut_conv"), stride)
    h = x[:, ::stride, ::stride]
    return np.pad(h, [(0, 0)] * 3 + [(0, filters - 4)])


@pytest.mark.parametrize("shortcut", ["identity", "constant_scaling", *GATED])
@pytest.mark.parametrize(("filters", "stride"), [(4, 1), (8, 1), (8, 2), (4, 2)])
@pytest.mark.parametrize("projection", ["A", "B"])
@pytest.mark.sample(3)
def test_formula(shortcut, filters, stride, projection, randomize):
    model = randomize(
        unit_model(
            filters,
            stride,
            shortcut=shortcut,
            projection=projection,
            placement="relu_before_addition",
            projection_norm=False,
            shortcut_scale=0.7,
            branch_scale=0.3,
        )
    )
    x = np.random.default_rng(1).normal(size=(2, 6, 5, 4)).astype("float32")
    branch, result = outputs(model, x, "u_act2", "u_add")
    h = changed(x, model, filters, stride, projection)
    if shortcut in GATED:
        gate = 1 / (1 + np.exp(-conv1x1(x, model.get_layer("u_gate"), stride)))
    expected = {
        "identity": lambda: h + branch,
        "constant_scaling": lambda: 0.7 * h + 0.3 * branch,
        "exclusive_gating": lambda: (1 - gate) * h + gate * branch,
        "shortcut_only_gating": lambda: (1 - gate) * h + branch,
    }[shortcut]()
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spelling", [{"shortcut": "conv1x1"}, {"projection": "C"}])
@pytest.mark.parametrize(("filters", "stride"), [(4, 1), (8, 2)])
def test_conv1x1_projects_every_unit(spelling, filters, stride, randomize):
    model = randomize(unit_model(filters, stride, placement="relu_before_addition",
                                 projection_norm=False, **spelling))  # fmt: skip
    x = np.random.default_rng(1).normal(size=(2, 6, 5, 4)).astype("float32")
    branch, result = outputs(model, x, "u_act2", "u_add")
    h = conv1x1(x, model.get_layer("u_shortcut_conv"), stride)
    np.testing.assert_allclose(result, h + branch, rtol=1e-5, atol=1e-5)


def test_dropout_shortcut_drops_its_share_in_training_only(randomize):
    model = randomize(unit_model(4, 1, shortcut="dropout", dropout_rate=0.25))
    x = np.random.default_rng(1).normal(size=(200, 6, 5, 4)).astype("float32")
    names = ("u_shortcut_dropout", "u_conv2", "u_add")
    h, branch, result = outputs(model, x, *names)
    np.testing.assert_array_equal(h, x)
    np.testing.assert_allclose(result, x + branch, rtol=1e-6)
    dropped = keras.Model(model.input, model.get_layer(names[0]).output)(x, training=True)
    dropped = keras.ops.convert_to_numpy(dropped)
    kept = dropped != 0
    assert kept.mean() == pytest.approx(0.75, abs=0.01)
    np.testing.assert_allclose(dropped[kept], x[kept] / 0.75, rtol=1e-6)


@pytest.mark.parametrize("bias", [0.0, -6.0, -7.5, 3.0])
@pytest.mark.parametrize("shortcut", GATED)
def test_gates_start_at_their_bias(shortcut, bias):
    model = unit_model(4, 1, shortcut=shortcut, gate_bias=bias)
    zeros = np.zeros((1, 6, 5, 4), "float32")
    (gate,) = outputs(model, zeros, "u_gate")
    np.testing.assert_allclose(gate, 1 / (1 + np.exp(-bias)), rtol=1e-5)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("size", [(6, 5), (None, None)])
def test_option_a_appends_zero_channels(data_format, size):
    parts = Parts(ResNetConfig(), data_format)
    last = data_format == "channels_last"
    inputs = keras.Input((*size, 4) if last else (4, *size))
    y = parts.pad_channels(inputs, 7, "pad")
    assert y.shape == (None, *((*size, 7) if last else (7, *size)))
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 4)).astype("float32")
    x = x if last else np.moveaxis(x, -1, 1)
    widths = [(0, 0)] * 4
    widths[-1 if last else 1] = (0, 3)
    np.testing.assert_array_equal(keras.Model(inputs, y)(x), np.pad(x, widths))


def test_units_without_names_can_share_a_graph():
    inputs = keras.Input((6, 5, 4))
    x = residual_unit(residual_unit(inputs, 4), 4)
    assert keras.Model(inputs, x).count_params() > 0


def test_plain_unit_is_its_branch():
    names = [layer.name for layer in unit_model(8, 2, shortcut="none").layers]
    assert names[-1] == "u_conv2"


def test_unit_refuses_what_it_cannot_build():
    with pytest.raises(ConfigError, match=r"cannot remove channels.*4 channels to be made 2"):
        unit_model(2, 1)
    with pytest.raises(ConfigError, match=r"Did you mean 'shortcut'\?"):
        unit_model(4, 1, shortcuts="identity")
    with pytest.raises(ConfigError, match="activation='rellu'"):
        unit_model(4, 1, activation="rellu")


def test_activations_have_their_slopes_at_any_size(randomize):
    x = np.random.default_rng(1).normal(size=(2, 6, 5, 4)).astype("float32")
    for activation, shape in (("prelu", (1, 1, 4)), ("prelu_shared", (1, 1, 1))):
        inputs = keras.Input((None, None, 4))
        y = residual_unit(inputs, 4, name="u", activation=activation, negative_slope=0.2)
        model = keras.Model(inputs, y)
        alpha = model.get_layer("u_act1").alpha
        assert alpha.shape == shape
        np.testing.assert_allclose(keras.ops.convert_to_numpy(alpha), 0.2)
        normed, activated = outputs(model, x, "u_norm1", "u_act1")
        np.testing.assert_allclose(activated, np.where(normed > 0, normed, 0.2 * normed), rtol=1e-6)
    model = unit_model(4, 1, activation="leaky_relu")
    normed, activated = outputs(model, x, "u_norm1", "u_act1")
    np.testing.assert_allclose(activated, np.where(normed > 0, normed, 0.01 * normed), rtol=1e-6)


@pytest.mark.tensorflow
@pytest.mark.parametrize("channels", [1, 4, 7, 8])
@pytest.mark.parametrize("side", [8, 14])
def test_the_gradient_of_a_projection_is_the_formulas(channels, side):
    """oneDNN's of fewer than 8 channels is not (TensorFlow 2.21 on AVX2)."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    x = random.normal(size=(2, side, side, channels)).astype("float32")
    upstream = random.normal(size=(2, side // 2, side // 2, 8)).astype("float32")
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, Parts(ResNetConfig()).conv(inputs, 8, 1, "conv", stride=2))
    with tf.GradientTape() as tape:
        outputs = model(x)
        loss = tf.reduce_sum(outputs * upstream)
    kernel = model.get_layer("conv").kernel.value
    picked = x[:, ::2, ::2]
    np.testing.assert_allclose(outputs, picked @ kernel.numpy()[0, 0], rtol=1e-4, atol=1e-5)
    expected = np.einsum("nhwc,nhwd->cd", picked, upstream)
    received = tape.gradient(loss, kernel)[0, 0]
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-3)
