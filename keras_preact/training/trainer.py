"""`train`: from a `TrainConfig` to a run folder. Read top to bottom, it says what happens."""

import dataclasses
import time

import keras
import numpy as np

from keras_preact.applications import create_model
from keras_preact.console import reading_bar
from keras_preact.data import Batches, image_mean, load_data
from keras_preact.evaluation import (
    evaluate,
    plot_confusion_matrix,
    plot_curves,
    plot_predictions,
    save_figure,
)
from keras_preact.run import RunFolder, environment
from keras_preact.training.config import TrainConfig
from keras_preact.training.optimizer import optimizer
from keras_preact.training.progress import EpochLog, ProgressBar


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
    keras.utils.set_random_seed(config.seed)
    data = _load(config, parts, console)
    run = RunFolder.create(config.out, f"{config.model}-{data.name.split(':')[0]}")
    run.write_json("config.json", {"config": config.to_dict(), "resolved": parts.to_dict()})
    run.write_json("env.json", {**environment(), "backend": keras.backend.backend()})

    model = build_for(data, config, parts)
    batches, test_batches = _batches(data, config, parts)
    model.compile(
        optimizer(parts.recipe, len(batches)),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
    )
    log = _fit(model, batches, test_batches, parts.recipe, run, console)

    evaluation = evaluate(model, data.test, data.class_names)
    _save(model, evaluation, data, run, f"{config.model} on {data.name}")
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
        images_per_second=round(log.images_per_second, 1),
        skipped_images=len(data.skipped),
    )
    run.write_json("result.json", dataclasses.asdict(result))
    return result


def build_for(data, config, parts):
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
        dtype=config.dtype,
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
    """Batches for training and for the test after each epoch."""
    size = parts.recipe.batch_size
    training = Batches(
        data.train,
        size,
        shuffle=True,
        seed=config.seed,
        augmentation=parts.augmentation,
        flip=data.flip,
        # A small last batch would make poor statistics; a set smaller than a batch is one.
        drop_remainder=len(data.train) >= size,
    )
    return training, Batches(data.test, 2 * size)


def _fit(model, batches, test_batches, recipe, run, console):
    """Trains, and returns the log."""
    bar = ProgressBar(console, recipe.epochs, len(batches)) if console else None

    def on_epoch(row):
        run.append_log(row)
        if bar:
            bar.show(row)

    images = min(len(batches) * recipe.batch_size, len(batches.split))
    log = EpochLog(images, on_epoch)
    try:
        model.fit(
            batches,
            epochs=recipe.epochs,
            validation_data=test_batches,
            callbacks=[batches.callback(), log, *([bar] if bar else [])],
            verbose=0,
        )
    finally:
        if bar:
            bar.stop()
    return log


def _save(model, evaluation, data, run, title):
    """Pictures, and the trained network in two forms."""
    pictures = {
        "curves": plot_curves(run.log, title),
        "confusion_matrix": plot_confusion_matrix(evaluation, title),
        "predictions": plot_predictions(evaluation, data.test, title),
    }
    for name, figure in pictures.items():
        save_figure(figure, run.path / f"{name}.png")
    # Without the optimiser, so that it opens where this package's optimiser is not known.
    trained = keras.Model(model.input, model.output, name=model.name)
    trained.save(run.path / "model.keras")
    run.write_json("classes.json", list(data.class_names))
    if keras.backend.backend() == "tensorflow":
        from keras_preact.export import export_saved_model

        export_saved_model(trained, run.path / "saved_model")
