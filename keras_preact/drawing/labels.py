"""The text of each layer in a drawing: words for known kinds, a readable name for any other."""

import functools
import math
import re
from typing import Any, NamedTuple

import keras

from keras_preact.layers import ScalarAffine, StandardizedConv2D, StochasticDepth


class Step(NamedTuple):
    """One step on a path of a unit.

    Attributes:
        text: Text of its box, such as `"3×3 conv, 64"`.
        kind: Kind that gives its colour: a key of `sheet.COLORS`, or `"multiply"` for a circle.
        name: Name of the layer.
    """

    text: str
    kind: str
    name: str = ""


#: The usual spelling of activations whose names are lower case in Keras.
_ACTIVATIONS = {
    word.lower(): word for word in ("ReLU", "ReLU6", "PReLU", "ELU", "SELU", "GELU", "SiLU", "CELU")
}

#: Operations that are not drawn: the input, a name for a tensor, the padding of a pooling.
_UNSEEN = ("InputLayer", "Identity", "Pad")


def steps_of(layer: Any, counts: bool = True) -> tuple[Step, ...]:
    """A layer, and the activation it may include, as steps; none for one that is not drawn.

    Args:
        layer: A Keras layer, or another operation of a functional graph, channels last.
        counts: Whether to show numbers: filters, added channels, the initial value of a bias.

    Returns:
        The steps in the order in which they are computed.

    Example:
        >>> import keras
        >>> from keras_preact.drawing.labels import steps_of
        >>> conv = keras.layers.Conv2D(64, 3, strides=2, activation="relu", use_bias=False)
        >>> [step.text for step in steps_of(conv)]
        ['3×3 conv, 64, /2', 'ReLU']
    """
    text, kind = _words(layer, counts)
    steps = [Step(text, kind, layer.name)] if text else []
    inner = getattr(layer, "activation", None)
    if kind != "activation" and inner not in (None, keras.activations.linear):
        steps.append(Step(_activation(inner), "activation", layer.name))
    return tuple(steps)


@functools.singledispatch
def _words(layer: Any, counts: bool) -> tuple[str, str]:
    """(text, kind) of a layer; unknown layers have the name of their class."""
    name = type(layer).__name__
    if name in _UNSEEN:
        return "", "other"
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"[123]D$", "", name)).lower()
    sizes = [getattr(layer, word, None) for word in ("units", "filters", "bins")]
    text = _ACTIVATIONS.get(name.lower(), words)
    if counts:
        flat = [number for size in sizes if size for number in keras.tree.flatten(size)]
        text = ", ".join([text, *map(str, flat)])
    return text, "resampling" if "pooling" in words else "other"


@_words.register
def _(layer: keras.layers.Conv2D, counts):
    text = f"{_size(layer.kernel_size)} conv{_count(layer.filters, counts)}{_stride(layer)}"
    text += f", {layer.groups} groups" if layer.groups > 1 and counts else ""
    if not layer.use_bias:
        return text, "weights"
    start = getattr(layer.bias_initializer, "value", 0) if counts else 0
    return f"{text}, bias{f' {start:g}' if start else ''}".replace("-", "−"), "weights"


@_words.register
def _(layer: keras.layers.Dense, counts):
    return f"dense{_count(layer.units, counts)}", "weights"


@_words.register
def _(layer: StandardizedConv2D, counts):
    text, kind = _words.dispatch(keras.layers.Conv2D)(layer, counts)
    return f"{text}, standardised", kind


@_words.register
def _(layer: keras.layers.BatchNormalization, counts):
    return "BN", "normalization"


@_words.register
def _(layer: keras.layers.GroupNormalization, counts):
    return f"group norm{_count(layer.groups, counts)}", "normalization"


@_words.register
def _(layer: keras.layers.Activation, counts):
    return _activation(layer.activation), "activation"


@_words.register
def _(layer: keras.layers.PReLU, counts):
    one = layer.built and math.prod(layer.alpha.shape) == 1
    return "PReLU, one slope" if one else "PReLU", "activation"


@_words.register
def _(layer: keras.layers.LeakyReLU, counts):
    return f"leaky ReLU {layer.negative_slope:g}", "activation"


@_words.register
def _(layer: keras.layers.Dropout, counts):
    return f"dropout {layer.rate:g}", "scaling"


@_words.register
def _(layer: StochasticDepth, counts):
    return f"left out {layer.rate:.2g}", "scaling"


@_words.register
def _(layer: keras.layers.Rescaling, counts):
    if (layer.scale, layer.offset) == (-1, 1):
        return "1 − g", "scaling"
    offset = f" + {layer.offset:g}" if layer.offset else ""
    return f"× {layer.scale:g}{offset}".replace("-", "−"), "scaling"


@_words.register
def _(layer: ScalarAffine, counts):
    signs = (("×", layer.scale), ("+", layer.bias))
    return " ".join(f"{sign} learned" for sign, weight in signs if weight is not None), "scaling"


@_words.register
def _(layer: keras.layers.Multiply, counts):
    return "×", "multiply"


@_words.register
def _(layer: keras.layers.MaxPooling2D, counts):
    if layer.pool_size == (1, 1):
        return f"subsample{_stride(layer)}", "resampling"
    return f"{_size(layer.pool_size)} max pool{_stride(layer)}", "resampling"


@_words.register
def _(layer: keras.layers.AveragePooling2D, counts):
    return f"{_size(layer.pool_size)} average pool{_stride(layer)}", "resampling"


@_words.register
def _(layer: keras.layers.GlobalAveragePooling2D, counts):
    return "global average pool", "resampling"


@_words.register
def _(layer: keras.layers.GlobalMaxPooling2D, counts):
    return "global max pool", "resampling"


@_words.register
def _(layer: keras.layers.ZeroPadding2D, counts):
    added = layer.output.shape[-1] - layer.input.shape[-1]
    if not added:  # the padding of a strided convolution or pooling
        return "", "resampling"
    return f"{added if counts else ''} zero channels".strip(), "resampling"


def _activation(function):
    name = getattr(function, "__name__", type(function).__name__)
    return _ACTIVATIONS.get(name.lower(), name.replace("_", " "))


def _size(sizes):
    return "×".join(map(str, sizes))


def _count(number, counts):
    return f", {number}" if counts else ""


def _stride(layer):
    return f", /{max(layer.strides)}" if max(layer.strides) > 1 else ""
