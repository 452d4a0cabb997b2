"""LiteRT (TensorFlow Lite): one file for phones and small machines, in built-in operations."""

import contextlib
import os
import tempfile
import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_preact.console import silent_stderr
from keras_preact.errors import ExportError, in_one_line
from keras_preact.rewrite import with_policy

#: How many images fix the ranges of the integers.
CALIBRATION_IMAGES = 200


def export_litert(model, path, calibration=None) -> None:
    """Writes a LiteRT file with the input `images`, uint8 `(batch, h, w, c)`, and `scores`.

    Args:
        model: A `keras.Model` that takes raw images, values 0 to 255, in Keras's own layers; one of
            16 bits is written in float32.
        path: File to write.
        calibration: uint8 images `(n, h, w, c)` such as the network was trained on: weights and
            activations become int8, their ranges those of these images (Jacob et al. 2018).
            `None`: they stay float32.

    Raises:
        ExportError: For layers that need operations of TensorFlow itself.

    Example:
        >>> import tempfile
        >>> from keras_preact import create_model
        >>> from keras_preact.export import export_litert
        >>> model = create_model("resnet8v2", input_shape=(8, 8, 1))
        >>> export_litert(model, tempfile.mkdtemp() + "/model.tflite")
    """
    model = with_policy(model)  # there are no kernels of 16 bits

    def serve(images):
        return {"scores": model(tf.cast(images, tf.float32), training=False)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    images = tf.TensorSpec(model.input_shape, tf.uint8, name="images")
    archive.add_endpoint("serving_default", serve, input_signature=[images])
    with tempfile.TemporaryDirectory() as folder:
        with _quiet():
            archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        what = "LiteRT has no operations for this network"
        fix = "--format saved_model holds any network."
        names = [layer.name for layer in model._flatten_layers()]
        with in_one_line(ExportError, what, names, fix), _quiet():
            content = _converted(converter, calibration)
    with open(path, "wb") as file:
        file.write(content)


def _converted(converter, calibration):
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        images = calibration[:CALIBRATION_IMAGES]
        converter.representative_dataset = lambda: ({"images": image[None]} for image in images)
    return converter.convert()


def open_litert(path):
    """A function of uint8 images `(n, h, w, c)` to scores, float32 `(n, classes)`."""
    with _quiet():
        interpreter = tf.lite.Interpreter(str(path), num_threads=os.cpu_count())
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(images):
        with _quiet():
            interpreter.resize_tensor_input(taken["index"], images.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], np.ascontiguousarray(images))
        interpreter.invoke()
        return interpreter.get_tensor(given["index"])

    return predict


@contextlib.contextmanager
def _quiet():
    """Without the notes of converter and interpreter."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        with silent_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
