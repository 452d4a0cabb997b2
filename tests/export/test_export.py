"""Exports: read back by processes that never import this package, and equal to the network."""

import concurrent.futures
import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
import threading
import types

import keras
import numpy as np
import pytest

from keras_preact import create_model, load_data, load_trained
from keras_preact.card import model_card
from keras_preact.cli import main
from keras_preact.data import Geometry
from keras_preact.errors import ConfigError, ExportError
from keras_preact.evaluation import evaluate, fit_temperature
from keras_preact.export import artefacts, elsewhere, export, export_litert, rounding
from keras_preact.export.formats import FORMATS, Wish, missing
from keras_preact.run import RunFolder

pytestmark, mark = pytest.mark.tensorflow, pytest.mark
INSTALLED = [format for format in FORMATS if not missing(format)]

#: Each is `predict(images)` of a file at `path`, in a process of its own.
READERS = {
    "saved_model": """
import tensorflow as tf
model = tf.saved_model.load(path)
def predict(images):
    found = model.signatures["serving_default"](images=tf.constant(images))
    scores, labels = found["scores"].numpy(), found["label"].numpy().astype(str)
    assert (labels == np.array(names)[scores.argmax(1)]).all()
    files = [tf.io.encode_png(image).numpy() for image in images]
    again = model.signatures["serve_bytes"](images=tf.constant(files))["scores"]
    assert abs(again - scores).numpy().max() < 1e-6
    features = model.signatures["serve_features"](images=tf.constant(images))["features"]
    assert features.shape == (len(images), 64)
    return scores
assert tf.io.gfile.GFile(path + "/assets/classes.txt").read().split() == names
""",
    "keras": """
import keras
model = keras.models.load_model(path)
predict = lambda images: model.predict(images.astype("float32"), verbose=0)
""",
    "litert": """
import tensorflow as tf
model = tf.lite.Interpreter(path)
taken, given = model.get_input_details()[0]["index"], model.get_output_details()[0]["index"]
def predict(images):
    model.resize_tensor_input(taken, images.shape)
    model.allocate_tensors()
    model.set_tensor(taken, images)
    model.invoke()
    return model.get_tensor(given)
""",
    "onnx": """
import onnxruntime
model = onnxruntime.InferenceSession(path)
predict = lambda images: model.run(["scores"], {"images": images})[0]
""",
    "openvino": """
import openvino
wish = {"INFERENCE_PRECISION_HINT": "f32"}
model = openvino.Core().compile_model(path + "/model.xml", "CPU", wish)
predict = lambda images: model({"images": images})["scores"].copy()
""",
}

#: In a process that cannot import this package: the scores of sets of images, batch by batch.
ELSEWHERE = """
import sys
sys.modules["keras_preact"] = None
import numpy as np
def scores_of(predict, images):
    ends = np.cumsum([1, 5, 17, len(images) - 23])
    return np.concatenate([predict(part) for part in np.split(images, ends[:3])])
"""


@pytest.fixture(scope="module")
def run(trained_run, tmp_path_factory):
    return shutil.copytree(trained_run, tmp_path_factory.mktemp("run") / "digits")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A file of a network that is exported in a moment."""
    path = tmp_path_factory.mktemp("small") / "small.keras"
    fields = {"units": (1,), "filters": (4,), "stem_filters": 4}
    create_model("resnet8v2", input_shape=(8, 8, 1), classes=10, **fields).save(path)
    return path


@pytest.mark.slow
def test_a_run_in_use_elsewhere(run, tmp_path, run_python):
    """100 real images, in a process that cannot import this package, from every format."""
    trained = load_trained(run)
    images = trained.load_data().test.images(np.arange(100))
    np.save(tmp_path / "x.npy", images)
    code = f"{ELSEWHERE}\nimages, names = np.load('x.npy'), {list(trained.class_names)}\n"
    for format in INSTALLED:
        found = export(run, format)
        assert found.difference <= 1e-4 and found.images == "test images" and found.folded
        code += f"path = {found.path!r}\n{READERS[format]}\n"
        code += f"np.save('{format}.npy', scores_of(predict, images))\n"
    run_python(code, tmp_path)
    expected = trained.model.predict(images.astype("float32"), verbose=0)
    folder = run / "export"
    for format in INSTALLED:
        np.testing.assert_allclose(np.load(tmp_path / f"{format}.npy"), expected, atol=1e-4)
        assert f"| {FORMATS[format].file} |" in (folder / "README.md").read_text()
    assert json.loads((folder / "classes.json").read_text()) == list("0123456789")
    assert Geometry.from_json((folder / "geometry.json").read_text()) == trained.geometry
    assert load_trained(folder / "model.keras").geometry == trained.geometry == Geometry(8)
    assert (
        f"as follows: {trained.geometry} (`geometry.json`)." in (folder / "README.md").read_text()
    )
    assert not [*folder.glob(".partial*")]
    assert "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS=1" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    "format",
    [
        pytest.param(f, marks=pytest.mark.thorough if f == "onnx" else pytest.mark.slow)
        for f in INSTALLED
    ],
)
def test_convolutions_in_groups(format, tmp_path, randomize):
    fields = {"width": 2, "groups": 4, "stem": "deep", "projection_stride": "avg_pool"}
    model = create_model(
        "resnet50", units=(1, 2), filters=(4, 8), stem_filters=4, stem_kernel=3,
        input_shape=(17, 14, 3), classes=3, **fields,
    )  # fmt: skip
    randomize(model).save(tmp_path / "net.keras")
    found = export(tmp_path / "net.keras", format)
    assert found.difference <= 1e-4


@pytest.mark.parametrize(
    "formats",
    [
        pytest.param(["litert"], marks=pytest.mark.slow),
        pytest.param(INSTALLED, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_network_of_any_size_in_use_elsewhere(formats, tmp_path, run_python, randomize):
    model = randomize(create_model("resnet8v2", input_shape=(None, None, 3), classes=3))
    model.save(tmp_path / "any.keras")
    random, code = np.random.default_rng(0), f"{ELSEWHERE}\nnames = {list('012')}\n"
    sizes = {
        size: random.integers(0, 256, (30, *size, 3), np.uint8) for size in [(16, 16), (9, 20)]
    }
    for size, images in sizes.items():
        np.save(tmp_path / f"{size}.npy", images)
    for format in formats:
        path = export(tmp_path / "any.keras", format).path
        code += f"path = {path!r}\n{READERS[format]}\nfor size in {[*sizes]}:\n"
        code += "    scores = scores_of(predict, np.load(f'{size}.npy'))\n"
        code += f"    np.save(f'{format}{{size}}.npy', scores)\n"
    run_python(code, tmp_path)
    for size, images in sizes.items():
        expected = model.predict(images.astype("float32"), verbose=0)
        for format in formats:
            found = np.load(tmp_path / f"{format}{size}.npy")
            np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("format", INSTALLED)
def test_under_jax_it_is_written_by_tensorflow(format, run, tmp_path, run_python):
    """In a process of its own, and compared here with what JAX computes."""
    code = "import sys; from keras_preact.export import export; export(*sys.argv[1:])"
    run_python(code, tmp_path, run, format, "out", KERAS_BACKEND="jax")
    found = json.loads((tmp_path / "out" / "exports.json").read_text())[FORMATS[format].file]
    assert found["difference"] < 1e-4 and found["images"] == "test images"


def test_what_goes_wrong_in_another_process_is_said_here(tmp_path, monkeypatch):
    asked = []

    def fails(command, env, **_):
        folder = pathlib.Path(command[4])
        wish = json.loads((folder / "wish.json").read_text())
        asked.append((command[3], command[5], env["KERAS_BACKEND"], wish["precision"]))
        images = np.load(folder / "images.npy")
        assert images.shape == (3, 8, 8, 1) and (folder / "model.keras").is_file()
        return subprocess.CompletedProcess(command, next(codes), stderr="noise\nThe reason.\n")

    codes = iter((2, 1, 0))
    monkeypatch.setattr(elsewhere.subprocess, "run", fails)
    monkeypatch.setattr(elsewhere.keras.backend, "backend", lambda: "jax")
    model = create_model("resnet8v2", input_shape=(8, 8, 1))
    wish = Wish("int8", np.zeros((3, 8, 8, 1), np.uint8), geometry=Geometry(8))
    for kind in (ConfigError, ExportError):
        with pytest.raises(kind, match=r"^The reason\.$"):
            elsewhere.write("litert", model, tmp_path / "a", wish)
    elsewhere.write("litert", model, tmp_path / "a", wish)
    assert asked == 3 * [("litert", str(tmp_path / "a"), "tensorflow", "int8")]


def test_formats_that_are_exported_at_once_are_all_listed(run, tmp_path):
    trained, folder, barrier = load_trained(run), RunFolder(tmp_path), threading.Barrier(8)

    def add(number):
        found = artefacts.Exported("path", "keras", True, "float32", 1.0, 0.0, "noise")
        barrier.wait()
        artefacts._list(folder, trained, f"model{number}.keras", found)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        [*pool.map(add, range(8))]
    card = (tmp_path / "README.md").read_text()
    for number in range(8):
        assert f"| model{number}.keras |" in card
    assert len(folder.read_json("exports.json")) == 8


@pytest.mark.slow
def test_processes_that_export_the_same_run_at_once(run, tmp_path):
    export = [sys.executable, "-m", "keras_preact", "export", str(run), "--out", str(tmp_path)]
    formats = ("saved_model", "saved_model", "keras", "keras")
    processes = [subprocess.Popen([*export, "--format", name]) for name in formats]
    assert [process.wait() for process in processes] == [0] * 4
    assert RunFolder(tmp_path).read_json("exports.json").keys() == {"saved_model", "model.keras"}
    assert not [*tmp_path.glob(".partial*")]
    assert load_trained(tmp_path / "model.keras").class_names == load_trained(run).class_names


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_keras_file_opens_on_other_backends(backend, run, tmp_path, run_python):
    pytest.importorskip(backend)
    export(run, "keras", tmp_path)
    images = load_trained(run).load_data().test.images(np.arange(5))
    np.save(tmp_path / "x.npy", images)
    code = """
import importlib.machinery, sys

sys.modules["keras_preact"] = None
finder = importlib.machinery.PathFinder
find = finder.find_spec
hidden = lambda name: name.split(".")[0] == "tensorflow"
finder.find_spec = lambda name, *more: None if hidden(name) else find(name, *more)
import keras, numpy as np
x = np.load("x.npy").astype("float32")
np.save("scores.npy", keras.models.load_model("model.keras").predict(x, verbose=0))
"""
    run_python(code, tmp_path, KERAS_BACKEND=backend)
    expected = load_trained(run).model.predict(images.astype("float32"), verbose=0)
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), expected, atol=1e-4)


KINDS = [
    {"packaging": "repeated", "units": [1, 3], "filters": [4, 8], "stem_filters": 4,
     "input_shape": (None, None, 3)},
    {"packaging": "nested", "activation": "prelu_shared", "placement": "original"},
    {"shortcut": "exclusive_gating", "activation": "prelu"},
    {"shortcut": "dropout", "projection": "B"},
    {"input_shape": (None, None, 3)},
    {"normalization": "group", "norm_groups": 8, "weight_standardization": True},
    {"normalization": "fixup", "placement": "original", "packaging": "repeated"},
]  # fmt: skip


@mark.slow
@pytest.mark.parametrize("format", INSTALLED)
@pytest.mark.parametrize("fields", KINDS, ids=str)
def test_every_kind_of_network(format, fields, tmp_path, randomize):
    model = create_model("resnet8v2", **{"input_shape": (16, 16, 3), "classes": 3, **fields})
    randomize(model)
    model.save(tmp_path / "mine.keras")
    for fold, tolerance in ((True, 1e-4), (False, 1e-5)):
        found = export(tmp_path / "mine.keras", format, fold=fold)
        assert found.difference <= tolerance and found.images == "noise"
    if format == "litert":
        assert b"Flex" not in (tmp_path / "mine-export" / "model.tflite").read_bytes()


SMALL = [
    (format, precision, None)
    for format in INSTALLED
    for precision in FORMATS[format].precisions
    if precision in ("float16", "dynamic", "int8")
]


@pytest.mark.parametrize(
    ("format", "precision", "integers"),
    [
        ("litert", "int8", "uint8"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in SMALL),
        pytest.param("litert", "int8", "int8", marks=pytest.mark.slow),
    ],
)
def test_small_numbers(format, precision, integers, run, tmp_path):
    found = export(run, format, tmp_path, precision=precision, integers=integers)
    end = f"-{precision}" + (f"-{integers}" if integers else "")
    path = FORMATS[format].file.replace(".", f"{end}.") if "." in FORMATS[format].file else end
    assert found.path.endswith(path) and found.precision == precision
    most = {"float16": 0.7, "dynamic": 0.5, "int8": 0.7}[precision]
    assert (
        found.megabytes < most * RunFolder(run).path.joinpath("model.keras").stat().st_size / 2**20
    )
    assert abs(found.accuracy_before - found.accuracy_after) < 0.05
    assert (
        f"{precision}: accuracy {found.accuracy_after:.2%}" in (tmp_path / "README.md").read_text()
    )
    if integers:
        import tensorflow as tf

        net = tf.lite.Interpreter(found.path)
        details = [*net.get_input_details(), *net.get_output_details()]
        assert [d["dtype"] for d in details] == [np.dtype(integers).type] * 2


def test_what_stays_float_is_found_by_measuring(monkeypatch):
    """Products and gates only help together, as in networks with exclusive gating."""
    asked = []

    def lost(needed, most=0.3):
        return lambda kept: 0.0 if needed <= {*kept} else most

    def kinds(cost, kept=()):
        monkeypatch.setattr(rounding, "write", lambda *a: asked.append(a[-1].kept))
        monkeypatch.setitem(FORMATS, "litert", FORMATS["litert"]._replace(read=lambda path: None))
        found = lambda model, *_: types.SimpleNamespace(  # noqa: E731
            accuracy=0.9 - (0 if model else cost(asked[-1]))
        )
        monkeypatch.setattr(rounding, "evaluate", found)
        return rounding.kept_float("litert", "network", Wish("int8", kept=kept), range(10), "ab")

    assert kinds(lost(set())) == () and asked == [()]
    assert kinds(lost({"gates", "products"})) == ("gates", "products")
    assert asked[1:3] == [(), tuple(rounding.KINDS)]
    assert len(asked) == 3 + len(rounding.KINDS)
    assert kinds(lost({"additions"})) == ("additions",)
    assert kinds(lost({"gates"}), ("rectifiers",)) == ("rectifiers", "gates")
    assert kinds(lost(set()), ("rectifiers",)) == ("rectifiers",)
    assert kinds(lambda kept: 0.3) == ()  # nothing helps, so nothing stays
    assert kinds(lambda kept: 0.009) == ()
    assert kinds(lambda kept: 0.5 if not kept else 0.1) == ("classifier",)


@pytest.mark.skipif("onnx" not in INSTALLED, reason="of ONNX, which is not installed")
def test_onnx_has_prelu_of_its_own(tmp_path, randomize):
    import onnx

    model = randomize(create_model("resnet8v2", input_shape=(16, 16, 3), activation="prelu"))
    model.save(tmp_path / "mine.keras")
    found = export(tmp_path / "mine.keras", "onnx")
    nodes = onnx.load(found.path).graph.node
    assert [node.op_type for node in nodes].count("PRelu") == 7
    assert not {"Neg", "Relu"} & {node.op_type for node in nodes}


def test_a_calibrated_network_is_as_sure_as_it_is_right(run, tmp_path):
    """Of validation images alone; what is said of the test images is of those."""
    data = load_data("digits")
    data = dataclasses.replace(data, validation=data.train.subset(np.arange(400)))
    network, file = load_trained(run).model, tmp_path / "sure.keras"
    network.layers[-1].kernel.assign(5 * network.layers[-1].kernel)
    network.save(file)
    found = export(file, "keras", tmp_path / "out", data=data, calibrate=True)
    parts = data.test, data.validation
    before, fitted = (evaluate(network, part, data.class_names) for part in parts)
    assert found.temperature == fit_temperature(fitted) > 1.5
    assert found.calibration_before == before.calibration_error > 2 * found.calibration_after
    after = evaluate(load_trained(found.path).model, data.test, data.class_names)
    assert after.calibration_error == pytest.approx(found.calibration_after, abs=1e-4)
    assert after.correct == before.correct and found.difference < 1e-4
    card = (tmp_path / "out" / "README.md").read_text()
    said = f"{found.calibration_before:.2%} before, {found.calibration_after:.2%} after"
    assert said in card and "| model-calibrated.keras |" in card
    listed = json.loads((tmp_path / "out" / "exports.json").read_text())
    assert listed["model-calibrated.keras"]["temperature"] == found.temperature


def test_what_differs_is_not_left_behind(small, tmp_path, monkeypatch):
    def wrong(path):
        return lambda images: np.full((len(images), 10), 0.5, "float32")

    good = export(small, "keras", tmp_path)
    before = (tmp_path / "model.keras").read_bytes()
    monkeypatch.setitem(FORMATS, "keras", FORMATS["keras"]._replace(read=wrong))
    with pytest.raises(ExportError, match=r"to 0.0001. Received: a difference of .*Nothing was"):
        export(small, "keras", tmp_path)
    assert (tmp_path / "model.keras").read_bytes() == before and good.path.endswith("model.keras")
    with pytest.raises(ExportError):
        export(small, "keras", tmp_path / "new")
    assert not [*(tmp_path / "new").iterdir()]
    nan = lambda path: lambda images: np.full((len(images), 10), np.nan)  # noqa: E731
    monkeypatch.setitem(FORMATS, "keras", FORMATS["keras"]._replace(read=nan))
    with pytest.raises(ExportError, match="inf"):
        export(small, "keras", tmp_path / "new")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "tflite"}, "one of 'saved_model', 'keras', 'litert', 'onnx', 'openvino'"),
        ({"format": "litert", "precision": "int4"}, "'float16', 'dynamic', 'int8' for 'litert'"),
        ({"format": "keras", "quantize": "int8"}, "'mixed_float16' for 'keras'. Received: prec"),
        ({"format": "litert", "integers": "int8"}, "with precision='int8'"),
        ({"format": "litert", "quantize": "int8", "integers": "int4"}, "'uint8' or 'int8' for"),
        ({"data": "folder:/nowhere"}, "nowhere"),
        ({"calibrate": True}, "must be False without a validation split"),
    ],
)
def test_what_is_refused(arguments, message, run):
    with pytest.raises(Exception, match=message) as caught:
        export(run, **arguments)
    assert type(caught.value).__name__ in ("ConfigError", "DataError")


@pytest.mark.thorough
def test_runs_that_are_not_finished_and_files_without_data(run, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(run / "config.json", tmp_path / "run")
    with pytest.raises(ConfigError, match="Let the run finish first"):
        export(tmp_path / "run")
    shutil.copy(run / "model.keras", tmp_path)
    with pytest.raises(ConfigError, match="images to calibrate and compare with"):
        export(tmp_path / "model.keras", "litert", quantize="int8")
    assert export(tmp_path / "model.keras", "keras", data="digits").images == "test images"


def test_a_file_is_not_taken_for_its_export(run, tmp_path):
    file = tmp_path / "model.keras"
    shutil.copy(run / "model.keras", file)
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="a folder other than the network's"):
        export(file, "keras", tmp_path)
    assert file.read_bytes() == before and [*tmp_path.iterdir()] == [file]


def test_the_readme_of_others_is_left_alone(run, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ConfigError, match=r"a folder without another README.md"):
        export(run, "keras", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.thorough
def test_a_network_for_another_size_has_a_folder_of_its_own(small, tmp_path, capsys):
    command = ["export", str(small), "--format", "keras", "--data", "digits", "--out"]
    assert main([*command, str(tmp_path / "own")]) == 0
    other = ["--size", "16", "--interpolation", "bicubic"]
    assert main([*command, str(tmp_path / "own"), *other]) == 2
    assert "whose exports have the same geometry" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "other"), *other]) == 0
    found = load_trained(tmp_path / "other" / "model.keras")
    assert found.geometry == Geometry(16, interpolation="bicubic")
    assert found.image_shape == (None, None, 1)


def test_batches_of_any_size_are_compared():
    assert artefacts.BATCHES == (1, 5, 17)
    asked = []

    class Model:
        def __call__(self, images, training):
            return images[:, 0, 0]

    def predict(images):
        asked.append(len(images))
        return images[:, 0, 0].astype("float32")

    assert artefacts._difference(Model(), predict, np.ones((23, 2, 2, 3), "uint8")) == 0
    assert asked == [1, 5, 17]
    for lost in (np.nan, np.inf):
        images = np.full((23, 2, 2, 3), lost, "float32")
        assert artefacts._difference(Model(), predict, images) == np.inf


def test_layers_that_litert_cannot_hold_are_said(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.ops.erfinv(inputs)  # an operation of TensorFlow's own
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    with pytest.raises(ExportError, match="no operations for this network"):
        export_litert(model, tmp_path / "model.tflite")
    assert not [*tmp_path.iterdir()]


@pytest.mark.thorough
def test_what_serve_bytes_cannot_follow_is_said(trained_run, tmp_path, capsys, monkeypatch):
    run = shutil.copytree(trained_run, tmp_path / "run")
    plain = "`serve_bytes` of the SavedModel reads JPEG and PNG files only."
    assert plain in model_card(load_trained(run))
    reading = {"orientation": "apply", "range": [0.0, 16.0]}
    (run / "geometry.json").write_text(json.dumps({"size": [8, 8], "reading": reading}))
    words = "does not support data.range=[0.0, 16.0], data.orientation=apply, as used in"
    assert words in model_card(load_trained(run))
    quick = FORMATS["keras"]._replace(file="saved_model.keras")  # what is written is not the matter
    monkeypatch.setitem(FORMATS, "saved_model", quick)
    assert main(["export", str(run), "--no-fold"]) == 0
    assert words in " ".join(capsys.readouterr().out.split())
    assert words in (run / "export" / "README.md").read_text()
