"""`rebuild`: a functional model once more, layer by layer."""

import keras

from keras_preact.errors import ConfigError


def rebuild(model, make_layer, call_layer=None):
    """A copy of a functional model in which each layer may be another.

    Args:
        model: A functional or sequential model; sub-models are entered.
        make_layer: Function of a layer to the one that takes its place.
        call_layer: Function of the new layer and its inputs to its outputs.

    Returns:
        The new model and the pairs (layer, the one in its place), without weights carried over.

    Raises:
        ConfigError: For models that are not made of a graph of layers.
    """
    model, pairs = as_graph(model), []

    def make(layer):
        pairs.append((layer, make_layer(layer)))
        return pairs[-1][1]

    return keras.models.clone_model(
        model, clone_function=make, call_function=call_layer, recursive=True
    ), pairs


def as_graph(model):
    """The model as a functional one; `ConfigError` for what is no graph of layers."""
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs, model.outputs, name=model.name)
    if isinstance(model, keras.Model) and hasattr(model, "operations"):
        return model
    raise ConfigError(
        "`model` must be a functional or sequential Keras model with a known input, whose graph of "
        f"layers can be read. Received: {type(model).__name__}."
    )


def same(layer):
    """A new layer like this one."""
    return type(layer).from_config(layer.get_config())
