"""`AnalyzeConfig`: what `analyze` and `keras-preact analyze` are told."""

import dataclasses
import functools
import pathlib
from typing import Any

from keras_preact.applications import model_info
from keras_preact.checked import Checked, require
from keras_preact.errors import near, quoted

#: What is looked at where it is asked for, since it takes long.
PARTS = ("lesions", "refinement", "curvature", "surface")


@dataclasses.dataclass(frozen=True)
class AnalyzeConfig(Checked):
    """What `analyze` looks into; every field is also an option of `keras-preact analyze`.

    Args:
        networks: Names of registered networks, and folders of finished runs; of a run both its
            initial and its trained weights are looked at.
        data: `digits`, a set of tensorflow-datasets, `folder:PATH`, `csv:PATH`, `parquet:PATH` or
            `npz:PATH`; the run's if not given, for named networks `digits`.
        also: What else is looked at, with commas between: `refinement` (whether branches follow the
            gradient, and what linear probes read off each unit), `curvature` (eigenvalues, trace
            and density of the loss's Hessian) and, of the network's last state, `lesions` (units
            left out and in another order, the gradient by path length) and `surface` (the loss
            around the weights, between runs, and in the plane of a run's checkpoints).
        epochs: Passes over the training images that named networks are trained for, to be looked at
            before and after; 0 for their initial weights alone.
        images: Training images that are looked at, in whole mini-batches, and test images where
            errors are measured; the rest is left out.
        batch_size: Images of a mini-batch; what is measured is the mean over mini-batches.
        points: Of a loss surface, along each direction.
        draws: Of what is drawn at random, such as units that are left out together.
        seed: Decides weights, images and draws.
        out: Folder for tables and pictures; a new one under `runs/` if not given. One in which the
            same analysis was killed is gone on with.
        settings: Further fields by dotted name, as in `TrainConfig`, for named networks; run
            folders are looked at as they were trained.

    Raises:
        ConfigError: For a value that is not allowed.

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
        require(len(self.networks) > 0, "networks", self.networks, "at least one name or folder")
        for network in self.networks:
            if not pathlib.Path(network).is_dir():
                model_info(network)  # refuses what is no name either
        for name in ("images", "batch_size", "points"):
            require(getattr(self, name) >= 2, name, getattr(self, name), "at least 2")
        require(self.epochs >= 0, "epochs", self.epochs, "at least 0")
        require(self.draws >= 1, "draws", self.draws, "at least 1")
        for name in self.parts():
            refuse_unknown("also", name, PARTS)

    def parts(self) -> list[str]:
        """The names in `also`, each once."""
        return parts_of(self.also)


def parts_of(text: str | None) -> list[str]:
    """The names in a text with commas between them, each once."""
    return [*dict.fromkeys(name.strip() for name in (text or "").split(",") if name)]


def refuse_unknown(argument: str, name: str, known) -> None:
    """Raises `ConfigError` for a name that is none of those that are known."""
    fix = functools.partial(near, name, known)
    require(name in known, argument, name, f"some of {quoted(known)}, with commas between", fix)
