"""Weights by layer name, the same in every packaging of a network."""

from keras_preact.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "LoadReport": ".named",
        "PREPROCESSINGS": ".preprocessing",
        "Preprocessing": ".preprocessing",
        "Source": ".sources",
        "layers_with_weights": ".by_layer",
        "load_named": ".named",
        "load_weights_by_layer": ".by_layer",
        "read_config": ".about",
        "read_geometry": ".about",
        "read_preprocessing": ".about",
        "read_source": ".sources",
        "read_weights": ".files",
        "refuse_unsafe": ".safe",
        "save_named": ".named",
        "weights_by_layer": ".by_layer",
        "write_weights": ".files",
    },
)
