"""Networks and what was exported from them, measured in turn on the machine at hand."""

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
