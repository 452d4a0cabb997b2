"""OpenVINO: a graph and its weights, for x86 and ARM processors and what else Intel makes."""

import contextlib
import logging
import pathlib

from keras_preact.console import silent_stderr
from keras_preact.errors import ExportError, in_one_line
from keras_preact.export.formats import refuse_missing, types_of
from keras_preact.export.serving_tf import layer_names, served
from keras_preact.rewrite import with_policy

#: The graph in its folder; the weights stand beside it in `model.bin`.
FILE = "model.xml"


def export_openvino(model, path, precision="float32", calibration=None, kept=()) -> None:
    """Writes `model.xml` and `model.bin`, with `images`, uint8 `(batch, h, w, c)`, and `scores`.

    Args:
        model: A `keras.Model` that takes raw images, values 0 to 255, in Keras's own layers; one of
            16 bits is written in float32.
        path: Folder to write.
        precision: `float32`; `float16`: weights kept in 16 bits; `int8`: weights and activations of
            8 bits, by NNCF.
        calibration: uint8 images `(n, h, w, c)` such as the network was trained on, which fix the
            ranges of int8.
        kept: Kinds of operations, of `keras_preact.export.formats.KINDS`, that stay float in int8.

    Raises:
        ConfigError: Where OpenVINO or NNCF is not installed.
        ExportError: For layers that OpenVINO has no operations for.

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

    model = with_policy(model)  # OpenVINO chooses by itself what it computes in
    serve, _ = served(model)
    what, fix = "OpenVINO cannot hold this network", "--format saved_model holds any network."
    with in_one_line(ExportError, what, layer_names(model), fix), _quiet():
        network = openvino.convert_model(serve.get_concrete_function())
        if precision == "int8":
            network = _quantized(network, calibration, kept)
        openvino.Core().compile_model(network, "CPU")
    path = pathlib.Path(path)
    path.mkdir(exist_ok=True)
    openvino.save_model(network, path / FILE, compress_to_fp16=precision == "float16")


def write(model, path, wish) -> None:
    """`export_openvino`, as the table of formats calls it."""
    export_openvino(model, path, wish.precision, wish.calibration, wish.kept)


def _quantized(network, calibration, kept):
    import nncf

    nncf.set_log_level(logging.ERROR)
    images = nncf.Dataset([image[None] for image in calibration])
    scope = nncf.IgnoredScope(types=types_of(kept), validate=False)
    return nncf.quantize(network, images, subset_size=len(calibration), ignored_scope=scope)


@contextlib.contextmanager
def _quiet():
    """Without NNCF's bars, which go to standard output, and what converters note."""
    logging.disable(logging.CRITICAL)
    try:
        with silent_stderr(), contextlib.redirect_stdout(None):
            yield
    finally:
        logging.disable(logging.NOTSET)
