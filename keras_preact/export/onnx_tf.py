"""ONNX, by tf2onnx."""

import contextlib
import logging
import pathlib

import keras
import numpy as np
import tensorflow as tf

from keras_preact.console import silent_stderr
from keras_preact.errors import ConfigError, ExportError, in_one_line
from keras_preact.rewrite import with_policy
from keras_preact.rewrite.graph import carry_weights, rebuild, same

#: Version of ONNX's operations: the lowest that has all that are needed, so that most can run it.
OPSET = 17


def export_onnx(model, path) -> None:
    """Writes an ONNX file with the input `images`, uint8 `(batch, h, w, c)`, and `scores`.

    Args:
        model: A `keras.Model` that takes raw images, values 0 to 255, in Keras's own layers; one of
            16 bits is written in float32.
        path: File to write.

    Raises:
        ConfigError: Where tf2onnx or onnxruntime is not installed.
        ExportError: For layers that ONNX has no operations for.
    """
    tf2onnx, _ = _libraries()
    model = _with_constants(with_policy(model))  # ONNX Runtime has no Conv of bfloat16
    images = tf.TensorSpec(model.input_shape, tf.uint8, name="images")

    @tf.function(input_signature=[images])
    def serve(images):
        return {"scores": model(tf.cast(images, tf.float32), training=False)}

    names = [layer.name for layer in model._flatten_layers()]
    fix = "--format saved_model holds any network."
    try:
        with in_one_line(ExportError, "ONNX cannot hold this network", names, fix):
            with _quiet():
                tf2onnx.convert.from_function(serve, [images], opset=OPSET, output_path=str(path))
            open_onnx(path)  # what has no operation in ONNX is written all the same
    except ExportError:
        pathlib.Path(path).unlink(missing_ok=True)
        raise


def open_onnx(path):
    """A function of uint8 images `(n, h, w, c)` to scores, float32 `(n, classes)`."""
    _, onnxruntime = _libraries()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run(["scores"], {"images": images})[0]


def _with_constants(model):
    """The same with the numbers of `Normalization` in the graph, where tf2onnx looks for them."""

    def make(layer):
        if not isinstance(layer, keras.layers.Normalization):
            return same(layer)
        mean, variance = (keras.ops.convert_to_numpy(x)[0] for x in (layer.mean, layer.variance))
        scale = 1 / np.maximum(np.sqrt(variance), keras.backend.epsilon())
        return keras.layers.Rescaling(scale, -mean * scale, name=layer.name, dtype=layer.dtype)

    copy, pairs = rebuild(model, make)
    for old, new in pairs:
        if type(old) is type(new):
            carry_weights(old, new)
    return copy


def _libraries():
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise ConfigError(
            "The format 'onnx' needs tf2onnx and onnxruntime: pip install 'keras-preact[onnx]'. "
            f"Received: no {error.name}."
        ) from None
    return tf2onnx, onnxruntime


@contextlib.contextmanager
def _quiet():
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # what goes wrong is raised
    try:
        with silent_stderr():
            yield
    finally:
        logger.setLevel(level)
