"""`preprocess_input` and `decode_predictions`, as in `keras.applications`.

Keras and NumPy are imported where they are used, so that listing networks needs neither.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

from keras_preact.applications.published import trained_weights
from keras_preact.checked import require
from keras_preact.errors import ConfigError, near, quoted
from keras_preact.weights.preprocessing import PREPROCESSINGS

#: Classes of CIFAR-10 in the order of its labels.
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

_PREPROCESS_DOC = """Preprocesses raw images for the networks of this module: {what}.

    Args:
        x: Images as a NumPy array or tensor, `(height, width, 3)` or a batch of them, RGB with
            values from 0 to 255; with one channel for weights of grey images. An array is not
            changed in place.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras's global setting.
        weights: Tag of the trained weights that the images are for, whose preprocessing may
            differ; `None` for a network of your own.

    Returns:
        Array or tensor of the same shape, of Keras's float dtype.

    Raises:
        ConfigError: If the images have another number of channels, or the tag is unknown.

    Example:
        >>> import numpy as np
        >>> from keras_preact.applications.{module} import preprocess_input
        >>> preprocess_input(np.zeros((1, 8, 8, 3), "uint8"), data_format="channels_last").shape
        (1, 8, 8, 3)
    """


def preprocessing(
    mode: Literal["caffe", "tf", "torch", "cifar10"], module: str
) -> Callable[..., Any]:
    """The `preprocess_input` of a module; `mode` is `"caffe"`, `"tf"`, `"torch"` or `"cifar10"`.

    Trained weights have a mode of their own, any of `PREPROCESSINGS`.
    """
    what = {
        "caffe": "BGR, ImageNet's channel means subtracted, not scaled",
        "tf": "scaled to [-1, 1]",
        "torch": "ImageNet's channel means subtracted, divided by its standard deviations",
        "cifar10": "CIFAR-10's channel means subtracted, divided by its standard deviations",
    }[mode]

    def preprocess_input(x: Any, data_format: str | None = None, weights: str | None = None) -> Any:
        import keras
        import numpy as np

        from keras_preact.residual.parts import standardize_data_format

        wanted = PREPROCESSINGS[mode if weights is None else _mode(module, weights)]
        data_format = standardize_data_format(data_format)
        axis = -3 if data_format == "channels_first" else -1
        right = len(x.shape) in (3, 4) and x.shape[axis] == wanted.channels
        expected = f"images with {wanted.channels} channels, {data_format.replace('_', ' ')}"
        require(right, "x.shape", tuple(x.shape), expected)
        plain = isinstance(x, np.ndarray)
        dtype, spread = keras.config.floatx(), (-1, 1, 1) if axis == -3 else (-1,)
        mean, deviation = (
            np.reshape(values, spread).astype(dtype) for values in (wanted.mean, wanted.deviation)
        )
        y = ((x.astype(dtype) if plain else keras.ops.cast(x, dtype)) - mean) / deviation
        return (np if plain else keras.ops).flip(y, axis) if wanted.bgr else y

    preprocess_input.__doc__ = _PREPROCESS_DOC.format(what=what, module=module)
    return preprocess_input


def _mode(module, tag):
    """The mode of the weights with this tag, which is the same for all networks of a module."""
    names = importlib.import_module(f"keras_preact.applications.{module}").__all__
    modes = {
        weights.tag: weights.preprocessing
        for name in names
        for weights in trained_weights().get(name.lower(), {}).values()
    }
    fix = near(str(tag), modes).strip()
    require(tag in modes, "weights", tag, f"None or one of the tags {quoted(modes)}", fix)
    return modes[tag]


def decode_predictions(
    preds: Any, top: int = 5, class_names: Sequence[str] | None = None
) -> list[list[tuple[str, str, float]]]:
    """The `top` most likely classes of each image, most likely first.

    Args:
        preds: Scores, an array or tensor `(batch, classes)`.
        top: Number of classes to return per image.
        class_names: Class names in the order of the labels. `None` means the 1000 classes of
            ImageNet, whose names Keras downloads once.

    Returns:
        One list per image of tuples `(class id, class name, score)`; with `class_names`, the id is
        the label as text.

    Raises:
        ConfigError: If `preds` does not have one column per class name.

    Example:
        >>> import numpy as np
        >>> from keras_preact.applications.resnet_v2 import decode_predictions
        >>> decode_predictions(np.array([[0.1, 0.9]]), top=1, class_names=["cat", "dog"])
        [[('1', 'dog', 0.9)]]
    """
    import keras
    import numpy as np

    preds = np.asarray(keras.ops.convert_to_numpy(preds))
    count = 1000 if class_names is None else len(class_names)
    if preds.ndim != 2 or preds.shape[1] != count:
        names = "class_names=None means ImageNet's" if class_names is None else "class_names has"
        raise ConfigError(
            f"`preds` must have the shape (batch, {count}), because {names} {count} classes. "
            f"Received: preds.shape={preds.shape}. Pass your own class names as `class_names`."
        )
    if class_names is None:
        return keras.applications.imagenet_utils.decode_predictions(preds, top=top)
    best = np.argsort(-preds, axis=1, kind="stable")[:, :top]
    return [
        [(str(k), class_names[int(k)], float(row[k])) for k in order]
        for row, order in zip(preds, best, strict=True)
    ]


def decode_cifar10_predictions(
    preds: Any, top: int = 5, class_names: Sequence[str] = CIFAR10_CLASSES
) -> list[list[tuple[str, str, float]]]:
    """`decode_predictions` with the classes of CIFAR-10, unless others are given.

    Args:
        preds: Scores, an array or tensor `(batch, classes)`.
        top: Number of classes to return per image.
        class_names: Class names in the order of the labels.

    Returns:
        One list per image of tuples `(label as text, class name, score)`.

    Raises:
        ConfigError: If `preds` does not have one column per class name.

    Example:
        >>> import numpy as np
        >>> from keras_preact.applications.cifar_resnet import decode_predictions
        >>> decode_predictions(np.eye(10)[[3]], top=1)[0][0][1]
        'cat'
    """
    return decode_predictions(preds, top, class_names)
