"""How data are to be loaded: the config that every kind of source shares."""

from dataclasses import dataclass
from typing import Literal

from keras_preact.checked import Checked, require


@dataclass(frozen=True)
class DataOptions(Checked):
    """How images are read, fitted to one shape and split.

    Args:
        image_size: images are scaled (shorter side) and cropped (centre) to this many pixels
            square; `None` (default): the images' own size, which must be the same for all.
        test_fraction: share of each class that becomes the test part where the source has none;
            between 0 and 1, default 0.2.
        on_bad_image: what to do about damaged files: `"error"` (default) names them and stops,
            `"skip"` leaves them out and lists them in `ImageData.skipped`.
        memory_limit_mb: images that need more are decoded from their files in each epoch; `None`
            (default): 40 % of the memory that is free.
        data_dir: folder of the sets of `tensorflow-datasets`; `None` (default): its own choice
            (`~/tensorflow_datasets`, or the environment variable `TFDS_DATA_DIR`).
        channels: 1 (grey) or 3 (RGB); `None` (default): grey if all images are grey.

    Example:
        >>> from keras_preact.data import DataOptions
        >>> DataOptions(image_size=224, on_bad_image="skip").test_fraction
        0.2
    """

    image_size: int | None = None
    test_fraction: float = 0.2
    on_bad_image: Literal["error", "skip"] = "error"
    memory_limit_mb: int | None = None
    data_dir: str | None = None
    channels: int | None = None

    def check(self) -> None:
        size, limit = self.image_size, self.memory_limit_mb
        require(size is None or size >= 1, "image_size", size, "at least 1, or None")
        require(limit is None or limit >= 0, "memory_limit_mb", limit, "at least 0, or None")
        require(self.channels in (None, 1, 3), "channels", self.channels, "1, 3 or None")
        inside = 0 < self.test_fraction < 1
        require(inside, "test_fraction", self.test_fraction, "greater than 0 and less than 1")

    def fits(self, size: int) -> bool:
        """Whether `size` bytes of images may be held in memory."""
        if self.memory_limit_mb is None:
            import psutil  # tensorflow-datasets depends on it

            return size <= 0.4 * psutil.virtual_memory().available
        return size <= self.memory_limit_mb * 2**20
