"""How data are to be loaded: the config that every kind of source shares."""

from dataclasses import dataclass
from typing import Literal

from keras_preact.checked import Checked, is_whole, require
from keras_preact.data.geometry import CROPS, Geometry
from keras_preact.data.picture import INTERPOLATIONS
from keras_preact.data.reading import Reading


@dataclass(frozen=True)
class DataOptions(Checked):
    """How images are read, fitted to one shape and split.

    Args:
        image_size: images are scaled (shorter side) and cropped (centre) to this many pixels
            square, or `[height, width]`; `None` (default): the images' own size, which must be the
            same for all.
        test_fraction: share of each class that becomes the test part where the source has none;
            between 0 and 1, default 0.2.
        on_bad_image: what to do about damaged files: `"error"` (default) names them and stops,
            `"skip"` leaves them out and lists them in `ImageData.skipped`.
        memory_limit_mb: images that need more are decoded in each epoch, others once; `None`
            (default): 40 % of the memory that is free.
        data_dir: folder of the sets of `tensorflow-datasets`; `None` (default): its own choice
            (`~/tensorflow_datasets`, or the environment variable `TFDS_DATA_DIR`).
        channels: 1 (grey) or 3 (RGB); `None` (default): grey if all images are grey.
        holdout: images of the training part that take the place of the test part, which is then
            not used: a number of them, or below 1 their share; the same share of each class.
            `None` (default): none, the test part is the source's.
        validation: images of the training part for validation, by which a training is steered: a
            number of them, or below 1 their share, such as 0.1; the same share of each class.
            `None` (default): the source's own validation part, if it has one beside a test part; 0:
            none.
        group: what belongs together, such as one patient's photographs, and so is on one side
            wherever images are divided: of a table the name of a column, of an .npz file that of an
            array (`None`, the default: `group`, or `group_train`, if there is one; `""`: none); of
            a folder a regular expression, of which what is in its first parentheses is the group of
            a file by its name: `(patient\\d+)_`.
        folds: for cross-validation: the training part is cut into this many parts, and part `fold`
            takes the place of the test part.
        fold: which of them, from 0.
        split_seed: decides which images become the test part where the source has none, and which
            are held out; `None` (default): the seed of the training.
        path_column, label_column, split_column, weight_column: names of a table's columns; `None`
            (default): the usual ones, such as `path`, `label`, `split` and `weight`, by which the
            loss of each image is multiplied in a training. `""`: no parts, no weights. Of an .npz
            file `weight_column` is the name of an array, `None`: `weight_train`, if there is one.
        range: the two values in the image files that become 0 and 255, the same for all images,
            such as `[0, 4095]` for 12 bits; what lies beyond is cut off. `None` (default): 8 bits
            stay as they are, 16 bits keep their upper 8, and floats go from 0 to 1. Pillow reads
            the upper 8 bits alone of colours of 16 bits.
        alpha: what becomes of an alpha channel: `"drop"` (default) leaves it out, `"white"` and
            `"black"` blend the colours with one behind them.
        cache: folder in which the decoded images are kept as one file that all processes share,
            for folders and tables that are read many times; made once, which decodes all of them.
            `None` (default): no cache.
        cache_shorter: pixels of the shorter side to which larger images are scaled down in the
            cache, at least `image_size`; `None` (default): they are kept as they are, and training
            meets the same pixels as without a cache.
        orientation: whether photographs are turned and mirrored as their EXIF data say: `"ignore"`
            (default), as they are stored, or `"apply"`.
        shorter, interpolation, crop: as those of `Geometry`, for images that are not cropped at
            random.

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
    interpolation: Literal[INTERPOLATIONS] = "bilinear"
    crop: Literal[CROPS] = "center"

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
        within = "None, or beside a `cache` and an `image_size` at least that"
        require(small, "cache_shorter", shorter, within)
        require(self.channels in (None, 1, 3), "channels", self.channels, "1, 3 or None")
        inside = 0 < self.test_fraction < 1
        require(inside, "test_fraction", self.test_fraction, "greater than 0 and less than 1")
        held, folds = self.holdout, self.folds
        for name, least in (("holdout", 1e-9), ("validation", 0)):
            value = getattr(self, name)
            some = value is None or least <= value < 1 or (value >= 1 and value == int(value))
            require(some, name, value, "a number of images, a share between 0 and 1, or None")
        require(folds is None or folds >= 2, "folds", folds, "at least 2, or None")
        below = 0 <= self.fold < (folds or 1)
        require(below, "fold", self.fold, f"from 0 to {(folds or 1) - 1}")
        one = held is None or folds is None
        require(one, "folds", folds, "None where `holdout` is given", "Leave out one of them.")
        _ = self.geometry  # which has rules of its own

    def fits(self, size: int) -> bool:
        """Whether `size` bytes of images may be held in memory."""
        if self.memory_limit_mb is None:
            import psutil  # tensorflow-datasets depends on it

            return size <= 0.4 * psutil.virtual_memory().available
        return size <= self.memory_limit_mb * 2**20
