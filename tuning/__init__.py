"""Searches with KerasTuner; installed as `keras_preact.tuning`."""

from keras_preact.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Depth": ".hypermodels",
        "GatingBias": ".hypermodels",
        "ResidualVariant": ".hypermodels",
        "TrainingHyperModel": ".hypermodels",
        "TuneConfig": ".config",
        "TuneResult": ".search",
        "plot_dimension": ".plots",
        "plot_trials": ".plots",
        "trials_frame": ".frame",
        "tune": ".search",
        "write_report": ".report",
    },
)
