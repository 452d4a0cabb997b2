"""A page to try a network: on this machine, or as a folder that a Hugging Face Space runs."""

from keras_preact.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Demo": ".app",
        "demo_of": ".local",
        "look": ".app",
        "page": ".app",
        "serve": ".app",
        "write_space": ".space",
    },
)
