"""The worked example: the printed figures, and any chain against numerical derivatives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_preact.analysis import chain, chain_in_words
from keras_preact.analysis.scalar_chain import ACTIVATIONS
from keras_preact.cli import main
from keras_preact.errors import ConfigError

# A reconstruction of the example's weights: loss (t - y)^2, target 1, no biases. The three figures
# that the text prints come out of it in full precision.
WEIGHTS = [0.2, 0.1, 0.1]


def test_the_three_printed_figures():
    frame = chain(3, WEIGHTS, residual_weight=0.1)
    first = frame.iloc[0]
    assert round(frame.attrs["loss"], 4) == 0.2247
    assert f"{first.weight_through_shortcut:.5f}" == "-0.00295"
    assert f"{first.weight_through_next:.6f}" == "-0.000074"


@pytest.mark.parametrize(
    ("residual_weight", "outputs", "loss", "gradients"),
    [
        (0.1, [0.524979, 0.513121, 0.525929], 0.224743, [-0.0030212, -0.0031005, -0.121301]),
        (0.0, [0.524979, 0.513121, 0.512825], 0.237339, [-0.00007583, -0.0031927, -0.124908]),
    ],
)
def test_every_intermediate_number(residual_weight, outputs, loss, gradients):
    frame = chain(3, WEIGHTS, residual_weight)
    np.testing.assert_allclose(frame["output"], outputs, atol=1e-6)
    assert frame.attrs["loss"] == pytest.approx(loss, abs=1e-6)
    np.testing.assert_allclose(frame["weight_gradient"], gradients, rtol=1e-4)
    if residual_weight:
        assert frame["residual_gradient"].sum() == pytest.approx(-0.124104, abs=1e-6)


def test_forty_layers_show_the_difference():
    plain, residual = (chain(40, 1.0, weight)["weight_gradient"].iloc[0] for weight in (0, 1.0))
    assert abs(residual) > 1e6 * abs(plain) > 0


@settings(max_examples=60)
@given(
    weights=st.lists(st.floats(-2, 2), min_size=1, max_size=8),
    residual_weight=st.floats(-2, 2),
    activation=st.sampled_from(["sigmoid", "tanh", "linear"]),
    x=st.floats(-1, 1),
)
def test_gradients_are_numerical_derivatives(weights, residual_weight, activation, x):
    def loss(weights, residual_weight):
        how = {"x": x, "activation": activation}
        return chain(len(weights), weights, residual_weight, **how).attrs["loss"]

    frame = chain(len(weights), weights, residual_weight, x=x, activation=activation)
    step, scale = 1e-5, max(1.0, frame.attrs["loss"])
    for k in range(len(weights)):
        up, down = (np.array(weights) + s * step * (np.arange(len(weights)) == k) for s in (1, -1))
        numerical = (loss(up, residual_weight) - loss(down, residual_weight)) / (2 * step)
        assert frame["weight_gradient"][k] == pytest.approx(numerical, rel=1e-4, abs=1e-5 * scale)
        parts = frame["weight_through_next"][k] + frame["weight_through_shortcut"][k]
        assert parts == pytest.approx(frame["weight_gradient"][k], rel=1e-9, abs=1e-12)
    if residual_weight:
        up, down = (loss(weights, residual_weight + s * step) for s in (1, -1))
        assert frame["residual_gradient"].sum() == pytest.approx(
            (up - down) / (2 * step), rel=1e-4, abs=1e-5 * scale
        )


def test_far_from_0_a_sigmoid_has_no_slope():
    frame = chain(2, [-3000.0, 3000.0], x=1.0)
    assert frame["slope"].tolist() == [0.0, 0.25]
    assert chain(1, 3000.0)["slope"].tolist() == [0.0]


def test_relu_hands_on_what_is_positive():
    frame = chain(2, [1.0, -1.0], activation="relu")
    assert frame["output"].tolist() == [0.5, 0.0]
    assert frame["weight_gradient"].tolist() == [0.0, 0.0]
    assert set(ACTIVATIONS) == {"sigmoid", "tanh", "relu", "linear"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "`depth` must be a whole number of at least 1"),
        ({"depth": 2, "weights": [1.0]}, "must be one finite number or 2 of them"),
        (
            {"weights": "a"},
            "must be one finite number or 3 of them, one per layer. Received: weights='a'",
        ),
        ({"weights": [[1.0], [1.0, 2.0]]}, "must be one finite number or 3"),
        ({"weights": float("nan")}, "must be one finite number or 3"),
        ({"x": "a"}, "`x` must be a finite number. Received: x='a'"),
        ({"residual_weight": float("inf")}, "`residual_weight` must be a finite number"),
        ({"activation": "selu"}, "`activation` must be one of 'sigmoid'"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        chain(**arguments)


@pytest.mark.drawn
def test_the_command_shows_the_worked_example(capsys, tmp_path):
    picture = tmp_path / "chain.png"
    argv = ["chain", "--weights", *map(str, WEIGHTS), "--residual-weight", "0.1"]
    assert main([*argv, "--out", str(picture)]) == 0
    shown = capsys.readouterr().out
    for frame in (chain(3, WEIGHTS), chain(3, WEIGHTS, residual_weight=0.1)):
        assert chain_in_words(frame) in shown
    assert "Loss 0.2247" in shown and "-0.00295 of it comes through the shortcut" in shown
    assert picture.stat().st_size > 10_000
    assert main(["chain", "--depth", "2", "--weights", "1", "2", "3"]) == 2
    assert "one finite number or 2 of them" in capsys.readouterr().err
    assert main(["chain", "--depth", "2", "--residual-weight", "1"]) == 2
    assert "`depth` must be at least 3 with a residual weight" in capsys.readouterr().err
    assert main(["chain", "--out", str(tmp_path / "chain.doc")]) == 2
    assert "a file that ends with one of '.png', '.svg', '.pdf'" in capsys.readouterr().err
    assert main(["chain", "--out", str(tmp_path / "no" / "folder.png")]) == 1
    assert "could not be written" in capsys.readouterr().err


def test_words_fit_chains_of_any_length():
    assert chain_in_words(chain(1, 0.0, x=0.0)) == "Loss 0.2500; the first weight's gradient is 0."
    assert "per layer in the backward pass." in chain_in_words(chain(40))
    assert " times " not in chain_in_words(chain(2, [1.0, -1.0], activation="relu"))
