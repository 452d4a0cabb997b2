"""`prepare`: images, network, optimiser and batches, ready for the first training step."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_preact.applications import create_model
from keras_preact.console import reading_bar, say
from keras_preact.data import Batches, ImageData, load_data
from keras_preact.data.balance import image_weights, log_shares
from keras_preact.data.statistics import SAMPLE, Statistics, statistics
from keras_preact.errors import ConfigError
from keras_preact.precision import choose_dtype
from keras_preact.run import RunFolder
from keras_preact.training.config import Resolved, TrainConfig
from keras_preact.training.engine import Engine, scaled_optimizer
from keras_preact.training.fine_tune import Start, freeze, read_start
from keras_preact.training.loop import Loop
from keras_preact.training.optimizer import optimizer
from keras_preact.weights import layers_with_weights

if TYPE_CHECKING:
    from rich.console import Console


#: An epoch of fewer steps is said to be short.
FEW_STEPS = 5


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything that training needs, ready for its first step.

    Attributes:
        config: The config of the run.
        parts: Its resolved parts.
        engine: The devices, with the network and its optimiser.
        data: The images.
        batches: The training batches.
        decided: What was settled on this machine, and stays so when the run is taken up on
            another: `dtype`, `streams` (whether images are decoded in each epoch), `batch_size`,
            `validates` (whether there is a validation part) and, of a run that extends another,
            `given` (the step that it goes on from).
        chosen: `backend`, `devices`, and `why` the dtype.
        statistics: Those of the training images by which they are prepared, and filled where
            augmentation leaves gaps; `None` where neither is done.
        start: The weights to start from, or `None`.
    """

    config: TrainConfig
    parts: Resolved
    engine: Engine
    data: ImageData
    batches: Batches
    decided: dict[str, Any]
    chosen: dict[str, str]
    statistics: Statistics | None = None
    start: Start | None = None

    @property
    def title(self) -> str:
        """Network and data, for headlines and folders."""
        kind, _, path = self.data.name.partition(":")
        return f"{self.config.model} on {pathlib.Path(path).stem or kind}"

    def loop(
        self,
        run: RunFolder,
        console: "Console | None" = None,
        started: float | None = None,
        loggers: Any = None,
    ) -> Loop:
        """The loop that trains it, writing to a run folder and telling `Loggers`."""
        return Loop(
            self.engine,
            self.batches,
            self.data,
            self.parts.recipe,
            run,
            console,
            save_every=self.config.save_every,
            stop_on_save_error=self.config.on_save_error == "stop",
            loggers=loggers,
            loss_scaled=self.decided["dtype"] == "mixed_float16",
            started=started,
        )


def prepare(
    config: TrainConfig,
    engine: Engine,
    console: "Console | None" = None,
    decided: dict[str, Any] | None = None,
    batch_size: int | None = None,
) -> Job:
    """Loads the images and builds network, optimiser and batches for a training.

    Args:
        config: What to train on what.
        engine: The devices, of `make_engine`.
        console: For progress, or `None`.
        decided: `Job.decided` of the run to resume, its `statistics`, and its `parts` as recorded.
        batch_size: Images in a step, in place of the config's.

    Returns:
        A `Job`.

    Raises:
        ConfigError, DataError: As `train`.

    Example:
        >>> from keras_preact import TrainConfig
        >>> from keras_preact.training.engines import make_engine
        >>> from keras_preact.training.job import prepare
        >>> config = TrainConfig("resnet8v2", dtype="float32")
        >>> prepare(config, make_engine(config)).title
        'resnet8v2 on digits'
    """
    keras.utils.set_random_seed(config.seed)
    decided = decided or {}
    dtype = choose_dtype(config.dtype)
    if decided and decided["dtype"] != dtype.policy:
        dtype = dtype._replace(policy=decided["dtype"], reason="as when the run began")
    dtype = dtype._replace(policy=engine.broadcast_json({"dtype": dtype.policy})["dtype"])
    if dtype.policy == "mixed_float16" and engine.replicas > 1:
        raise ConfigError(
            "mixed_float16 supports one device only: on several, Keras checks the first one for "
            "overflow, and an overflow on another would destroy the weights. Use mixed_bfloat16 "
            f"or float32. Received: dtype='mixed_float16', {engine.replicas} devices."
        )
    parts = config.resolve()
    if "parts" in decided:
        parts = parts.as_recorded(decided["parts"])
    data = _load_like_the_chief(config, parts, engine, console, decided.get("streams"))
    if decided and not decided.get("validates"):  # early versions did not
        data = dataclasses.replace(data, validation=None)
    _check_steering(parts.recipe, data)
    batch_size = batch_size or decided.get("batch_size") or parts.recipe.batch_size
    parts = dataclasses.replace(parts, recipe=parts.recipe.replace(batch_size=batch_size))
    start = _start(config, decided)
    found = _statistics(data, parts, start, decided)
    batches = _batches(data, config, parts, engine.replicas, found)
    _say_few_steps(batches, data, console)
    say(console, f"dtype {dtype.policy}: {dtype.reason}; devices {engine.devices}")
    with engine.scope():
        model = build_for(data, config, parts, dtype.policy, start, found)
        say_small_maps(model, data.image_shape, console)
        if start and start.weights is not None:
            new = " and a new classifier" if start.into(model, parts.network) else ""
            prepared = ", images preprocessed as for them" if start.preprocessing else ""
            say(console, f"weights of {config.init}{new}{prepared}")
        if config.freeze_to:
            say(console, f"frozen: {len(freeze(model, config.freeze_to))} layers")
        algorithm = scaled_optimizer(optimizer(parts.recipe, len(batches)), dtype.policy)
    engine.prepare(model, algorithm, parts.recipe, _adjustment(data, parts.recipe))
    engine.cuts(batches.size(0))  # says now whether all devices get as much
    return Job(
        config,
        parts,
        engine,
        data,
        batches,
        {
            "dtype": dtype.policy,
            "streams": data.train.streams,
            "batch_size": batch_size,
            "validates": data.validation is not None,
        },
        {"why": dtype.reason, **place(engine)},
        found,
        start,
    )


def _start(config, decided) -> Start | None:
    """The weights to start from, without them where a checkpoint has all."""
    if config.init is None:
        return None
    if "start" in decided:
        return Start(config.init, None, preprocessing=decided["start"]["preprocessing"])
    return read_start(config.init, config.model)


def build_for(
    data: Any,
    config: Any,
    parts: Any,
    dtype: Any,
    start: Start | None = None,
    found: Statistics | None = None,
) -> Any:
    """The network for a data set, from raw images (0 to 255) to logits.

    `found` are the `Statistics` of its training images; taken now if not given.
    """
    images = keras.Input(data.image_shape, name="images")
    x = images
    found = found or _statistics(data, parts, start)
    layer = _preprocessing(data, parts, start, found)
    if layer is not None:
        x = layer(images)
    model = create_model(
        config.model,
        input_tensor=x,
        classes=data.num_classes,
        classifier_activation=None,
        data_format="channels_last",
        dtype=dtype,
        packaging=_packaging(config),
        recompute=config.recompute,
        **parts.network.to_dict(),
    )
    # Under JAX several devices always share their statistics.
    if config.sync_batch_norm and keras.backend.backend() == "tensorflow":
        for layer in layers_with_weights(model):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
    return model


def say_small_maps(model: Any, image_shape: Sequence[int], console: "Console | None") -> None:
    """Says from which stage on the maps are a pixel high or wide, beside which borders lie."""
    stages = [layer for layer in model.layers if re.fullmatch(r"stage\d+", layer.name)]
    small = [layer for layer in stages if 1 in layer.output.shape[1:3]]
    if small:
        (_, *map_shape, _), sides = small[0].output.shape, image_shape[:2]
        there, images = (" x ".join(map(str, shape)) for shape in (map_shape, sides))
        network = ", or a network for small ones, such as resnet20v2," if min(sides) > 4 else ""
        say(
            console,
            f"For images of {images}, feature maps from {small[0].name} on are {there}, where 3x3 "
            f"convolutions see little but padding. Larger images (--image-size){network} "
            "learn more.",
        )


def place(engine: Engine) -> dict[str, str]:
    """Backend and devices of an engine, as in the `env.json` of its runs."""
    kind = f" ({engine.device_kind})" if engine.device_kind else ""
    return {"backend": keras.backend.backend(), "devices": f"{engine.devices}{kind}"}


def _packaging(config):
    # In a loop devices cannot wait for each other.
    return "nested" if config.sync_batch_norm and config.packaging == "auto" else config.packaging


def _statistics(data, parts, start, decided=None) -> Statistics | None:
    """What images are prepared and filled by: as the run has it, else taken of the images now.

    Each pixel's mean is the papers', and so that of all images; where only one number a channel is
    wanted, 10,000 images tell it of those that are not decoded yet.
    """
    prepared = None if start and start.preprocessing else parts.recipe.preprocessing
    each_pixel = prepared == "pixel_mean"
    filled = parts.augmentation.fills(data.image_shape)
    if not (filled or each_pixel or prepared == "standardize"):
        return None
    if decided and "statistics" in decided:
        return Statistics.from_dict(decided["statistics"])
    # Early versions did not write them down, and decoded all images that they held.
    sampled = data.train.streams if decided else not (each_pixel or data.train.decoded)
    kind = "pixel" if each_pixel else "channel"
    return statistics(data.train, kind, SAMPLE if sampled else None)


def _preprocessing(data, parts, start, found):
    """The layer that prepares raw images; that of the weights that are the start, if they say."""
    if start and start.preprocessing:
        shape = np.shape(start.preprocessing["mean"])
        if shape != data.image_shape[-len(shape) :]:
            raise ConfigError(
                f"`init` must hold weights for images like these, {data.image_shape}. Received: "
                f"init={start.name!r}, which has a mean of the shape {shape}. Set data.image_size "
                "or data.channels."
            )
        return keras.layers.Normalization.from_config(start.preprocessing)
    if parts.recipe.preprocessing == "none":
        return None
    each_pixel = parts.recipe.preprocessing == "pixel_mean"
    deviation = np.maximum(found.deviation, 1e-3)
    return keras.layers.Normalization(
        axis=(1, 2, 3) if each_pixel else -1,
        mean=found.mean,
        variance=np.ones_like(found.mean) if each_pixel else deviation**2,
        dtype="float32",
        name="preprocessing",
    )


def _check_steering(recipe, data):
    """Refuses what only a validation part could tell, where there is none."""
    if data.validation is None and (names := recipe.needs_validation):
        given = ", ".join(f"{name}={getattr(recipe, name)!r}" for name in names)
        raise ConfigError(
            "Which epoch is best, and when to stop, is for a validation part to say: test images "
            f"that chose it would flatter the network. Received: {given}, and images without one. "
            "data.validation=0.1 takes a tenth of the training images (--set data.validation=0.1)."
        )


def _load_like_the_chief(config, parts, engine, console, streams):
    """The images, held in memory or decoded in each epoch as the chief, or an earlier process, did.

    What is held is cropped once, so this matters.
    """
    if engine.is_chief:
        data = _load(config, parts, console, streams)
        streams = data.train.streams
    streams = (engine.broadcast_json({"streams": streams}) or {}).get("streams")
    return data if engine.is_chief else _load(config, parts, console, streams)


def _load(config, parts, console, streams=None):
    options = parts.data
    if streams is not None:
        options = options.replace(memory_limit_mb=0 if streams else 2**40)
    with reading_bar(console, f"loading {config.data}") as on_progress:
        data = load_data(config.data, options=options, seed=config.seed, on_progress=on_progress)
    if console:
        console.print(repr(data)[1:-1], soft_wrap=True)
    for note in data.lines():
        say(console, note)
    if data.skipped:
        path, reason = data.skipped[0]
        say(console, f"{len(data.skipped)} damaged images skipped, the first {path}: {reason}")
    return data


def _adjustment(data, recipe):
    """What is added to the logits in the loss, where the recipe has it so."""
    wanted = recipe.balance == "logit_adjustment"
    return log_shares(data.train.labels, data.class_names) if wanted else None


def _say_few_steps(batches, data, console):
    """A line where batches are so large that hardly any steps are taken."""
    steps, images = len(batches), len(data.train)
    if steps < FEW_STEPS and images > 1:
        left = images - len(np.unique(batches.indices(0)[: steps * batches.batch_size]))
        say(
            console,
            f"An epoch has {steps} step{'s' * (steps > 1)}"
            f"{f' and leaves out {left} of {images} images, others each time' if left else ''}. "
            "A smaller batch (--batch-size) takes more steps.",
        )


def _batches(data, config, parts, replicas, found):
    """The training batches; the first is made at once, so that what is wrong is said at once."""
    size = parts.recipe.batch_size
    if len(data.train) < size:  # one batch, of as many images as the devices can share
        size = max(len(data.train) // replicas * replicas, 1)
    batches = Batches(
        data.train,
        size,
        shuffle=True,
        balanced=parts.recipe.balance == "sampling",
        repeats=parts.recipe.repeats,
        weights=image_weights(data.train, parts.recipe.balance == "weights"),
        seed=config.seed,
        augmentation=parts.augmentation,
        flip=data.flip,
        fill=0 if found is None else found.channel_mean,
        drop_remainder=True,  # a small last batch would make poor statistics
    )
    _ = batches[0]
    return batches
