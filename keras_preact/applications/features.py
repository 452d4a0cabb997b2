"""Intermediate features of a network, by the names of its stages and layers."""

from collections.abc import Iterable

from keras_preact.errors import ConfigError, near, quoted


def feature_extractor(model, layers: Iterable[str]):
    """A model that gives the outputs of some layers of another, sharing its weights.

    Args:
        model: A functional `keras.Model`.
        layers: Names of layers of its graph: `"stage1"` ... `"stage4"` are the ends of the stages;
            in a flat packaging every layer can be named.

    Returns:
        A `keras.Model` from the model's inputs to a dictionary `{name: output}`.

    Raises:
        ConfigError: For a name that the graph does not have.

    Example:
        >>> from keras_preact import feature_extractor
        >>> from keras_preact.applications import ResNet20V2
        >>> features = feature_extractor(ResNet20V2(), ["stage1", "stage3"])
        >>> {name: x.shape for name, x in features.output.items()}
        {'stage1': (None, 32, 32, 16), 'stage3': (None, 8, 8, 64)}
    """
    import keras  # here, so that listing networks needs no Keras

    layers = [layers] if isinstance(layers, str) else list(layers)
    # A sub-model's own output belongs to its inner graph, not to this one.
    known = [layer.name for layer in model.layers if not isinstance(layer, keras.Model)]
    for name in layers:
        if name not in known:
            stages = [layer for layer in known if layer.startswith("stage") and "_" not in layer]
            raise ConfigError(
                f"`layers` must be names of layers in the graph of {model.name!r}: "
                f"{quoted(stages)} or another layer (packaging='flat' has them all). "
                f"Received: {name!r}.{near(name, known)}"
            )
    outputs = {name: model.get_layer(name).output for name in layers}
    return keras.Model(model.input, outputs, name=f"{model.name}_features")
