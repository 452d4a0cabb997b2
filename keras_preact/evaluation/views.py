"""The views of a test image in the papers: one crop, ten crops, several scales."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from keras_preact.checked import Checked, is_whole, require
from keras_preact.data import Geometry, resize
from keras_preact.data.geometry import AS_THEY_ARE
from keras_preact.data.images import scaled_shape
from keras_preact.data.picture import Picture
from keras_preact.errors import ConfigError

if TYPE_CHECKING:
    import keras

#: Makes the views of an image, uint8 `(h, w, c)`.
Views = Callable[[np.ndarray], list[np.ndarray]]

#: Shorter sides of the images in the 2015 paper, section 3.4.
SCALES = (224, 256, 384, 480, 640)

#: Largest number of pixels in a batch, so that large images do not fill the memory.
_PIXELS = 64 * 224**2


@dataclasses.dataclass(frozen=True)
class ViewsConfig(Checked):
    """The views of each test image; the fields are options of `keras-preact evaluate`.

    Args:
        size: Side of a crop in pixels, such as 224; by default that of the network.
        shorter: Shorter side in pixels to which images are scaled before cropping; by default in
            the same proportion to `size` as in the network's own `Geometry`, and where that has
            none, for ten crops 256/224 of `size`.
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`; by default the network's.
        crops: 1, or 10: the corners and the centre, each also mirrored.
        scales: Shorter sides in pixels of whole images, which replace the crops.
        dense: With `scales`: a window at every position of each image, for networks with spatial
            pyramid pooling.

    Raises:
        ConfigError: If values are not allowed or do not go together.

    Example:
        >>> from keras_preact.evaluation import ViewsConfig
        >>> ViewsConfig.from_options("--size 224 --crops 10").crops
        10
    """

    size: int | None = None
    shorter: int | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] | None = None
    crops: int = 1
    scales: tuple[int, ...] = ()
    dense: bool = False

    def check(self) -> None:
        """Rules between fields."""
        if self.dense and not self.scales:
            raise ConfigError("`--dense` needs --scales, such as --scales 256,384,480.")
        if self.scales and (self.size or self.shorter or self.crops != 1):
            raise ConfigError("`--scales` uses whole images: omit --size, --shorter and --crops.")
        require(self.crops in (1, 10), "crops", self.crops, "1 or 10")
        if self.size is None and self.crops == 10:
            raise ConfigError("`--crops 10` needs --size, the side of a crop in pixels.")
        self.views()

    def geometry(self, own: Geometry) -> Geometry:
        """The geometry of image files, for a network whose own geometry is `own`."""
        found = own.changed(self.size, self.shorter, self.interpolation)
        if self.crops == 10 and self.size is not None and found.shorter is None:
            return found.changed(shorter=_shorter_of_ten(self.size))
        return found

    def views(self, geometry: Geometry = AS_THEY_ARE) -> Views | None:
        """A function from an image to a list of its views; `None` if the geometry suffices.

        Args:
            geometry: What `geometry` has returned.
        """
        if self.scales:
            return multi_scale(self.scales, geometry.interpolation)
        if self.crops == 10 and self.size is not None:
            return ten_crop(self.size, geometry.shorter, geometry.interpolation)
        return None

    def rewriting(self) -> "Callable[[keras.Model], keras.Model] | None":
        """The rewriting of a model that lets it take such images; `None` if it does already."""
        from keras_preact.rewrite import any_size, dense

        return dense if self.dense else any_size if self.size or self.scales else None

    def check_fits(self, image_shape: Sequence[int | None]) -> None:
        """Raises `ConfigError` if the window of a dense network is larger than a scaled image."""
        sides = [side for side in image_shape[:2] if side]
        side = min(sides, default=0) if self.dense else 0
        expected = f"at least {side}, the image size of the training"
        require(min(self.scales, default=0) >= side, "scales", self.scales, expected)

    @classmethod
    def from_options(cls, text: str) -> "ViewsConfig":
        """Parses options as on the command line: `"--scales 256,384 --dense"`."""
        values: dict[str, Any] = {}
        for option in f" {text}".split(" --")[1:]:
            name, _, value = option.strip().partition(" ")
            value = f"[{value}]" if name == "scales" else value
            try:
                values[name] = json.loads(value) if value else True
            except ValueError:
                raise ConfigError(
                    f"The options must be like '--size 224 --crops 10'. Received: {text!r}."
                ) from None
        return cls.from_dict(values)


def center_crop(size: int, shorter: int | None = None) -> Views:
    """One crop from the centre; 224 in the 2015 paper, 224 and 320 in the 2016 paper's Table 5.

    Args:
        size: Side of the crop in pixels.
        shorter: Shorter side in pixels to which the image is scaled before; `size` by default.

    Returns:
        A function from an image, uint8 `(h, w, c)`, to a list of one uint8 `(size, size, c)`.

    Raises:
        ConfigError: If the shorter side is smaller than the crop.

    Example:
        >>> import numpy as np
        >>> from keras_preact.evaluation import center_crop
        >>> center_crop(224, shorter=256)(np.zeros((300, 400, 3), np.uint8))[0].shape
        (224, 224, 3)
    """
    geometry = Geometry(size, shorter or size)
    return lambda image: [geometry.fit(Picture(image))]


def ten_crop(size: int, shorter: int | None = None, interpolation: str = "bilinear") -> Views:
    """The centre and the four corners, each as it is and mirrored (2015, Table 3).

    Args:
        size: Side of the crops in pixels.
        shorter: Shorter side in pixels to which the image is scaled before; by default 256/224 of
            `size`.
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`.

    Returns:
        A function from an image, uint8 `(h, w, c)`, to a list of ten uint8 `(size, size, c)`.

    Raises:
        ConfigError: If the shorter side is smaller than the crops.

    Example:
        >>> import numpy as np
        >>> from keras_preact.evaluation import ten_crop
        >>> len(ten_crop(224)(np.zeros((300, 400, 3), np.uint8)))
        10
    """
    shorter = _shorter(size, shorter or _shorter_of_ten(size))

    def views(image):
        image = resize(image, scaled_shape(image.shape, shorter), None, interpolation)
        down, across = image.shape[0] - size, image.shape[1] - size
        corners = [(0, 0), (0, across), (down, 0), (down, across), (down // 2, across // 2)]
        crops = [image[top : top + size, left : left + size] for top, left in corners]
        return [*crops, *(crop[:, ::-1] for crop in crops)]

    return views


def multi_scale(scales: Sequence[int] = SCALES, interpolation: str = "bilinear") -> Views:
    """The whole image at several sizes, for a network of any size (2015, section 3.4).

    The network is applied to the whole scaled image. Its global average pooling is the mean over
    all positions of the classifier, so this is the paper's fully-convolutional form.

    Args:
        scales: Shorter sides of the images in pixels.
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`.

    Returns:
        A function from an image, uint8 `(h, w, c)`, to a list of one image per scale.

    Raises:
        ConfigError: If `scales` is not a list of whole numbers of at least 1.

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


def mean_over_views(
    predict: Callable[[np.ndarray], Any],
    images: Sequence[np.ndarray],
    views: Views,
    batch_size: int = 256,
) -> np.ndarray:
    """Scores of images, each the mean over its views.

    Args:
        predict: Function from uint8 images `[n, h, w, c]` to scores `[n, classes]`.
        images: Images, uint8 `(h, w, c)` of any sizes.
        views: Function from an image to a list of its views.
        batch_size: Largest number of views per batch; large images use smaller batches.

    Returns:
        float32 `[len(images), classes]`.
    """
    found = [views(image) for image in images]
    by_shape = {}  # views of one shape are one batch
    for k, group in enumerate(found):
        for view in group:
            by_shape.setdefault(view.shape, []).append((k, view))
    total: Any = None
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
    """Images per batch: the batch size, or fewer if they are large."""
    return min(batch_size, max(1, _PIXELS // (height * width)))


def _shorter_of_ten(size):
    return round(size * 256 / 224)


def _shorter(size, shorter):
    require(is_whole(size) and size >= 1, "size", size, "a whole number of at least 1")
    require(shorter >= size, "shorter", shorter, f"at least the side of the crop, {size}")
    return shorter
