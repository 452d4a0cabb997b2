"""The TensorFlow function of raw images that exports are made from."""

from typing import Any

import keras
import tensorflow as tf


def served(model: keras.Model, dtype: str = "uint8") -> tuple[Any, tf.TensorSpec]:
    """A network as a TensorFlow function from `images` to `scores`, and `maps` if it has them.

    Args:
        model: A `keras.Model` that takes raw images with values from 0 to 255.
        dtype: dtype of the images.

    Returns:
        A `tf.function` for the shape of the model's images, and its input signature.
    """
    images = tf.TensorSpec(model.input_shape, dtype, name="images")

    @tf.function(input_signature=[images])
    def serve(images):
        found = model(tf.cast(images, tf.float32), training=False)
        return found if isinstance(found, dict) else {"scores": found}

    return serve, images


def layer_names(model: keras.Model) -> list[str]:
    """The names of all layers, for error messages."""
    return [layer.name for layer in model._flatten_layers()]
