"""`outputs_of`: what the scores of a network are, read from its last layers."""

from typing import Any

import keras

from keras_preact.rewrite.graph import as_graph

#: The kind of scores that an activation gives.
_ACTIVATIONS = {
    "softmax": "probabilities",
    "linear": "logits",
    "log_softmax": "logits",  # whose softmax is the same
    "sigmoid": "sigmoids",
    "hard_sigmoid": "sigmoids",
}
#: Operations of a graph that are not layers, by class name.
_OPERATIONS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
_SOFTMAXES = (keras.activations.softmax, keras.activations.log_softmax)
#: Layers that keep the kind of their inputs; several inputs must be of one kind.
_PASSING = (
    keras.layers.Average,
    keras.layers.Dropout,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.Identity,
)
_SHAPING = (keras.layers.Flatten, keras.layers.Reshape)
#: Layers and operations that turn logits into logits, such as a temperature, but do not keep
#: probabilities, by class name.
_AFFINE = {
    "Add", "BatchNormalization", "Divide", "Multiply", "Rescaling", "Subtract", "TrueDivide",
}  # fmt: skip


def outputs_of(model: keras.Model) -> str | None:
    """Tells what the scores of a network are: probabilities, logits or sigmoids.

    Args:
        model: A functional or sequential `keras.Model`; nested models are included.

    Returns:
        `"probabilities"` (after a softmax), `"logits"` (no activation), `"sigmoids"` (classes that
        do not exclude each other), or `None` if the last layers do not tell.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.rewrite import outputs_of
        >>> outputs_of(create_model("resnet8v2", classifier_activation=None))
        'logits'
    """
    return _of(model.outputs[0])


def with_softmax(model: keras.Model) -> keras.Model:
    """Adds a softmax to a network that ends with logits.

    If its last layer is a `Dense` layer, that layer gets the activation: it is changed in place.

    Args:
        model: A functional or sequential `keras.Model` that ends with logits.

    Returns:
        A functional `keras.Model` that ends with probabilities.

    Raises:
        ConfigError: If the model is not a graph of layers.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.rewrite import outputs_of, with_softmax
        >>> outputs_of(with_softmax(create_model("resnet8v2", classifier_activation=None)))
        'probabilities'
    """
    graph = as_graph(model)
    last, *_ = graph.outputs[0]._keras_history  # the last operation of the graph
    if isinstance(last, keras.layers.Dense) and last.activation is keras.activations.linear:
        last.activation = keras.activations.softmax
        return graph
    softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(graph.input, softmax(graph.output), name=model.name)


def without_softmax(model: keras.Model) -> keras.Model:
    """Removes the softmax at the end of a network, so that it returns logits.

    Args:
        model: A functional or sequential `keras.Model`; without a softmax it stays as it is.

    Returns:
        A functional `keras.Model` that shares the network's layers; if the softmax is the
        activation of the last layer, that layer and its weights are copied.

    Raises:
        ConfigError: If the model is not a graph of layers.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.rewrite import outputs_of, without_softmax
        >>> outputs_of(without_softmax(create_model("resnet8v2")))
        'logits'
    """
    graph = as_graph(model)
    operation, node_index, _ = graph.outputs[0]._keras_history
    taken = operation._inbound_nodes[node_index].input_tensors
    if isinstance(operation, keras.Model):
        logits = without_softmax(operation)(taken[0])
    elif "Softmax" in type(operation).__name__:
        logits = taken[0]
    elif getattr(operation, "activation", None) in _SOFTMAXES:
        layer = type(operation).from_config({**operation.get_config(), "activation": "linear"})
        logits = layer(taken[0])
        layer.set_weights(operation.get_weights())
    else:
        return graph
    return keras.Model(graph.input, logits, name=model.name)


def _of(tensor: Any) -> str | None:
    operation, node_index, _ = tensor._keras_history
    if isinstance(operation, keras.Model):
        return _of(operation.outputs[0])
    kind, taken = type(operation).__name__, operation._inbound_nodes[node_index].input_tensors
    if "Softmax" in kind and operation.axis not in (-1, len(tensor.shape) - 1):
        return None  # over images or positions, not over classes
    if isinstance(operation, keras.layers.Softmax):
        return "probabilities"
    same = isinstance(operation, _PASSING) or kind == "Cast"
    if same or isinstance(operation, _SHAPING) or kind in _AFFINE:
        found = {_of(one) for one in taken}
        found = found.pop() if len(found) == 1 else None
        if isinstance(operation, _SHAPING):  # flattened scores of several positions are no classes
            same = tensor.shape[-1] == taken[0].shape[-1]
        return found if same or found == "logits" else None
    activation = getattr(operation, "activation", None)
    name = _OPERATIONS.get(kind, getattr(activation, "__name__", ""))
    return _ACTIVATIONS.get(name)
