"""The catalogue of trained weights: which there are, and the network layout that each needs.

The table is `published.csv`, one row per file. Two collections have weights of these networks:
osmr/imgclsmob (MIT; ImageNet, CIFAR and SVHN), and `keras.applications` (ImageNet). Weights trained
with this package are included in `trained/`, each with a description of its training. Reading the
table needs no Keras.
"""

import contextlib
import csv
import dataclasses
import functools
import pathlib
import warnings
from typing import Any

from keras_preact.checked import require
from keras_preact.config import ResNetConfig
from keras_preact.errors import ConfigError
from keras_preact.weights.layouts import KERAS_V1, KERAS_V2

#: Base URL of each collection, and the suffix of its file names there.
_SOURCES = {
    "osmr/imgclsmob": ("https://github.com/osmr/imgclsmob/releases/download", ".zip"),
    "keras.applications": ("https://storage.googleapis.com/tensorflow/keras-applications", ""),
}

#: Source of the weights that come with the package.
OWN = "keras_preact"

#: Version of the conversion, increased with every change of its result, so that files cached by an
#: earlier version are not used.
CONVERSION = 1

#: Where the networks of the collections differ from ours, by the names used in the table. Those of
#: osmr/imgclsmob were read from tf2cv 0.0.18 (models/resnet*.py, models/preresnet*.py).
LAYOUTS = {
    "option_b": {"projection": "B"},
    "stride_on_3x3": {"stride_on": "3x3"},
    "entry_in_branch": {"first_unit_entry": "branch"},
    "entry_in_both": {"first_unit_entry": "both"},
    "keras_v1": KERAS_V1,
    "keras_v2": KERAS_V2,
}


class ForNetwork:
    """Weights of a named network that was trained in a layout of its own.

    Subclasses have `network`, `tag`, `classes`, `input_shape` (`None` for the network's own),
    `source`, `images` (the preprocessing, in words), `fields` (the fields of the config that give
    the layout that was trained) and `load`.
    """

    def config(
        self: Any, config: ResNetConfig, changes: dict[str, Any], classes: int | None = None
    ) -> ResNetConfig:
        """The network's config in the layout of these weights.

        Args:
            config: The network's own config.
            changes: Fields that the user sets; only training fields may differ.
            classes: Number of classes that the user sets; `None` without the classifier.

        Returns:
            The config to build.

        Raises:
            ConfigError: If the weights do not fit the resulting network.
        """
        require(
            classes in (None, self.classes),
            "classes",
            classes,
            f"{self.classes} for weights={self.tag!r}",
            "For other classes use include_top=False, or "
            "keras_preact.training.replace_head(model, ...).",
        )
        trained = config.replace(**self.fields)
        changed = trained.replace(**changes)
        for name, mine in trained.differences(changed).items():
            raise ConfigError(
                f"weights={self.tag!r} of {self.network} were trained with "
                f"{name}={getattr(trained, name)!r}. Received: {name}={mine!r}. Omit the field, or "
                "use weights=None."
            )
        return changed

    def announce(self: Any, config: ResNetConfig) -> None:
        """Warns how the network differs from its own config, and which preprocessing it needs."""
        other = config.differences(config.replace(**self.fields))
        theirs = ", ".join(f"{name}={value!r}" for name, value in other.items())
        ours = ", ".join(f"{name}={getattr(config, name)!r}" for name in other)
        layout = f" It is built as they were trained: {theirs}, not {ours}." if other else ""
        warnings.warn(
            f"{self.network} uses weights of {self.source}.{layout} {self.images}.", stacklevel=3
        )


@dataclasses.dataclass(frozen=True)
class TrainedWeights(ForNetwork):
    """Trained weights of a named network, selected by a tag.

    Attributes:
        network: Name of the network, such as `"resnet20"`.
        tag: The value of the argument `weights` that selects them, such as `"cifar10"`.
        classes: Number of classes of their classifier.
        input_shape: Shape of one image, `(height, width, channels)`, where it is not the network's
            own.
        top1_error: Top-1 error in percent that their source reports; for ImageNet, of one crop.
        preprocessing: Name of the preprocessing; `preprocess_input(x, weights=tag)` applies it.
        source: The collection they come from.
        layout: Names of the differences between the collection's network and ours.
        release: Path of the file in the collection.
        file: Name of the file.
        digest: Algorithm and digest of the file.
        file_notop: Name of a file without the classifier; empty if there is none.
        digest_notop: Algorithm and digest of that file.

    Example:
        >>> from keras_preact import model_info
        >>> weights = model_info("resnet20").weights["svhn"]
        >>> weights.top1_error, weights.fields
        (3.43, {'projection': 'B'})
    """

    network: str
    tag: str
    classes: int
    input_shape: tuple[int, int, int] | None
    top1_error: float
    preprocessing: str
    source: str
    layout: tuple[str, ...]
    release: str
    file: str
    digest: str
    file_notop: str
    digest_notop: str

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the config that give the layout that was trained."""
        return {name: value for part in self.layout for name, value in LAYOUTS[part].items()}

    @property
    def images(self) -> str:
        """The preprocessing, in words."""
        return f"Preprocess images with preprocess_input(images, weights={self.tag!r})"

    def load(self, include_top: bool = True) -> dict[str, Any]:
        """The weights by layer, downloaded and converted once; see `weights.read_weights`.

        Args:
            include_top: Whether the weights of the classifier are needed.

        Returns:
            `{layer: {weight: array}}`.

        Raises:
            ConfigError: If they can neither be found nor downloaded, or are damaged.
            SaveError: If the cache cannot be written.
        """
        from keras_preact.weights import read_weights, write_weights
        from keras_preact.weights.fetch import cache_folder, locked

        if self.source == OWN:
            return self._shipped()
        top = include_top or not self.file_notop
        file, digest = (self.file, self.digest) if top else (self.file_notop, self.digest_notop)
        # The name identifies the original file and the version of the conversion.
        number = digest.rpartition(":")[2][:8]
        name = f"{self.network}-{self.tag}-{number}-conversion{CONVERSION}.weights.h5"
        converted = cache_folder() / name
        with contextlib.suppress(ConfigError):  # missing or damaged: it is written again
            return read_weights(converted)
        with locked(converted, "Converted weights"):
            with contextlib.suppress(ConfigError):  # another process has written it meanwhile
                return read_weights(converted)
            write_weights(converted, self._converted(file, digest))
        return read_weights(converted)

    def _shipped(self):
        """The weights that are included in the package."""
        from keras_preact.weights import read_weights
        from keras_preact.weights.fetch import digest_of

        path = pathlib.Path(__file__).with_name("trained") / self.file
        found = digest_of(path.read_bytes(), self.digest) if path.is_file() else "no file"
        if found != self.digest:
            raise ConfigError(
                f"{path} must be the file that is included in the package ({self.digest}). "
                f"Received: {found}. Reinstall the package."
            )
        return read_weights(path)

    def _converted(self, file, digest):
        from keras_preact.weights.fetch import fetch
        from keras_preact.weights.files import weights_in
        from keras_preact.weights.hdf5 import read_hdf5
        from keras_preact.weights.imgclsmob import read_imgclsmob
        from keras_preact.weights.safe import ModelFile
        from keras_preact.weights.sources import renamed

        base, suffix = _SOURCES[self.source]
        data = fetch(base, f"{self.release}/{file}{suffix}", file, digest)
        if self.source == "keras.applications":
            return renamed(weights_in(ModelFile(*read_hdf5(data))))[0]
        return read_imgclsmob(data)


@dataclasses.dataclass(frozen=True)
class HubWeights(ForNetwork):
    """Weights of a named network in a repository of the Hugging Face Hub.

    Attributes:
        network: Name of the network.
        tag: `"hf://user/name"`.
        found: The `keras_preact.weights.Source` in it.
        own: The network's own config.
    """

    network: str
    tag: str
    found: Any
    own: ResNetConfig

    @property
    def classes(self) -> int | None:
        """Number of classes of their classifier; `None` without one."""
        return self.found.classes

    @property
    def input_shape(self) -> tuple[int, int, int] | None:
        """Shape of one image, if the repository tells the size."""
        size = self.found.geometry and self.found.geometry.size
        return size and (*size, self.found.channels)

    @property
    def source(self) -> str:
        """The repository."""
        return self.tag

    @property
    def images(self) -> str:
        """The preprocessing, in words."""
        known = self.found.preprocessing
        return f"Preprocessing of its images: {known}" if known else "Its preprocessing is unknown"

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the config that give the layout that was trained.

        Raises:
            ConfigError: If the weights are those of a network with other units.
        """
        other = self.own.differences(self.found.config)
        if units := [name for name in ("block", "units", "filters") if name in other]:
            theirs = ", ".join(f"{name}={other[name]!r}" for name in units)
            raise ConfigError(
                f"`weights` must fit {self.network}. Received: {self.tag!r}, a network with "
                f"{theirs}. Use keras_preact.convert to build it."
            )
        return other

    def load(self, include_top: bool = True) -> dict[str, Any]:
        """The weights by layer.

        Args:
            include_top: Whether the weights of the classifier are needed.

        Returns:
            `{layer: {weight: array}}`.

        Raises:
            ConfigError: If the classifier is needed and the weights have none.
        """
        fits = self.classes is not None or not include_top
        expected = "False, because these weights have no classifier"
        require(fits, "include_top", include_top, expected)
        weights = self.found.weights
        return {k: v for k, v in weights.items() if include_top or k != "predictions"}


@functools.cache
def trained_weights() -> dict[str, dict[str, TrainedWeights]]:
    """All trained weights, `{network: {tag: weights}}`.

    Example:
        >>> from keras_preact.applications.published import trained_weights
        >>> list(trained_weights()["resnet50"])
        ['imagenet', 'imagenet-3x3', 'imagenet-keras']
    """
    found: dict[str, dict[str, TrainedWeights]] = {}
    with open(pathlib.Path(__file__).with_name("published.csv"), newline="") as file:
        for row in csv.DictReader(file):
            values = {
                **row,
                "classes": int(row["classes"]),
                "input_shape": tuple(map(int, row["input_shape"].split())) or None,
                "top1_error": float(row["top1_error"]),
                "layout": tuple(row["layout"].split()),
            }
            found.setdefault(row["network"], {})[row["tag"]] = TrainedWeights(**values)
    return found
