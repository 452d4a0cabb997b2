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
#: What hands on what it takes: of several inputs all must be alike.
_PASSING = (
    keras.layers.Average,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.Identity,
    keras.layers.Reshape,
)


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
    last = graph.layers[-1]
    if isinstance(last, keras.layers.Dense) and last.activation is keras.activations.linear:
        last.activation = keras.activations.softmax
        return graph
    softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(graph.input, softmax(graph.output), name=model.name)


def _of(tensor):
    operation, node_index, _ = tensor._keras_history
    if isinstance(operation, keras.Model):
        return _of(operation.outputs[0])
    node = operation._inbound_nodes[node_index]
    if isinstance(operation, keras.layers.Softmax):
        return "probabilities"
    if isinstance(operation, _PASSING) or type(operation).__name__ == "Cast":
        found = {_of(taken) for taken in node.input_tensors}
        return found.pop() if len(found) == 1 else None
    activation = getattr(operation, "activation", None)
    name = _OPERATIONS.get(type(operation).__name__, getattr(activation, "__name__", None))
    return _ACTIVATIONS.get(name)
