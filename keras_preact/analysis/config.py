"""`AnalyzeConfig`: the settings of `analyze` and `keras-preact analyze`."""

import dataclasses
import functools
import pathlib
from typing import Any

from keras_preact.applications import model_info
from keras_preact.checked import Checked, require
from keras_preact.errors import near, quoted

#: The optional measurements, which take long.
PARTS = ("lesions", "refinement", "curvature", "surface")


@dataclasses.dataclass(frozen=True)
class AnalyzeConfig(Checked):
    """The settings of `analyze`; every field is also an option of `keras-preact analyze`.

    Args:
        networks: Names of registered networks; folders of finished runs, which are analysed with
            both their initial and their trained weights; `.keras` and `.safetensors` files and
            `hf://user/name`; and published weights by tag, such as `resnet20v2@cifar10`.
        data: `digits`, a name of tensorflow-datasets, `folder:PATH`, `csv:PATH`, `parquet:PATH` or
            `npz:PATH`; by default that of the run, and `digits` for named networks. Files and
            published weights need the images that they were trained on.
        also: Optional measurements, separated by commas: `refinement` (whether branches follow the
            gradient, and linear probes on each unit), `curvature` (eigenvalues, trace and spectral
            density of the loss's Hessian) and, for the last state of the network, `lesions` (units
            removed or reordered, the gradient by path length) and `surface` (the loss around the
            weights, between runs, and in the plane of a run's checkpoints).
        epochs: Number of epochs for which named networks are trained, to be analysed before and
            after; 0 for their initial weights only.
        images: Number of training images to analyse, in whole mini-batches, and of test images for
            errors.
        batch_size: Images per mini-batch; the measurements are means over mini-batches.
        points: Points of a loss surface along each direction.
        draws: Number of random draws, for example of units that are removed together.
        seed: Seed of weights, images and draws.
        out: Folder for tables and plots; by default a new one under `runs/`. If the same analysis
            was killed in that folder, it is resumed.
        settings: Further fields by dotted name, as in `TrainConfig`, for named networks; run
            folders are analysed as they were trained, and files take `data.FIELD` alone.

    Raises:
        ConfigError: If a field has a value that is not allowed.

    Example:
        >>> from keras_preact.analysis import AnalyzeConfig
        >>> AnalyzeConfig(networks=("plainnet20", "resnet20")).images
        256
    """

    networks: tuple[str, ...] = ("resnet20v2",)
    data: str | None = None
    also: str | None = None
    epochs: int = 0
    images: int = 256
    batch_size: int = 64
    points: int = 21
    draws: int = 5
    seed: int = 0
    out: str | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def check(self) -> None:
        """Rules of single fields."""
        require(len(self.networks) > 0, "networks", self.networks, "at least one name or folder")
        for network in self.networks:
            if not (pathlib.Path(network).is_dir() or is_file(network)):
                name, at, tag = network.partition("@")
                tags = model_info(name).weights  # refuses unknown names
                expected = f"one of {quoted(tags)}" if tags else "left out: there are none"
                require(tag in tags or not at, f"tag of {name}", tag, expected)
        for name in ("images", "batch_size", "points"):
            require(getattr(self, name) >= 2, name, getattr(self, name), "at least 2")
        require(self.epochs >= 0, "epochs", self.epochs, "at least 0")
        require(self.draws >= 1, "draws", self.draws, "at least 1")
        for name in self.parts():
            refuse_unknown("also", name, PARTS)

    def parts(self) -> list[str]:
        """The names in `also`, each once."""
        return parts_of(self.also)


def is_file(network: str) -> bool:
    """Whether a network is a file of trained weights, on this machine or on the Hugging Face Hub.

    Example:
        >>> from keras_preact.analysis.config import is_file
        >>> is_file("mine.keras"), is_file("hf://user/net"), is_file("resnet20v2@cifar10")
        (True, True, False)
    """
    return network.endswith((".keras", ".safetensors")) or network.startswith("hf://")


def parts_of(text: str | None) -> list[str]:
    """The names in a text with commas between them, each once."""
    return [*dict.fromkeys(name.strip() for name in (text or "").split(",") if name)]


def refuse_unknown(argument: str, name: str, known) -> None:
    """Raises `ConfigError` for a name that is none of those that are known."""
    fix = functools.partial(near, name, known)
    require(name in known, argument, name, f"some of {quoted(known)}, with commas between", fix)
