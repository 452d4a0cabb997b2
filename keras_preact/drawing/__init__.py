"""Drawings: a unit as the papers draw it, a network as its stages, galleries of variants."""

from keras_preact.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "GALLERIES": ".variants",
        "draw_gallery": ".gallery",
        "draw_network": ".network",
        "draw_unit": ".unit",
        "read_unit": ".paths",
        "save_drawing": ".sheet",
    },
)
