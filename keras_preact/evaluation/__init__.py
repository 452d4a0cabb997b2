"""Evaluation: scores on labelled images, and pictures of them."""

from keras_preact.evaluation.evaluate import Evaluation, evaluate
from keras_preact.evaluation.plots import (
    plot_confusion_matrix,
    plot_curves,
    plot_predictions,
    save_figure,
)
from keras_preact.evaluation.runs import plot_runs, runs_frame

__all__ = [
    "Evaluation",
    "evaluate",
    "plot_confusion_matrix",
    "plot_curves",
    "plot_predictions",
    "plot_runs",
    "runs_frame",
    "save_figure",
]
