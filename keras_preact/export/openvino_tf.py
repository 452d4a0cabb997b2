"""OpenVINO: a graph and its weights, for x86 and ARM processors and Intel's accelerators."""

import contextlib
import logging
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np

from keras_preact.console import silent_stderr
from keras_preact.errors import ExportError, in_one_line
from keras_preact.export.formats import Wish, refuse_missing, types_of
from keras_preact.export.serving_tf import layer_names, served
from keras_preact.rewrite import with_policy

#: The graph in its folder; the weights are beside it in `model.bin`.
FILE = "model.xml"


def export_openvino(
    model: keras.Model,
    path: str | os.PathLike,
    precision: Literal["float32", "float16", "int8"] = "float32",
    calibration: np.ndarray | None = None,
    kept: Sequence[str] = (),
) -> None:
    """Writes `model.xml` and `model.bin`, with `images`, uint8 `(batch, h, w, c)`, and `scores`.

    Args:
        model: A `keras.Model` in Keras's own layers that takes raw images with values from 0 to
            255; a 16-bit model is written in float32.
        path: Folder to write.
        precision: `"float32"`; `"float16"`: 16-bit weights; `"int8"`: 8-bit weights and
            activations, by NNCF.
        calibration: uint8 images `(n, h, w, c)` like those of the training, which determine the
            ranges; required for int8.
        kept: Kinds of operations, of `keras_preact.export.formats.KINDS`, that stay float in int8.

    Raises:
        ConfigError: If OpenVINO or NNCF is not installed.
        ExportError: If OpenVINO has no operation for a layer.

    Example:
        >>> import importlib.util, tempfile
        >>> from keras_preact import create_model
        >>> from keras_preact.export import export_openvino
        >>> model = create_model("resnet8v2", input_shape=(8, 8, 1))
        >>> if all(map(importlib.util.find_spec, ("openvino", "nncf"))):
        ...     export_openvino(model, tempfile.mkdtemp() + "/openvino")
    """
    refuse_missing("openvino")
    import openvino

    model = with_policy(model)  # OpenVINO chooses the dtype of its computation itself
    serve, _ = served(model)
    what = "OpenVINO has no operations for this network"
    fix = "--format saved_model supports any network."
    with in_one_line(ExportError, what, layer_names(model), fix), _quiet():
        network = openvino.convert_model(serve.get_concrete_function())
        if precision == "int8":
            network = _quantized(network, calibration, kept)
        openvino.Core().compile_model(network, "CPU")
    path = pathlib.Path(path)
    path.mkdir(exist_ok=True)
    openvino.save_model(network, path / FILE, compress_to_fp16=precision == "float16")


def write(model: keras.Model, path: str | os.PathLike, wish: Wish) -> None:
    """`export_openvino`, as the table of formats calls it."""
    settings: Any = (wish.precision, wish.calibration, wish.kept)
    export_openvino(model, path, *settings)


def _quantized(network, calibration, kept):
    import nncf

    nncf.set_log_level(logging.ERROR)
    images = nncf.Dataset([image[None] for image in calibration])
    scope = nncf.IgnoredScope(types=types_of(kept), validate=False)
    return nncf.quantize(network, images, subset_size=len(calibration), ignored_scope=scope)


@contextlib.contextmanager
def _quiet():
    """Silences NNCF's progress bars, which go to standard output, and the converters."""
    logging.disable(logging.CRITICAL)
    try:
        with silent_stderr(), contextlib.redirect_stdout(None):
            yield
    finally:
        logging.disable(logging.NOTSET)
