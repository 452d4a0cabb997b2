"""Temperature scaling: one number that calibrates the confidence of a network."""

from typing import Any

import numpy as np

from keras_preact.errors import DataError
from keras_preact.evaluation.scores import Evaluation

#: Bounds of the search for the temperature; no useful network comes near them.
_LEAST, _MOST = 0.01, 100.0


def fit_temperature(evaluation: Evaluation) -> float:
    """Finds the temperature T for which softmax(logits / T) has the lowest cross-entropy.

    Guo et al., On Calibration of Modern Neural Networks (2017), section 4.2. The predicted classes
    do not change. A temperature above 1 means that the network was overconfident.

    Args:
        evaluation: An `Evaluation` on images that are used neither for training nor for measuring
            the calibration afterwards: the validation split.

    Returns:
        The temperature, above 0.

    Raises:
        DataError: If there is no best temperature, because all images are classified correctly or
            the scores are no better than guessing.

    Example:
        >>> import numpy as np
        >>> from keras_preact.evaluation import Evaluation, fit_temperature
        >>> scores = np.repeat([[0.9, 0.1]], 4, axis=0)  # and right three times in four
        >>> round(fit_temperature(Evaluation(scores, np.array([0, 0, 0, 1]), ("a", "b"))), 3)
        2.0
    """
    from scipy.optimize import minimize_scalar  # scikit-learn depends on it

    here = evaluation.finite
    logs, rows = _logs(evaluation.scores[here]), np.arange(here.sum())
    labels = evaluation.labels[here]

    def cross_entropy(log_temperature: float) -> float:
        return -_logs_at(logs, np.exp(log_temperature))[rows, labels].mean()

    bounds = np.log([_LEAST, _MOST])
    found = None
    if evaluation.correct < len(rows):
        best: Any = minimize_scalar(cross_entropy, bounds=bounds, method="bounded")
        found = best.x
    if found is None or np.abs(found - bounds).min() < 0.01:
        raise DataError(
            "A temperature can be fitted only if the network misclassifies some images and is "
            f"better than guessing. Received: {evaluation.correct} of {len(evaluation.labels)} "
            "validation images classified correctly. Use more validation images."
        )
    return float(np.exp(found))


def at_temperature(evaluation: Evaluation, temperature: float) -> Evaluation:
    """The evaluation of the same network with the scores softmax(logits / temperature).

    Args:
        evaluation: An `Evaluation` whose scores are probabilities.
        temperature: A number above 0.

    Returns:
        An `Evaluation` of the same images.

    Example:
        >>> import numpy as np
        >>> from keras_preact.evaluation import Evaluation, at_temperature
        >>> found = Evaluation(np.array([[0.9, 0.1]]), np.array([0]), ("a", "b"))
        >>> at_temperature(found, 2.0).scores.round(2).tolist()
        [[0.75, 0.25]]
    """
    scores = np.exp(_logs_at(_logs(evaluation.scores), temperature)).astype(np.float32)
    return Evaluation(scores, evaluation.labels, evaluation.class_names)


def _logs(scores):
    """Logarithms of probabilities, which are logits; finite also where float32 rounds to 0."""
    return np.log(np.maximum(scores.astype(float), np.finfo(np.float32).tiny))


def _logs_at(logs, temperature):
    from scipy.special import log_softmax

    return log_softmax(logs / temperature, axis=1)
