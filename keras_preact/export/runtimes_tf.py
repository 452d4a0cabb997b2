"""Files of each format, opened by their runtimes.

This module imports the package only to open `.keras` files: it is run by processes that measure
files as they are used elsewhere.
"""

import importlib.util
import os
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

#: The package that runs LiteRT files: its own if it is installed, else TensorFlow.
LITERT = "ai_edge_litert" if importlib.util.find_spec("ai_edge_litert") else "tensorflow"

#: The shape of a file's images, and its function from images to scores.
Opened = tuple[tuple[int | None, ...], Callable[[np.ndarray], np.ndarray]]


def open_saved_model(
    path: str | os.PathLike, threads: int | None = None, exact: bool = False
) -> Opened:
    """Opens a SavedModel with TensorFlow.

    Args:
        path: The file or folder.
        threads: Number of threads; all processors by default.
        exact: Whether to compute in float32 even if the runtime prefers bfloat16.

    Returns:
        The shape of its images, with `None` for sizes that may vary, and a function from images
        with values from 0 to 255, `(n, h, w, c)`, to scores, float32 `(n, classes)`.
    """
    import tensorflow as tf

    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    loaded = tf.saved_model.load(str(path))  # kept alive by the function
    serve = loaded.signatures["serving_default"]
    ((name, taken),) = serve.structured_input_signature[1].items()

    def predict(images, loaded=loaded):
        found = serve(**{name: tf.constant(images, taken.dtype)})
        return _scores(found).numpy()

    return tuple(taken.shape), predict


def open_keras(path: str | os.PathLike, threads: int | None = None, exact: bool = False) -> Opened:
    """Opens a `.keras` file, or the one in a run's folder, with Keras, as `open_saved_model`.

    Its scores are those of `predict_function`.
    """
    import keras

    from keras_preact.rewrite import predict_function
    from keras_preact.trained import open_keras_file

    if threads and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
    path = pathlib.Path(path)
    model = open_keras_file(path / "model.keras" if path.is_dir() else path)
    return model.input_shape, predict_function(model)


def open_litert(path: str | os.PathLike, threads: int | None = None, exact: bool = False) -> Opened:
    """Opens a LiteRT file with its interpreter, as `open_saved_model`."""
    with warnings.catch_warnings(action="ignore"):
        if LITERT == "tensorflow":
            import tensorflow as tf

            Interpreter = tf.lite.Interpreter
        else:
            from ai_edge_litert.interpreter import Interpreter
        interpreter = Interpreter(str(path), num_threads=threads or os.cpu_count())
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(images):
        if tuple(images.shape) != tuple(interpreter.get_input_details()[0]["shape"]):
            interpreter.resize_tensor_input(taken["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], np.ascontiguousarray(_as_integers(images, taken)))
        interpreter.invoke()
        return _as_floats(interpreter.get_tensor(given["index"]), given)

    return tuple(None if n < 0 else int(n) for n in taken["shape_signature"]), predict


def _as_integers(images, taken):
    """Images in the dtype that a file takes: integers with a scale, or another dtype."""
    scale, zero = taken["quantization"]
    if scale:
        limits = np.iinfo(taken["dtype"])
        images = np.clip(np.round(images / scale) + zero, limits.min, limits.max)
    return images.astype(taken["dtype"], copy=False)


def _as_floats(scores, given):
    scale, zero = given["quantization"]
    return (scores.astype("float32") - zero) * np.float32(scale) if scale else scores


def open_onnx(path: str | os.PathLike, threads: int | None = None, exact: bool = False) -> Opened:
    """Opens an ONNX file with ONNX Runtime, as `open_saved_model`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    given: Any = _scores({out.name: out.name for out in session.get_outputs()})  # not `maps`
    dtype: Any = {"tensor(uint8)": np.uint8}.get(taken.type, np.float32)
    shape = tuple(n if isinstance(n, int) else None for n in taken.shape)

    def predict(images: np.ndarray) -> Any:
        return session.run([given], {taken.name: images.astype(dtype)})[0]

    return shape, predict


def open_openvino(
    path: str | os.PathLike, threads: int | None = None, exact: bool = False
) -> Opened:
    """Opens an OpenVINO graph, or the `model.xml` in a folder, as `open_saved_model`."""
    import openvino

    path = pathlib.Path(path)
    wish: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads} if threads else {}
    wish |= {"INFERENCE_PRECISION_HINT": "f32"} if exact else {}
    file = path / "model.xml" if path.is_dir() else path
    network = openvino.Core().compile_model(file, "CPU", wish)
    (taken,), (given,) = network.inputs, network.outputs
    dtype = taken.element_type.to_dtype()
    shape = tuple(n.get_length() if n.is_static else None for n in taken.partial_shape)
    # Its output buffer is reused for the next images.
    return shape, lambda images: network(images.astype(dtype, copy=False))[given].copy()


def _scores(found):
    return found["scores"] if "scores" in found else next(iter(found.values()))


#: The function that opens the files of each format, and its package.
RUNTIMES: dict[str, tuple[Callable[..., Opened], str]] = {
    "saved_model": (open_saved_model, "tensorflow"),
    "keras": (open_keras, "keras"),
    "litert": (open_litert, LITERT),
    "onnx": (open_onnx, "onnxruntime"),
    "openvino": (open_openvino, "openvino"),
}
