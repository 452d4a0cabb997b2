"""Intermediate features of a network, by the names of its stages and layers."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from keras_preact.errors import ConfigError, near, quoted

if TYPE_CHECKING:
    import keras


def feature_extractor(model: "keras.Model", layers: str | Iterable[str]) -> "keras.Model":
    """A model that returns the outputs of some layers of another one and shares its weights.

    Args:
        model: A functional `keras.Model`.
        layers: Name or names of layers in its graph: `"stage1"` ... `"stage4"` are the ends of the
            stages; with `packaging="flat"` every layer can be named.

    Returns:
        A functional `keras.Model` that maps the model's inputs to a dictionary `{name: output}`.

    Raises:
        ConfigError: If the graph has no layer of that name.

    Example:
        >>> from keras_preact import feature_extractor
        >>> from keras_preact.applications import ResNet20V2
        >>> features = feature_extractor(ResNet20V2(), ["stage1", "stage3"])
        >>> {name: x.shape for name, x in features.output.items()}
        {'stage1': (None, 32, 32, 16), 'stage3': (None, 8, 8, 64)}
    """
    import keras  # here, so that listing networks needs no Keras

    layers = [layers] if isinstance(layers, str) else list(layers)
    # The output of a nested model belongs to its inner graph, not to this one.
    known = [layer.name for layer in model.layers if not isinstance(layer, keras.Model)]
    for name in layers:
        if name not in known:
            stages = [layer for layer in known if layer.startswith("stage") and "_" not in layer]
            raise ConfigError(
                f"`layers` must be layer names of the graph of {model.name!r}: "
                f"{quoted(stages)} or another layer (packaging='flat' has them all). "
                f"Received: {name!r}.{near(name, known)}"
            )
    outputs = {name: model.get_layer(name).output for name in layers}
    return keras.Model(model.input, outputs, name=f"{model.name}_features")
