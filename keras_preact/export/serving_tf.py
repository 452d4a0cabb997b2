"""The function of raw images that formats are written from."""

import tensorflow as tf


def served(model, dtype="uint8"):
    """A network as a function of TensorFlow, from `images` to `scores`, and `maps` if it has them.

    Args:
        model: A `keras.Model` that takes raw images, values 0 to 255.
        dtype: Of the images.

    Returns:
        A `tf.function` whose signature is that of the model's images, and that signature.
    """
    images = tf.TensorSpec(model.input_shape, dtype, name="images")

    @tf.function(input_signature=[images])
    def serve(images):
        found = model(tf.cast(images, tf.float32), training=False)
        return found if isinstance(found, dict) else {"scores": found}

    return serve, images


def layer_names(model) -> list[str]:
    """Names of all layers, which an error may speak of."""
    return [layer.name for layer in model._flatten_layers()]
