"""`fold_batch_norm`: for inference, batch normalisation folded into the convolutions before it."""

import keras
import numpy as np

from keras_preact.layers import BatchNormalization, Conv2D, Repeat, StandardizedConv2D
from keras_preact.layers.standardized_conv import standardized
from keras_preact.rewrite.graph import as_graph, carry_weights, is_graph, rebuild, same
from keras_preact.rewrite.policy import with_policy

CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    StandardizedConv2D,
)
NORMS = (keras.layers.BatchNormalization, BatchNormalization)


def fold_batch_norm(
    model: keras.Model, dtype: str | keras.DTypePolicy | None = "float32"
) -> keras.Model:
    """Folds each batch normalisation that directly follows a convolution into that convolution.

    At inference, a batch normalisation is a scale and an offset per channel, which the kernel and
    the bias of the convolution can absorb. In original units this removes all normalisation layers;
    in pre-activation units, those between the convolutions of a branch.

    Args:
        model: A functional or sequential `keras.Model`, in any packaging.
        dtype: dtype policy of the copy, as in `with_policy`; `None` keeps each layer's own. In 16
            bits the folded kernels are rounded again, so scores differ in the third digit.

    Returns:
        A functional `keras.Model` with the same predictions, whose convolutions have biases. It is
        for inference only: the batch statistics are gone.

    Raises:
        ConfigError: If the model is not a graph of layers, or the policy is unknown.

    Example:
        >>> from keras_preact import fold_batch_norm
        >>> from keras_preact.applications import ResNet20
        >>> folded = fold_batch_norm(ResNet20())
        >>> any("norm" in layer.name for layer in folded.layers)
        False
    """
    model = with_policy(model, dtype) if dtype else model
    folds = _folds(as_graph(model))
    norms = {id(norm) for norm in folds.values()}
    dropped = set()

    def make(layer):
        if isinstance(layer, Repeat) and not any(map(is_graph, layer.template().layers)):
            return layer.with_template(fold_batch_norm(layer.template(), None))
        if id(layer) in folds:
            config = {**layer.get_config(), "use_bias": True}
            if config.pop("gain", None) is not None:
                return keras.layers.Conv2D.from_config(config)
            return type(layer).from_config(config)
        new = same(layer)
        if id(layer) in norms:
            dropped.add(id(new))
        return new

    def call(layer, *args, **kwargs):
        if id(layer) in dropped:
            return keras.tree.flatten((args, kwargs))[0]
        return layer(*args, **kwargs)

    folded, pairs = rebuild(model, make, call)
    for old, new in pairs:
        if isinstance(old, Repeat) and len(new.weights) != len(old.weights):
            _fold_stacks(old, new)
        elif id(old) in folds:
            norm = folds[id(old)]
            new.set_weights(_folded(old, old.get_weights(), norm, norm.get_weights()))
        elif id(new) not in dropped:
            carry_weights(old, new)
    return folded


def _folds(model):
    """`{id of a convolution: norm}` where only the norm takes the convolution's output."""
    folds, consumers, norms = {}, {}, {}
    for operation in model.operations:
        if is_graph(operation):
            folds.update(_folds(as_graph(operation)))
        for node in operation._inbound_nodes:
            for tensor in node.input_tensors:
                consumers[id(tensor)] = consumers.get(id(tensor), 0) + 1
                if _is_plain_norm(operation):
                    norms[id(tensor)] = operation
    outputs = {id(tensor) for tensor in keras.tree.flatten(model.outputs)}
    for layer in model.operations:
        if not _is_plain_convolution(layer):
            continue
        output = layer.output
        norm = norms.get(id(output))
        if norm is None or consumers[id(output)] > 1 or id(output) in outputs:
            continue
        channel_axis = 1 if layer.data_format == "channels_first" else len(output.shape) - 1
        if norm.axis % len(output.shape) == channel_axis:
            folds[id(layer)] = norm
    return folds


def _is_plain_convolution(layer):
    """Whether a layer is a plain convolution, used once in the graph."""
    return (
        type(layer) in CONVOLUTIONS
        and len(layer._inbound_nodes) == 1
        and layer.activation is keras.activations.linear
        and not getattr(layer, "lora_enabled", False)
    )


def _is_plain_norm(layer):
    """Whether a layer is only a scale and an offset at inference, used once in the graph."""
    if (
        type(layer) not in NORMS
        or getattr(layer, "renorm", False)
        or len(layer._inbound_nodes) != 1
    ):
        return False
    arguments = layer._inbound_nodes[0].arguments
    given = (*arguments.args, arguments.kwargs.get("training"))
    return not any(value is True for value in given)  # always in training mode


def _folded(conv, conv_weights, norm, norm_weights):
    """Kernel and bias of the folded convolution; the arrays may be stacks of several.

    norm(W x + b) = s (W x + b - mean) + beta with s = gamma / sqrt(variance + epsilon).
    """
    kernel, *bias = conv_weights
    if isinstance(conv, StandardizedConv2D):
        kernel = keras.ops.convert_to_numpy(standardized(kernel, conv.gain))
    *affine, mean, variance = norm_weights
    gamma = affine.pop(0) if norm.scale else np.ones_like(mean)
    beta = affine.pop(0) if norm.center else np.zeros_like(mean)
    scale = gamma / np.sqrt(variance + norm.epsilon)
    # A depthwise kernel ends with (channels, multiplier), whose product is the norm's channels.
    depthwise = isinstance(conv, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D)
    ends = kernel.shape[-2:] if depthwise else kernel.shape[-1:]
    stacked = mean.shape[:-1]
    spatial = kernel.ndim - len(stacked) - len(ends)
    factor = scale.reshape(*stacked, *(1,) * spatial, *ends)
    return [kernel * factor, ((bias[0] if bias else 0.0) - mean) * scale + beta]


def _fold_stacks(old, new):
    """Sets the stacks of a folded `Repeat`."""
    values = {}
    for (layer, _), stack in old.stacks().items():
        values.setdefault(layer, []).append(keras.ops.convert_to_numpy(stack))
    folds, layers = _folds(old.template()), {layer.name: layer for layer in old.template().layers}
    for name, layer in layers.items():
        if id(layer) in folds:
            norm = folds[id(layer)]
            values[name] = _folded(layer, values[name], norm, values[norm.name])
    for (layer, index), stack in new.stacks().items():
        stack.assign(values[layer][index])
