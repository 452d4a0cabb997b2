"""What can be said of a network by looking at it: how it begins, what its layers do to a signal."""

from keras_preact.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "initializer_variance": ".variance",
        "variance_factors": ".variance",
    },
)
