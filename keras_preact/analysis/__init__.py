"""Seeing inside: why residual networks train, measured on a network at hand."""

from keras_preact.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Anatomy": ".anatomy",
        "Signals": ".signals",
        "chain": ".scalar_chain",
        "deepen": ".identity_units",
        "dissect": ".anatomy",
        "gradient_propagation": ".gradients",
        "signal_propagation": ".signals",
    },
)
