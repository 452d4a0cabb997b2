"""Weights by the names of their layers, the same in every packaging of a network."""

from keras_preact.weights.by_layer import (
    layers_with_weights,
    load_weights_by_layer,
    read_weights,
    weights_by_layer,
    write_weights,
)

__all__ = [
    "layers_with_weights",
    "load_weights_by_layer",
    "read_weights",
    "weights_by_layer",
    "write_weights",
]
