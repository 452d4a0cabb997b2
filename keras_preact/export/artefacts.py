"""`export`: a trained network as a file for somewhere else, compared with the network it was."""

import dataclasses
import pathlib

import numpy as np

from keras_preact.card import (
    calibration_in_words,
    losses_in_words,
    model_card,
    served_files,
)
from keras_preact.checked import require
from keras_preact.console import say
from keras_preact.data.reading import AS_STORED
from keras_preact.errors import ConfigError, DataError, ExportError, in_one_line, quoted
from keras_preact.evaluation import at_temperature, evaluate, fit_temperature
from keras_preact.export.elsewhere import write
from keras_preact.export.formats import FORMATS, POLICIES, Wish, call, refuse_missing
from keras_preact.export.rounding import classes_that_lose, rounded, spread
from keras_preact.rewrite import fold_batch_norm, portable, with_policy, with_temperature
from keras_preact.run import CLASSES, GEOMETRY, RunFolder
from keras_preact.trained import load_trained

#: Largest difference of a score that is allowed, as the network is and with its norms folded away.
TOLERANCE, TOLERANCE_FOLDED = 1e-5, 1e-4

#: In the folder of exports: what each of them is.
_EXPORTS = "exports.json"

#: Batches that are compared, so that a batch size that is fixed by mistake is found.
BATCHES = (1, 5, 17)


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        path: The file or folder.
        format: One of `FORMATS`.
        folded: Whether norms are folded into convolutions.
        precision: What its numbers are, or the dtype policy that it computes in.
        megabytes: Size.
        difference: Largest difference of a score from the network's in float32, over all compared
            batches.
        images: With what it was compared: `"test images"`, or `"noise"` where there were none.
        accuracy_before, accuracy_after: Share of the test images that the network in float32 and
            the file classify correctly, where that rounds more: 8 bits, or 16.
        classes_lost: Classes that lose more than a point of recall by it, and how much.
        kept_float: Operations that stay float in an int8 file, since they would cost a point.
        temperature: By which its logits are divided, where it is calibrated.
        calibration_before, calibration_after: The expected calibration error on the test images
            without and with that.
    """

    path: str
    format: str
    folded: bool
    precision: str
    megabytes: float
    difference: float
    images: str
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    classes_lost: dict[str, float] = dataclasses.field(default_factory=dict)
    kept_float: tuple[str, ...] = ()
    temperature: float | None = None
    calibration_before: float | None = None
    calibration_after: float | None = None


def export(
    source,
    format="saved_model",
    out=None,
    *,
    fold=True,
    precision="float32",
    integers=None,
    calibrate=False,
    data=None,
    size=None,
    shorter=None,
    interpolation=None,
    console=None,
    quantize=None,
    dtype=None,
) -> Exported:
    """Writes a trained network in another format, reads it back, and compares the two.

    What is written computes in float32, whatever the network was trained in, so that it runs where
    nothing of 16 bits does, unless `precision` says otherwise. Beside it stand the names of the
    classes (`classes.json`), how image files are fitted to it (`geometry.json`) and a model card
    (`README.md`).

    Args:
        source: Folder of a finished run, or a `.keras` file.
        format: `saved_model` (TensorFlow Serving), `keras` (in Keras's own layers, for any
            backend), `litert` (TensorFlow Lite), `onnx`, or `openvino`.
        out: Folder to write into; if not given, `export` in the run's folder, or `NAME-export`
            beside the file.
        fold: Fold batch normalisation into the convolutions before it.
        precision: `float32`; `float16` (LiteRT, OpenVINO): weights kept in 16 bits; `dynamic`
            (LiteRT): weights of 8 bits; `int8` (LiteRT, ONNX, OpenVINO): weights and activations of
            8 bits, their ranges from training images; or a dtype policy to compute in,
            `mixed_bfloat16` or `mixed_float16` (`saved_model`, `keras`), for machines that are fast
            in 16 bits. How many test images are classified correctly is said beside the network's
            own, with the classes that lose recall. Operations whose int8 costs more than a point on
            the validation part, or without one on training images, stay float and are named.
        integers: `"uint8"` or `"int8"`: images and scores of LiteRT's int8 are such integers too.
        calibrate: Make the scores softmax(logits / T), with the temperature T that
            `keras_preact.evaluation.fit_temperature` finds on the validation part. The calibration
            error on the test part is said before and after.
        data: An `ImageData` or the name of one to compare and calibrate with; the run's if not
            given. Without any, noise is compared.
        size, shorter, interpolation: As `keras_preact.data.Geometry` has them, where image files
            are to be fitted otherwise; the network then takes images of any size.
        console: A `rich.console.Console` for progress; `None` prints nothing.
        quantize, dtype: Earlier names of `precision`.

    Returns:
        An `Exported`.

    Raises:
        ConfigError: For arguments that are not allowed.
        DataError: When there are no images to calibrate with, or no temperature fits them.
        ExportError: When scores differ by more than 1e-5 (folded: 1e-4) where nothing is rounded,
            or the format has no operation for a layer; nothing is left behind.
        SaveError: When it cannot be written.

    Example:
        >>> import tempfile
        >>> from keras_preact import create_model
        >>> from keras_preact.export import export
        >>> path = tempfile.mkdtemp() + "/mine.keras"
        >>> create_model("resnet8v2", input_shape=(8, 8, 1)).save(path)
        >>> export(path, "keras").difference < 1e-5
        True
    """
    precision = quantize or dtype or precision
    chosen = _checked_format(format, precision, integers)
    trained = load_trained(source, "float32").fitted(size, shorter, interpolation)
    for note in trained.notes:
        say(console, note)
    rounds = precision != "float32"
    data = _data(trained, data, rounds or calibrate, console)
    require(data or not rounds, "data", data, "images to calibrate with and to compare on")
    scaled = {}
    if calibrate:
        trained, scaled = _calibrated(trained, data)
    folder = _folder(trained, out)
    _refuse_other_geometry(folder, trained.geometry)
    model = portable(trained.model)
    if fold:
        model = fold_batch_norm(model)
    wish = Wish(precision, class_names=trained.class_names, geometry=trained.geometry)
    if precision in POLICIES:
        model = with_policy(model, precision)
    elif precision == "int8":
        wish = rounded(format, model, wish._replace(integers=integers), data, console)
    kind = "".join(f"-{word}" for word in (rounds and precision, integers) if word)
    kind += "-calibrated" * calibrate
    file = f"{pathlib.Path(chosen.file).stem}{kind}{pathlib.Path(chosen.file).suffix}"
    with folder.replacing(file) as path:
        write(format, model, path, wish)
        with in_one_line(ExportError, f"What was written as {format} cannot be read back"):
            predict = chosen.read(path)
            difference = _difference(trained.model, predict, _images(trained, data))
        found = Exported(
            path=str(folder.path / file),
            format=format,
            folded=fold,
            precision=precision,
            megabytes=round(_size(path) / 2**20, 3),
            difference=difference,
            images="test images" if data else "noise",
            kept_float=wish.kept,
            **scaled,
        )
        if rounds:
            before, after = (
                evaluate(p, data.test, data.class_names) for p in (trained.model, predict)
            )
            found = dataclasses.replace(
                found,
                accuracy_before=before.accuracy,
                accuracy_after=after.accuracy,
                classes_lost=classes_that_lose(before, after),
            )
        else:
            _refuse_difference(found, TOLERANCE_FOLDED if fold else TOLERANCE)
    _list(folder, trained, file, found)
    say(console, f"{found.path}: {found.megabytes:.1f} MB, {_in_words(found)}")
    if format == "saved_model" and trained.geometry.reading != AS_STORED:
        say(console, served_files(trained))
    return found


def _calibrated(trained, data):
    """The network at the temperature that suits the validation images, and what that does."""
    if data is None or data.validation is None:
        raise ConfigError(
            "`calibrate` must be False without a validation part: a temperature fitted to test "
            "images would make their calibration error look better than it is. Received: "
            f"calibrate=True, {data!r}. Train with data.validation=0.1, or name images that have a "
            "part called val."
        )
    temperature = fit_temperature(evaluate(trained.model, data.validation, data.class_names))
    before = evaluate(trained.model, data.test, data.class_names)
    fields = {
        "temperature": temperature,
        "calibration_before": before.calibration_error,
        "calibration_after": at_temperature(before, temperature).calibration_error,
    }
    return dataclasses.replace(trained, model=with_temperature(trained.model, temperature)), fields


def _data(trained, data, needed, console):
    """Images to compare with: those given, or the run's, unless they are gone and need not be."""
    if isinstance(data, str):
        return trained.load_data(data)
    if data is not None or not trained.run:
        return data
    try:
        return trained.load_data()
    except DataError as error:
        if needed:
            raise
        say(console, f"{error} Noise is compared.")
        return None


def _checked_format(format, precision, integers):
    require(format in FORMATS, "format", format, f"one of {quoted(FORMATS)}")
    chosen = FORMATS[format]
    expected = f"one of {quoted(chosen.precisions)} for {format!r}"
    require(precision in chosen.precisions, "precision", precision, expected)
    allowed = (None, "uint8", "int8") if (format, precision) == ("litert", "int8") else (None,)
    expected = "None, or 'uint8' or 'int8' with precision='int8' of 'litert'"
    require(integers in allowed, "integers", integers, expected)
    refuse_missing(format)
    return chosen


def _list(folder, trained, file, found):
    """Adds a file to those that the folder names: other formats may be exported meanwhile."""
    import filelock

    with filelock.FileLock(folder.path / ".exports.lock"):
        folder.write_json(CLASSES, list(trained.class_names))
        folder.write_json(GEOMETRY, trained.geometry.to_dict())
        exports = folder.read_json(_EXPORTS) if (folder.path / _EXPORTS).is_file() else {}
        exports[file] = dataclasses.asdict(found)
        folder.write_json(_EXPORTS, exports)
        folder.write_bytes("README.md", model_card(trained, exports).encode())


def _folder(trained, out):
    home = trained.path if trained.run else trained.path.parent
    own = "export" if trained.run else f"{trained.path.stem}-export"
    path = pathlib.Path(out) if out is not None else home / own
    expected = "another folder than the network's, whose files stay as they are"
    require(path.resolve() != home.resolve(), "out", str(path), expected)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        expected = f"a folder that can be written ({error.strerror})"
        require(False, "out", str(path), expected)
    foreign = (path / "README.md").exists() and not (path / _EXPORTS).is_file()
    expected = "a folder of its own, since a model card is written as its README.md"
    require(not foreign, "out", str(path), f"{expected}; this one has another's")
    return RunFolder(path)


def _refuse_other_geometry(folder, geometry):
    """The files in a folder share what says how images are fitted to them."""
    if (folder.path / GEOMETRY).is_file():
        found = folder.read_json(GEOMETRY)
        expected = "a folder whose files are for images that are fitted alike"
        fix = f"Its {GEOMETRY} says {found}. Name another folder."
        require(found == geometry.to_dict(), "out", str(folder.path), expected, fix)


def _images(trained, data):
    """uint8 images to compare: of the test part, as they are, or noise."""
    count = sum(BATCHES)
    if data is not None:
        few = np.resize(spread(len(data.test), count), count)
        return data.test.images(few)
    height, width, channels = trained.image_shape
    shape = (count, height or 64, width or 64, channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _difference(model, predict, images) -> float:
    """The largest difference of a score over all batches; infinite where one is not finite."""
    largest, first = 0.0, 0
    for size in BATCHES:
        batch = images[first : first + size]
        first += size
        expected = call(model, batch)
        found = np.asarray(predict(batch))
        numbers = np.isfinite(found).all() and np.isfinite(expected).all()
        if found.shape != expected.shape or not numbers:
            return float("inf")
        largest = max(largest, float(np.abs(found - expected).max()))
    return largest


def _refuse_difference(found, tolerance):
    if found.difference > tolerance:
        raise ExportError(
            f"The scores of what was exported must be the network's to {tolerance:g}. Received: a "
            f"difference of {found.difference:.2g} ({found.format}, {found.images}). Nothing is "
            "left behind" + ("; fold=False (--no-fold) may be nearer." if found.folded else ".")
        )


def _in_words(found):
    difference = f"{found.difference:.1g} from the network's in float32"
    words = f"scores differ by at most {difference} ({found.images})"
    if found.accuracy_after is not None:
        words += (
            f"; accuracy {found.accuracy_before:.2%} before, {found.accuracy_after:.2%} with "
            f"{found.precision}{losses_in_words(dataclasses.asdict(found))}"
        )
    if found.temperature is not None:
        words += f"; {calibration_in_words(dataclasses.asdict(found))}"
    return words


def _size(path):
    return sum(f.stat().st_size for f in (path.rglob("*") if path.is_dir() else [path]))
