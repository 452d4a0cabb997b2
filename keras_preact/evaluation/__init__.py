"""Evaluation: scores on labelled images, and pictures of them."""

from keras_preact.evaluation.evaluate import Evaluation, evaluate
from keras_preact.evaluation.plots import (
    plot_confusion_matrix,
    plot_curves,
    plot_predictions,
    save_figure,
)

__all__ = [
    "Evaluation",
    "evaluate",
    "plot_confusion_matrix",
    "plot_curves",
    "plot_predictions",
    "save_figure",
]
