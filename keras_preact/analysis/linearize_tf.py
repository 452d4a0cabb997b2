"""`linearize` with TensorFlow's tape, and `compiled`."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def linearize(
    function: Callable[..., list[Any]], *inputs: Any
) -> tuple[list[Any], Callable[..., list[Any]]]:
    """As `keras_preact.analysis.linearize.linearize`."""
    tensors = [tf.convert_to_tensor(x) for x in inputs]
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        for x in tensors:
            tape.watch(x)
        outputs = list(function(*tensors))

    def pull(*gradients: Any) -> list[Any]:
        zero: Any = "zero"
        given: Any = list(gradients)
        return tape.gradient(outputs, tensors, output_gradients=given, unconnected_gradients=zero)

    return outputs, pull


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `keras_preact.analysis.linearize.compiled`."""
    return tf.function(function, autograph=False)
