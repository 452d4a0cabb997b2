"""Continuing a finished run for more epochs, in a new folder."""

import dataclasses
import os
import shutil
from typing import Any

from keras_preact.checked import require
from keras_preact.errors import ConfigError
from keras_preact.run import RunFolder
from keras_preact.training.checkpoint import Checkpoint, Checkpoints
from keras_preact.training.config import TrainConfig

#: What may be otherwise in the longer training: how far it goes, and by which rates.
_MAY_DIFFER = (
    "extend", "epochs", "learning_rate", "settings", "recipe.epochs", "recipe.learning_rate",
    "recipe.schedule", "recipe.milestones", "recipe.decay_factor", "recipe.warmup_steps",
    "recipe.patience", "recipe.keep", "recipe.precise_bn",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Extended:
    """The run to continue.

    Attributes:
        run: Its folder.
        checkpoint: Its last checkpoint.
    """

    run: RunFolder
    checkpoint: Checkpoint

    def into(self, run: RunFolder) -> None:
        """Copies checkpoint and logs into a new run."""
        place = run.path / "checkpoints"
        if Checkpoints(place).names():
            return
        for name in ("steps.jsonl", "log.jsonl"):
            with run.replacing(name) as path:
                shutil.copyfile(self.run.path / name, path)
        names = {
            self.checkpoint.path.name,
            (self.checkpoint.progress["best"] or {}).get("checkpoint"),
        }
        with run.replacing("checkpoints") as path:  # at once: now it goes on from there
            for name in names - {None}:
                shutil.copytree(self.checkpoint.path.parent / name, path / name)

    def schedule(self, loop: Any) -> str:
        """A note on the learning rate, whose schedule is that of all epochs."""
        recipe, before = loop.recipe, self.run.log[-1]["learning_rate"]
        now = float(loop.engine.optimizer.learning_rate)
        return (
            f"Epochs up to {loop.epochs_done} are from {self.run.path}. The schedule "
            f"({recipe.schedule}) now covers {recipe.epochs} epochs: the learning rate is "
            f"{now:.3g}, after {before:.3g} in the last step."
        )


def config_of(run: str | os.PathLike[str], **changes: Any) -> TrainConfig:
    """The config that continues a finished run for more epochs.

    Args:
        run: Its folder.
        **changes: Fields of `TrainConfig`, including `epochs`.

    Example:
        >>> import tempfile
        >>> from keras_preact import TrainConfig, train
        >>> from keras_preact.training.extend import config_of
        >>> config = TrainConfig("resnet8v2", epochs=1, saved_model=False, out=tempfile.mkdtemp())
        >>> longer = config_of(train(config).run, epochs=2, out=tempfile.mkdtemp())
        >>> train(longer).epochs
        2
    """
    begun = TrainConfig.from_dict(RunFolder(run).config)
    settings = {**begun.settings, **changes.pop("settings", {})}
    return begun.replace(**{"out": None, **changes, "extend": str(run), "settings": settings})


def extended(config: TrainConfig) -> Extended:
    """The run that `TrainConfig.extend` names.

    Raises:
        ConfigError: When it is not finished, or not of the same network, images and optimiser.
        DataError: When all of its checkpoints are damaged.
    """
    run = RunFolder(config.extend)
    fix = "Let it finish first: the same command resumes it."
    require(run.is_finished, "extend", config.extend, "the folder of a finished run", fix)
    for name, (was, wanted) in differences(run, config).items():
        if name not in _MAY_DIFFER:
            raise ConfigError(
                f"The run in {run.path} can only continue with its own network, images and "
                f"optimiser. Received: {name}={wanted!r}, where it has {was!r}."
            )
    checkpoint, _ = Checkpoints(run.path / "checkpoints").latest()
    require(checkpoint is not None, "extend", config.extend, "a run that still has its checkpoints")
    done, epochs = checkpoint.progress["epochs_done"], config.resolve().recipe.epochs
    require(epochs > done, "epochs", epochs, f"more than the {done} of the run to extend")
    best, patience = checkpoint.progress["best"], config.resolve().recipe.patience
    waited = done - best["epoch"] if best else 0
    longer = f"None, or more than the {waited} epochs in which the run to extend did not improve"
    require(not patience or patience > waited, "patience", patience, longer)
    return Extended(run, checkpoint)


def differences(run: RunFolder, config: TrainConfig) -> dict[str, tuple]:
    """`{field: (value in the run, value in the config)}` where they differ.

    Where the configs are the same there are none: a recipe or a network that a later version of
    this package has changed does not change a run that was begun with it.
    """
    begun = TrainConfig.from_dict(run.config)
    old, new = begun.training(), config.training()
    found = {name: (old[name], new[name]) for name in new if old[name] != new[name]}
    if not found and config.batch_size == begun.batch_size:
        return {}
    parts = config.resolve().to_dict()
    if config.batch_size == begun.batch_size == "auto":  # settled when it began
        parts["recipe"]["batch_size"] = None
    for part, before in run.read_json("resolved.json").items():
        for name, value in parts[part].items():  # a later version may know more of them
            if value is not None and name in before and before[name] != value:
                found.setdefault(f"{part}.{name}", (before[name], value))
    return found
