"""Weights in the HDF5 files of Keras 1 and 2, in which public collections are published.

Such a file holds each weight as a data set under the path of its layer (`conv1_bn/conv1_bn/gamma:0`
in a functional model, `features/stage1/unit1/body/conv1/bn/gamma:0` with layers inside layers). A
function from paths to names turns it into weights by layer.
"""

import re
from collections.abc import Callable

import h5py
import numpy as np

from keras_preact.errors import ConfigError
from keras_preact.weights.by_layer import Weights

#: Index of a weight in its layer, by the name that Keras gives it.
_INDICES = {
    "kernel": "0",
    "bias": "1",
    "gamma": "0",
    "beta": "1",
    "moving_mean": "2",
    "moving_variance": "3",
}


def read_legacy(source, layer_name: Callable[[str], str | None]) -> Weights:
    """The weights in a `.h5` file of Keras 1 or 2, by the names of this package's layers.

    Args:
        source: Path of the file, or a binary file object.
        layer_name: Gives the name of our layer for the path of a layer in the file, or `None` for
            a layer that our networks do not have: `imgclsmob_layer`, `keras_v1_layer` or
            `keras_v2_layer`.

    Returns:
        `{layer: {index: array}}`, as `weights_by_layer` gives them.

    Raises:
        ConfigError: For a file that is damaged, or has a weight that is none of our networks'.

    Example:
        >>> import h5py, io
        >>> from keras_preact.weights.legacy import keras_v1_layer, read_legacy
        >>> file = io.BytesIO()
        >>> with h5py.File(file, "w") as group:
        ...     group["conv1_bn/conv1_bn/gamma:0"] = [1.0, 1.0]
        >>> read_legacy(file, keras_v1_layer)
        {'stem_norm': {'0': array([1., 1.])}}
    """
    found: Weights = {}

    def note(path, item):
        if not isinstance(item, h5py.Dataset):
            return
        layer, _, weight = path.rpartition("/")
        name, index = layer_name(layer), _INDICES.get(weight.removesuffix(":0"))
        if name is None or index is None:
            raise ConfigError(
                "The weights must be those of a residual network as its collection builds it. "
                f"Received: {path!r}, which is no layer of such a network."
            )
        found.setdefault(name, {})[index] = np.asarray(item)

    try:
        with h5py.File(source) as file:
            file.visititems(note)
    except OSError as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"An HDF5 file of Keras 1 or 2 is expected. Received: one that cannot be read: {reason}"
        ) from None
    return found


def imgclsmob_layer(path: str) -> str | None:
    """Our name for a layer of a ResNet or PreResNet of osmr/imgclsmob (tf2cv).

    Example:
        >>> from keras_preact.weights.legacy import imgclsmob_layer
        >>> imgclsmob_layer("features/features/stage2/stage2/unit1/body/conv2/bn")
        'stage2_unit1_norm2'
    """
    kind = "norm" if path.endswith("/bn") else "conv"
    unit = re.search(r"stage(\d+)/unit(\d+)/(?:body/conv(\d+)|identity_conv)(?=/)", path)
    if unit:
        stage, number, place = unit.groups()
        return f"stage{stage}_unit{number}_" + (f"{kind}{place}" if place else f"shortcut_{kind}")
    ends = {"init_block": f"stem_{kind}", "post_activ": "head_norm", "output1": "predictions"}
    return next((name for part, name in ends.items() if part in path.split("/")), None)


def keras_v1_layer(path: str) -> str | None:
    """Our name for a layer of `keras.applications.ResNet50` and its kin.

    Example:
        >>> from keras_preact.weights.legacy import keras_v1_layer
        >>> keras_v1_layer("conv2_block1_0_bn/conv2_block1_0_bn")
        'stage1_unit1_shortcut_norm'
    """
    return _keras_layer(path, norm_ahead=0)


def keras_v2_layer(path: str) -> str | None:
    """Our name for a layer of `keras.applications.ResNet50V2` and its kin.

    Example:
        >>> from keras_preact.weights.legacy import keras_v2_layer
        >>> keras_v2_layer("conv2_block1_preact_bn/conv2_block1_preact_bn")
        'stage1_unit1_norm1'
    """
    return _keras_layer(path, norm_ahead=1)


def _keras_layer(path, norm_ahead):
    """`norm_ahead` says how many norms of a unit stand ahead of its first convolution."""
    layer = path.split("/")[0]
    unit = re.fullmatch(r"conv(\d+)_block(\d+)_(?:(\d)_(conv|bn)|preact_bn)", layer)
    if unit:
        stage, number, place, kind = unit.groups()
        name = f"stage{int(stage) - 1}_unit{number}_"
        if kind == "conv":
            return name + ("shortcut_conv" if place == "0" else f"conv{place}")
        return name + ("shortcut_norm" if place == "0" else f"norm{int(place or 0) + norm_ahead}")
    return {
        "conv1_conv": "stem_conv",
        "conv1_bn": "stem_norm",
        "post_bn": "head_norm",
        "predictions": "predictions",
        "probs": "predictions",  # what the classifier is called in the older files
    }.get(layer)
