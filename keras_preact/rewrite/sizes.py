"""`any_size` and `dense`: a network for images of other sizes than it was trained on."""

import keras
import numpy as np

from keras_preact.errors import ConfigError, reason
from keras_preact.layers import PReLU, SlidingPyramidPooling, SpatialPyramidPooling
from keras_preact.rewrite.graph import carry_weights, is_graph, rebuild, same
from keras_preact.rewrite.pyramid import is_stock_pyramid, read_pyramid


def any_size(model: keras.Model) -> keras.Model:
    """The same network for images of any height and width, as the papers test at other sizes.

    Args:
        model: A functional `keras.Model` of images, channels last, with global pooling before the
            classifier, or with a spatial pyramid, whose bins then grow with the feature map
            (`dense` keeps their size instead). A per-pixel mean is replaced by its mean over all
            pixels, one number per channel.

    Returns:
        A functional `keras.Model` with the same weights, not compiled.

    Raises:
        ConfigError: If the model works for one image size only, takes channels first, or is not a
            graph of layers.

    Example:
        >>> from keras_preact.applications import ResNet8V2
        >>> from keras_preact.rewrite import any_size
        >>> any_size(ResNet8V2()).input_shape
        (None, None, None, 3)
    """

    copy, pairs = _rebuilt(model, lambda layer: read_pyramid(layer) if is_graph(layer) else None)
    for old, new in pairs:
        carry_weights(old, new)
    return copy


def dense(model: keras.Model) -> keras.Model:
    """Dense testing: the network in a window at every position of an image of any size.

    Delving Deep into Rectifiers, section 3. The convolutions run over the whole image. On their
    feature map, a window of the size that the network was trained with is moved to every position;
    each window is pooled into the spatial pyramid and classified, and the probabilities are
    averaged over all windows of the image and of its mirror image.

    Args:
        model: A functional `keras.Model` of images of a fixed size, channels last, with a spatial
            pyramid pooling followed by dense layers, that ends with probabilities.

    Returns:
        A functional `keras.Model` with the same weights, not compiled, that maps images at least
        as large as the model's to probabilities `(batch, classes)`.

    Raises:
        ConfigError: If the model is not of this form.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.rewrite import dense
        >>> model = create_model("rectifiernet14", input_shape=(64, 64, 3), dense=(8,), classes=5)
        >>> model = dense(model)
        >>> model.input_shape, model.output_shape
        ((None, None, None, 3), (None, 5))
    """
    pyramids = [layer for layer in model.layers if _pyramid(layer)]
    if len(pyramids) != 1:
        raise ConfigError(
            "`model` must have one spatial pyramid pooling, whose window can be moved; "
            f"any_size (without --dense) works for all networks. Received: {model.name!r}, which "
            f"has {len(pyramids)}."
        )
    window = pyramids[0].input.shape[1:3]
    if None in window:
        raise ConfigError(
            "`model` must have a fixed image size, which gives the size of the window. "
            f"Received: {model.name!r}, whose pyramid takes maps of any size."
        )

    last = model.layers[-1]
    if getattr(last, "activation", None) is keras.activations.linear:
        raise ConfigError(
            "`model` must end with probabilities, which are averaged over the windows. "
            f"Received: {model.name!r}, whose last layer, {last.name!r}, gives logits. "
            "keras_preact.rewrite.with_softmax adds a softmax."
        )

    def make(layer):
        if _pyramid(layer):
            bins = _pyramid(layer).bins
            return SlidingPyramidPooling(bins, window, dtype=layer.dtype_policy, name=layer.name)
        if isinstance(layer, keras.layers.PReLU) and len(layer.input.shape) == 2:
            # One slope per unit, or one for all units, at all positions.
            axes = [1, 2] if layer.shared_axes is None else [1, 2, 3]
            return PReLU.from_config({**layer.get_config(), "shared_axes": axes})
        return None

    windows, pairs = _rebuilt(model, make)
    for old, new in pairs:
        if isinstance(old, keras.layers.Layer) and old.weights:
            shapes = [weight.shape for weight in new.weights]
            values = zip(old.get_weights(), shapes, strict=True)
            new.set_weights([value.reshape(shape) for value, shape in values])
    pool = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="windows_mean")
    one = keras.Model(windows.input, pool(windows.output), name="windows")
    images = keras.Input(one.input_shape[1:], dtype=one.input.dtype, name="images")
    both = [one(images), one(keras.ops.flip(images, axis=2))]
    return keras.Model(images, keras.layers.Average(name="views_mean")(both), name=model.name)


def _pyramid(layer):
    """The `SpatialPyramidPooling` that a layer of a graph is or replaces, or `None`."""
    if isinstance(layer, SpatialPyramidPooling):
        return layer
    return read_pyramid(layer) if is_graph(layer) else None


def _rebuilt(model, replaced):
    """A copy for images of any size; `replaced` gives the replacement of a layer, or `None`."""

    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    if any(layer.data_format == "channels_first" for layer in convolutions):
        raise ConfigError(
            "`model` must take images with channels last: data_format='channels_last'. "
            f"Received: {model.name!r}, whose layers take channels first."
        )

    def make(layer):
        new = replaced(layer)
        if new is not None:
            return new
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is not None:
            return _by_channel(layer)
        return same(layer)

    try:
        return rebuild(model, make, make_input=_of_any_size, whole=is_stock_pyramid)
    except (ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"`model` must be one that takes images of any size. Received: {model.name!r}, which "
            f"does not: {reason(error)}"
        ) from None


def _of_any_size(tensor):
    batch, *sizes, channels = tensor.shape
    shape = (batch, *(None for _ in sizes), channels)
    return keras.Input(batch_shape=shape, dtype=tensor.dtype, name=tensor.name)


def _by_channel(layer):
    """A `Normalization` by given numbers, with one mean and one variance per channel."""
    config = layer.get_config()
    for name in ("mean", "variance"):
        value = np.asarray(config[name], np.float32)
        config[name] = value.reshape(-1, value.shape[-1]).mean(0) if value.ndim > 1 else value
    return type(layer).from_config({**config, "axis": -1})
