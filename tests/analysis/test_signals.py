"""Signals against NumPy, against what a variant must do, and against the papers' statements."""

import keras
import numpy as np
import pandas as pd
import pytest

from keras_preact.analysis import (
    dissect,
    in_words,
    learned_slopes,
    measure,
    signal_propagation,
)
from keras_preact.analysis.rectifiers import TABLE_1


def found(model, batches):
    return signal_propagation(dissect(model), batches)


def test_moments_are_numpys(network, batches):
    model = network()
    names = ["stage1_unit1_add", "stage2_unit1_add", "stage2_unit2_add"]
    outputs = keras.Model(model.input, [model.get_layer(name).output for name in names])
    units = found(model, batches).units
    values = [outputs(images, training=True) for images, _ in batches]
    for row, per_batch in zip(units.to_dict("records"), zip(*values, strict=True), strict=True):
        x = np.stack(per_batch).reshape(len(batches), -1).astype(np.float64)
        assert row["output_mean"] == pytest.approx(x.mean(), rel=1e-4, abs=1e-6)
        assert row["output_variance"] == pytest.approx(x.var(axis=1).mean(), rel=1e-4)
        assert row["output_second_moment"] == pytest.approx(np.mean(x**2), rel=1e-4)
        assert row["negative"] == pytest.approx(np.mean(x < 0), abs=1e-3)
        x = np.stack(per_batch).astype(np.float64)  # batch, image, two places, channel
        means, variances = x.mean(axis=(1, 2, 3)), x.var(axis=(1, 2, 3))
        assert row["output_channel_mean_squared"] == pytest.approx(np.mean(means**2), rel=1e-4)
        assert row["output_channel_variance"] == pytest.approx(variances.mean(), rel=1e-4)
    assert [*units["input_mean"][1:]] == [*units["output_mean"][:-1]]


@pytest.mark.thorough
def test_equation_4_holds_where_nothing_follows_the_addition(network, batches):
    clean = found(network(), batches).units
    assert clean["equation4_error"].isna().tolist() == [False, True, False]  # one changes size
    assert clean["equation4_error"].max() < 1e-6
    assert (clean["cut_off"] == 0).all()
    original = found(network(placement="original"), batches).units
    assert (original["equation4_error"].dropna() > 0.01).all()
    assert original["cut_off"].between(0.01, 0.9).all()


def test_equation_4_begins_anew_behind_a_pooling_between_units(network, batches):
    fields = {"units": (2, 2), "filters": (4, 4), "downsample_by": "max_pool"}
    units = found(network(**fields), batches).units
    assert units["equation4_error"].max() < 1e-6  # no unit changes dimensions


@pytest.mark.thorough
def test_relu_before_addition_only_ever_adds(network, batches):
    fields = {"units": (5,), "filters": (4,)}
    units = found(network(placement="relu_before_addition", **fields), batches).units
    assert (units["negative"] == 0).all()
    assert units["output_mean"].is_monotonic_increasing
    assert units["output_second_moment"].is_monotonic_increasing
    free = found(network(placement="full_preactivation", **fields), batches).units
    assert (free["negative"] > 0.1).all()


@pytest.mark.thorough
def test_scaling_and_gates(network, batches):
    fields = {"units": (3,), "filters": (4,)}
    scaled = found(network(shortcut="constant_scaling", **fields), batches).units
    assert scaled["scaling"].tolist() == [0.5] * 3
    assert scaled["scaling_product"].tolist() == [0.125, 0.25, 0.5]
    model = network(shortcut="shortcut_only_gating", gate_bias=-2.0, **fields)
    for layer in model.layers:
        if layer.name.endswith("_gate"):
            layer.kernel.assign(np.zeros(layer.kernel.shape))
    signals = found(model, batches)
    open_by = 1 / (1 + np.exp(2.0))
    for column in ("mean", "q5", "q50", "q95"):
        np.testing.assert_allclose(signals.gates[column], open_by, rtol=1e-5)
    assert signals.gates["bias"].tolist() == [-2.0] * 3
    np.testing.assert_allclose(signals.units["scaling"], 1 - open_by, rtol=1e-5)
    assert not len(found(network(), batches).gates)
    projected = found(network(projection="B", shortcut="constant_scaling"), batches).units
    np.testing.assert_array_equal(projected["scaling"], [0.5, np.nan, 0.5])
    assert projected["scaling_product"].iloc[0] == 0.25


@pytest.mark.thorough
def test_responses_are_taken_after_a_norm_that_directly_follows(network, batches):
    responses = found(network(placement="original"), batches).layers
    names = ["stem_conv", *(f"stage{s}_conv{k}" for s in ("1_unit1", "2_unit1") for k in (1, 2))]
    assert [*responses["layer"][:5]] == names
    np.testing.assert_allclose(responses["std"], 1, atol=1e-3)  # of the batch's own statistics
    free = found(network(), batches).layers.set_index("layer")["std"]
    assert free["stage1_unit1_conv1"] == pytest.approx(1, abs=1e-3)
    assert abs(free["stage1_unit1_conv2"] - 1) > 0.01  # nothing follows
    assert responses["normalized"].tolist() == [1] * len(responses)
    bare = measure(network(normalization="none", shortcut="none"), batches)
    assert bare["responses"]["normalized"].sum() == 0
    assert bare["variance"]["response_std"][:-1].notna().all()  # but that of the scores
    assert measure(network(placement="original"), batches)["variance"]["response_std"].isna().all()


def test_inactive_and_dead_channels(network, batches):
    model = network(placement="original")
    norm = model.get_layer("stage1_unit1_norm1")
    norm.beta.assign([0.0, 0.0, 100.0, -100.0])
    rows = found(model, batches).activations.set_index("layer")
    assert rows.loc["stage1_unit1_act1", "dead"] == 0.25
    assert rows.loc["stage1_unit1_act1", "always_on"] == 0.25
    assert rows.loc["stage2_unit1_act1", "dead"] == 0
    assert rows["inactive"].between(0.05, 0.95).all()
    # Positive in one mini-batch is not dead: without norms, of images of one sign each.
    bare = network(placement="original", normalization="none")
    images = np.abs(batches[0][0])
    kernel = np.zeros(bare.get_layer("stem_conv").kernel.shape)
    kernel[1, 1] = [[1.0, -1.0, 0.0, 1.0], [0.0] * 4]
    bare.get_layer("stem_conv").kernel.assign(kernel)
    rows = found(bare, [(images, 0), (-images, 0)]).activations.set_index("layer")
    assert rows.loc["stem_act", "dead"] == 0.25
    assert rows.loc["stem_act", "always_on"] == 0  # in one of the two mini-batches alone


@pytest.mark.thorough
def test_slopes_beside_table_1(network, batches):
    model = network(activation="prelu")
    model.get_layer("stem_act").alpha.assign([[[0.1, 0.2, 0.3, 0.8]]])
    slopes = learned_slopes(found(model, batches).activations)
    first = slopes.iloc[0]
    assert (first["layer"], first["paper"]) == ("stem_act", TABLE_1["channel_wise"].iloc[0])
    assert first["slope_mean"] == pytest.approx(0.35)
    assert (first["slope_min"], first["slope_max"]) == pytest.approx((0.1, 0.8))
    assert slopes["slope_mean"][1:].tolist() == [0.25] * (len(slopes) - 1)
    assert slopes["depth"].iloc[[0, -1]].tolist() == [0, 1]
    assert not len(learned_slopes(found(network(), batches).activations))
    shared = learned_slopes(found(network(activation="prelu_shared"), batches).activations)
    assert set(shared["slope_count"]) == {1} and set(slopes["slope_count"]) == {4, 8}
    assert shared["paper"].iloc[[0, -1]].tolist() == [0.681, TABLE_1["channel_shared"].iloc[-1]]


def test_table_1_is_the_papers():
    # Delving Deep into Rectifiers: 13 layers, most of them linear in the first, least in deep ones.
    assert len(TABLE_1) == 13
    assert TABLE_1["channel_shared"].max() == TABLE_1["channel_shared"].iloc[0] == 0.681
    assert TABLE_1["channel_wise"].sum() == pytest.approx(2.977)


def test_words_name_the_network_and_its_figures():
    table = pd.DataFrame(
        {
            "network": "net",
            "state": "initial",
            "unit": ["a", "b", "head"],
            "gradient": [8.0, 2.0, 1.0],
            "direct": [0.0, 0.0, 1.0],
        }
    )
    words = in_words({"gradients": table})
    assert [*words] == ["Gradients"]  # a plain net has no direct part to speak of
    assert (
        "net, initial: the gradient at the first unit is 4 times that at the last"
        in (words["Gradients"][0])
    )
