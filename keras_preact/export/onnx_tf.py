"""ONNX, by tf2onnx."""

import contextlib
import logging
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np

from keras_preact.console import silent_stderr
from keras_preact.errors import ExportError, in_one_line
from keras_preact.export.formats import FORMATS, Wish, refuse_missing, types_of
from keras_preact.export.serving_tf import layer_names, served
from keras_preact.layers.kernels_tf import convolution
from keras_preact.machine import adds_in_16_bits
from keras_preact.rewrite import with_policy
from keras_preact.rewrite.graph import carry_weights, rebuild, same

#: ONNX opset: the lowest that has all operations needed, so that most runtimes support it.
OPSET = 17


def export_onnx(
    model: keras.Model,
    path: str | os.PathLike,
    precision: Literal["float32", "int8"] = "float32",
    calibration: np.ndarray | None = None,
    kept: Sequence[str] = (),
) -> None:
    """Writes an ONNX file with the input `images`, uint8 `(batch, h, w, c)`, and `scores`.

    Args:
        model: A `keras.Model` in Keras's own layers that takes raw images with values from 0 to
            255; a 16-bit model is written in float32. A model of
            `keras_preact.rewrite.with_maps` has the output `maps` too.
        path: File to write.
        precision: `"float32"`, or `"int8"`: 8-bit weights (per channel) and activations, in pairs
            of QuantizeLinear and DequantizeLinear. Weights use only 7 of the 8 bits if the current
            processor has no VNNI.
        calibration: uint8 images `(n, h, w, c)` like those of the training, which determine the
            ranges; required for int8.
        kept: Kinds of operations, of `keras_preact.export.formats.KINDS`, that stay float in int8.

    Raises:
        ConfigError: If tf2onnx or onnxruntime is not installed.
        ExportError: If ONNX has no operation for a layer.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.export import export_onnx
        >>> model = create_model("resnet8v2", input_shape=(8, 8, 1))
        >>> export_onnx(model, "model.onnx")  # doctest: +SKIP
    """
    refuse_missing("onnx")
    import onnx
    import tf2onnx

    model = _with_constants(with_policy(model))  # ONNX Runtime has no Conv of bfloat16
    serve, images = served(model)
    fix = "--format saved_model supports any network."
    try:
        with in_one_line(ExportError, "ONNX cannot hold this network", layer_names(model), fix):
            with _quiet():
                network, _ = tf2onnx.convert.from_function(serve, [images], opset=OPSET)
                onnx.save(_with_prelu(network), str(path))
                if precision == "int8":
                    _quantize(path, calibration, kept)
            FORMATS["onnx"].read(path)  # operations that ONNX does not have are written, too
    except ExportError:
        pathlib.Path(path).unlink(missing_ok=True)
        raise


def write(model: keras.Model, path: str | os.PathLike, wish: Wish) -> None:
    """`export_onnx`, as the table of formats calls it."""
    settings: Any = (wish.precision, wish.calibration, wish.kept)
    export_onnx(model, path, *settings)


def _quantize(path, calibration, kept):
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(quantization.CalibrationDataReader):
        left = ({"images": image[None]} for image in calibration)

        def get_next(self):
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder:
        ready = f"{folder}/model.onnx"
        quant_pre_process(str(path), ready, skip_symbolic_shape=True)
        types = {node.op_type for node in onnx.load(ready).graph.node} - set(types_of(kept))
        quantization.quantize_static(
            ready,
            str(path),
            Images(),
            op_types_to_quantize=sorted(types),
            per_channel=True,
            reduce_range=adds_in_16_bits(),
        )


def _with_prelu(network):
    """The network with one PRelu for relu(x) + slope * relu(-x): one pass over memory."""
    from onnx import helper, numpy_helper

    graph = network.graph
    makers = {output: node for node in graph.node for output in node.output}
    numbers = {tensor.name: tensor for tensor in graph.initializer}

    def made_by(name, kind):
        node = makers.get(name)
        return node if node is not None and node.op_type == kind else None

    def slopes_of(positive, scaled):
        """The input and the slopes of a PReLU, if the two terms of a sum are those of one."""
        positive, scaled = made_by(positive, "Relu"), made_by(scaled, "Mul")
        for half, number in (scaled.input, scaled.input[::-1]) if scaled else ():
            negative = made_by(half, "Relu")
            minus = negative and made_by(negative.input[0], "Neg")
            if positive and minus and number in numbers and minus.input[0] == positive.input[0]:
                return positive.input[0], numbers[number]
        return None

    for place, node in enumerate(graph.node):
        found = node.op_type == "Add" and (slopes_of(*node.input) or slopes_of(*node.input[::-1]))
        if found:
            slopes = numpy_helper.from_array(-numpy_helper.to_array(found[1]), f"{node.name}/slope")
            graph.initializer.append(slopes)
            inputs = [found[0], slopes.name]
            graph.node[place].CopyFrom(helper.make_node("PRelu", inputs, node.output, node.name))
    read = {output.name for output in graph.output}
    for node in reversed([*graph.node]):  # each node comes after its inputs
        if node.op_type in ("Relu", "Neg", "Mul") and not read & {*node.output}:
            graph.node.remove(node)
        else:
            read.update(node.input)
    for number in [*graph.initializer]:
        if number.name not in read:
            graph.initializer.remove(number)
    return network


class _Convolution(keras.layers.Conv2D):
    """In place of Keras's, which has XLA compile those in groups, where ONNX cannot look."""

    def convolution_op(self, inputs, kernel):
        given = self.strides, self.padding, self.data_format, self.dilation_rate
        return convolution(inputs, kernel, *given)


def _with_constants(model):
    """The model as tf2onnx expects it: statistics of `Normalization` are constants."""

    def make(layer):
        if type(layer) is keras.layers.Conv2D and layer.groups > 1:
            return _Convolution.from_config(layer.get_config())
        if not isinstance(layer, keras.layers.Normalization):
            return same(layer)
        mean, variance = (keras.ops.convert_to_numpy(x)[0] for x in (layer.mean, layer.variance))
        scale = 1 / np.maximum(np.sqrt(variance), keras.backend.epsilon())
        return keras.layers.Rescaling(scale, -mean * scale, name=layer.name, dtype=layer.dtype)

    copy, pairs = rebuild(model, make)
    for old, new in pairs:
        if isinstance(new, type(old)):
            carry_weights(old, new)
    return copy


@contextlib.contextmanager
def _quiet():
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # errors are raised
    try:
        with silent_stderr():
            yield
    finally:
        logger.setLevel(level)
