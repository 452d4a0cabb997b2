"""`predict_function` on TensorFlow."""

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


def frozen(model):
    """A compiled function of a tensor of images, with the model's weights as constants."""
    (images,) = model.inputs
    function = tf.function(lambda x: model(x, training=False), autograph=False)
    traced = function.get_concrete_function(tf.TensorSpec(images.shape, images.dtype))
    constant = convert_variables_to_constants_v2(traced)
    return lambda x: tf.nest.pack_sequence_as(traced.structured_outputs, constant(x))
