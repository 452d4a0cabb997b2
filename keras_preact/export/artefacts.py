"""`export`: a trained network in another format, compared with the original."""

import dataclasses
import os
import pathlib
from typing import TYPE_CHECKING, Literal

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

if TYPE_CHECKING:
    from rich.console import Console

    from keras_preact.data import ImageData

#: Largest allowed difference of a score, for the network as it is and with folded norms.
TOLERANCE, TOLERANCE_FOLDED = 1e-5, 1e-4

#: File in the folder of exports that describes each of them.
_EXPORTS = "exports.json"

#: Batch sizes that are compared, so that a batch size that was fixed by mistake is found.
BATCHES = (1, 5, 17)


@dataclasses.dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        path: The file or folder.
        format: One of `keras_preact.export.formats.FORMATS`.
        folded: Whether batch normalisation is folded into convolutions.
        precision: Its precision, or the dtype policy that it computes in.
        megabytes: Its size in MB.
        difference: Largest difference of a score from the network's in float32, over all batches
            that were compared.
        images: The images that were compared: `"test images"`, or `"noise"` if there were none.
        accuracy_before, accuracy_after: Accuracy on the test images of the network in float32 and
            of the file, from 0 to 1; only if the precision is below float32.
        classes_lost: Classes whose recall falls by more than one percentage point, and by how much.
        kept_float: Operations that stay float in an int8 file, because int8 would cost accuracy.
        temperature: The temperature that divides its logits, if it is calibrated.
        calibration_before, calibration_after: Expected calibration error on the test images without
            and with the temperature.
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
    source: str | os.PathLike,
    format: str = "saved_model",
    out: str | os.PathLike | None = None,
    *,
    fold: bool = True,
    precision: str = "float32",
    integers: Literal["uint8", "int8"] | None = None,
    calibrate: bool = False,
    data: "ImageData | str | None" = None,
    size: int | None = None,
    shorter: int | None = None,
    interpolation: str | None = None,
    console: "Console | None" = None,
    quantize: str | None = None,
    dtype: str | None = None,
) -> Exported:
    """Exports a trained network to another format, reads it back, and compares the two.

    Whatever dtype the network was trained with, the export computes in float32 unless `precision`
    says otherwise, so that it runs on every machine. The class names (`classes.json`), the way in
    which image files are resized and cropped (`geometry.json`) and a model card (`README.md`) are
    written beside it.

    Args:
        source: Folder of a finished run, or a `.keras` file.
        format: `"saved_model"` (TensorFlow Serving), `"keras"` (in Keras's own layers, for any
            backend), `"litert"` (TensorFlow Lite), `"onnx"` or `"openvino"`.
        out: Folder to write to; by default `export` in the run's folder, or `NAME-export` beside
            the file.
        fold: Whether to fold batch normalisation into the convolutions before it.
        precision: `"float32"`; `"float16"` (LiteRT, OpenVINO): 16-bit weights; `"dynamic"`
            (LiteRT): 8-bit weights; `"int8"` (LiteRT, ONNX, OpenVINO): 8-bit weights and
            activations, with ranges from training images; or a dtype policy to compute in,
            `"mixed_bfloat16"` or `"mixed_float16"` (`saved_model`, `keras`), for machines that are
            fast in 16 bits. The accuracy on the test images is reported before and after, with the
            classes that lose recall. Operations whose int8 costs more than one percentage point on
            the validation split, or without one on training images, stay float and are listed.
        integers: `"uint8"` or `"int8"`: dtype of the images and scores of a LiteRT file with
            `precision="int8"`; `None` for uint8 images and float scores.
        calibrate: Whether to scale the scores to softmax(logits / T), with the temperature T that
            `keras_preact.evaluation.fit_temperature` finds on the validation split. The calibration
            error on the test images is reported before and after.
        data: An `ImageData` or the name of a data set to compare and calibrate with; by default
            that of the run. Without any, noise is compared.
        size, shorter, interpolation: Changes to the `keras_preact.data.Geometry` by which image
            files are resized and cropped; with `size`, the network takes images of any size.
        console: A `rich.console.Console` for progress; `None` prints nothing.
        quantize, dtype: Earlier names of `precision`.

    Returns:
        An `Exported`.

    Raises:
        ConfigError: If an argument has a value that is not allowed.
        DataError: If there are no images to calibrate with, or no temperature fits them.
        ExportError: If the scores differ by more than 1e-5 (folded: 1e-4) in float32, or the format
            has no operation for a layer; nothing is written then.
        SaveError: If the export cannot be written.

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
    expected = "images to calibrate and compare with"
    require(bool(data) or not rounds, "data", data, expected)
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
        with in_one_line(ExportError, f"The {format} export cannot be read back"):
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
        if rounds and data:
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
    """The network with the temperature fitted to the validation images, and its effect."""
    if data is None or data.validation is None:
        raise ConfigError(
            "`calibrate` must be False without a validation split: a temperature fitted to test "
            "images would make their calibration error look better than it is. Received: "
            f"calibrate=True, {data!r}. Train with data.validation=0.1, or use data that has a "
            "validation split."
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
    """Images to compare with: those given or the run's; `None` if they are gone and optional."""
    if isinstance(data, str):
        return trained.load_data(data)
    if data is not None or not trained.run:
        return data
    try:
        return trained.load_data()
    except DataError as error:
        if needed:
            raise
        say(console, f"{error} The comparison uses noise.")
        return None


def _checked_format(format, precision, integers):
    require(format in FORMATS, "format", format, f"one of {quoted(FORMATS)}")
    chosen = FORMATS[format]
    expected = f"one of {quoted(chosen.precisions)} for {format!r}"
    require(precision in chosen.precisions, "precision", precision, expected)
    allowed = (None, "uint8", "int8") if (format, precision) == ("litert", "int8") else (None,)
    expected = "None, or 'uint8' or 'int8' for format='litert' with precision='int8'"
    require(integers in allowed, "integers", integers, expected)
    refuse_missing(format)
    return chosen


def _list(folder, trained, file, found):
    """Adds a file to the list in the folder, which other exports may change meanwhile."""
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
    expected = "a folder other than the network's"
    require(path.resolve() != home.resolve(), "out", str(path), expected)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        expected = f"a writable folder ({error.strerror})"
        require(False, "out", str(path), expected)
    foreign = (path / "README.md").exists() and not (path / _EXPORTS).is_file()
    expected = "a folder without another README.md, because the model card is written to README.md"
    require(not foreign, "out", str(path), expected)
    return RunFolder(path)


def _refuse_other_geometry(folder, geometry):
    """All exports in a folder share one geometry."""
    if (folder.path / GEOMETRY).is_file():
        found = folder.read_json(GEOMETRY)
        expected = "a folder whose exports have the same geometry"
        fix = f"Its {GEOMETRY} is {found}. Use another folder."
        require(found == geometry.to_dict(), "out", str(folder.path), expected, fix)


def _images(trained, data):
    """uint8 images to compare: test images or noise."""
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
            f"The scores of the export must equal the network's to {tolerance:g}. Received: a "
            f"difference of {found.difference:.2g} ({found.format}, {found.images}). Nothing was "
            "written" + ("; fold=False (--no-fold) may be closer." if found.folded else ".")
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
