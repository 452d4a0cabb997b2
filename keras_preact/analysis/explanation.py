"""`explain`: where in an image a network sees a class."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np

from keras_preact.analysis.linearize import linearize
from keras_preact.analysis.occlusion import occlusion
from keras_preact.analysis.overlay import overlay, scaled_map
from keras_preact.checked import is_whole, require
from keras_preact.errors import quoted
from keras_preact.evaluation.plots import INK, new_figure, plain_text
from keras_preact.rewrite import split_at_maps, with_maps, without_softmax

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The unit of the values in a map, by its kind.
UNITS = {
    "cam": "contribution to the logit (the logit is the mean over the map plus the class's bias)",
    "grad_cam": "feature maps weighted by the mean gradient of the logit, positive part",
    "occlusion": "decrease of the score when a square is covered there",
}


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Where a network sees a class, for each of several images.

    Attributes:
        kind: `"cam"`, `"grad_cam"` or `"occlusion"`.
        maps: float32 `[n, h, w]`, in the size of the images.
        grids: float32 `[n, rows, columns]`: the maps before they were scaled to that size; for
            occlusion, one value per square.
        classes: Labels of the classes, `[n]`.
        scores: Their scores, float32 `[n]`.
    """

    kind: str
    maps: np.ndarray
    grids: np.ndarray
    classes: np.ndarray
    scores: np.ndarray

    @property
    def unit(self) -> str:
        """The unit of the values in the maps, in words."""
        return UNITS[self.kind]


def explain(
    model: keras.Model,
    images: Any,
    kind: Literal["cam", "grad_cam", "occlusion"] = "cam",
    classes: Any = None,
    layer: str | None = None,
    square: int | None = None,
    batch_size: int = 32,
) -> Explanation:
    """Shows where in images a network sees a class.

    - `"cam"`: the class activation map (Zhou et al. 2016), for networks that end with global
      average pooling and one dense layer: an exact decomposition of the logit by position.
    - `"grad_cam"` (Selvaraju et al. 2017): the feature maps of a layer, weighted by the mean
      gradient of the logit, positive part. For the last feature maps of a network of the first
      kind, this is the positive part of its class activation map divided by the number of
      positions.
    - `"occlusion"` (Zeiler and Fergus 2014): the decrease of the score when a square is covered.

    Args:
        model: A functional or sequential `keras.Model` that maps images to scores.
        images: Its input, `[n, h, w, c]`.
        kind: `"cam"`, `"grad_cam"` or `"occlusion"`.
        classes: Label of the class for each image, or one for all; `None` for the most likely one.
        layer: For `"grad_cam"`: name of the layer whose feature maps are used; `None` for the last
            ones.
        square: For `"occlusion"`: side of the squares in pixels; `None` for a quarter of the
            shorter side.
        batch_size: Images per batch.

    Returns:
        An `Explanation`.

    Raises:
        ConfigError: If an argument is not allowed, or the network has no such maps.

    Example:
        >>> import numpy as np
        >>> from keras_preact import create_model
        >>> from keras_preact.analysis import explain
        >>> images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), "uint8")
        >>> explain(create_model("resnet8v2"), images, "cam").maps.shape
        (2, 32, 32)
    """
    return explainer(model, kind, layer, square, batch_size)(images, classes)


def explainer(
    model: keras.Model,
    kind: Literal["cam", "grad_cam", "occlusion"] = "cam",
    layer: str | None = None,
    square: int | None = None,
    batch_size: int = 32,
) -> Callable[..., Explanation]:
    """`explain` for one network and many calls.

    Args:
        model, kind, layer, square, batch_size: As in `explain`.

    Returns:
        A function that takes `images` and optional `classes`, and returns an `Explanation`.

    Raises:
        ConfigError: As `explain`; the function, if images or classes are not allowed.

    Example:
        >>> import numpy as np
        >>> from keras_preact import create_model
        >>> from keras_preact.analysis import explainer
        >>> look = explainer(create_model("resnet8v2"), "grad_cam", layer="stage2")
        >>> look(np.zeros((1, 32, 32, 3), "uint8"), 7).grids.shape
        (1, 16, 16)
    """
    require(kind in UNITS, "kind", kind, f"one of {quoted(UNITS)}")
    require(layer is None or kind == "grad_cam", "layer", layer, "None unless kind='grad_cam'")
    fits = square is None or (kind == "occlusion" and is_whole(square) and square >= 1)
    require(fits, "square", square, "None, or at least 1 with kind='occlusion'")
    look = _LOOKS[kind](model, layer, square, batch_size)

    def explained(images, classes=None):
        images = np.asarray(images)
        right = images.ndim == 4 and len(images) > 0
        require(right, "images", images.shape, "images (n, height, width, channels), at least one")
        wanted = _numbers_of(classes, model.output_shape[-1], len(images))
        cuts = (slice(k, k + batch_size) for k in range(0, len(images), batch_size))
        parts = [look(images[cut], wanted[cut]) for cut in cuts]
        return Explanation(kind, *map(np.concatenate, zip(*parts, strict=True)))

    return explained


def _numbers_of(classes, count, images):
    """The label for each image, -1 for the most likely one."""
    wanted = np.asarray(-1 if classes is None else classes)
    numbers = wanted.dtype.kind in "iu" and wanted.shape in ((), (images,))
    numbers = numbers and (classes is None or (wanted.min() >= 0 and wanted.max() < count))
    expected = f"None, or numbers from 0 to {count - 1}, one for all or one per image"
    require(numbers, "classes", classes, expected)
    return np.broadcast_to(wanted, images)


def _cam(model, *_):
    axis, model = _channel_axis(model), with_maps(model)

    def look(images, wanted):
        found = model.predict_on_batch(_floats(images))
        scores, maps = (np.asarray(found[name], np.float32) for name in ("scores", "maps"))
        labels = _labels(scores, wanted)
        grids = np.stack([one[..., label] for one, label in zip(maps, labels, strict=True)])
        size = np.delete(images.shape, [0, axis])
        return scaled_map(grids, size), grids, labels, _of(scores, labels)

    return look


def _grad_cam(model, layer, *_):
    front, back = split_at_maps(model, layer)
    logits, axis = without_softmax(back), _channel_axis(model)
    places = tuple(k for k in (1, 2, 3) if k != axis)

    def look(images, wanted):
        maps = front(_floats(images), training=False)
        scores = _numbers(back(maps, training=False))
        labels = _labels(scores, wanted)
        (found,), pull = linearize(lambda x: [logits(x, training=False)], maps)
        ones = keras.ops.cast(keras.ops.one_hot(labels, scores.shape[-1]), found.dtype)
        (gradient,) = pull(ones)
        gradient, maps = _numbers(gradient), _numbers(maps)
        grids = np.maximum((gradient.mean(places, keepdims=True) * maps).sum(axis), 0)
        size = np.delete(images.shape, [0, axis])
        return scaled_map(grids, size), grids, labels, _of(scores, labels)

    return look


def _occlusion(model, _, square, batch_size):
    axis = _channel_axis(model)

    def predict(images):  # whose channels are last
        images = _floats(np.moveaxis(images, 3, axis))
        return np.asarray(model.predict_on_batch(images), np.float32)

    def look(images, wanted):
        images = np.moveaxis(images, axis, 3)
        scores = predict(images)
        labels = _labels(scores, wanted)
        found = (
            occlusion(predict, image, label, square, batch_size)
            for image, label in zip(images, labels, strict=True)
        )
        grids, maps = map(np.stack, zip(*found, strict=True))
        return maps, grids, labels, _of(scores, labels)

    return look


_LOOKS = {"cam": _cam, "grad_cam": _grad_cam, "occlusion": _occlusion}


def _floats(images):
    return images.astype(np.float32)


def _numbers(tensor) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")))


def _channel_axis(model):
    layers = (layer for layer in model._flatten_layers() if hasattr(layer, "data_format"))
    layer = next(layers, None)
    return 1 if layer and layer.data_format == "channels_first" else 3


def _labels(scores, wanted):
    return np.where(wanted < 0, scores.argmax(axis=1), wanted)


def _of(scores, labels):
    """The score of its class for each image."""
    return scores[np.arange(len(scores)), labels]


@plain_text
def plot_explanation(image: np.ndarray, heat: np.ndarray, title: str, unit: str) -> "Figure":
    """Plots an image, and the map over it in colours: red for the class, blue against it.

    Args:
        image: uint8 `[h, w, 1 or 3]`.
        heat: A map of the same size, `[h, w]`.
        title: Title, such as class and score.
        unit: Unit of the values of the map, such as `Explanation.unit`.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis import plot_explanation
        >>> image = np.zeros((8, 8, 3), "uint8")
        >>> len(plot_explanation(image, np.eye(8), "cat 93.0%", "share of the logit").axes)
        3
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    height, width = image.shape[:2]
    tall = min(max(4 * height / width, 2.5), 10)
    figure, axes = new_figure(9.4, tall + 1.1, columns=2)
    gray = image.shape[2] == 1
    axes[0].imshow(image[:, :, 0] if gray else image, cmap="gray", vmin=0, vmax=255)
    axes[1].imshow(overlay(image, heat))
    for one in axes:
        one.axis("off")
    most = float(np.abs(heat).max()) or 1.0
    scale = ScalarMappable(Normalize(-most if heat.min() < 0 else 0, most), _colours(heat))
    bar = figure.colorbar(scale, ax=axes[1], fraction=0.05, pad=0.02)
    bar.outline.set_visible(False)
    figure.suptitle(title, color=INK)
    figure.supxlabel(unit, fontsize=9, color=INK)
    return figure


def _colours(heat):
    """The colours of `overlay` over medium grey."""
    from matplotlib.colors import ListedColormap

    ramp = np.linspace(-1 if heat.min() < 0 else 0, 1, 256)[None]
    return ListedColormap(overlay(np.full((1, 256, 1), 128, np.uint8), ramp)[0] / 255)
