"""`main_path`: the main workflow on a small network, to test this machine."""

import pathlib
import tempfile
from collections.abc import Iterator

import keras

from keras_preact.errors import OWN, line_of
from keras_preact.evaluation import classify_files, evaluate
from keras_preact.export import export
from keras_preact.export.formats import FORMATS, missing
from keras_preact.precision import choose_dtype
from keras_preact.trained import load_trained
from keras_preact.training.config import TrainConfig
from keras_preact.training.trainer import train

#: A network that trains in a moment, and still has all kinds of layers of its family.
SMALL = {"network.units": [1, 1], "network.filters": [8, 16], "network.stem_filters": 8}


def main_path() -> Iterator[tuple[str, str, bool | None]]:
    """Trains, evaluates, predicts with and exports a small network, and reports on each.

    Yields:
        For each step its name, the outcome, and whether it is right; `None` for a step that cannot
        be tried here. A failed step does not stop the others.

    Example:
        >>> from keras_preact.training.walk import main_path
        >>> what, found, ok = next(main_path())
        >>> what, ok
        ('train, float32', True)
    """
    with tempfile.TemporaryDirectory() as folder:
        for dtype in dict.fromkeys(("float32", choose_dtype().policy)):
            run = f"{folder}/{dtype}"
            trained = yield from _tried(f"train, {dtype}", _train, run, dtype)
            if not trained:
                continue
            yield from _tried(f"evaluate, {dtype}", _evaluate, run, trained)
            yield from _tried(f"predict, {dtype}", _predict, run)
            for format in FORMATS:
                yield from _tried(f"export {format}, {dtype}", _export, run, format)
            yield from _tried(f"export litert int8, {dtype}", _export, run, "litert", "int8")


def _tried(what, part, *arguments):
    """One row, of what a function says in words and whether that is right; gives its result."""
    try:
        found, ok, result = part(*arguments)
    except OWN as error:
        found, ok, result = str(error), False, None
    except Exception as error:
        found, ok, result = line_of(error, fix="Please report it with this text."), False, None
    yield what, found, ok
    return result


def _train(run, dtype):
    fields = {"epochs": 6, "batch_size": 32, "learning_rate": 0.05, "saved_model": False}
    result = train(TrainConfig("resnet8v2", dtype=dtype, out=run, settings=SMALL, **fields))
    words = f"{result.test_accuracy:.1%} of {result.test_images} digits in {result.seconds:.0f} s"
    if result.float32_accuracy is not None:
        words += f"; kept in float32: {result.float32_accuracy:.1%}"
    return words, result.test_accuracy > 0.5, result  # chance is 0.1


def _evaluate(run, result):
    trained = load_trained(run, "auto")
    data = trained.load_data()
    correct = evaluate(trained.model, data.test, data.class_names).correct
    words = f"{correct} correct in {trained.dtype.policy}, {result.test_correct} after training"
    return words, abs(correct - result.test_correct) <= 0.02 * result.test_images, None


def _predict(run):
    trained = load_trained(run, "auto")
    images = trained.load_data().test.images([0])
    expected = trained.class_names[trained.model.predict_on_batch(images).argmax()]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "digit.png")
        keras.utils.save_img(file, images[0], scale=False)
        found, unreadable = classify_files(trained, [file], top=1)
    label = found["label"].tolist()
    return f"a file is classified as {' '.join(label)}", label == [expected], not unreadable


def _export(run, format, precision="float32"):
    if words := missing(format):
        return words, None, None
    made = export(run, format, precision=precision)
    words = f"read back; scores differ by at most {made.difference:.0e}"
    if precision != "float32":
        words = f"read back; {made.accuracy_before:.1%} correct before, {made.accuracy_after:.1%}"
        return words, made.accuracy_after > made.accuracy_before - 0.1, None
    return words, True, None
