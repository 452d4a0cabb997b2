"""LiteRT (TensorFlow Lite): one file for phones and embedded devices, in built-in operations."""

import contextlib
import os
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from keras_preact.console import silent_stderr
from keras_preact.errors import ExportError, in_one_line
from keras_preact.export.formats import Wish, types_of
from keras_preact.export.serving_tf import layer_names, served
from keras_preact.rewrite import with_policy


def export_litert(
    model: keras.Model,
    path: str | os.PathLike,
    precision: Literal["float32", "float16", "dynamic", "int8"] = "float32",
    calibration: np.ndarray | None = None,
    kept: Sequence[str] = (),
    integers: Literal["uint8", "int8"] | None = None,
) -> None:
    """Writes a LiteRT file with the input `images`, uint8 `(batch, h, w, c)`, and `scores`.

    Args:
        model: A `keras.Model` in Keras's own layers that takes raw images with values from 0 to
            255; a 16-bit model is written in float32.
        path: File to write.
        precision: `"float32"`; `"float16"`: 16-bit weights, computed in float32; `"dynamic"`: 8-bit
            weights, activations rounded to 8 bits at run time; `"int8"`: 8-bit weights and
            activations with fixed ranges (Jacob et al. 2018).
        calibration: uint8 images `(n, h, w, c)` like those of the training, which determine the
            ranges; required for int8.
        kept: Kinds of operations, of `keras_preact.export.formats.KINDS`, that stay float in int8.
        integers: For int8, `"uint8"` or `"int8"`: dtype of images and scores, with the scale and
            zero point stored in the file, so that nothing in it is float.

    Raises:
        ExportError: If a layer needs operations that LiteRT does not have.

    Example:
        >>> import tempfile
        >>> from keras_preact import create_model
        >>> from keras_preact.export import export_litert
        >>> model = create_model("resnet8v2", input_shape=(8, 8, 1))
        >>> export_litert(model, tempfile.mkdtemp() + "/model.tflite")
    """
    model = with_policy(model)  # there are no 16-bit kernels
    serve, images = served(model, "float32" if integers else "uint8")
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", serve, input_signature=[images])
    with tempfile.TemporaryDirectory() as folder:
        with _quiet():
            archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        what = "LiteRT has no operations for this network"
        fix = "--format saved_model supports any network."
        with in_one_line(ExportError, what, layer_names(model), fix), _quiet():
            content = _converted(converter, precision, calibration, kept, integers)
    with open(path, "wb") as file:
        file.write(content)


def write(model: keras.Model, path: str | os.PathLike, wish: Wish) -> None:
    """`export_litert`, as the table of formats calls it."""
    settings: Any = (wish.precision, wish.calibration, wish.kept, wish.integers)
    export_litert(model, path, *settings)


def _converted(converter, precision, calibration, kept, integers):
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision != "int8":
        return converter.convert()
    dtype = np.float32 if integers else np.uint8
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: (
        {"images": image[None].astype(dtype)} for image in calibration
    )
    if integers:
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(integers)
    if not kept:
        return converter.convert()
    lite = tf.lite.experimental
    options = lite.QuantizationDebugOptions(denylisted_ops=types_of(kept))
    images = converter.representative_dataset
    debugger = lite.QuantizationDebugger(
        converter=converter, debug_dataset=images, debug_options=options
    )
    return debugger.get_nondebug_quantized_model()


@contextlib.contextmanager
def _quiet():
    """Silences the converter and the interpreter."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        with silent_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
