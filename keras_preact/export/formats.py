"""The export formats as a table, without Keras: how each is written and read back."""

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_preact.console import silent_stderr
from keras_preact.data.geometry import Geometry
from keras_preact.errors import ConfigError

if TYPE_CHECKING:
    import keras
    import numpy as np


class Wish(NamedTuple):
    """The settings of an export.

    Attributes:
        precision: One of the precisions of its format.
        calibration: uint8 images `(n, h, w, c)` like those of the training, for int8.
        kept: Kinds of operations, of `KINDS`, that stay float in an int8 file.
        integers: `"uint8"` or `"int8"` if images and scores are integers of that dtype.
        class_names: Class names, for formats that return labels.
        geometry: How image files are resized and cropped, for formats that read them.
    """

    precision: str = "float32"
    calibration: Any = None
    kept: tuple[str, ...] = ()
    integers: str | None = None
    class_names: tuple[str, ...] = ()
    geometry: Geometry | None = None


class Format(NamedTuple):
    """An export format.

    Attributes:
        file: Name of the file or folder.
        write: Function that takes model, path and `Wish`, and writes the file.
        read: Function that takes a path and returns a function from uint8 images to scores.
        precisions: The precisions that it supports.
        needs: Packages that it needs besides the required ones; its name is their extra.
        needs_tensorflow: Whether Keras must run on TensorFlow to write it.
    """

    file: str
    write: Callable[..., None]
    read: Callable[..., Callable[..., Any]]
    precisions: tuple[str, ...]
    needs: tuple[str, ...] = ()
    needs_tensorflow: bool = True


#: Kinds of operations that can stay float in an int8 file, with their names in all formats. The
#: convolutions, which are nearly all of the work, are not among them.
KINDS: dict[str, tuple[str, ...]] = {
    "rectifiers": ("PRelu", "PRELU", "Relu", "RELU"),
    "gates": ("Sigmoid", "LOGISTIC"),
    "products": ("Mul", "MUL", "Multiply", "SUB", "Sub", "Subtract"),
    "additions": ("Add", "ADD"),
    "pooling": ("MaxPool", "MAX_POOL_2D", "Pad", "PAD", "GlobalAveragePool", "MEAN", "ReduceMean"),
    "classifier": ("MatMul", "Gemm", "FULLY_CONNECTED", "Softmax", "SOFTMAX"),
}


def types_of(kinds: Iterable[str]) -> list[str]:
    """The names of the operations of these kinds, in all formats."""
    return [name for kind in kinds for name in KINDS[kind]]


def missing(name: str) -> str | None:
    """The packages that a format needs and how to install them; `None` if all are installed."""
    lacking = [need for need in FORMATS[name].needs if not importlib.util.find_spec(need)]
    if not lacking:
        return None
    return (
        f"The format {name!r} needs {' and '.join(FORMATS[name].needs)}: pip install "
        f"'keras-preact[{name}]'. Received: {lacking[0]} is not installed."
    )


def refuse_missing(name: str) -> None:
    """Raises `ConfigError` if the packages of a format are not installed."""
    if words := missing(name):
        raise ConfigError(words)


def call(model: "keras.Model", images: "np.ndarray") -> "np.ndarray":
    """Scores of a Keras model, float32 `[n, classes]`, for uint8 images."""
    import keras

    scores: Any = model(keras.ops.convert_to_tensor(images, "float32"), training=False)
    return keras.ops.convert_to_numpy(scores).astype("float32")


def _write_keras(model, path, _):
    model.save(path)


def _read_keras(path):
    import keras

    model = keras.saving.load_model(path, compile=False)
    return lambda images: call(model, images)


def _writer(module):
    """The `write` of a module, which is imported only when a file is written."""
    return lambda *arguments: importlib.import_module(f"keras_preact.export.{module}").write(
        *arguments
    )


def _reader(format):
    """A function that opens a file of a format in its runtime."""

    def read(path):
        from keras_preact.export.runtimes_tf import RUNTIMES

        with silent_stderr():  # runtimes print which kernels they have
            _, predict = RUNTIMES[format][0](path, exact=True)

        def quiet(images):
            with silent_stderr():
                return predict(images)

        return quiet

    return read


#: The precisions of formats that support Keras's dtype policies.
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")

FORMATS: dict[str, Format] = {
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
