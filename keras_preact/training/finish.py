"""`finish`: what training writes after its last epoch, and its `Result`."""

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_preact.card import model_card
from keras_preact.console import say
from keras_preact.errors import line_of
from keras_preact.evaluation import (
    evaluate,
    plot_confusion_matrix,
    plot_curves,
    plot_predictions,
    save_figure,
)
from keras_preact.residual import count_multiply_adds
from keras_preact.rewrite import outputs_of, portable, with_policy
from keras_preact.run import CLASSES, GEOMETRY, RunFolder
from keras_preact.trained import Trained
from keras_preact.training.statistics import average_statistics

if TYPE_CHECKING:
    from rich.console import Console


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a run; `result.json` in its folder.

    Attributes:
        run: The run folder; empty on machines that only compute.
        model: Name of the network.
        data: The data set, as given.
        parameters: Trainable parameters.
        test_accuracy: Accuracy of the saved network on the test images: that of the last epoch or,
            if the recipe says so, of the best epoch on the validation images.
        test_correct: Number of correct test images.
        test_images: Number of test images.
        epochs: Passes over the training images; fewer than the recipe's after early stopping.
        seconds: Time of the whole run: loading, training, evaluation, plots and export, including
            training before an interruption.
        images_per_second: Training images per second, without the first epoch (if there are
            others).
        skipped_images: Damaged files that were left out.
        multiply_adds: Multiply-adds of a forward pass of one image.
        dtype: The dtype policy of training and test.
        balanced_accuracy: Mean recall over the classes.
        worst_class, worst_recall: The class with the lowest recall, and that recall.
        tested: Description of the test images.
        outputs: Kind of output of the saved network, as from `keras_preact.rewrite.outputs_of`.
        float32_accuracy, float32_difference: After training in 16 bits: the accuracy of the saved
            network, which computes in float32, and the largest difference in a score.
        best_epoch, kept_epoch: The best epoch on the validation images, and the one whose weights
            are saved; `None` without validation images.
        validation_accuracy: Accuracy on the validation images after the saved epoch.
        macro_f1, roc_auc, average_precision: One-vs-rest means over the classes with test images;
            `None` if only one class has any.
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
    multiply_adds: int = 0
    dtype: str = "float32"
    balanced_accuracy: float | None = None
    worst_class: str | None = None
    worst_recall: float | None = None
    tested: str = "its test part"
    outputs: str | None = "probabilities"
    float32_accuracy: float | None = None
    float32_difference: float | None = None
    best_epoch: int | None = None
    kept_epoch: int | None = None
    validation_accuracy: float | None = None
    macro_f1: float | None = None
    roc_auc: float | None = None
    average_precision: float | None = None


def _images_per_second(log):
    """Training speed without the first epoch, in which the step is compiled (if there are more)."""
    rows = log[1:] or log
    if not rows:  # a machine that does not log, and came when all was done
        return 0.0
    seconds = [row["seconds"] for row in rows]
    images = [row["seconds"] * row["images_per_second"] for row in rows]
    return sum(images) / sum(seconds)


def finish(job: Any, loop: Any, run: RunFolder, console: "Console | None", start: float) -> Result:
    """Final statistics and evaluation; saves the network, plots and model card.

    Args:
        job: The `Job`, trained.
        loop: Its `Loop`.
        run: The `RunFolder` to write to.
        console: For messages, or `None`.
        start: When this process began, by `time.perf_counter`.

    Returns:
        The `Result`, also written to the folder, which marks the run as finished.
    """
    engine, recipe = job.engine, job.parts.recipe
    with engine.averaged():
        if recipe.precise_bn:
            average_statistics(engine, job.data.train, job.parts.network.norm_momentum)
        evaluation = loop.evaluate()
        kept = _keep_network(job, run, evaluation) if engine.is_chief else {}
    result = Result(
        run=str(run.path) if engine.is_chief else "",
        model=job.config.model,
        data=job.config.data,
        parameters=sum(int(np.prod(w.shape)) for w in engine.model.trainable_weights),
        test_accuracy=evaluation.accuracy,
        test_correct=evaluation.correct,
        test_images=len(evaluation.labels),
        epochs=loop.epochs_done,
        seconds=round(loop.seconds_before + time.perf_counter() - start, 2),
        images_per_second=round(_images_per_second(run.log), 1),
        skipped_images=len(job.data.skipped),
        multiply_adds=count_multiply_adds(engine.model),
        dtype=job.decided["dtype"],
        tested=job.data.tested,
        **evaluation.by_class(),
        **kept,
        **_validated(loop, run.log),
    )
    if engine.is_chief:
        _draw(job, run, evaluation, console)
        names, geometry = job.data.class_names, _geometry(job)
        trained = Trained(engine.model, names, run.path, run, geometry=geometry)
        card = model_card(trained, result=dataclasses.asdict(result))
        run.write_bytes("README.md", card.encode())
    run.write_json("result.json", dataclasses.asdict(result))
    return result


def _validated(loop, log):
    """Fields of `Result` that say what the validation part said."""
    if loop.data.validation is None:
        return {}
    # Not there: on a machine that does not log, or with a disk that was full.
    errors = {row["epoch"]: row["validation_error"] for row in log}
    error = errors.get(loop.kept_epoch)
    return {
        "best_epoch": loop.best and loop.best["epoch"],
        "kept_epoch": loop.kept_epoch,
        "validation_accuracy": None if error is None else 1 - error,
    }


def _geometry(job):
    return job.parts.data.geometry.of_size(job.data.image_shape[:2])


def _keep_network(job, run, evaluation):
    """Writes the network in the forms that are used; fields of `Result` that describe it.

    They say what it gives, and how far the scores of 16 bits are from its own, in float32.
    """
    model = job.engine.model
    model.get_layer("predictions").activation = keras.activations.softmax
    # Without the optimiser, in float32 and in Keras's own layers, so that it opens anywhere.
    kept = with_policy(keras.Model(model.input, model.output, name=model.name))
    with run.replacing("model.keras") as path:
        portable(kept).save(path)
    run.write_json(CLASSES, list(job.data.class_names))
    run.write_json(GEOMETRY, _geometry(job).to_dict())
    if job.config.saved_model and keras.backend.backend() == "tensorflow":
        from keras_preact.export import export_saved_model

        with run.replacing("saved_model") as path:
            export_saved_model(kept, path, job.data.class_names, _geometry(job))
    outputs = {"outputs": outputs_of(kept)}
    if job.decided["dtype"] == "float32":
        return outputs
    found = evaluate(kept, job.data.test, job.data.class_names)
    difference = float(np.abs(found.scores - evaluation.scores).max())
    return {**outputs, "float32_accuracy": found.accuracy, "float32_difference": difference}


def _draw(job, run, evaluation, console):
    """Pictures; one that cannot be drawn, as of an image that is gone, keeps no run unfinished."""
    pictures = {
        "curves": lambda: plot_curves(run.log, job.title),
        "confusion_matrix": lambda: plot_confusion_matrix(evaluation, job.title),
        "predictions": lambda: plot_predictions(evaluation, job.data.test, job.title),
    }
    for name, plot in pictures.items():
        try:
            figure = plot()
        except Exception as error:
            say(console, f"{name}.png could not be drawn: {line_of(error)}")
            continue
        with run.replacing(f"{name}.png") as path:
            save_figure(figure, path)
