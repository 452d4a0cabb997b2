"""`train`: from a `TrainConfig` to a run folder. Read top to bottom, it says what happens."""

import dataclasses
import math
import pathlib
import time

import keras
import numpy as np

from keras_preact.applications import create_model
from keras_preact.console import reading_bar
from keras_preact.data import Batches, image_mean, load_data, prefetched
from keras_preact.errors import DivergedError
from keras_preact.evaluation import (
    evaluate,
    plot_confusion_matrix,
    plot_curves,
    plot_predictions,
    save_figure,
)
from keras_preact.precision import choose_dtype
from keras_preact.rewrite import portable
from keras_preact.run import RunFolder, environment
from keras_preact.training.config import TrainConfig
from keras_preact.training.optimizer import optimizer
from keras_preact.training.progress import ProgressBar


@dataclasses.dataclass(frozen=True)
class Result:
    """What came out of a run; `result.json` in its folder.

    Attributes:
        run: The run's folder.
        model: Name of the network.
        data: The data set, as it was asked for.
        parameters: Trainable parameters.
        test_accuracy: Share of the test images that the last epoch's network classifies correctly.
        test_correct: How many.
        test_images: Of how many.
        epochs: Passes over the training images.
        seconds: Of the whole run: loading, training, evaluation, pictures, export.
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

    Args:
        config: What to train on what; by default ResNet-20 V2 on `digits`.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        The `Result`.

    Raises:
        ConfigError: For a config that is not allowed or does not fit the data.
        DataError: For data that cannot be had or are damaged.
        DivergedError: When the loss is no longer a finite number.

    Example:
        >>> import tempfile
        >>> from keras_preact import TrainConfig, train
        >>> result = train(TrainConfig("resnet8v2", epochs=1, out=tempfile.mkdtemp()))
        >>> result.test_images
        360
    """
    start = time.perf_counter()
    config = config or TrainConfig()
    parts = config.resolve()
    RunFolder.refuse_used(config.out)
    keras.utils.set_random_seed(config.seed)
    data = _load(config, parts, console)
    batches = _batches(data, config, parts)
    dtype = choose_dtype(config.dtype)
    if console:
        console.print(f"dtype {dtype.policy}: {dtype.reason}")
    model = build_for(data, config, parts, dtype.policy)
    model.compile(
        optimizer(parts.recipe, len(batches)),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
    )
    kind, _, path = data.name.partition(":")
    data_name = pathlib.Path(path).stem or kind
    run = RunFolder.create(config.out, f"{config.model}-{data_name}")
    run.write_json("config.json", config.to_dict())
    run.write_json("resolved.json", parts.to_dict())
    chosen = {"backend": keras.backend.backend(), "dtype": dtype.policy, "why": dtype.reason}
    run.write_json("env.json", {**environment(), **chosen})

    evaluation = _fit(model, batches, data, parts.recipe, run, console)
    _save(model, evaluation, data, run, f"{config.model} on {data_name}")
    result = Result(
        run=str(run.path),
        model=config.model,
        data=config.data,
        parameters=sum(int(np.prod(weight.shape)) for weight in model.trainable_weights),
        test_accuracy=evaluation.accuracy,
        test_correct=evaluation.correct,
        test_images=len(evaluation.labels),
        epochs=parts.recipe.epochs,
        seconds=round(time.perf_counter() - start, 2),
        images_per_second=round(_images_per_second(run.log), 1),
        skipped_images=len(data.skipped),
    )
    run.write_json("result.json", dataclasses.asdict(result))
    return result


def build_for(data, config, parts, dtype):
    """The network for a data set, from raw images (0 to 255) to probabilities."""
    images = keras.Input(data.image_shape, name="images")
    statistics = {
        "pixel_mean": lambda: (image_mean(data.train, "pixel")[0], None),
        "standardize": lambda: image_mean(data.train, "channel"),
        "none": lambda: (None, None),
    }
    mean, deviation = statistics[parts.recipe.preprocessing]()
    x = images
    if mean is not None:
        variance = np.ones_like(mean) if deviation is None else np.maximum(deviation, 1e-3) ** 2
        axis = (1, 2, 3) if mean.ndim == 3 else -1
        normalize = keras.layers.Normalization(
            axis=axis, mean=mean, variance=variance, dtype="float32", name="preprocessing"
        )
        x = normalize(images)
    return create_model(
        config.model,
        input_tensor=x,
        classes=data.num_classes,
        data_format="channels_last",
        dtype=dtype,
        packaging=config.packaging,
        recompute=config.recompute,
        **parts.network.to_dict(),
    )


def _load(config, parts, console):
    with reading_bar(console, f"loading {config.data}") as on_progress:
        data = load_data(config.data, options=parts.data, seed=config.seed, on_progress=on_progress)
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


def _fit(model, batches, data, recipe, run, console):
    """Trains, logs each epoch, and returns the last evaluation on the test images."""
    with ProgressBar(console, recipe.epochs, len(batches)) as bar:
        for epoch in range(1, recipe.epochs + 1):
            start = time.perf_counter()
            batches.epoch = epoch - 1
            loss, accuracy, images = _train_epoch(model, batches, bar, epoch)
            seconds = time.perf_counter() - start
            evaluation = evaluate(model, data.test, data.class_names, 2 * recipe.batch_size)
            rate = keras.ops.convert_to_numpy(model.optimizer.learning_rate)
            row = {
                "epoch": epoch,
                "loss": loss,
                "error": 1 - accuracy,
                "test_loss": evaluation.loss,
                "test_error": 1 - evaluation.accuracy,
                "learning_rate": float(rate),
                "seconds": seconds,
                "images_per_second": images / seconds,
            }
            run.append_log(row)
            bar.epoch(row)
    return evaluation


def _train_epoch(model, batches, bar, epoch):
    """One pass over the training images: mean loss, accuracy, and how many images it took."""
    images = loss = correct = 0
    for step, (x, y) in enumerate(prefetched(batches), 1):
        logs = model.train_on_batch(x, y, return_dict=True)  # of this batch alone
        if not math.isfinite(logs["loss"]):
            raise DivergedError(
                f"The loss is {logs['loss']} at step {step} of epoch {epoch}. A lower "
                "--learning-rate or a recipe with warm-up usually helps."
            )
        images += len(x)
        loss += len(x) * float(logs["loss"])
        correct += len(x) * float(logs["accuracy"])
        bar.step(epoch, loss / images, correct / images)
    return loss / images, correct / images, images


def _images_per_second(log):
    """Training speed without the first epoch, in which the step is compiled (if there are more)."""
    rows = log[1:] or log
    seconds = [row["seconds"] for row in rows]
    images = [row["seconds"] * row["images_per_second"] for row in rows]
    return sum(images) / sum(seconds)


def _save(model, evaluation, data, run, title):
    """The trained network in two forms, then pictures."""
    # Without the optimiser and in Keras's own layers, so that it opens where this package is not.
    trained = keras.Model(model.input, model.output, name=model.name)
    portable(trained).save(run.path / "model.keras")
    run.write_json("classes.json", list(data.class_names))
    if keras.backend.backend() == "tensorflow":
        from keras_preact.export import export_saved_model

        export_saved_model(trained, run.path / "saved_model")
    pictures = {
        "curves": plot_curves(run.log, title),
        "confusion_matrix": plot_confusion_matrix(evaluation, title),
        "predictions": plot_predictions(evaluation, data.test, title),
    }
    for name, figure in pictures.items():
        save_figure(figure, run.path / f"{name}.png")
