"""Evaluation: scores on labelled images, and plots of them."""

from keras_preact.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Evaluation": ".scores",
        "ViewsConfig": ".views",
        "at_temperature": ".temperature",
        "center_crop": ".views",
        "classify_files": ".files",
        "compare_page": ".comparison",
        "ensemble": ".scores",
        "evaluate": ".scores",
        "fit_temperature": ".temperature",
        "multi_scale": ".views",
        "plot_augmentation": ".augmented",
        "plot_calibration": ".plots",
        "plot_confusion_matrix": ".plots",
        "plot_curves": ".plots",
        "plot_mistakes": ".plots",
        "plot_predictions": ".plots",
        "plot_runs": ".runs",
        "runs_frame": ".runs",
        "save_figure": ".plots",
        "ten_crop": ".views",
    },
)
