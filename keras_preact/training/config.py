"""`TrainConfig`: the config of `train` and `keras-preact train`."""

import dataclasses
import functools
from typing import Any, Literal

from keras_preact.applications.registry import model_info
from keras_preact.checked import Checked, require
from keras_preact.config import ResNetConfig
from keras_preact.errors import ConfigError, near, quoted
from keras_preact.training.cards import RECIPES
from keras_preact.training.loggers import LOGGERS
from keras_preact.training.recipes import Recipe

#: Fields that say where and how a training runs, and not what it computes.
_AROUND = {
    "batch_size",  # `auto` is settled when the run begins; the recipe's is compared
    "devices",
    "workers",
    "index",
    "out",
    "resume",
    "save_every",
    "on_save_error",
    "log_to",
    "tensorboard",
    "saved_model",
}


@dataclasses.dataclass(frozen=True)
class TrainConfig(Checked):
    """One training run; every field is also an option of `keras-preact train`.

    Args:
        model: Network by name; `keras-preact models` lists them.
        data: Images: `digits`, a tensorflow-datasets name such as `cifar10`, `folder:PATH`,
            `csv:PATH`, `parquet:PATH` or `npz:PATH`.
        recipe: Training recipe, such as `quick`, `fine_tune` or `he2016_cifar`; `keras-preact
            recipes` lists them.
        epochs: Passes over the training images; the recipe's if not given.
        batch_size: Images per step over all devices, or `auto`: the largest power of two that fits
            in memory; the recipe's if not given.
        learning_rate: Peak learning rate; the recipe's if not given.
        image_size: Side in pixels that images are resized and cropped to; their own size if not
            given.
        on_bad_image: What to do about damaged files: `error` stops and names them, `skip` leaves
            them out.
        dtype: Dtype policy; `auto`: the policy in the environment variable `KERAS_PREACT_DTYPE`,
            else `mixed_bfloat16` where the hardware supports it, else `float32`.
        packaging: How units are built into the graph: `flat` (layer by layer), `nested` (a
            sub-model per unit), `repeated` (a loop per stage), or `auto` (by depth).
        recompute: Recompute activations in the backward pass instead of storing them: less memory,
            more time.
        init: Initial weights: a run folder, a `.keras`, `.weights.h5` or `.safetensors` file, or a
            tag of trained weights such as `imagenet`. Images are preprocessed as for these weights;
            a classifier for other classes is initialised anew.
        extend: Folder of a finished run of the same network on the same images, to continue for
            more epochs: the new run takes over its weights, optimiser state and curves.
        freeze_to: Freeze weights and statistics up to this layer, such as `stage3`.
        devices: `auto` (all GPUs, else the CPU) or names such as `gpu:0,gpu:1`, which share each
            batch.
        workers: Addresses `host:port,host:port,...` of machines that train together, all with this
            command; the first one writes. Under TensorFlow not needed if the environment variable
            TF_CONFIG is set; under JAX, 0.7 or later, all meet at the first address.
        index: Index of this process among the workers, from 0.
        sync_batch_norm: Synchronise the statistics of batch normalisation across devices.
        deterministic: Use deterministic kernels only, where others are faster: the same config and
            seed then give the same bits again on the same GPU too.
        seed: Random seed of initial weights, order and augmentation.
        out: Folder of the run; a new one under `runs/` if not given.
        resume: `auto` resumes an interrupted run of the same config, in `out` or else in `runs/`;
            `never` starts a new run.
        save_every: Steps between checkpoints; if not given, one per epoch and every ten minutes.
        on_save_error: What to do when the disk is full: `stop`, or `continue` without saving.
        log_to: Loggers, separated by commas: `tensorboard`, `wandb` (Weights & Biases).
        tensorboard: The same as `tensorboard` in `log_to`.
        saved_model: Also write a SavedModel at the end (TensorFlow only); `keras-preact export` can
            write one later.
        settings: Any other fields by dotted name: `network.*` (ResNetConfig), `recipe.*` (Recipe),
            `data.*` (DataOptions), `augmentation.*` (Augmentation).

    Raises:
        ConfigError: For a value that is not allowed.

    Example:
        >>> from keras_preact import TrainConfig
        >>> config = TrainConfig(epochs=2, settings={"network.shortcut": "dropout"})
        >>> config.resolve().network.shortcut
        'dropout'
    """

    model: str = "resnet20v2"
    data: str = "digits"
    recipe: str = "quick"
    epochs: int | None = None
    batch_size: int | Literal["auto"] | None = None
    learning_rate: float | None = None
    image_size: int | None = None
    on_bad_image: Literal["error", "skip"] = "error"
    dtype: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    packaging: Literal["auto", "flat", "nested", "repeated"] = "auto"
    recompute: bool = False
    init: str | None = None
    extend: str | None = None
    freeze_to: str | None = None
    devices: str = "auto"
    workers: str | None = None
    index: int | None = None
    sync_batch_norm: bool = False
    deterministic: bool = False
    seed: int = 0
    out: str | None = None
    resume: Literal["auto", "never"] = "auto"
    save_every: int | None = None
    on_save_error: Literal["stop", "continue"] = "stop"
    log_to: str | None = None
    tensorboard: bool = False
    saved_model: bool = True
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def check(self) -> None:
        require(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 2^32 - 1")
        require(self.out != "", "out", self.out, "the path of a folder, or None")
        every = self.save_every
        require(every is None or every >= 1, "save_every", every, "at least 1, or None")
        self._check_workers()
        for name in self.logger_names():
            fix = functools.partial(near, name, LOGGERS)
            expected = f"some of {quoted(LOGGERS)}, separated by commas"
            require(name in LOGGERS, "log_to", self.log_to, expected, fix)
        if self.sync_batch_norm and (self.packaging == "repeated" or self.recompute):
            raise ConfigError(
                "sync_batch_norm=True cannot be used with units in a loop, where devices cannot "
                "synchronise: it needs packaging='flat' or 'nested', without recompute. "
                f"Received: packaging={self.packaging!r}, recompute={self.recompute}."
            )
        for name, value in self._given().items():
            twice = self.settings.get(name)
            if twice is not None and twice != value:
                raise ConfigError(
                    f"Expected one value for {name}. Received: {value!r}, and {twice!r} in the "
                    "settings."
                )
        self.resolve()

    def worker_list(self) -> list[str] | None:
        """The addresses of the workers."""
        return [worker.strip() for worker in self.workers.split(",")] if self.workers else None

    def logger_names(self) -> list[str]:
        """The names of its loggers, without duplicates."""
        listed = self.log_to.split(",") if self.log_to is not None else []
        names = [name.strip() for name in listed] + ["tensorboard"] * self.tensorboard
        return [*dict.fromkeys(names)]

    def training(self) -> dict[str, Any]:
        """The fields that decide what is computed; a run can only resume with the same ones."""
        return {name: value for name, value in self.to_dict().items() if name not in _AROUND}

    def _check_workers(self):
        workers, index = self.worker_list() or [], self.index
        ports = all(":" in worker for worker in workers) and len(set(workers)) == len(workers)
        expected = "different addresses host:port, separated by commas"
        require(ports and len(workers) != 1, "workers", self.workers, expected)
        if workers and self.batch_size == "auto":
            raise ConfigError(
                "`batch_size` must be a number with workers, since 'auto' tries batches on one "
                "machine. Received: batch_size='auto'."
            )
        inside = index is not None and 0 <= index < len(workers) if workers else index is None
        within = f"from 0 to {len(workers) - 1}" if workers else "None without workers"
        require(inside, "index", index, within)

    def resolve(self) -> "Resolved":
        """The configs of all parts, with this run's settings applied."""
        from keras_preact.data import Augmentation, DataOptions

        fix = functools.partial(near, self.recipe, RECIPES)
        require(self.recipe in RECIPES, "recipe", self.recipe, f"one of {quoted(RECIPES)}", fix)
        changes = _by_part({**self.settings, **self._given()}, Resolved.__annotations__)
        recipe, base = RECIPES[self.recipe].replace(**changes["recipe"]), RECIPES[self.recipe]
        rate_is_for_it = recipe.optimizer == base.optimizer or "learning_rate" in changes["recipe"]
        expected = f"given for {recipe.optimizer}, since the recipe's is for {base.optimizer}"
        fix = "Keras's default is 0.001."
        require(rate_is_for_it, "learning_rate", self.learning_rate, expected, fix)
        data = DataOptions().replace(**changes["data"])
        side = max(data.geometry.size or [224])
        scale = recipe.scale and [round(s * side / 224) for s in recipe.scale]
        arguments = {**recipe.augmentation_arguments, **changes["augmentation"]}
        augmentation = Augmentation(kind=recipe.augmentation, scale=scale).replace(**arguments)
        changed = augmentation.kind != "none" or augmentation.follows
        expected = "1 without augmentation, which makes the copies of an image differ"
        require(recipe.repeats == 1 or changed, "repeats", recipe.repeats, expected)
        info, fields = model_info(self.model), {**recipe.network_arguments, **changes["network"]}
        network = info.config.replace(**fields)
        if trained := info.weights.get(self.init):
            network = trained.config(info.config, fields)
        return Resolved(network=network, recipe=recipe, data=data, augmentation=augmentation)

    def _given(self) -> dict[str, Any]:
        """The fields that stand for a setting, under that setting's name."""
        short = {
            "recipe.epochs": self.epochs,
            "recipe.batch_size": None if self.batch_size == "auto" else self.batch_size,
            "recipe.learning_rate": self.learning_rate,
            "data.image_size": self.image_size,
            "data.on_bad_image": None if self.on_bad_image == "error" else self.on_bad_image,
        }
        return {name: value for name, value in short.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Resolved:
    """The configs of a run's parts: network, recipe, data options, augmentation."""

    network: ResNetConfig
    recipe: Recipe
    data: Any
    augmentation: Any

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values for JSON."""
        return {part.name: getattr(self, part.name).to_dict() for part in dataclasses.fields(self)}

    def as_recorded(self, values: dict[str, Any]) -> "Resolved":
        """With the values that a run recorded when it was begun, perhaps by an earlier version.

        Args:
            values: Its `resolved.json`; fields that are no more are left out.
        """
        known = {}
        for part in dataclasses.fields(self):
            mine = getattr(self, part.name)
            fields = mine.to_dict()
            fields |= {k: v for k, v in values.get(part.name, {}).items() if k in fields}
            known[part.name] = type(mine).from_dict(fields)
        return Resolved(**known)


def _by_part(settings, parts):
    """`{"network": {"shortcut": ...}, ...}` from dotted names."""
    changes = {part: {} for part in parts}
    for name, value in settings.items():
        part, _, field = name.partition(".")
        if part not in parts or not field:
            raise ConfigError(
                f"A setting must be named PART.FIELD, where PART is one of {quoted(parts)}. "
                f"Received: {name}={value!r}.{near(part, parts)}"
            )
        changes[part][field] = value
    return changes
