"""`with_temperature`: a network whose scores are softmax(logits / T)."""

import keras

from keras_preact.checked import require
from keras_preact.errors import ConfigError
from keras_preact.rewrite.graph import as_graph, carry_weights, rebuild, same


def with_temperature(model: keras.Model, temperature: float) -> keras.Model:
    """A copy of a network whose scores are softmax(logits / temperature).

    The kernel and bias of the classifier are divided by the temperature, so the graph stays the
    same and every export format can hold it (Guo et al. 2017).

    Args:
        model: A functional or sequential `keras.Model` that ends with a `Dense` layer with softmax
            activation, as trained networks do.
        temperature: A number above 0, such as `keras_preact.evaluation.fit_temperature` returns.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        ConfigError: If the model does not end this way, or the temperature is not above 0.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.rewrite import with_temperature
        >>> model = create_model("resnet8v2", input_shape=(8, 8, 1), classes=3)
        >>> with_temperature(model, 1.5).output_shape
        (None, 3)
    """
    require(temperature > 0, "temperature", temperature, "above 0")
    graph = as_graph(model)
    last, *_ = graph.outputs[0]._keras_history
    if not isinstance(last, keras.layers.Dense) or last.activation is not keras.activations.softmax:
        raise ConfigError(
            "`model` must end with a Dense layer with softmax activation, whose logits are divided "
            f"by the temperature. Received: {last.name!r} ({type(last).__name__}) at its end."
        )
    copy, pairs = rebuild(graph, same)
    for old, new in pairs:
        carry_weights(old, new)
        if old is last:
            new.set_weights([value / temperature for value in old.get_weights()])
    return copy
