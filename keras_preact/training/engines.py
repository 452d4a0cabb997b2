"""`make_engine`: what computes a training, by Keras's backend."""

import keras

from keras_preact.errors import ConfigError
from keras_preact.training.engine import Engine


def make_engine(config) -> Engine:
    """The engine for a `TrainConfig`, by Keras's backend.

    Args:
        config: The `TrainConfig`; its `devices`, `workers`, `index` and `deterministic` count.

    Returns:
        An `Engine` without a model yet (see `Engine.prepare`).

    Raises:
        ConfigError: For devices that do not exist, and for combinations that are not safe.

    Example:
        >>> from keras_preact import TrainConfig
        >>> from keras_preact.training.engines import make_engine
        >>> make_engine(TrainConfig()).replicas
        1
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from keras_preact.training.engine_tf import TensorFlowEngine as OfBackend
    elif backend == "jax":
        from keras_preact.training.engine_jax import JaxEngine as OfBackend
    else:
        raise ConfigError(
            "Training runs on the backends 'tensorflow' and 'jax' (the environment variable "
            f"KERAS_BACKEND). Received: {backend!r}."
        )
    return OfBackend(config.devices, config.worker_list(), config.index, config.deterministic)
