"""`train`: from a `TrainConfig` to a run folder. Read top to bottom, it says what happens."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shlex
import time
from typing import Any

import keras
import numpy as np

from keras_preact.applications import create_model
from keras_preact.citations import citations
from keras_preact.console import reading_bar, say
from keras_preact.data import Batches, ImageData, image_mean, load_data
from keras_preact.errors import ConfigError
from keras_preact.evaluation import (
    plot_confusion_matrix,
    plot_curves,
    plot_predictions,
    save_figure,
)
from keras_preact.files import to_json
from keras_preact.precision import choose_dtype
from keras_preact.rewrite import portable
from keras_preact.run import RunFolder, environment, refuse_used, runs_in
from keras_preact.training.config import Resolved, TrainConfig
from keras_preact.training.engine import Engine, make_engine, scaled_optimizer
from keras_preact.training.fine_tune import freeze, preprocessing_of, start_from
from keras_preact.training.loop import Loop
from keras_preact.training.memory import largest_batch
from keras_preact.training.optimizer import optimizer
from keras_preact.training.statistics import average_statistics
from keras_preact.weights import layers_with_weights


@dataclasses.dataclass(frozen=True)
class Result:
    """What came out of a run; `result.json` in its folder.

    Attributes:
        run: The run's folder; empty on machines that only help with the computing.
        model: Name of the network.
        data: The data set, as it was asked for.
        parameters: Parameters that were trained.
        test_accuracy: Share of the test images that the last epoch's network classifies correctly.
        test_correct: How many.
        test_images: Of how many.
        epochs: Passes over the training images.
        seconds: Of the whole run: loading, training, evaluation, pictures, export; with what was
            trained before an interruption.
        images_per_second: Training images a second, without the first epoch (if there are others).
        skipped_images: Damaged files that were left out.
    """

    run: str
    model: str
    data: str
    parameters: int
    test_accuracy: float
    test_correct: int
    test_images: int
    epochs: int
    seconds: float
    images_per_second: float
    skipped_images: int


def train(config: TrainConfig | None = None, *, console=None) -> Result:
    """Trains a named network on images and writes a run folder.

    Called again with the same config after it was interrupted, at any moment and in any way, it
    goes on where it was; what comes out is the same to the last bit on a CPU.

    Args:
        config: What to train on what; by default ResNet-20 V2 on `digits`.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        The `Result`; of a run that is finished already, the one that it had.

    Raises:
        ConfigError: For a config that is not allowed or does not fit the data or the run in `out`.
        DataError: For data that cannot be had or are damaged, and when no checkpoint is whole.
        DivergedError: When loss or gradient is no longer a finite number.
        SaveError: When the run's folder cannot be written.
        StoppedError: After SIGTERM or SIGINT; what was done is saved.

    Example:
        >>> import tempfile
        >>> from keras_preact import TrainConfig, train
        >>> result = train(TrainConfig("resnet8v2", epochs=1, out=tempfile.mkdtemp()))
        >>> result.test_images
        360
    """
    start = time.perf_counter()
    config = config or TrainConfig()
    batch_size = None
    if config.batch_size == "auto":  # tried before this process takes the devices
        begun = _interrupted(config)
        batch_size = None if begun else largest_batch(config, console)
    engine = make_engine(config)
    if not engine.is_chief:
        console = None
    run = _interrupted(config) if engine.is_chief else None
    result = _broadcast(engine, run.result if run and run.is_finished else None)
    if result:
        say(console, f"This run is finished already: {result['run']}.")
        return Result(**result)
    decided = _broadcast(engine, run.read_json("env.json")["decided"] if run else None) or {}
    job = prepare(config, engine, console, decided, batch_size)
    run = run or _new_run(config, job)
    with run.locked():
        _describe(run, job, console)
        loop = job.loop(run, console, start)
        if loop.resume():
            say(console, f"going on in {run.path} after step {loop.step}")
        loop.run()
        with engine.averaged():
            evaluation = _finish(job, loop, run)
        result = Result(
            run=str(run.path) if engine.is_chief else "",
            model=config.model,
            data=config.data,
            parameters=sum(int(np.prod(w.shape)) for w in engine.model.trainable_weights),
            test_accuracy=evaluation.accuracy,
            test_correct=evaluation.correct,
            test_images=len(evaluation.labels),
            epochs=job.parts.recipe.epochs,
            seconds=round(loop.seconds_before + time.perf_counter() - start, 2),
            images_per_second=round(_images_per_second(run.log), 1),
            skipped_images=len(job.data.skipped),
        )
        run.write_json("result.json", dataclasses.asdict(result))
    return result


def _broadcast(engine, values):
    """The chief's JSON values, on every machine."""
    packed = values and {"json": np.frombuffer(to_json(values), np.uint8)}
    found = engine.broadcast(packed or None)
    return json.loads(found["json"].tobytes()) if found else None


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything that a training needs, ready for its first step.

    Attributes:
        config: What was asked for.
        parts: Its resolved parts.
        engine: The devices, with the network and its optimiser.
        data: The images.
        batches: The training batches.
        decided: What was settled on this machine, and stays so when the run is taken up on
            another: `dtype`, `streams` (whether images are decoded when they are needed) and
            `batch_size`.
        chosen: `backend`, `devices`, and `why` the dtype.
    """

    config: TrainConfig
    parts: Resolved
    engine: Engine
    data: ImageData
    batches: Batches
    decided: dict[str, Any]
    chosen: dict[str, str]

    @property
    def title(self) -> str:
        """Network and data, for headlines and folders."""
        kind, _, path = self.data.name.partition(":")
        return f"{self.config.model} on {pathlib.Path(path).stem or kind}"

    def loop(self, run: RunFolder, console=None, started: float | None = None) -> Loop:
        """The loop that trains it, writing to a run folder."""
        return Loop(
            self.engine,
            self.batches,
            self.data,
            self.parts.recipe,
            run,
            console,
            save_every=self.config.save_every,
            stop_on_save_error=self.config.on_save_error == "stop",
            tensorboard=self.config.tensorboard,
            loss_scaled=self.decided["dtype"] == "mixed_float16",
            started=started,
        )


def prepare(
    config: TrainConfig,
    engine: Engine,
    console=None,
    decided: dict[str, Any] | None = None,
    batch_size: int | None = None,
) -> Job:
    """Loads the images and builds network, optimiser and batches for a training.

    Args:
        config: What to train on what.
        engine: The devices, of `make_engine`.
        console: For progress, or `None`.
        decided: `Job.decided` of the run that is taken up again.
        batch_size: Images in a step, in place of the config's.

    Returns:
        A `Job`.

    Raises:
        ConfigError, DataError: As `train`.

    Example:
        >>> from keras_preact import TrainConfig
        >>> from keras_preact.training.engine import make_engine
        >>> from keras_preact.training.trainer import prepare
        >>> config = TrainConfig("resnet8v2", dtype="float32")
        >>> prepare(config, make_engine(config)).title
        'resnet8v2 on digits'
    """
    keras.utils.set_random_seed(config.seed)
    decided = decided or {}
    dtype = choose_dtype(config.dtype)
    if decided and decided["dtype"] != dtype.policy:
        dtype = dtype._replace(policy=decided["dtype"], reason="as the run was begun")
    dtype = dtype._replace(policy=_broadcast(engine, {"dtype": dtype.policy})["dtype"])
    if dtype.policy == "mixed_float16" and engine.replicas > 1:
        raise ConfigError(
            "mixed_float16 is for one device: on several, Keras looks for overflow on the first "
            "one only, and an overflow on another would destroy the weights. Use mixed_bfloat16 "
            f"or float32. Received: dtype='mixed_float16', {engine.replicas} devices."
        )
    parts = config.resolve()
    data = _load_like_the_chief(config, parts, engine, console, decided.get("streams"))
    batch_size = batch_size or decided.get("batch_size") or parts.recipe.batch_size
    parts = dataclasses.replace(parts, recipe=parts.recipe.replace(batch_size=batch_size))
    batches = _batches(data, config, parts)
    say(console, f"dtype {dtype.policy}: {dtype.reason}; devices {engine.devices}")
    with engine.scope():
        model = build_for(data, config, parts, dtype.policy)
        if config.init:
            kept = start_from(model, config.init)
            new = " and a new classifier" if kept else ""
            say(console, f"weights of {config.init}{new}")
        if config.freeze_to:
            say(console, f"frozen: {len(freeze(model, config.freeze_to))} layers")
        algorithm = scaled_optimizer(optimizer(parts.recipe, len(batches)), dtype.policy)
    engine.prepare(model, algorithm, parts.recipe)
    engine.cuts(batches.size(0))  # says now whether all devices get as much
    return Job(
        config,
        parts,
        engine,
        data,
        batches,
        {"dtype": dtype.policy, "streams": data.train.streams, "batch_size": batch_size},
        {"why": dtype.reason, "backend": keras.backend.backend(), "devices": engine.devices},
    )


def build_for(data, config, parts, dtype):
    """The network for a data set, from raw images (0 to 255) to logits."""
    images = keras.Input(data.image_shape, name="images")
    x = images
    layer = _preprocessing(data, config, parts)
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


def _packaging(config):
    # In a loop devices cannot wait for each other.
    return "nested" if config.sync_batch_norm and config.packaging == "auto" else config.packaging


def _preprocessing(data, config, parts):
    """The layer that prepares raw images; that of the run whose weights are the start."""
    found = preprocessing_of(config.init) if config.init else None
    if found is not None:
        return keras.layers.Normalization.from_config(found)
    statistics = {
        "pixel_mean": lambda: (image_mean(data.train, "pixel")[0], None),
        "standardize": lambda: image_mean(data.train, "channel"),
        "none": lambda: (None, None),
    }
    mean, deviation = statistics[parts.recipe.preprocessing]()
    if mean is None:
        return None
    variance = np.ones_like(mean) if deviation is None else np.maximum(deviation, 1e-3) ** 2
    axis = (1, 2, 3) if mean.ndim == 3 else -1
    return keras.layers.Normalization(
        axis=axis, mean=mean, variance=variance, dtype="float32", name="preprocessing"
    )


def _interrupted(config):
    """The run that this config is to go on with or that it has finished, or `None`."""
    if config.resume == "never":
        refuse_used(config.out)
        return None
    if config.out is None:
        begun = [run for run in runs_in("runs") if not run.is_finished]
        return next((run for run in reversed(begun) if _goes_on(run, config)), None)
    if not os.path.isfile(f"{config.out}/config.json"):
        refuse_used(config.out)
        return None
    run = RunFolder(config.out)
    different = _differences(run, config)
    if different:
        name, (was, wanted) = next(iter(different.items()))
        raise ConfigError(
            f"The run in {config.out} goes on only with the config it was begun with. Received: "
            f"{name}={wanted!r}, where it has {was!r}. Name another folder for a new run."
        )
    return run


def _goes_on(run, config):
    try:
        return not _differences(run, config) and not run.is_locked
    except ConfigError:  # of another version, or damaged
        return False


def _differences(run, config):
    """`{field: (value in the run, value in the config)}` where they differ."""
    begun = TrainConfig.from_dict(run.config)
    old, new = begun.training(), config.training()
    found = {name: (old[name], new[name]) for name in new if old[name] != new[name]}
    parts = config.resolve().to_dict()
    if config.batch_size == begun.batch_size == "auto":  # settled when it began
        parts["recipe"]["batch_size"] = None
    for part, before in run.read_json("resolved.json").items():
        for name, value in parts[part].items():  # a later version may know more of them
            if value is not None and name in before and before[name] != value:
                found.setdefault(f"{part}.{name}", (before[name], value))
    return found


def _new_run(config, job):
    if not job.engine.is_chief:
        return RunFolder.temporary()
    return RunFolder.create(config.out, job.title.replace(" on ", "-"))


def _describe(run, job, console):
    """Writes down what the run is, or, where that is there, compares it with this process."""
    labels = vars(job.data.train).get("labels")  # those of some sets are read with the images
    facts = {
        "resolved.json": job.parts.to_dict(),
        "data.json": {
            "image_shape": list(job.data.image_shape),
            "classes": list(job.data.class_names),
            "training_images": len(job.data.train),
            "test_images": len(job.data.test),
            "labels_sha256": labels is not None and hashlib.sha256(labels.tobytes()).hexdigest(),
        },
        "env.json": {**environment(), "decided": job.decided, **job.chosen},
    }
    if not (run.path / "config.json").is_file():
        command = f"keras-preact train --config {shlex.quote(str(run.path))}/config.json"
        for name, value in facts.items():
            run.write_json(name, value)
        run.write_bytes("command.txt", f"{command} --out NEW_FOLDER\n".encode())
        run.write_bytes("citations.bib", citations(job.parts).encode())
        run.write_json("config.json", job.config.to_dict())  # last: now it is a run
        return
    if run.read_json("data.json") != facts["data.json"]:
        raise ConfigError(
            f"The images are not those that the run in {run.path} was begun with (their number, "
            "shape, classes or labels differ; see its data.json). Name another folder."
        )
    begun = run.read_json("env.json")
    for name in ("packages", "backend", "devices", "processors"):
        if begun.get(name) != facts["env.json"][name]:
            say(console, f"The run was begun with other {name}: the last bits may differ.")


def _load_like_the_chief(config, parts, engine, console, streams):
    """The images, held in memory or decoded in each epoch as the chief, or an earlier process, did.

    What is held is cropped once, and the mean of what is not is that of a sample, so this matters.
    """
    if engine.is_chief:
        data = _load(config, parts, console, streams)
        streams = data.train.streams
    streams = (_broadcast(engine, {"streams": streams}) or {}).get("streams")
    return data if engine.is_chief else _load(config, parts, console, streams)


def _load(config, parts, console, streams=None):
    options = parts.data
    if streams is not None:
        options = options.replace(memory_limit_mb=0 if streams else 2**40)
    with reading_bar(console, f"loading {config.data}") as on_progress:
        data = load_data(config.data, options=options, seed=config.seed, on_progress=on_progress)
    if console:
        console.print(repr(data)[1:-1], soft_wrap=True)
    if console and data.skipped:
        path, reason = data.skipped[0]
        console.print(f"{len(data.skipped)} damaged images skipped, the first {path}: {reason}")
    return data


def _batches(data, config, parts):
    """The training batches; the first is made at once, so that what is wrong is said at once."""
    size = parts.recipe.batch_size
    batches = Batches(
        data.train,
        size,
        shuffle=True,
        seed=config.seed,
        augmentation=parts.augmentation,
        flip=data.flip,
        # A small last batch would make poor statistics; a set smaller than a batch is one.
        drop_remainder=len(data.train) >= size,
    )
    _ = batches[0]
    return batches


def _images_per_second(log):
    """Training speed without the first epoch, in which the step is compiled (if there are more)."""
    rows = log[1:] or log
    if not rows:  # a machine that does not log, and came when all was done
        return 0.0
    seconds = [row["seconds"] for row in rows]
    images = [row["seconds"] * row["images_per_second"] for row in rows]
    return sum(images) / sum(seconds)


def _finish(job, loop, run):
    """Last statistics and evaluation, the network in the forms that are used, and pictures."""
    engine, recipe = job.engine, job.parts.recipe
    if recipe.precise_bn:
        momentum = job.parts.network.norm_momentum
        average_statistics(engine, job.data.train, recipe.precise_bn, recipe.batch_size, momentum)
    evaluation = loop.evaluate()
    if not engine.is_chief:
        return evaluation
    model = engine.model
    model.get_layer("predictions").activation = keras.activations.softmax
    # Without the optimiser and in Keras's own layers, so that it opens where this package is not.
    trained = keras.Model(model.input, model.output, name=model.name)
    with run.replacing("model.keras") as path:
        portable(trained).save(path)
    run.write_json("classes.json", list(job.data.class_names))
    if keras.backend.backend() == "tensorflow":
        from keras_preact.export import export_saved_model

        with run.replacing("saved_model") as path:
            export_saved_model(trained, path)
    pictures = {
        "curves": plot_curves(run.log, job.title),
        "confusion_matrix": plot_confusion_matrix(evaluation, job.title),
        "predictions": plot_predictions(evaluation, job.data.test, job.title),
    }
    for name, figure in pictures.items():
        with run.replacing(f"{name}.png") as path:
            save_figure(figure, path)
    return evaluation
