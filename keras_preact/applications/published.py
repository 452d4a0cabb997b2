"""The catalogue of trained weights: which there are, and a network in the layout each needs.

The table is `published.csv`, a row a file. Two collections have weights of these networks:
osmr/imgclsmob (MIT; ImageNet, CIFAR and SVHN), and `keras.applications` (ImageNet). Those that this
package has trained itself come with it, in `trained/`, each with how it was trained. Reading the
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

#: Base URL of each collection, and what its files' names end with there.
_SOURCES = {
    "osmr/imgclsmob": ("https://github.com/osmr/imgclsmob/releases/download", ".zip"),
    "keras.applications": ("https://storage.googleapis.com/tensorflow/keras-applications", ""),
}

#: Source of the weights that come with the package.
OWN = "keras_preact"

#: Version of the conversion: another number with every change of what it gives, so that nobody
#: reads what an earlier one left in the cache.
CONVERSION = 1

#: What collections' networks have other than ours, by the names that the table gives it. Those of
#: osmr/imgclsmob are read in tf2cv 0.0.18 (models/resnet*.py, models/preresnet*.py).
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

    Those who inherit it have `network`, `tag`, `classes`, `source`, `images` (what prepares images
    for them, in words), `fields` (of the config, that make the network the one that was trained)
    and `load`.
    """

    def config(
        self, config: ResNetConfig, changes: dict, classes: int | None = None
    ) -> ResNetConfig:
        """The network's config in the layout of these weights.

        Args:
            config: The network's own config.
            changes: Fields that a user wants; only those of training may differ.
            classes: Classes that a user wants; `None` without the classifier.

        Raises:
            ConfigError: When they make it a network that the weights are not for.
        """
        require(
            classes in (None, self.classes),
            "classes",
            classes,
            f"{self.classes}, those of weights={self.tag!r}",
            "For others take include_top=False, or keras_preact.training.replace_head(model, ...).",
        )
        trained = config.replace(**self.fields)
        changed = trained.replace(**changes)
        for name, mine in trained.differences(changed).items():
            raise ConfigError(
                f"weights={self.tag!r} of {self.network} were trained with "
                f"{name}={getattr(trained, name)!r}. Received: {name}={mine!r}. Leave the field "
                "out, or take weights=None."
            )
        return changed

    def announce(self, config: ResNetConfig) -> None:
        """Warns how the network differs from its own config, and how its images are prepared."""
        other = config.differences(config.replace(**self.fields))
        theirs = ", ".join(f"{name}={value!r}" for name, value in other.items())
        ours = ", ".join(f"{name}={getattr(config, name)!r}" for name in other)
        layout = f" It is built as they were trained: {theirs}, not {ours}." if other else ""
        warnings.warn(
            f"{self.network} has weights of {self.source}.{layout} {self.images}.", stacklevel=3
        )


@dataclasses.dataclass(frozen=True)
class TrainedWeights(ForNetwork):
    """Trained weights of a named network, to be had by a tag.

    Attributes:
        network: Name of the network, such as `"resnet20"`.
        tag: What the argument `weights` calls them, such as `"cifar10"`.
        classes: Classes of their classifier.
        top1_error: Error in percent that their source reports, of one crop for ImageNet.
        preprocessing: How images are prepared; `preprocess_input(x, weights=tag)` does it.
        source: The collection they come from.
        layout: Names of what the collection's network has other than ours.
        release: Where in the collection the file is.
        file: Its name.
        digest: Its algorithm and digest.
        file_notop: A file without the classifier, where there is one.
        digest_notop: Its algorithm and digest.

    Example:
        >>> from keras_preact import model_info
        >>> weights = model_info("resnet20").weights["svhn"]
        >>> weights.top1_error, weights.fields
        (3.43, {'projection': 'B'})
    """

    network: str
    tag: str
    classes: int
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
    def fields(self) -> dict:
        """Fields of the config that make the network the one that was trained."""
        return {name: value for part in self.layout for name, value in LAYOUTS[part].items()}

    @property
    def images(self) -> str:
        """What prepares images for them, in words."""
        return f"Its images are prepared by preprocess_input(images, weights={self.tag!r})"

    def load(self, include_top: bool = True) -> dict:
        """The weights by layer, downloaded and converted once; see `weights.read_weights`.

        Args:
            include_top: Whether those of the classifier are needed.

        Raises:
            ConfigError: Where they can neither be found nor downloaded, or are damaged.
            SaveError: Where the cache cannot be written.
        """
        from keras_preact.weights import read_weights, write_weights
        from keras_preact.weights.fetch import cache_folder, locked

        if self.source == OWN:
            return self._shipped()
        top = include_top or not self.file_notop
        file, digest = (self.file, self.digest) if top else (self.file_notop, self.digest_notop)
        # Its name ties the converted file to what it was made of and to how.
        number = digest.rpartition(":")[2][:8]
        name = f"{self.network}-{self.tag}-{number}-conversion{CONVERSION}.weights.h5"
        converted = cache_folder() / name
        with contextlib.suppress(ConfigError):  # not there, or damaged: it is made again
            return read_weights(converted)
        with locked(converted, "Converted weights"):
            with contextlib.suppress(ConfigError):  # another process has made it meanwhile
                return read_weights(converted)
            write_weights(converted, self._converted(file, digest))
        return read_weights(converted)

    def _shipped(self):
        """Weights that come with the package."""
        from keras_preact.weights import read_weights
        from keras_preact.weights.fetch import digest_of

        path = pathlib.Path(__file__).with_name("trained") / self.file
        found = digest_of(path.read_bytes(), self.digest) if path.is_file() else "no file"
        if found != self.digest:
            raise ConfigError(
                f"{path} must be the file that comes with the package ({self.digest}). Received: "
                f"{found}. Install the package again."
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
        """Classes of their classifier."""
        return self.found.classes

    @property
    def source(self) -> str:
        """Where they are from."""
        return self.tag

    @property
    def images(self) -> str:
        """How images are prepared for them, in words."""
        known = self.found.preprocessing
        return f"Its images are prepared so: {known}" if known else "Nothing says how images are"

    @property
    def fields(self) -> dict:
        """Fields of the config that make the network the one that was trained.

        Raises:
            ConfigError: Where they are of a network with other units.
        """
        other = self.own.differences(self.found.config)
        if units := [name for name in ("block", "units", "filters") if name in other]:
            theirs = ", ".join(f"{name}={other[name]!r}" for name in units)
            raise ConfigError(
                f"`weights` must be those of {self.network}. Received: {self.tag!r}, of a network "
                f"with {theirs}: keras_preact.convert builds it."
            )
        return other

    def load(self, include_top: bool = True) -> dict:
        """The weights by layer.

        Args:
            include_top: Whether those of the classifier are needed.

        Raises:
            ConfigError: Where they are not there.
        """
        fits = self.classes is not None or not include_top
        expected = "False, since these weights have no classifier"
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
                "top1_error": float(row["top1_error"]),
                "layout": tuple(row["layout"].split()),
            }
            found.setdefault(row["network"], {})[row["tag"]] = TrainedWeights(**values)
    return found
