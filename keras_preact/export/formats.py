"""The formats of exports as a table, without Keras: how each is written and read back."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

from keras_preact.console import silent_stderr
from keras_preact.data.geometry import Geometry
from keras_preact.errors import ConfigError


class Wish(NamedTuple):
    """How a file is to be written.

    Attributes:
        precision: One of those that its format has.
        calibration: uint8 images `(n, h, w, c)` such as the network was trained on, for int8.
        kept: Kinds of operations, of `KINDS`, that stay float in an int8 file.
        integers: `"uint8"` or `"int8"` where images and scores are such integers too.
        class_names: Names of the classes, and
        geometry: how image files become its images, for what reads those.
    """

    precision: str = "float32"
    calibration: Any = None
    kept: tuple[str, ...] = ()
    integers: str | None = None
    class_names: tuple[str, ...] = ()
    geometry: Geometry | None = None


class Format(NamedTuple):
    """A format.

    Attributes:
        file: Name of the file or folder.
        write: Function of model, path and `Wish`.
        read: Function of a path to a function of uint8 images to scores.
        precisions: What its files can compute in, or keep their numbers in.
        needs: Packages beside those that are always there; the format's name is their extra.
        needs_tensorflow: Whether Keras has to run on TensorFlow to write it.
    """

    file: str
    write: Callable
    read: Callable
    precisions: tuple[str, ...]
    needs: tuple[str, ...] = ()
    needs_tensorflow: bool = True


#: Kinds of operations that can stay float in an int8 file, by their names in all formats. What is
#: left, the convolutions, is nearly all of the work.
KINDS = {
    "rectifiers": ("PRelu", "PRELU", "Relu", "RELU"),
    "gates": ("Sigmoid", "LOGISTIC"),
    "products": ("Mul", "MUL", "Multiply", "SUB", "Sub", "Subtract"),
    "additions": ("Add", "ADD"),
    "pooling": ("MaxPool", "MAX_POOL_2D", "Pad", "PAD", "GlobalAveragePool", "MEAN", "ReduceMean"),
    "classifier": ("MatMul", "Gemm", "FULLY_CONNECTED", "Softmax", "SOFTMAX"),
}


def types_of(kinds) -> list[str]:
    """The names of the operations of some kinds, in all formats."""
    return [name for kind in kinds for name in KINDS[kind]]


def missing(name: str) -> str | None:
    """Which packages a format lacks here and what installs them; `None` where all are there."""
    lacking = [need for need in FORMATS[name].needs if not importlib.util.find_spec(need)]
    if not lacking:
        return None
    return (
        f"The format {name!r} needs {' and '.join(FORMATS[name].needs)}: pip install "
        f"'keras-preact[{name}]'. Received: no {lacking[0]}."
    )


def refuse_missing(name: str) -> None:
    """Raises `ConfigError` where a format's packages are not installed."""
    if words := missing(name):
        raise ConfigError(words)


def call(model, images):
    """Scores of a Keras model, float32 `[n, classes]`, for uint8 images."""
    import keras

    scores = model(keras.ops.convert_to_tensor(images, "float32"), training=False)
    return keras.ops.convert_to_numpy(scores).astype("float32")


def _write_keras(model, path, _):
    model.save(path)


def _read_keras(path):
    import keras

    model = keras.saving.load_model(path, compile=False)
    return lambda images: call(model, images)


def _writer(module):
    """The `write` of a module that is imported, with what it needs, when something is written."""
    return lambda *arguments: importlib.import_module(f"keras_preact.export.{module}").write(
        *arguments
    )


def _reader(format):
    """A function of a path that opens what was written by the runtime that it is for."""

    def read(path):
        from keras_preact.export.runtimes_tf import RUNTIMES

        with silent_stderr():  # runtimes tell which kernels they have
            _, predict = RUNTIMES[format][0](path, exact=True)

        def quiet(images):
            with silent_stderr():
                return predict(images)

        return quiet

    return read


#: Precisions that are a dtype policy of Keras, of formats that compute in it.
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")

FORMATS = {
    "saved_model": Format(
        "saved_model",
        _writer("saved_model_tf"),
        _reader("saved_model"),
        POLICIES,
    ),
    "keras": Format("model.keras", _write_keras, _read_keras, POLICIES, needs_tensorflow=False),
    "litert": Format(
        "model.tflite",
        _writer("litert_tf"),
        _reader("litert"),
        ("float32", "float16", "dynamic", "int8"),
    ),
    "onnx": Format(
        "model.onnx",
        _writer("onnx_tf"),
        _reader("onnx"),
        ("float32", "int8"),
        needs=("tf2onnx", "onnxruntime"),
    ),
    "openvino": Format(
        "openvino",
        _writer("openvino_tf"),
        _reader("openvino"),
        ("float32", "float16", "int8"),
        needs=("openvino", "nncf"),
    ),
}
