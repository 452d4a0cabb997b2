"""Files of a network of `keras.applications`, as the formats' own exporters make them.

`python -m benchmarks.peer_files peers`, then `keras-preact bench runs/mine/export peers/*`.
"""

import pathlib

from jsonargparse import auto_cli


def main(
    folder: str,
    network: str = "ResNet50V2",
    size: int = 224,
    classes: int = 1000,
):
    """Writes `model.keras`, a SavedModel, LiteRT, ONNX and OpenVINO of it, float32, random weights.

    Args:
        folder: Where to; it must not exist.
        network: Its name in `keras.applications`.
        size: Side of its images in pixels.
        classes: How many it tells apart.
    """
    import keras
    import tensorflow as tf

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    builder = getattr(keras.applications, network)
    model = builder(weights=None, input_shape=(size, size, 3), classes=classes)
    model.save(folder / "model.keras")
    model.export(folder / "saved_model", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
    (folder / "model.tflite").write_bytes(converter.convert())
    model.export(folder / "model.onnx", format="onnx", verbose=False)
    model.export(str(folder / "openvino.xml"), format="openvino", verbose=False)


if __name__ == "__main__":
    auto_cli(main)
