"""A trained network on several devices, for evaluation."""

import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_preact.errors import ConfigError
from keras_preact.trained import load_trained
from keras_preact.training.config import TrainConfig
from keras_preact.training.engines import make_engine
from keras_preact.training.optimizer import SGD
from keras_preact.training.recipes import Recipe


def open_on_devices(
    path: str | os.PathLike[str],
    devices: str = "auto",
    change: Callable[[Any], Any] | None = None,
    dtype: str | None = "auto",
) -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    """A trained network, and a function that classifies images on all devices at once.

    Args:
        path: As in `load_trained`.
        devices: As in `TrainConfig`.
        change: Function that converts the model before use, such as `any_size`.
        dtype: As in `load_trained`.

    Returns:
        The `Trained`, and a function of raw images `(n, h, w, c)` to probabilities `(n, classes)`,
        for any `n`.

    Raises:
        ConfigError: As `load_trained`, and for several devices with a model that does not end with
            a softmax.
    """
    engine = make_engine(TrainConfig(devices=devices))
    with engine.scope():
        trained = load_trained(path, dtype)
        model = change(trained.model) if change else trained.model
    if engine.replicas == 1:
        return trained, model.predict_on_batch
    head = trained.model.layers[-1]
    if getattr(head, "activation", None) is not keras.activations.softmax:
        raise ConfigError(
            "Several devices need a model that ends with a softmax; devices='cpu:0' or 'gpu:0' "
            f"takes any model. Received: {str(path)!r}, which ends with {head.name!r}."
        )
    with engine.scope():
        # The engine's scores are the softmax of logits, and so of logarithms of probabilities.
        probabilities = keras.ops.maximum(model.output, 1e-30)
        logits = keras.Model(model.input, keras.ops.log(probabilities))
    engine.prepare(logits, SGD(), Recipe())
    return trained, engine.predict
