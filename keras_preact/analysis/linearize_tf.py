"""`linearize` with TensorFlow's tape, and `compiled`."""

import tensorflow as tf


def linearize(function, *inputs):
    """As `keras_preact.analysis.linearize.linearize`."""
    inputs = [tf.convert_to_tensor(x) for x in inputs]
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        for x in inputs:
            tape.watch(x)
        outputs = list(function(*inputs))

    def pull(*gradients):
        return tape.gradient(
            outputs, inputs, output_gradients=list(gradients), unconnected_gradients="zero"
        )

    return outputs, pull


def compiled(function):
    """As `keras_preact.analysis.linearize.compiled`."""
    return tf.function(function, autograph=False)
