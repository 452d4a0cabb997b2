"""Benchmarks of networks and their exports, measured in turn on the current machine."""

from keras_preact.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "BenchConfig": ".config",
        "Measured": ".measuring",
        "bench": ".measuring",
        "plot_bench": ".plots",
    },
)
