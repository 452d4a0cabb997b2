"""Metrics that treat all classes equally, besides the accuracy, which large classes dominate."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: A larger difference between accuracy and balanced accuracy is pointed out.
_FAR = 0.1

#: The metrics reported with an accuracy, in `summary` and in the result of a run.
BY_CLASS = ("balanced_accuracy", "worst_class", "worst_recall")

#: Means over the classes that are reported too, and their titles.
MACRO = {"macro_f1": "macro F1", "roc_auc": "ROC AUC", "average_precision": "average precision"}


def by_class(results: Sequence[Mapping[str, Any]]) -> dict[str, float | str]:
    """`BY_CLASS` and `MACRO` of several runs: means, and the worst class of any of them.

    Args:
        results: The results of the runs.

    Returns:
        A dictionary with the metrics that all results have; those of early versions lack some.

    Example:
        >>> from keras_preact.evaluation.classes import by_class
        >>> one = {"balanced_accuracy": 0.75, "worst_class": "cat", "worst_recall": 0.5}
        >>> by_class([one, {**one, "balanced_accuracy": 0.25, "worst_recall": 0.0}])
        {'balanced_accuracy': 0.5, 'worst_class': 'cat', 'worst_recall': 0.0}
        >>> by_class([{**one, "macro_f1": 0.5}, {"macro_f1": 0.25}])
        {'macro_f1': 0.375}
    """

    def known(name):
        return results and all(result.get(name) is not None for result in results)

    means = ("balanced_accuracy", *MACRO)
    found: dict[str, Any] = {
        k: float(np.mean([one[k] for one in results])) for k in means if known(k)
    }
    if known("worst_class") and known("worst_recall"):
        worst = min(results, key=lambda result: result["worst_recall"])
        found |= {name: worst[name] for name in ("worst_class", "worst_recall")}
    return found


def classes_in_words(
    accuracy: float, balanced_accuracy: float, worst_class: str, worst_recall: float
) -> str:
    """The words reported with an accuracy, which a class with many images can make high.

    Example:
        >>> from keras_preact.evaluation.classes import classes_in_words
        >>> classes_in_words(0.98, 0.97, "cat", 0.9)
        "balanced accuracy 97.00%, lowest recall 90.0% (class 'cat')"
    """
    words = (
        f"balanced accuracy {balanced_accuracy:.2%}, lowest recall {worst_recall:.1%} (class "
        f"{worst_class!r})"
    )
    if accuracy - balanced_accuracy > _FAR:
        words += ": classes with many images dominate the accuracy"
    return words
