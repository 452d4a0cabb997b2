"""`linearize`: a function's value at a point, and its derivative there; `compiled` functions."""

from collections.abc import Callable
from typing import Any

import keras

from keras_preact.errors import ConfigError


def linearize(
    function: Callable[..., list[Any]], *inputs: Any
) -> tuple[list[Any], Callable[..., list[Any]]]:
    """Evaluates a function, and returns the function that backpropagates gradients through it.

    Args:
        function: Function from tensors to a list of tensors, without side effects.
        *inputs: The tensors at which it is evaluated.

    Returns:
        The list of outputs, and a function from the gradients of all outputs to the list of the
        inputs' gradients, which can be called several times.

    Raises:
        ConfigError: On backends other than TensorFlow and JAX.

    Example:
        >>> import keras
        >>> from keras_preact.analysis.linearize import linearize
        >>> (y,), pull = linearize(lambda x: [x**2], keras.ops.convert_to_tensor([3.0, -1.0]))
        >>> (gradient,) = pull(keras.ops.ones((2,)))
        >>> keras.ops.convert_to_numpy(gradient).tolist()
        [6.0, -2.0]
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from keras_preact.analysis.linearize_tf import linearize as linearize_tf

        return linearize_tf(function, *inputs)
    if backend == "jax":
        import jax

        outputs, pull = jax.vjp(lambda *x: list(function(*x)), *inputs)
        return outputs, lambda *gradients: list(pull(list(gradients)))
    raise _unknown(backend)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of tensors, or of lists of them, for the shapes it is called with.

    Raises:
        ConfigError: On backends other than TensorFlow and JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from keras_preact.analysis.linearize_tf import compiled as compiled_tf

        return compiled_tf(function)
    if backend == "jax":
        import jax

        return jax.jit(function)
    raise _unknown(backend)


def _unknown(backend):
    return ConfigError(
        "Analysis needs the backend 'tensorflow' or 'jax' (environment variable KERAS_BACKEND). "
        f"Received: {backend!r}."
    )
