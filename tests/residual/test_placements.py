"""Each placement's layer order against the papers, with the edges of a network."""

import keras
import pytest

from keras_preact import ResNetConfig, build_network

# Order on the branch and behind the addition, basic units: the 2016 paper's Figure 4.
ORDERS = {
    "original": "conv1 norm1 act1 conv2 norm2 add act_out",
    "bn_after_addition": "conv1 norm1 act1 conv2 add norm_out act_out",
    "relu_before_addition": "conv1 norm1 act1 conv2 norm2 act2 add",
    "relu_only_preactivation": "act1 conv1 norm1 act2 conv2 norm2 add",
    "full_preactivation": "norm1 act1 conv1 norm2 act2 conv2 add",
    # Figure 6 of Han et al. 2017.
    "no_first_relu": "norm1 conv1 norm2 act1 conv2 add",
    "last_bn": "norm1 act1 conv1 norm2 act2 conv2 norm3 add",
    "no_first_relu_last_bn": "norm1 conv1 norm2 act1 conv2 norm3 add",
}
STEMS = dict.fromkeys(ORDERS, "conv norm act")
STEMS |= dict.fromkeys(("no_first_relu", "no_first_relu_last_bn"), "conv norm")
HEADS = {
    "original": "",
    "bn_after_addition": "",
    "relu_before_addition": "",
    "relu_only_preactivation": "act",
    **dict.fromkeys(
        ("full_preactivation", "no_first_relu", "last_bn", "no_first_relu_last_bn"), "norm act"
    ),
}
# Between convolutions it is always norm, act; the other blocks drop or repeat that pattern.
BLOCK_ORDERS = {
    ("bottleneck", "original"): ("conv1 norm1 act1 conv2 norm2 act2 conv3 norm3 add act_out"),
    ("bottleneck", "bn_after_addition"): (
        "conv1 norm1 act1 conv2 norm2 act2 conv3 add norm_out act_out"
    ),
    ("bottleneck", "relu_before_addition"): (
        "conv1 norm1 act1 conv2 norm2 act2 conv3 norm3 act3 add"
    ),
    ("bottleneck", "relu_only_preactivation"): (
        "act1 conv1 norm1 act2 conv2 norm2 act3 conv3 norm3 add"
    ),
    ("bottleneck", "full_preactivation"): (
        "norm1 act1 conv1 norm2 act2 conv2 norm3 act3 conv3 add"
    ),
    ("single", "original"): "conv1 norm1 add act_out",
    ("single", "bn_after_addition"): "conv1 add norm_out act_out",
    ("single", "relu_before_addition"): "conv1 norm1 act1 add",
    ("single", "relu_only_preactivation"): "act1 conv1 norm1 add",
    ("single", "full_preactivation"): "norm1 act1 conv1 add",
    ("single", "no_first_relu_last_bn"): "norm1 conv1 norm2 add",
    ("bottleneck", "no_first_relu_last_bn"): (
        "norm1 conv1 norm2 act1 conv2 norm3 act2 conv3 norm4 add"
    ),
}


def network(**fields):
    return build_network(
        ResNetConfig(**{"units": (2, 2), "filters": (4, 8), "stem_filters": 4, **fields}),
        input_shape=(8, 8, 3),
    )


def chain(model, start, stop):
    """Names from layer `start` back from `stop`, along the branch (an Add's second input)."""
    names, layer = [], model.get_layer(stop)
    while layer.name != start:
        names.append(layer.name)
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        layer = inputs[-1]._keras_history.operation
    return names[::-1]


def order(model, unit, before, config):
    last = {"original": "act_out", "bn_after_addition": "act_out"}.get(config.placement, "add")
    names = chain(model, before, f"{unit}_{last}")
    return " ".join(name.removeprefix(f"{unit}_") for name in names if "pad" not in name)


def outputs_of(model, name):
    """Names of the layers that take a layer's output."""
    return sorted(node.operation.name for node in model.get_layer(name)._outbound_nodes)


@pytest.mark.parametrize(("block", "placement"), [("basic", p) for p in ORDERS] + [*BLOCK_ORDERS])
@pytest.mark.sample(21)
def test_inner_units_have_the_papers_order(block, placement):
    config = ResNetConfig(block=block, placement=placement, projection="B")
    model = network(block=block, placement=placement, projection="B")
    expected = BLOCK_ORDERS.get((block, placement), ORDERS[placement])
    end = {"original": "act_out", "bn_after_addition": "act_out"}.get(placement, "add")
    assert order(model, "stage1_unit2", f"stage1_unit1_{end}", config) == expected
    assert order(model, "stage2_unit1", "stage1", config) == expected


@pytest.mark.parametrize("placement", ORDERS)
@pytest.mark.sample(8)
def test_stem_and_head(placement):
    model = network(placement=placement)
    names = [layer.name for layer in model.layers]
    stem = [name.removeprefix("stem_") for name in names if name.startswith("stem_")]
    head = [name.removeprefix("head_") for name in names if name.startswith("head_")]
    assert " ".join(stem) == STEMS[placement]
    assert " ".join(head) == HEADS[placement]
    assert names[-2:] == ["avg_pool", "predictions"]


@pytest.mark.thorough
def test_first_preactivation_unit_has_one_activation_ahead_of_both_paths():
    in_stem = network(placement="full_preactivation")
    assert outputs_of(in_stem, "stem_act") == ["stage1_unit1_add", "stage1_unit1_conv1"]
    in_unit = network(first_unit_entry="unit")
    assert outputs_of(in_unit, "stem_conv") == ["stage1_unit1_norm1"]
    assert outputs_of(in_unit, "stage1_unit1_act1") == ["stage1_unit1_add", "stage1_unit1_conv1"]
    in_branch = network(first_unit_entry="branch")
    assert outputs_of(in_branch, "stem_conv") == ["stage1_unit1_add", "stage1_unit1_norm1"]
    assert outputs_of(in_branch, "stage1_unit1_act1") == ["stage1_unit1_conv1"]
    both = network(first_unit_entry="both")
    assert outputs_of(both, "stem_act") == ["stage1_unit1_add", "stage1_unit1_norm1"]
    branch = network(first_unit_entry="branch")
    assert outputs_of(branch, "stem_conv") == ["stage1_unit1_add", "stage1_unit1_norm1"]
    relu_only = network(placement="relu_only_preactivation", first_unit_entry="unit")
    assert outputs_of(relu_only, "stem_conv") == ["stem_norm"]
    assert outputs_of(relu_only, "stem_norm") == ["stage1_unit1_act1"]


def test_entry_in_stem_or_unit_is_the_same_function_without_pooling(randomize):
    import numpy as np

    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    in_stem = randomize(network(first_unit_entry="stem"))
    in_unit = network(first_unit_entry="unit")
    in_unit.set_weights(in_stem.get_weights())
    np.testing.assert_allclose(in_stem(x), in_unit(x), rtol=1e-6)


@pytest.mark.parametrize("projection", ["A", "B"])
def test_changing_dimensions_shares_the_activation_or_takes_the_raw_tensor(projection):
    # Of fewer than 8 channels a convolution with a stride takes the pixels that it needs first.
    first = {"A": "stage2_unit1_shortcut_pool", "B": "stage2_unit1_shortcut_conv_pick"}[projection]
    shared = network(projection=projection)
    assert first in outputs_of(shared, "stage2_unit1_act1")
    assert outputs_of(shared, "stage1") == ["stage2_unit1_norm1"]
    raw = network(projection=projection, projection_input="raw")
    assert outputs_of(raw, "stage1") == sorted([first, "stage2_unit1_norm1"])
    assert outputs_of(shared, "stage1_unit1_add") == ["stage1_unit2_add", "stage1_unit2_norm1"]


@pytest.mark.parametrize(
    ("placement", "normalised"),
    [
        ("original", True),
        ("bn_after_addition", False),
        ("relu_before_addition", True),
        ("relu_only_preactivation", True),
        ("full_preactivation", False),
    ],
)
@pytest.mark.sample(5)
def test_projection_is_normalised_where_the_branch_ends_with_a_norm(placement, normalised):
    for wanted, expected in ((None, normalised), (True, True), (False, False)):
        model = network(placement=placement, projection="B", projection_norm=wanted)
        names = [layer.name for layer in model.layers]
        assert ("stage2_unit1_shortcut_norm" in names) == expected


@pytest.mark.parametrize("stride_on", ["1x1", "3x3"])
@pytest.mark.parametrize("downsample_at", ["first_unit", "last_unit"])
@pytest.mark.sample(4)
def test_where_the_stride_stands(stride_on, downsample_at):
    model = network(
        block="bottleneck", projection="B", stride_on=stride_on, downsample_at=downsample_at
    )
    strided = {
        layer.name
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.strides == (2, 2)
    }
    unit = {"first_unit": "stage2_unit1", "last_unit": "stage1_unit2"}[downsample_at]
    conv = {"1x1": "conv1", "3x3": "conv2"}[stride_on]
    assert strided == {f"{unit}_{conv}", f"{unit}_shortcut_conv"}
    pooled = network(
        block="bottleneck",
        projection="B",
        downsample_at="last_unit",
        subsample_shortcut="max_pool",
    )
    assert outputs_of(pooled, "stage1_unit2_shortcut_pool") == ["stage1_unit2_add"]


def test_plain_nets_have_no_shortcuts():
    for placement in ("original", "full_preactivation", "relu_only_preactivation"):
        model = network(shortcut="none", placement=placement)
        assert not [layer.name for layer in model.layers if "shortcut" in layer.name]
        assert not [layer for layer in model.layers if isinstance(layer, keras.layers.Add)]


@pytest.mark.parametrize(
    ("conv_bias", "placement", "biased"),
    [
        ("never", "original", set()),
        ("without_norm", "original", set()),
        ("without_norm", "full_preactivation", {"conv2", "shortcut_conv"}),
        ("without_norm", "bn_after_addition", {"conv2", "shortcut_conv"}),
        ("always", "original", {"conv1", "conv2", "shortcut_conv", "stem_conv"}),
    ],
)
@pytest.mark.sample(5)
def test_biases(conv_bias, placement, biased):
    model = network(conv_bias=conv_bias, placement=placement, projection="B")
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    found = {layer.name.split("unit1_")[-1].split("unit2_")[-1] for layer in convolutions
             if layer.use_bias}  # fmt: skip
    assert found == biased


def test_without_normalisation_no_norm_is_built():
    model = network(normalization="none", conv_bias="without_norm")
    kinds = {type(layer) for layer in model.layers}
    assert keras.layers.BatchNormalization not in kinds
    assert all(layer.use_bias for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
