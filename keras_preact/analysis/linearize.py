"""`linearize`: a function's value at a point, and its derivative there; `compiled` functions."""

import keras

from keras_preact.errors import ConfigError


def linearize(function, *inputs):
    """Outputs of a function, and the function that carries gradients from them to the inputs.

    Args:
        function: Function of tensors to a list of tensors, without side effects.
        *inputs: Where it is taken.

    Returns:
        The list of outputs, and a function of their gradients, one each, to the list of the
        inputs' gradients. It may be called more than once.

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


def compiled(function):
    """A function of tensors, or of lists of them, compiled for the shapes that it is called with.

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
        "Analysis runs on the backends 'tensorflow' and 'jax' (the environment variable "
        f"KERAS_BACKEND). Received: {backend!r}."
    )
