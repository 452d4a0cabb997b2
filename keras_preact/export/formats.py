"""The formats of exports as a table: how each is written and read back."""

from collections.abc import Callable
from typing import NamedTuple

import keras


class Format(NamedTuple):
    """A format.

    Attributes:
        file: Name of the file or folder.
        write: Function of model, path, the `Trained` that it is of, and calibration images or
            `None`.
        read: Function of a path to a function of uint8 images to scores.
        needs_tensorflow: Whether Keras has to run on TensorFlow for it.
    """

    file: str
    write: Callable
    read: Callable
    needs_tensorflow: bool = True


def _write_saved_model(model, path, trained, _):
    from keras_preact.export.saved_model_tf import export_saved_model

    export_saved_model(model, path, trained.class_names, trained.geometry)


def _read_saved_model(path):
    from keras_preact.export.saved_model_tf import open_saved_model

    return open_saved_model(path)


def _write_keras(model, path, *_):
    model.save(path)


def _read_keras(path):
    model = keras.saving.load_model(path, compile=False)
    return lambda images: call(model, images)


def call(model, images):
    """Scores of a Keras model, float32 `[n, classes]`, for uint8 images."""
    scores = model(keras.ops.convert_to_tensor(images, "float32"), training=False)
    return keras.ops.convert_to_numpy(scores).astype("float32")


def _write_litert(model, path, _, calibration):
    from keras_preact.export.litert_tf import export_litert

    export_litert(model, path, calibration)


def _read_litert(path):
    from keras_preact.export.litert_tf import open_litert

    return open_litert(path)


def _write_onnx(model, path, *_):
    from keras_preact.export.onnx_tf import export_onnx

    export_onnx(model, path)


def _read_onnx(path):
    from keras_preact.export.onnx_tf import open_onnx

    return open_onnx(path)


FORMATS = {
    "saved_model": Format("saved_model", _write_saved_model, _read_saved_model),
    "keras": Format("model.keras", _write_keras, _read_keras, needs_tensorflow=False),
    "litert": Format("model.tflite", _write_litert, _read_litert),
    "onnx": Format("model.onnx", _write_onnx, _read_onnx),
}
