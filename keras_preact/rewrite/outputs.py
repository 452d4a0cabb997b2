"""`outputs_of`: what the scores of a network are, read off its last layers."""

import keras

from keras_preact.rewrite.graph import as_graph

#: What an activation makes of scores.
_ACTIVATIONS = {
    "softmax": "probabilities",
    "linear": "logits",
    "log_softmax": "logits",  # whose softmax is the same
    "sigmoid": "sigmoids",
    "hard_sigmoid": "sigmoids",
}
#: Operations of a graph that are no layers, by the names of their classes.
_OPERATIONS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
_SOFTMAXES = (keras.activations.softmax, keras.activations.log_softmax)
#: What hands on what it takes: of several inputs all must be alike.
_PASSING = (
    keras.layers.Average,
    keras.layers.Dropout,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.Identity,
)
_SHAPING = (keras.layers.Flatten, keras.layers.Reshape)
#: What makes logits of logits, such as a temperature, but of probabilities none: names of layers
#: and operations.
_AFFINE = {
    "Add", "BatchNormalization", "Divide", "Multiply", "Rescaling", "Subtract", "TrueDivide",
}  # fmt: skip


def outputs_of(model) -> str | None:
    """What the scores of a network are.

    Args:
        model: A functional or sequential `keras.Model`; sub-models are entered.

    Returns:
        `"probabilities"` (a softmax), `"logits"` (nothing yet), `"sigmoids"` (of classes that do
        not exclude each other), or `None` where its last layer does not say.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.rewrite import outputs_of
        >>> outputs_of(create_model("resnet8v2", classifier_activation=None))
        'logits'
    """
    return _of(model.outputs[0])


def with_softmax(model):
    """A network that gives logits, with the softmax that makes them probabilities.

    Where its last layer is a `Dense`, that layer gets the activation: it is changed in place.

    Returns:
        A `keras.Model`.
    """
    graph = as_graph(model)
    last, *_ = graph.outputs[0]._keras_history  # which no operation stands behind
    if isinstance(last, keras.layers.Dense) and last.activation is keras.activations.linear:
        last.activation = keras.activations.softmax
        return graph
    softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(graph.input, softmax(graph.output), name=model.name)


def without_softmax(model):
    """A network that gives the logits ahead of its softmax; without one it is the same.

    Returns:
        A functional `keras.Model` with the same weights; those of a layer that had the activation
        are copied.

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


def _of(tensor):
    operation, node_index, _ = tensor._keras_history
    if isinstance(operation, keras.Model):
        return _of(operation.outputs[0])
    kind, taken = type(operation).__name__, operation._inbound_nodes[node_index].input_tensors
    if "Softmax" in kind and operation.axis not in (-1, len(tensor.shape) - 1):
        return None  # over images or places, not over classes
    if isinstance(operation, keras.layers.Softmax):
        return "probabilities"
    same = isinstance(operation, _PASSING) or kind == "Cast"
    if same or isinstance(operation, _SHAPING) or kind in _AFFINE:
        found = {_of(one) for one in taken}
        found = found.pop() if len(found) == 1 else None
        if isinstance(operation, _SHAPING):  # scores of several places in a row are no classes'
            same = tensor.shape[-1] == taken[0].shape[-1]
        return found if same or found == "logits" else None
    activation = getattr(operation, "activation", None)
    name = _OPERATIONS.get(kind, getattr(activation, "__name__", None))
    return _ACTIVATIONS.get(name)
