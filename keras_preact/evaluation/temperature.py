"""Temperature scaling: one number that makes a network as sure as it is right."""

import numpy as np

from keras_preact.errors import DataError
from keras_preact.evaluation.scores import Evaluation

#: Between which the temperature is looked for; none of a network that is of use is near them.
_LEAST, _MOST = 0.01, 100.0


def fit_temperature(evaluation: Evaluation) -> float:
    """The temperature T at which softmax(logits / T) has the least cross-entropy.

    Guo et al.: On Calibration of Modern Neural Networks, 2017, section 4.2. What is the most likely
    class stays so; above 1 the network was too sure.

    Args:
        evaluation: An `Evaluation` on images that the network was not trained on, and that do not
            tell afterwards how well calibrated it is: those of the validation part.

    Returns:
        The temperature, above 0.

    Raises:
        DataError: When there is none: all images are classified correctly, which ever lower ones
            make surer, or the scores say less of them than nothing at all.

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
        found = minimize_scalar(cross_entropy, bounds=bounds, method="bounded").x
    if found is None or np.abs(found - bounds).min() < 0.01:
        raise DataError(
            "A temperature is fitted to images of which a network gets some wrong and more right "
            f"than by guessing. Received: {evaluation.correct} of {len(evaluation.labels)} "
            "validation images classified correctly, which leaves no best one: more of them help."
        )
    return float(np.exp(found))


def at_temperature(evaluation: Evaluation, temperature: float) -> Evaluation:
    """The evaluation of the same network with softmax(logits / temperature) as its scores.

    Args:
        evaluation: An `Evaluation`, whose scores are probabilities.
        temperature: Above 0.

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
    """Logarithms of probabilities, which are logits; of what float32 has as 0 they are finite."""
    return np.log(np.maximum(scores.astype(float), np.finfo(np.float32).tiny))


def _logs_at(logs, temperature):
    from scipy.special import log_softmax

    return log_softmax(logs / temperature, axis=1)
