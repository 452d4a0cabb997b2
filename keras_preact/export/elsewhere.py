"""`write`: a file of any format; if Keras runs on JAX, by a TensorFlow process of its own.

Keras 3.15 has exporters for JAX too. But the one to ONNX, by jax2onnx 0.17.1, writes each pooling
over all four axes, which ONNX Runtime 1.32 refuses (`MaxPool ... Unsupported pooling size`). A
network in Keras's own layers opens on TensorFlow as well, and the files written there are equal to
the last bit, in every format.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import keras
import numpy as np

from keras_preact.data.geometry import Geometry
from keras_preact.errors import OWN, ConfigError, ExportError
from keras_preact.export.formats import FORMATS, Wish

_MODEL, _IMAGES, _WISH = "model.keras", "images.npy", "wish.json"


def write(format: str, model: keras.Model, path: str | os.PathLike, wish: Wish) -> None:
    """Writes a network in a format.

    Args:
        format: One of `FORMATS`.
        model: A `keras.Model` in Keras's own layers.
        path: File or folder to write.
        wish: The settings.

    Raises:
        ConfigError, ExportError: As the function of the format does.
    """
    chosen = FORMATS[format]
    if not chosen.needs_tensorflow or keras.backend.backend() == "tensorflow":
        chosen.write(model, path, wish)
        return
    with tempfile.TemporaryDirectory(prefix="keras_preact-") as folder:
        folder = pathlib.Path(folder)
        model.save(folder / _MODEL)
        geometry = wish.geometry.to_dict() if wish.geometry else None
        fields = {**wish._asdict(), "geometry": geometry, "calibration": None}
        (folder / _WISH).write_text(json.dumps(fields))
        if wish.calibration is not None:
            np.save(folder / _IMAGES, wish.calibration)
        done = subprocess.run(
            [sys.executable, "-m", __name__, format, str(folder), str(pathlib.Path(path))],
            env={**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        kind = ConfigError if done.returncode == ConfigError.exit_code else ExportError
        raise kind(said)


def main(format: str, folder: str, path: str) -> int:
    """Writes the network that another process saved to a folder; returns an exit code."""
    home = pathlib.Path(folder)
    fields = json.loads((home / _WISH).read_text())
    if fields["geometry"]:
        fields["geometry"] = Geometry.from_dict(fields["geometry"])
    wish = Wish(**fields)
    if (home / _IMAGES).is_file():
        wish = wish._replace(calibration=np.load(home / _IMAGES))
    model = keras.saving.load_model(home / _MODEL, compile=False)
    try:
        FORMATS[format].write(model, path, wish)
    except OWN as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
