"""A chain of scalar layers, with and without a residual weight, number by number.

A worked example for vanishing gradients and shortcuts: each layer is one weight and one activation,
h_k = f(w_k h_{k-1}); with a residual weight, from the third layer on, h_k = f(w_k h_{k-1} + w_r
h_{k-2}).
"""

import numbers
from collections.abc import Sequence

import numpy as np
import pandas as pd

from keras_preact.checked import is_whole, require
from keras_preact.errors import ConfigError, quoted


def _sigmoid(z):
    with np.errstate(over="ignore"):  # the result is 0 there
        return 1 / (1 + np.exp(-z))


#: Activations and their derivatives, as functions of the weighted sum.
ACTIVATIONS = {
    "sigmoid": (_sigmoid, lambda z: _sigmoid(z) * _sigmoid(-z)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: (z > 0) * 1.0),
    "linear": (lambda z: z, lambda z: np.ones_like(z)),
}


def chain(
    depth: int = 3,
    weights: float | Sequence[float] = 0.1,
    residual_weight: float = 0.0,
    *,
    x: float = 0.5,
    target: float = 1.0,
    activation: str = "sigmoid",
) -> pd.DataFrame:
    """Computes every number of a forward and a backward pass through a chain of scalar layers.

    Args:
        depth: Number of layers.
        weights: w_1, w_2, ..., or one number for all.
        residual_weight: w_r of the path around each layer from the third on; 0 for a plain chain.
        x: The input.
        target: t of the loss L = (t - y)², where y is the output of the last layer.
        activation: `"sigmoid"`, `"tanh"`, `"relu"` or `"linear"`.

    Returns:
        One row per layer: `weight`, `sum` (the input of the activation), `output` h, `slope` (the
        derivative of the activation there), `gradient` dL/dh with its parts `through_next` (by the
        weight of the next layer) and `through_shortcut` (by the residual weight around it),
        `weight_gradient` dL/dw with the same parts, `weight_through_next` and
        `weight_through_shortcut`, and `residual_gradient`, the layer's share of dL/dw_r. The loss
        is in `attrs["loss"]`. `chain_in_words` summarises them, `plot_chain` plots them.

    Raises:
        ConfigError: If the activation is unknown, the depth is below 1, a number is not finite, or
            the number of weights is not the depth.

    Example:
        >>> from keras_preact.analysis import chain
        >>> frame = chain(3, [0.2, 0.1, 0.1], residual_weight=0.1)
        >>> round(frame.attrs["loss"], 4)
        0.2247
        >>> first = frame.iloc[0]
        >>> f"{first.weight_through_shortcut:.5f}", f"{first.weight_through_next:.6f}"
        ('-0.00295', '-0.000074')
    """
    require(is_whole(depth) and depth >= 1, "depth", depth, "a whole number of at least 1")
    require(activation in ACTIVATIONS, "activation", activation, f"one of {quoted(ACTIVATIONS)}")
    for name, value in {"residual_weight": residual_weight, "x": x, "target": target}.items():
        is_finite = isinstance(value, numbers.Real) and np.isfinite(value)
        require(is_finite, name, value, "a finite number")
    values = _weights(weights, depth)
    function, derivative = ACTIVATIONS[activation]
    residual = np.where(np.arange(depth) >= 2, residual_weight, 0.0)
    sums, outputs = np.zeros(depth), np.zeros(depth + 1)
    outputs[0] = x
    for k in range(depth):
        sums[k] = values[k] * outputs[k] + residual[k] * outputs[k - 1]
        outputs[k + 1] = function(sums[k])
    slopes = derivative(sums)
    through_next, through_shortcut = np.zeros(depth), np.zeros(depth)
    at_sum = np.zeros(depth)
    for k in reversed(range(depth)):
        if k == depth - 1:
            through_next[k] = 2 * (outputs[-1] - target)  # dL/dy itself
        else:
            through_next[k] = at_sum[k + 1] * values[k + 1]
        if k + 2 < depth:
            through_shortcut[k] = at_sum[k + 2] * residual[k + 2]
        at_sum[k] = (through_next[k] + through_shortcut[k]) * slopes[k]
    frame = pd.DataFrame(
        {
            "layer": np.arange(1, depth + 1),
            "weight": values,
            "sum": sums,
            "output": outputs[1:],
            "slope": slopes,
            "gradient": through_next + through_shortcut,
            "through_next": through_next,
            "through_shortcut": through_shortcut,
            "weight_gradient": at_sum * outputs[:-1],
            "weight_through_next": through_next * slopes * outputs[:-1],
            "weight_through_shortcut": through_shortcut * slopes * outputs[:-1],
            "residual_gradient": at_sum * np.where(residual != 0, np.roll(outputs[:-1], 1), 0.0),
        }
    )
    frame += 0  # no -0
    frame.attrs["loss"] = float((outputs[-1] - target) ** 2)
    return frame


def _weights(weights, depth):
    try:
        values = np.asarray(weights, float)
    except (TypeError, ValueError):  # other types, lists of lists of different lengths
        values = np.empty((0, 0))
    if values.ndim == 0:
        values = np.full(depth, values)
    if values.shape != (depth,) or not np.isfinite(values).all():
        raise ConfigError(
            f"`weights` must be one finite number or {depth} of them, one per layer. "
            f"Received: weights={weights!r}."
        )
    return values


def chain_in_words(frame: pd.DataFrame) -> str:
    """Summarises the numbers of a chain in a sentence or two.

    Args:
        frame: A table of `chain`.

    Returns:
        The sentences.

    Example:
        >>> from keras_preact.analysis import chain, chain_in_words
        >>> print(chain_in_words(chain(3, [0.2, 0.1, 0.1], residual_weight=0.1)).split(". ")[1])
        -0.00295 of it comes through the shortcut, -7.36e-05 through the next layer.
    """
    first, last = frame.iloc[0], frame.iloc[-1]
    text = f"Loss {frame.attrs['loss']:.4f}; the first weight's gradient is "
    text += f"{first.weight_gradient:.3g}"
    if len(frame) > 1 and last.weight_gradient:
        ratio = abs(first.weight_gradient / last.weight_gradient)
        text += f", in absolute value {ratio:.3g} times the last one's: a factor of "
        text += f"{ratio ** (1 / (len(frame) - 1)):.2g} per layer in the backward pass"
    if first.weight_through_shortcut:
        text += f". {first.weight_through_shortcut:.3g} of it comes through the shortcut, "
        text += f"{first.weight_through_next:.3g} through the next layer"
    return f"{text}."
