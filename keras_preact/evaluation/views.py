"""The ways in which the papers look at a test image: one crop, ten crops, several scales."""

import dataclasses
import json
from typing import Literal

import numpy as np

from keras_preact.checked import Checked, is_whole, require
from keras_preact.data import Geometry, resize
from keras_preact.data.images import scaled_shape
from keras_preact.data.picture import INTERPOLATIONS, Picture
from keras_preact.errors import ConfigError

#: Shorter sides of the images in the 2015 paper's section 3.4.
SCALES = (224, 256, 384, 480, 640)

#: Pixels of a step at most, so that large images do not fill the memory.
_PIXELS = 64 * 224**2


@dataclasses.dataclass(frozen=True)
class ViewsConfig(Checked):
    """How each test image is looked at; the fields are options of `keras-preact evaluate`.

    Args:
        size: Side of a crop in pixels, such as 224; images are as the network takes them if not
            given.
        shorter: Shorter side in pixels that images are scaled to before cropping; as it is to the
            size in the network's own `Geometry` if not given.
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`; the network's if not given.
        crops: 1, or 10: the corners and the centre, each mirrored too.
        scales: Shorter sides of whole images, in place of crops.
        dense: With `scales`: a window at every place of each, for networks with a spatial pyramid
            pooling.

    Raises:
        ConfigError: For values that do not go together.

    Example:
        >>> from keras_preact.evaluation import ViewsConfig
        >>> ViewsConfig.from_options("--size 224 --crops 10").crops
        10
    """

    size: int | None = None
    shorter: int | None = None
    interpolation: Literal[INTERPOLATIONS] | None = None
    crops: int = 1
    scales: tuple[int, ...] = ()
    dense: bool = False

    def check(self) -> None:
        if self.dense and not self.scales:
            raise ConfigError("`--scales`, such as 256,384,480, is needed with --dense.")
        if self.scales and (self.size or self.shorter or self.crops != 1):
            raise ConfigError(
                "`--scales` takes whole images: leave out --size, --shorter, --crops."
            )
        require(self.crops in (1, 10), "crops", self.crops, "1 or 10")
        if self.size is None and self.crops == 10:
            raise ConfigError("`--size`, the side of a crop, is needed with --crops 10.")
        self.views()

    def geometry(self, own: Geometry) -> Geometry:
        """How image files are fitted, for a network with this geometry of its own."""
        return own.changed(self.size, self.shorter, self.interpolation)

    def views(self, interpolation: str = "bilinear"):
        """Function of an image to a list of its views, or `None` where `geometry` is all there is.

        Args:
            interpolation: That of the geometry.
        """
        if self.scales:
            return multi_scale(self.scales, interpolation)
        if self.crops == 10:
            return ten_crop(self.size, self.shorter, interpolation)
        return None

    def rewriting(self):
        """Function of a model to one that takes such images, or `None` where it does already."""
        from keras_preact.rewrite import any_size, dense

        return dense if self.dense else any_size if self.size or self.scales else None

    def check_fits(self, image_shape) -> None:
        """Raises `ConfigError` where a dense network's window is larger than a scaled image."""
        sides = [side for side in image_shape[:2] if side]
        side = min(sides, default=0) if self.dense else 0
        expected = f"at least {side}, the side of the images that it was trained with"
        require(min(self.scales, default=0) >= side, "scales", self.scales, expected)

    @classmethod
    def from_options(cls, text: str) -> "ViewsConfig":
        """Reads options as one types them: "--scales 256,384 --dense"."""
        values = {}
        for option in f" {text}".split(" --")[1:]:
            name, _, value = option.strip().partition(" ")
            value = f"[{value}]" if name == "scales" else value
            try:
                values[name] = json.loads(value) if value else True
            except ValueError:
                raise ConfigError(
                    f"Options such as '--size 224 --crops 10' are expected. Received: {text!r}."
                ) from None
        return cls.from_dict(values)


def center_crop(size: int, shorter: int | None = None):
    """One crop from the centre; 224 in the 2015 paper, 320 as well in the 2016 paper's Table 5.

    Args:
        size: Side of the crop in pixels.
        shorter: Shorter side that the image is scaled to before; `size` if not given.

    Returns:
        A function of an image, uint8 `(h, w, c)`, to a list of one uint8 `(size, size, c)`.

    Example:
        >>> import numpy as np
        >>> from keras_preact.evaluation import center_crop
        >>> center_crop(224, shorter=256)(np.zeros((300, 400, 3), np.uint8))[0].shape
        (224, 224, 3)
    """
    geometry = Geometry(size, shorter or size)
    return lambda image: [geometry.fit(Picture(image))]


def ten_crop(size: int, shorter: int | None = None, interpolation: str = "bilinear"):
    """The centre and the four corners, each as it is and mirrored (2015, Table 3).

    Args:
        size: Side of the crops in pixels.
        shorter: Shorter side that the image is scaled to before; as 256 is to 224 if not given.
        interpolation: As in `Geometry`.

    Returns:
        A function of an image, uint8 `(h, w, c)`, to a list of ten uint8 `(size, size, c)`.

    Example:
        >>> import numpy as np
        >>> from keras_preact.evaluation import ten_crop
        >>> len(ten_crop(224)(np.zeros((300, 400, 3), np.uint8)))
        10
    """
    shorter = _shorter(size, shorter or round(size * 256 / 224))

    def views(image):
        image = resize(image, scaled_shape(image.shape, shorter), None, interpolation)
        down, across = image.shape[0] - size, image.shape[1] - size
        corners = [(0, 0), (0, across), (down, 0), (down, across), (down // 2, across // 2)]
        crops = [image[top : top + size, left : left + size] for top, left in corners]
        return [*crops, *(crop[:, ::-1] for crop in crops)]

    return views


def multi_scale(scales=SCALES, interpolation: str = "bilinear"):
    """The whole image at several sizes, for a network that takes any (2015, section 3.4).

    The network is applied to the whole scaled image. Its global average pooling is the mean over
    all places where the classifier could stand, so this is the fully-convolutional form.

    Args:
        scales: Shorter sides in pixels.
        interpolation: As in `Geometry`.

    Returns:
        A function of an image, uint8 `(h, w, c)`, to a list of one image a scale.

    Example:
        >>> import numpy as np
        >>> from keras_preact.evaluation import multi_scale
        >>> [view.shape for view in multi_scale((8, 12))(np.zeros((10, 20, 1), np.uint8))]
        [(8, 16, 1), (12, 24, 1)]
    """
    fine = len(scales) > 0 and all(is_whole(scale) and scale >= 1 for scale in scales)
    require(fine, "scales", scales, "a list of whole numbers of at least 1")
    return lambda image: [
        resize(image, scaled_shape(image.shape, scale), None, interpolation) for scale in scales
    ]


def mean_over_views(predict, images, views, batch_size: int = 256) -> np.ndarray:
    """Scores of images, each the mean over its views.

    Args:
        predict: Function of uint8 images `[n, h, w, c]` to scores `[n, classes]`.
        images: Images, uint8 `(h, w, c)` of any sizes.
        views: Function of an image to a list of images.
        batch_size: Views in a step, at most; large ones come in smaller steps.

    Returns:
        float32 `[len(images), classes]`.
    """
    found = [views(image) for image in images]
    by_shape = {}  # views of one shape are one batch
    for k, group in enumerate(found):
        for view in group:
            by_shape.setdefault(view.shape, []).append((k, view))
    total = None
    batches = (
        group[k : k + step]
        for (height, width, _), group in by_shape.items()
        for step in [step_of(batch_size, height, width)]
        for k in range(0, len(group), step)
    )
    for batch in batches:
        scores = np.asarray(predict(np.stack([view for _, view in batch])), np.float32)
        total = np.zeros((len(found), scores.shape[1]), np.float32) if total is None else total
        np.add.at(total, [k for k, _ in batch], scores)
    return total / np.array([len(group) for group in found], np.float32)[:, None]


def step_of(batch_size: int, height: int, width: int) -> int:
    """Images of a step: the batch size, or fewer where they are large."""
    return min(batch_size, max(1, _PIXELS // (height * width)))


def _shorter(size, shorter):
    require(is_whole(size) and size >= 1, "size", size, "a whole number of at least 1")
    require(shorter >= size, "shorter", shorter, f"at least the crop's side, {size}")
    return shorter
