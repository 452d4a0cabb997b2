"""TensorFlow's SavedModel: the network for TensorFlow Serving, with raw images as its input."""

import errno
import pathlib

import keras
import tensorflow as tf


def export_saved_model(model, path) -> None:
    """Writes a SavedModel whose `serving_default` takes uint8 images.

    Args:
        model: A `keras.Model` that takes raw images, values 0 to 255, `(batch, h, w, c)`.
        path: Folder to write; the batch size stays free.

    Raises:
        OSError: When it cannot be written.

    Example:
        >>> import tempfile
        >>> from keras_preact import create_model
        >>> from keras_preact.export import export_saved_model
        >>> model = create_model("resnet8v2", input_shape=(8, 8, 1))
        >>> export_saved_model(model, tempfile.mkdtemp() + "/saved_model")
    """

    @tf.function(input_signature=[tf.TensorSpec(model.input_shape, tf.uint8, name="images")])
    def serve(images):
        return {"scores": model(tf.cast(images, tf.float32), training=False)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", serve)
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # TensorFlow says where it writes; so does who calls this
    try:
        archive.write_out(str(pathlib.Path(path)), verbose=False)
    except tf.errors.OpError as error:  # a full disk is none of Python's errors here
        raise OSError(errno.EIO, error.message.splitlines()[0], str(path)) from error
    finally:
        logger.setLevel(level)
