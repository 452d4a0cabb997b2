"""What a network's initialisation does to the variance of a signal and of its gradient.

Delving Deep into Rectifiers, section 2.2: through layer l the variance of the responses is
multiplied by ½ (1 + a²) n Var[w] (equations 9 and 15) and, on the way back, that of the gradient by
½ (1 + a²) n̂ Var[w] (equation 13), where n is the fan in, n̂ the fan out, and a the negative slope of
the rectifier: the one ahead of the layer forward, the one behind it backward.
"""

import math

import keras
import numpy as np

from keras_preact.layers import Repeat
from keras_preact.weights import weights_by_layer

#: Standard deviation of a standard normal that is cut at two of them.
_CUT = 0.87962566103423978


def variance_factors(model):
    """Fans, standard deviations and variance factors of all convolutions and dense layers.

    Args:
        model: A functional `keras.Model`, in any packaging.

    Returns:
        A `pandas.DataFrame` with a row a layer, in order: `layer`, `kernel` (its side),
        `channels` in and `filters` out, `fan_in` (n) and `fan_out` (n̂), `slope_before` and
        `slope_after` (negative slope of the rectifier there: 0 for ReLU, 1 where there is none, no
        number where it is another function), `std` by the layer's initializer, `measured_std` of
        its weights as they are, `he_forward` and `he_backward` (standard deviations by equations 10
        and 14, with the slopes of equation 15), `xavier` (the paper's, √(1/n)), `forward` and
        `backward` (the factors with `std`), and their products: `forward_product` from the first
        layer to this, `backward_product` from the last layer to this. Roots of the products are
        ratios of standard deviations to those of an initialisation by He. They are meant for plain
        nets: those of a residual net go through branches and shortcuts alike, layer after layer.

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


def of_plain_nets(tables):
    """Rows of an `Analysis`'s `variance` of networks without shortcuts, whose layers are one path.

    Args:
        tables: `variance` and `signals` of an `Analysis`.
    """
    signals, variance = tables["signals"], tables["variance"]
    residual = signals["network"][signals["adds"].notna()] if "adds" in signals else []
    return variance[~variance["network"].isin(residual)]


def initializer_variance(initializer, shape) -> float:
    """Variance of the values that an initializer draws; no number for kinds it does not know.

    Args:
        initializer: A Keras initializer.
        shape: Shape of the weight.

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
    """What is known of a tensor: the rectifier it comes from, and the layer whose output it is."""

    def __init__(self, slope=1.0, source=None):
        self.slope, self.source = slope, source


class _Weighted:
    """A convolution or dense layer, and the rectifiers ahead of it and behind it."""

    def __init__(self, layer, name, before):
        self.layer, self.name = layer, name
        self.before, self.after = before, 1.0


def _follow(graph, signals, called, found, weights):
    """Follows signals through a graph; `called` makes an inner layer's name the flat one."""
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
    if len(incoming) > 1 or isinstance(operation, keras.layers.BatchNormalization):
        same = isinstance(operation, keras.layers.Concatenate)
        # A sum, or what was normalised, is no rectifier's output, but one may stand behind it.
        return signal if same else _Signal(1.0, signal.source if len(incoming) == 1 else None)
    return _rectified(signal, _slope(operation, called, weights))


def _rectified(signal, slope):
    """A signal behind an operation of that slope; 1 for those that let all values pass."""
    if slope == 1.0:
        return signal
    if signal.source is not None and signal.slope == 1.0:
        signal.source.after = slope
    return _Signal(slope)


def _slope(operation, called, weights):
    """Root mean square of the negative slope of a layer; 1 for layers that rectify nothing."""
    if isinstance(operation, keras.layers.PReLU):
        return float(np.sqrt(np.mean(np.square(weights[called(operation.name)]["0"]))))
    if isinstance(operation, keras.layers.LeakyReLU):
        return float(operation.negative_slope)
    if isinstance(operation, keras.layers.ReLU):
        return float(operation.negative_slope) if operation.max_value is None else math.nan
    activation = getattr(operation, "activation", keras.activations.linear)
    # A softmax stands at the end; what the layers make is its input.
    passed = {keras.activations.linear: 1.0, keras.activations.softmax: 1.0}
    known = {keras.activations.relu: 0.0, **passed}
    return known.get(activation, math.nan)


def _fans(shape):
    *field, channels, filters = shape
    return math.prod(field) * channels, math.prod(field) * filters


def _row(found, weights):
    layer = found.layer
    shape = tuple(layer.kernel.shape)
    fan_in, fan_out = _fans(shape)
    variance = initializer_variance(layer.kernel_initializer, shape)
    ahead, behind = ((1 + slope**2) / 2 for slope in (found.before, found.after))
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
        "measured_std": float(np.std(weights[found.name]["0"])),
        "he_forward": 1 / math.sqrt(ahead * fan_in),
        "he_backward": 1 / math.sqrt(behind * fan_out),
        "xavier": 1 / math.sqrt(fan_in),
        "forward": ahead * fan_in * variance,
        "backward": behind * fan_out * variance,
    }
