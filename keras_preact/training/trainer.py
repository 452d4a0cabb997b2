"""`train`: from a `TrainConfig` to a run folder. Read top to bottom, it says what happens."""

import dataclasses
import hashlib
import os
import shlex
import time

import keras
import numpy as np

from keras_preact.card import model_card
from keras_preact.citations import citations
from keras_preact.console import say
from keras_preact.errors import ConfigError
from keras_preact.evaluation import (
    evaluate,
    plot_confusion_matrix,
    plot_curves,
    plot_predictions,
    save_figure,
)
from keras_preact.residual import count_multiply_adds
from keras_preact.rewrite import portable, with_policy
from keras_preact.run import RunFolder, environment, refuse_used, runs_in
from keras_preact.trained import Trained
from keras_preact.training.config import TrainConfig
from keras_preact.training.engine import make_engine
from keras_preact.training.job import prepare
from keras_preact.training.memory import largest_batch
from keras_preact.training.statistics import average_statistics


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
        multiply_adds: Of one image's forward pass.
        dtype: The dtype policy that it was trained and tested in.
        balanced_accuracy: The mean of the classes' recalls.
        worst_class, worst_recall: The class that is recognised least, and how much of it is.
        tested: Which images the test images are, in words.
        float32_accuracy, float32_difference: Where that is of 16 bits, the same share for the
            network that is kept, which computes in float32, and the largest difference of a score.
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
    float32_accuracy: float | None = None
    float32_difference: float | None = None


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
        begun = begun_run(config)
        batch_size = None if begun else largest_batch(config, console)
    engine = make_engine(config)
    if not engine.is_chief:
        console = None
    run = begun_run(config) if engine.is_chief else None
    result = engine.broadcast_json(run.result if run and run.is_finished else None)
    if result:
        say(console, f"This run is finished already: {result['run']}.")
        return Result(**result)
    decided = engine.broadcast_json(run.read_json("env.json")["decided"] if run else None) or {}
    job = prepare(config, engine, console, decided, batch_size)
    run = run or _new_run(config, job)
    with run.locked():
        _describe(run, job, console)
        loop = job.loop(run, console, start)
        if loop.resume():
            say(console, f"going on in {run.path} after step {loop.step}")
        loop.run()
        with engine.averaged():
            evaluation, in_float32 = _finish(job, loop, run)
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
            multiply_adds=count_multiply_adds(engine.model),
            dtype=job.decided["dtype"],
            balanced_accuracy=evaluation.balanced_accuracy,
            worst_class=evaluation.worst_class[0],
            worst_recall=evaluation.worst_class[1],
            tested=job.data.tested,
            **in_float32,
        )
        if engine.is_chief:
            trained = Trained(engine.model, job.data.class_names, run.path, run)
            card = model_card(trained, result=dataclasses.asdict(result))
            run.write_bytes("README.md", card.encode())
        run.write_json("result.json", dataclasses.asdict(result))
    return result


def begun_run(config: TrainConfig) -> RunFolder | None:
    """The run that this config is to go on with or that it has finished, or `None`.

    Raises:
        ConfigError: When there is another run in its folder, or something else.
    """
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
        "env.json": {
            **environment(),
            "decided": job.decided,
            **job.chosen,
            "data_path": _absolute(job.config.data),
        },
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
    begun, now = run.read_json("env.json"), facts["env.json"]
    for each in (begun, now):
        each["devices"] = str(each.get("devices")).upper()  # JAX's were in small letters once
    for name in ("packages", "backend", "devices", "processors"):
        if begun.get(name) != now[name]:
            say(console, f"The run was begun with other {name}: the last bits may differ.")


def _absolute(data):
    """Where the images are, for those who look at the run from another folder; or `None`."""
    kind, _, path = data.partition(":")
    return os.path.abspath(os.path.expanduser(path)) if kind in ("folder", "npz") else None


def _images_per_second(log):
    """Training speed without the first epoch, in which the step is compiled (if there are more)."""
    rows = log[1:] or log
    if not rows:  # a machine that does not log, and came when all was done
        return 0.0
    seconds = [row["seconds"] for row in rows]
    images = [row["seconds"] * row["images_per_second"] for row in rows]
    return sum(images) / sum(seconds)


def _finish(job, loop, run):
    """Last statistics and evaluation, the network in the forms that are used, and pictures.

    Returns:
        The evaluation, and the fields of `Result` that compare it with the network in float32.
    """
    engine, recipe = job.engine, job.parts.recipe
    if recipe.precise_bn:
        momentum = job.parts.network.norm_momentum
        average_statistics(engine, job.data.train, recipe.precise_bn, recipe.batch_size, momentum)
    evaluation = loop.evaluate()
    if not engine.is_chief:
        return evaluation, {}
    model = engine.model
    model.get_layer("predictions").activation = keras.activations.softmax
    # Without the optimiser, in float32 and in Keras's own layers, so that it opens anywhere.
    trained = with_policy(keras.Model(model.input, model.output, name=model.name))
    with run.replacing("model.keras") as path:
        portable(trained).save(path)
    run.write_json("classes.json", list(job.data.class_names))
    if job.config.saved_model and keras.backend.backend() == "tensorflow":
        from keras_preact.export import export_saved_model

        with run.replacing("saved_model") as path:
            export_saved_model(trained, path, job.data.class_names)
    pictures = {
        "curves": plot_curves(run.log, job.title),
        "confusion_matrix": plot_confusion_matrix(evaluation, job.title),
        "predictions": plot_predictions(evaluation, job.data.test, job.title),
    }
    for name, figure in pictures.items():
        with run.replacing(f"{name}.png") as path:
            save_figure(figure, path)
    return evaluation, _in_float32(job, trained, evaluation)


def _in_float32(job, trained, evaluation):
    """How far the scores of 16 bits are from those of the network that is kept."""
    if job.decided["dtype"] == "float32":
        return {}
    kept = evaluate(trained, job.data.test, job.data.class_names)
    difference = float(np.abs(kept.scores - evaluation.scores).max())
    return {"float32_accuracy": kept.accuracy, "float32_difference": difference}
