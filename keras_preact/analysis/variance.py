"""The effect of a network's initialisation on the variance of signals and gradients.

Delving Deep into Rectifiers, section 2.2: in the forward pass, layer l multiplies the variance of
the responses by ½ (1 + a²) n Var[w] (equations 9 and 15); in the backward pass, that of the
gradient by ½ (1 + a²) n̂ Var[w] (equation 13). Here n is the fan-in, n̂ the fan-out, and a the
negative slope of the rectifier: the one before the layer forward, the one after it backward.
Standardised kernels, of mean 0, remove the mean of a rectified signal: forward, ½ (1 + a²) loses
(1 - a)² / 2π (Brock et al. 2021, section 4.1).
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_preact.layers import Repeat, StandardizedConv2D
from keras_preact.layers.standardized_conv import standardized
from keras_preact.weights import weights_by_layer

if TYPE_CHECKING:
    import pandas as pd

#: Standard deviation of a standard normal distribution truncated at two standard deviations.
_CUT = 0.87962566103423978


def variance_factors(model: keras.Model) -> "pd.DataFrame":
    """Computes fans, standard deviations and variance factors of convolutions and dense layers.

    Args:
        model: A functional `keras.Model`, in any packaging.

    Returns:
        A `pandas.DataFrame` with one row per layer, in order: `layer`, `kernel` (its side),
        `channels` in and `filters` out, `fan_in` (n) and `fan_out` (n̂), `slope_before` and
        `slope_after` (negative slope of the rectifier there: 0 for ReLU, 1 without one, NaN for
        another function), `std` of the layer's initializer, `measured_std` of its current weights,
        `he_forward` and `he_backward` (standard deviations by equations 10 and 14, with the slopes
        of equation 15), `xavier` (the paper's, √(1/n)), `forward` and `backward` (the variance
        factors with `std`), and their products: `forward_product` from the first layer to this one,
        `backward_product` from the last layer to this one. The square roots of the products are
        standard deviations relative to those with He initialisation. They are meant for plain nets:
        in a residual net they multiply branches and shortcuts alike, layer after layer.

    Raises:
        ConfigError: As `keras_preact.weights.weights_by_layer`.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.analysis import variance_factors
        >>> net = create_model("vgg13", input_shape=(32, 32, 3), dense=(8, 8))
        >>> variance_factors(net).he_backward[[1, 3, 5, 7]].round(3).to_list()
        [0.059, 0.042, 0.029, 0.021]
    """
    import pandas as pd

    found, weights = [], weights_by_layer(model)
    _follow(model, [_Signal()] * len(model.inputs), str, found, weights)
    frame = pd.DataFrame([_row(layer, weights) for layer in found])
    frame["forward_product"] = frame["forward"].cumprod()
    frame["backward_product"] = frame["backward"][::-1].cumprod()[::-1]
    return frame


def of_plain_nets(tables: "Mapping[str, pd.DataFrame]") -> "pd.DataFrame":
    """The rows of the table `variance` for plain nets, whose layers are one path.

    Args:
        tables: The tables `variance` and `signals` of an `Analysis`.
    """
    signals: Any = tables["signals"]
    variance: Any = tables["variance"]
    residual = signals["network"][signals["adds"].notna()] if "adds" in signals else []
    return variance[~variance["network"].isin(residual)]


def initializer_variance(initializer: Any, shape: Sequence[int]) -> float:
    """Computes the variance of the values that an initializer draws.

    Args:
        initializer: A Keras initializer.
        shape: Shape of the weight.

    Returns:
        The variance; NaN for initializers of other kinds.

    Example:
        >>> from keras_preact.analysis import initializer_variance
        >>> from keras_preact.initializers import he_normal
        >>> initializer_variance(he_normal("fan_out"), (3, 3, 16, 32)) == 2 / (9 * 32)
        True
    """
    kinds = keras.initializers
    if isinstance(initializer, kinds.VarianceScaling):  # the same for all of its distributions
        fan_in, fan_out = _fans(shape)
        fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        return initializer.scale / max(1.0, fans[initializer.mode])
    if isinstance(initializer, kinds.RandomNormal):
        return initializer.stddev**2
    if isinstance(initializer, kinds.TruncatedNormal):
        return (_CUT * initializer.stddev) ** 2
    if isinstance(initializer, kinds.RandomUniform):
        return (initializer.maxval - initializer.minval) ** 2 / 12
    if isinstance(initializer, (kinds.Constant, kinds.Zeros, kinds.Ones)):
        return 0.0
    return math.nan


class _Signal:
    """A tensor: the slope of the rectifier before it, and the layer whose output it is."""

    def __init__(self, slope: float = 1.0, source: Any = None):
        self.slope, self.source = slope, source


class _Weighted:
    """A convolution or dense layer, and the slopes of the rectifiers before and after it."""

    def __init__(self, layer: Any, name: str, before: float):
        self.layer, self.name = layer, name
        self.before, self.after = before, 1.0


def _follow(graph, signals, called, found, weights):
    """Follows signals through a graph; `called` returns the flat name of an inner layer."""
    at = dict(zip(map(id, graph.inputs), signals, strict=True))
    for operation in graph.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        for node in operation._inbound_nodes:
            incoming = [at[id(tensor)] for tensor in node.input_tensors if id(tensor) in at]
            if not incoming:
                continue  # a call of the layer in another graph
            signal = _through(operation, incoming, called, found, weights)
            at.update((id(tensor), signal) for tensor in node.outputs)
    return at[id(graph.outputs[0])]


def _through(operation, incoming, called, found, weights):
    signal = incoming[0]
    if isinstance(operation, Repeat):
        for k in range(len(operation.names)):
            named = lambda name, k=k: operation.layer_name(k, name)  # noqa: E731
            template = operation.template()
            signal = _follow(template, [signal], named, found, weights)
        return signal
    if isinstance(operation, keras.Model):
        return _follow(operation, incoming, called, found, weights)
    if isinstance(operation, (keras.layers.Conv2D, keras.layers.Dense)):
        found.append(_Weighted(operation, called(operation.name), signal.slope))
        return _rectified(_Signal(1.0, found[-1]), _slope(operation, called, weights))
    norms = (keras.layers.BatchNormalization, keras.layers.GroupNormalization)
    if len(incoming) > 1 or isinstance(operation, norms):
        same = isinstance(operation, keras.layers.Concatenate)
        # A sum or a normalised tensor is not a rectifier's output, but a rectifier may follow.
        return signal if same else _Signal(1.0, signal.source if len(incoming) == 1 else None)
    return _rectified(signal, _slope(operation, called, weights))


def _rectified(signal, slope):
    """The signal after an operation with this slope; 1 for operations that do not rectify."""
    if slope == 1.0:
        return signal
    if signal.source is not None and signal.slope == 1.0:
        signal.source.after = slope
    return _Signal(slope)


def _slope(operation, called, weights):
    """Root mean square of the negative slope of a layer; 1 for layers that do not rectify."""
    if isinstance(operation, keras.layers.PReLU):
        return float(np.sqrt(np.mean(np.square(weights[called(operation.name)]["0"]))))
    if isinstance(operation, keras.layers.LeakyReLU):
        return float(operation.negative_slope)
    if isinstance(operation, keras.layers.ReLU):
        return float(operation.negative_slope) if operation.max_value is None else math.nan
    activation = getattr(operation, "activation", keras.activations.linear)
    # A softmax is at the end; the signal is its input.
    passed = {keras.activations.linear: 1.0, keras.activations.softmax: 1.0}
    known = {keras.activations.relu: 0.0, **passed}
    return known.get(activation, math.nan)


def _fans(shape: Sequence[int]) -> tuple[int, int]:
    *field, channels, filters = shape
    return math.prod(field) * channels, math.prod(field) * filters


def _row(found, weights):
    layer = found.layer
    shape: tuple[int, ...] = tuple(layer.kernel.shape)
    fan_in, fan_out = _fans(shape)
    variance = initializer_variance(layer.kernel_initializer, shape)
    ahead, behind = ((1 + slope**2) / 2 for slope in (found.before, found.after))
    kernel = weights[found.name]["0"]
    if isinstance(layer, StandardizedConv2D):
        variance = layer.gain**2 / fan_in
        ahead -= (1 - found.before) ** 2 / (2 * math.pi)
        kernel = keras.ops.convert_to_numpy(standardized(kernel, layer.gain))
    return {
        "layer": found.name,
        "kernel": shape[0] if len(shape) > 2 else 1,
        "channels": shape[-2],
        "filters": shape[-1],
        "fan_in": fan_in,
        "fan_out": fan_out,
        "slope_before": found.before,
        "slope_after": found.after,
        "std": math.sqrt(variance),
        "measured_std": float(np.std(kernel)),
        "he_forward": 1 / math.sqrt(ahead * fan_in),
        "he_backward": 1 / math.sqrt(behind * fan_out),
        "xavier": 1 / math.sqrt(fan_in),
        "forward": ahead * fan_in * variance,
        "backward": behind * fan_out * variance,
    }
