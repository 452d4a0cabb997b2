"""Networks in pieces: the pieces make the whole, and gradients come in two exact parts."""

import keras
import numpy as np
import pytest

from keras_preact.analysis import dissect, gradient_propagation
from keras_preact.analysis.linearize import linearize
from keras_preact.errors import ConfigError
from keras_preact.placements import PLACEMENTS
from keras_preact.shortcuts import SHORTCUTS

numpy = keras.ops.convert_to_numpy

VARIANTS = {
    **{f"placement {name}": {"placement": name} for name in PLACEMENTS},
    **{f"original, {name}": {"placement": "original", "shortcut": name} for name in SHORTCUTS},
    **{f"shortcut {name}": {"shortcut": name} for name in SHORTCUTS if name != "identity"},
    "projections": {"projection": "B", "block": "bottleneck"},
    "projections of original units": {"projection": "C", "placement": "original"},
    "raw projections": {"projection": "B", "projection_input": "raw"},
    "plain": {"placement": "original", "shortcut": "none"},
    "rectifier paper": {
        "placement": "original",
        "shortcut": "none",
        "normalization": "none",
        "downsample_by": "max_pool",
        "activation": "prelu_shared",
        "pyramid": (2, 1),
        "dense": (6,),
    },
    "no norms, PReLU": {"normalization": "none", "activation": "prelu", "block": "single"},
    "last unit strides": {"downsample_at": "last_unit", "projection": "B"},
    "ResNeXt-D with dropout": {
        "block": "bottleneck",
        "projection": "B",
        "placement": "original",
        "width": 2,
        "groups": 2,
        "stem": "deep",
        "projection_stride": "avg_pool",
        "branch_dropout": 0.3,
    },
    "pooled stem": {"stem_pool": True, "first_unit_entry": "branch"},
    "nested plain": {"packaging": "nested", "shortcut": "none"},  # a unit ends with a convolution
    "nested": {"packaging": "nested", "shortcut": "exclusive_gating"},
    "repeated": {"packaging": "repeated", "shortcut": "dropout", "projection": "B"},
    "stochastic depth": {"packaging": "repeated", "stochastic_depth": 0.5, "projection": "B"},
}


#: What runs every time, and with --thorough.
ALWAYS = {"original, exclusive_gating", "ResNeXt-D with dropout", "repeated"}
OFTEN = {"shortcut constant_scaling", "shortcut shortcut_only_gating", "nested plain"}
OFTEN |= {"stochastic depth", "pooled stem"}


def marks(name):
    if name in ALWAYS:
        return ()
    return pytest.mark.thorough if name in OFTEN else pytest.mark.slow


@pytest.mark.parametrize(
    "fields",
    [pytest.param(fields, id=name, marks=marks(name)) for name, fields in VARIANTS.items()],
)
def test_pieces_make_the_whole_and_parts_the_gradient(fields, network, batches):
    model = network(**fields)
    anatomy = dissect(model)
    x, pulls = keras.ops.convert_to_tensor(batches[0][0]), []
    for piece in anatomy.pieces:
        (y,), pull = piece.linearize([piece.source], [piece.target], x)
        np.testing.assert_array_equal(y, piece.look(x)["output"])
        pulls.append(pull)
        x = y
    draws_anew = fields.get("shortcut") == "dropout" or "stochastic_depth" in fields
    if not draws_anew:
        np.testing.assert_allclose(x, model(batches[0][0], training=True), rtol=1e-4, atol=1e-5)
    found = gradient_propagation(anatomy, batches[:1])
    assert [*found["unit"]] == [unit.name for unit in anatomy.units] + ["head"]
    assert (found["gradient"] > 0).all()
    # Each part is a computation of its own; both together are the gradient.
    assert (found["split_error"] < 1e-5).all()
    plain = fields.get("shortcut") == "none"
    assert (found["direct"][:-1] == 0).all() == plain
    assert found["near_minus_1"][:-1].isna().all() == plain


def test_gradients_are_those_of_the_network_as_a_whole(network, batches):
    model = network(placement="original", shortcut="shortcut_only_gating")
    anatomy = dissect(model)
    images, labels = (keras.ops.convert_to_tensor(part) for part in batches[0])
    first = anatomy.units[0].source

    def losses(x):
        rest = keras.Model(first, model.output)
        variables = rest.trainable_variables, rest.non_trainable_variables
        scores, _ = rest.stateless_call(*variables, x, training=True)
        return [keras.losses.sparse_categorical_crossentropy(labels, scores, from_logits=True)]

    (entropies,), pull = linearize(losses, anatomy.pieces[0].look(images)["output"])
    (gradient,) = pull(keras.ops.ones_like(entropies) / len(labels))
    found = gradient_propagation(anatomy, batches[:1])
    assert found["gradient"].iloc[0] == pytest.approx(np.linalg.norm(numpy(gradient)), rel=1e-5)


def test_without_branches_the_gradient_is_the_direct_part(network, batches):
    model = network(normalization="none")
    for layer in model.layers:
        if layer.name.endswith("_conv2"):
            layer.kernel.assign(np.zeros(layer.kernel.shape))
    found = gradient_propagation(dissect(model), batches)
    np.testing.assert_allclose(found["direct"], found["gradient"], rtol=1e-6)
    assert (found["weights"] == 0).all()


@pytest.mark.parametrize("scale", [0.5, 1.5])
@pytest.mark.sample(2)
def test_scaled_shortcuts_multiply_the_direct_part_by_their_product(scale, network, batches):
    # One stage, so that no shortcut changes dimensions (2016, equation 8).
    model = network(units=(4,), filters=(4,), shortcut="constant_scaling", shortcut_scale=scale)
    found = gradient_propagation(dissect(model), batches)
    products = scale ** np.arange(4, -1, -1.0)
    np.testing.assert_allclose(found["direct"], products * found["direct"].iloc[-1], rtol=1e-5)


@pytest.mark.thorough
def test_gates_are_held_in_the_direct_part(network, batches):
    # With kernels of 0 every gate is the sigmoid of its bias, so its shortcut a constant factor.
    model = network(units=(3,), filters=(4,), shortcut="exclusive_gating", gate_bias=-1.0)
    for layer in model.layers:
        if layer.name.endswith("_gate"):
            layer.kernel.assign(np.zeros(layer.kernel.shape))
    found = gradient_propagation(dissect(model), batches)
    carried = 1 - 1 / (1 + np.exp(1.0))
    products = carried ** np.arange(3, -1, -1.0)
    np.testing.assert_allclose(found["direct"], products * found["direct"].iloc[-1], rtol=1e-5)


@pytest.mark.thorough
def test_a_softmax_gives_the_gradients_that_its_logits_give(network, batches):
    logits = gradient_propagation(dissect(network()), batches)
    softmax = gradient_propagation(dissect(network(classifier_activation="softmax")), batches)
    np.testing.assert_allclose(softmax["gradient"], logits["gradient"], rtol=1e-4)


@pytest.mark.thorough
def test_nothing_in_the_model_moves(network, batches):
    model = network(shortcut="dropout")
    before = [numpy(variable) for variable in model.variables]
    gradient_propagation(dissect(model), batches)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)


@pytest.mark.parametrize(
    ("fields", "label", "message"),
    [
        ({"classifier_activation": "sigmoid"}, 0, "ends with logits or a softmax"),
        ({"include_top": False}, 0, "ends with logits or a softmax"),
        ({}, 3, "from 0 to 2"),
    ],
)
def test_a_loss_needs_scores_of_the_labels_classes(fields, label, message, network, batches):
    images, labels = batches[0]
    with pytest.raises(ConfigError, match=message):
        gradient_propagation(dissect(network(**fields)), [(images, labels * 0 + label)])


def test_other_models_are_refused(network):
    model = network()
    two = keras.Model(model.input, [model.output, model.get_layer("avg_pool").output])
    with pytest.raises(ConfigError, match="one input and one output"):
        dissect(two)
    inputs = keras.Input((4,))
    other = keras.Model(inputs, keras.layers.Dense(2, name="dense")(inputs))
    with pytest.raises(ConfigError, match=r"units called stage1_unit1.*Received.*dense"):
        dissect(other)
