"""Budgets: the width, or the epochs, at which a training costs what a search allows."""

import functools
import math
from typing import Any

from keras_preact.applications import model_info
from keras_preact.config import ResNetConfig
from keras_preact.training import TrainConfig, dry_run
from keras_preact.tuning.space import widened

#: Widths at which a network is counted. Cost is a polynomial of degree 2 in the width.
_WIDTHS = (1, 2, 3)


def within_budget(search: Any, training: Any) -> Any:
    """Adapts a training to the budget of a search.

    Networks are built to count their cost, and trained for a few steps if the budget is time, so
    this belongs in the training process.

    Args:
        search: A `TuneConfig`.
        training: A `TrainConfig` that cost nothing yet.

    Returns:
        A `TrainConfig`: with other filters for the budgets `multiply_adds` and `parameters`, for
        which networks are counted at the images and classes of the paper's network whose name they
        go by, with other epochs for `seconds`, and the same one without a budget.

    Example:
        >>> from keras_preact import TrainConfig
        >>> from keras_preact.tuning import TuneConfig
        >>> from keras_preact.tuning.budget import within_budget
        >>> search = TuneConfig("depth", budget="parameters")
        >>> deep = TrainConfig(settings={"network.units": [9, 9, 9]})
        >>> within_budget(search, deep).resolve().network.filters
        (9, 18, 36)
    """
    amount = search.budget_amount
    if search.budget is None:
        return training
    if search.budget == "seconds":
        found = dry_run(training.replace(out=None))
        return training.replace(epochs=max(1, int(amount / found.epoch_seconds)))
    if amount is None:
        amount = _cost(search.budget, *_counted(TrainConfig(**search.fields())))
    width = _width(search.budget, amount, *_counted(training))
    settings = widened(width, training.resolve().network)
    return training.replace(settings={**training.settings, **settings})


def _counted(training):
    """The network, and the images and classes that it is counted at: those of its model's name."""
    info = model_info(training.model)
    return training.resolve().network.to_json(), info.input_shape, info.classes


@functools.cache
def _width(budget, amount, network, image_shape, classes):
    config = ResNetConfig.from_json(network)
    one, two, three = (
        _cost(budget, config.replace(**_plain(widened(w, config))).to_json(), image_shape, classes)
        for w in _WIDTHS
    )
    square = (three - 2 * two + one) / 2
    linear = two - one - 3 * square
    constant = one - linear - square
    root = math.sqrt(max(0.0, linear**2 - 4 * square * (constant - amount)))
    return max(1 / min(config.filters), (root - linear) / (2 * square))


def _plain(settings):
    return {name.removeprefix("network."): value for name, value in settings.items()}


@functools.cache
def _cost(budget, network, image_shape, classes):
    from keras_preact.residual import build_network, count_multiply_adds

    config = ResNetConfig.from_json(network)
    model = build_network(config, input_shape=image_shape, classes=classes)
    if budget == "multiply_adds":
        return count_multiply_adds(model)
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)
