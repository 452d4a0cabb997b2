"""`DataOptions`: how images are loaded, for every kind of source."""

from dataclasses import dataclass
from typing import Literal

from keras_preact.checked import Checked, is_whole, require
from keras_preact.data.geometry import Crop, Geometry
from keras_preact.data.picture import Interpolation
from keras_preact.data.reading import Reading


@dataclass(frozen=True)
class DataOptions(Checked):
    """How images are read, resized and split.

    Args:
        image_size: size in pixels to resize (shorter side) and centre-crop images to, one number or
            `[height, width]`; `None` (default): their own size, which must be the same for all.
        test_fraction: fraction of each class for the test part, if the source has none; between 0
            and 1, default 0.2.
        on_bad_image: what to do about damaged files: `"error"` (default) stops and names them,
            `"skip"` leaves them out and lists them in `ImageData.skipped`.
        memory_limit_mb: larger data sets are decoded in every epoch, others once; `None` (default):
            40 % of the free memory.
        data_dir: folder of `tensorflow-datasets`; `None` (default): its own default
            (`~/tensorflow_datasets`, or the environment variable `TFDS_DATA_DIR`).
        channels: 1 (grey) or 3 (RGB); `None` (default): grey if all images are grey.
        holdout: training images to test on in place of the test part, which is then not used: their
            number or, below 1, their fraction; stratified by class. `None` (default): none.
        validation: training images for validation, which selects epochs and stops training: their
            number or, below 1, their fraction, such as 0.1; stratified by class. `None` (default):
            the source's own validation part, if it has one besides a test part; 0: none.
        group: images of one group, such as one patient's photographs, are never split across parts.
            For a table the name of a column, for an .npz file that of an array (`None`, the
            default: `group` or `group_train`, if present; `""`: none); for a folder a regular
            expression whose first parentheses match the group in a file's name: `(patient\\d+)_`.
        folds: cross-validation: the training part is split into this many folds, and fold `fold`
            replaces the test part.
        fold: index of the fold, from 0.
        split_seed: seed of all splits; `None` (default): the seed of the run.
        path_column, label_column, split_column, weight_column: names of a table's columns; `None`
            (default): the usual names, such as `path`, `label`, `split` and `weight` (sample
            weights of the loss). `""`: no parts or weights. For an .npz file `weight_column` is the
            name of an array; `None`: `weight_train`, if present.
        range: the two pixel values that become 0 and 255 in all images, such as `[0, 4095]` for 12
            bits; values outside are clipped. `None` (default): 8 bits stay as they are, 16 bits
            keep their upper 8, and floats range from 0 to 1. Pillow reads only the upper 8 bits of
            16-bit colours.
        alpha: treatment of an alpha channel: `"drop"` (default) ignores it, `"white"` and `"black"`
            blend with that background.
        cache: folder for a cache of decoded images, shared by all processes, for folders and tables
            that are read many times; writing it decodes all images once. `None` (default): no
            cache.
        cache_shorter: shorter side in pixels to which larger images are reduced in the cache, at
            least `image_size`; `None` (default): full size, so that training sees the same pixels
            as without a cache.
        orientation: whether to `"apply"` the EXIF orientation of photographs or to `"ignore"` it
            (default).
        shorter, interpolation, crop: as in `Geometry`, for images that are not cropped at random.

    Example:
        >>> from keras_preact.data import DataOptions
        >>> DataOptions(image_size=224, on_bad_image="skip").test_fraction
        0.2
    """

    image_size: tuple[int, ...] | int | None = None
    test_fraction: float = 0.2
    on_bad_image: Literal["error", "skip"] = "error"
    memory_limit_mb: int | None = None
    data_dir: str | None = None
    channels: int | None = None
    holdout: float | None = None
    validation: float | None = None
    group: str | None = None
    folds: int | None = None
    fold: int = 0
    split_seed: int | None = None
    path_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    weight_column: str | None = None
    range: tuple[float, ...] | None = None
    alpha: Literal["drop", "white", "black"] = "drop"
    orientation: Literal["ignore", "apply"] = "ignore"
    cache: str | None = None
    cache_shorter: int | None = None
    shorter: int | None = None
    interpolation: Interpolation = "bilinear"
    crop: Crop = "center"

    @property
    def reading(self) -> Reading:
        """How the values in image files become pixels."""
        return Reading(self.range, self.alpha, self.orientation)

    @property
    def geometry(self) -> Geometry:
        """How image files become images of the data set."""
        size, how = self.image_size, self.reading
        return Geometry(size, self.shorter, self.interpolation, self.crop, how)

    def fitted_to(self, geometry: Geometry) -> "DataOptions":
        """The same with a network's `Geometry`."""
        size = geometry.size
        return self.replace(
            image_size=size[0] if size and size[0] == size[1] else size,
            shorter=geometry.shorter,
            interpolation=geometry.interpolation,
            crop=geometry.crop,
            **vars(geometry.reading),
        )

    def check(self) -> None:
        size, limit = self.image_size, self.memory_limit_mb
        some = not is_whole(size) or size >= 1
        require(some, "image_size", size, "at least 1, or None")
        require(limit is None or limit >= 0, "memory_limit_mb", limit, "at least 0, or None")
        shorter = self.cache_shorter
        size = self.geometry.size
        small = shorter is None or bool(self.cache and size and shorter >= max(size))
        within = "None, or at least `image_size`, with a `cache`"
        require(small, "cache_shorter", shorter, within)
        require(self.channels in (None, 1, 3), "channels", self.channels, "1, 3 or None")
        inside = 0 < self.test_fraction < 1
        require(inside, "test_fraction", self.test_fraction, "greater than 0 and less than 1")
        held, folds = self.holdout, self.folds
        for name, least in (("holdout", 1e-9), ("validation", 0)):
            value = getattr(self, name)
            some = value is None or least <= value < 1 or (value >= 1 and value == int(value))
            require(some, name, value, "a number of images, a fraction between 0 and 1, or None")
        require(folds is None or folds >= 2, "folds", folds, "at least 2, or None")
        below = 0 <= self.fold < (folds or 1)
        require(below, "fold", self.fold, f"from 0 to {(folds or 1) - 1}")
        one = held is None or folds is None
        require(one, "folds", folds, "None if `holdout` is given", "Leave out one of them.")
        _ = self.geometry  # which has rules of its own

    def fits(self, size: int) -> bool:
        """Whether `size` bytes of images may be held in memory."""
        if self.memory_limit_mb is None:
            import psutil  # tensorflow-datasets depends on it

            return size <= 0.4 * psutil.virtual_memory().available
        return size <= self.memory_limit_mb * 2**20
