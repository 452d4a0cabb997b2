"""Weights in the HDF5 files of osmr/imgclsmob (tf2cv), which Keras 2 wrote.

Each weight is a dataset under the path of its layer, with nested layers:
`features/stage1/unit1/body/conv1/bn/gamma:0`.
"""

import re

from keras_preact.errors import ConfigError, reason
from keras_preact.weights.by_layer import Weights
from keras_preact.weights.hdf5 import RefusedError, read_hdf5

#: Index of a weight in its layer, by the name that Keras gives it.
_INDICES = {
    "kernel": "0",
    "bias": "1",
    "gamma": "0",
    "beta": "1",
    "moving_mean": "2",
    "moving_variance": "3",
}


def read_imgclsmob(data: bytes) -> Weights:
    """Reads the weights in an `.h5` file of osmr/imgclsmob, by this package's layer names.

    Args:
        data: The bytes of the file.

    Returns:
        `{layer: {index: array}}`, as `weights_by_layer` returns it.

    Raises:
        ConfigError: If the file is damaged, or has a weight that our networks do not have.

    Example:
        >>> import h5py, io
        >>> from keras_preact.weights.imgclsmob import read_imgclsmob
        >>> file = io.BytesIO()
        >>> with h5py.File(file, "w") as group:
        ...     group["features/init_block/bn/gamma:0"] = [1.0, 1.0]
        >>> read_imgclsmob(file.getvalue())
        {'stem_norm': {'0': array([1., 1.])}}
    """
    try:
        arrays = read_hdf5(data).arrays
    except RefusedError as error:
        raise ConfigError(
            "The file must be an HDF5 file of osmr/imgclsmob. "
            f"Received: a file that cannot be read: {reason(error)}"
        ) from None
    found: Weights = {}

    for path, array in arrays.items():
        layer, _, weight = path.rpartition("/")
        name, index = _layer(layer), _INDICES.get(weight.removesuffix(":0"))
        if name is None or index is None:
            raise ConfigError(
                "The weights must be those of a residual network of osmr/imgclsmob. "
                f"Received: {path!r}, which is not a weight of such a network."
            )
        found.setdefault(name, {})[index] = array
    return found


def _layer(path: str) -> str | None:
    """Our name for a layer of a ResNet or PreResNet of tf2cv; `None` for others."""
    kind = "norm" if path.endswith("/bn") else "conv"
    unit = re.search(r"stage(\d+)/unit(\d+)/(?:body/conv(\d+)|identity_conv)(?=/)", path)
    if unit:
        stage, number, place = unit.groups()
        return f"stage{stage}_unit{number}_" + (f"{kind}{place}" if place else f"shortcut_{kind}")
    ends = {"init_block": f"stem_{kind}", "post_activ": "head_norm", "output1": "predictions"}
    return next((name for part, name in ends.items() if part in path.split("/")), None)
