"""What shows classes of unequal size beside an accuracy, of which the large ones are most."""

import numpy as np

#: Accuracy and balanced accuracy that are this far apart are said to be.
_FAR = 0.1

#: What stands beside an accuracy in `summary`, in a run's result and in what is made of results.
BY_CLASS = ("balanced_accuracy", "worst_class", "worst_recall")

#: Means over the classes that stand there too, and what they are called.
MACRO = {"macro_f1": "macro F1", "roc_auc": "ROC AUC", "average_precision": "average precision"}


def by_class(results) -> dict[str, float | str]:
    """`BY_CLASS` and `MACRO` of several trainings: means, and the worst class of any of them.

    Args:
        results: Dictionaries that may have them.

    Returns:
        A dictionary, without what one of them lacks, as those of early versions do.

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
    found = {k: float(np.mean([one[k] for one in results])) for k in means if known(k)}
    if known("worst_class") and known("worst_recall"):
        worst = min(results, key=lambda result: result["worst_recall"])
        found |= {name: worst[name] for name in ("worst_class", "worst_recall")}
    return found


def classes_in_words(accuracy, balanced_accuracy, worst_class, worst_recall) -> str:
    """What stands beside an accuracy, which many images of one class make high.

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
        words += ": classes of many images hide what becomes of those of few"
    return words
