"""`bench`: its statistics, its options, and files that are measured in processes of their own."""

import json
import os
import shutil

import pytest

from keras_preact import create_model, load_trained
from keras_preact.bench import BenchConfig, Measured, bench, plot_bench
from keras_preact.bench.config import files_of
from keras_preact.bench.measuring import figures_of, size_of
from keras_preact.cli import main, parser_for
from keras_preact.cli.measuring import bench_config
from keras_preact.evaluation import evaluate
from keras_preact.export import export
from keras_preact.export.formats import missing
from keras_preact.export.runtimes_tf import RUNTIMES


def test_figures():
    """The median of all steps with one image; p99 by nearest rank; medians over rounds."""
    found = figures_of([k / 1000 for k in range(100, 0, -1)], {1: [10.0, 30.0, 20.0], 8: [25.0]})
    assert found["latency_ms"] == pytest.approx(50.5) and found["p99_ms"] == 99
    assert found["by_batch"] == {1: 20.0, 8: 25.0}
    assert (found["best_batch"], found["images_per_second"]) == (8, 25.0)
    for count, rank in ((1, 1), (2, 2), (99, 99), (101, 100), (200, 198), (1000, 990)):
        steps = [k / 1000 for k in range(1, count + 1)]
        assert figures_of(steps, {1: [1.0]})["p99_ms"] == pytest.approx(rank)


def test_options():
    argv = ["bench", "a.onnx", "b", "--batch-sizes", "4,16", "--threads", "2", "--seconds", "0.1",
            "--rounds", "3", "--size", "64", "--data", "digits"]  # fmt: skip
    arguments = parser_for(argv).parse_args(argv)["bench"]
    assert arguments.paths == ["a.onnx", "b"]
    assert bench_config(arguments) == BenchConfig("digits", (4, 16), 2, 0.1, 3, 64)
    plain = parser_for(argv[:2]).parse_args(argv[:2])["bench"]
    assert bench_config(plain) == BenchConfig()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["none.onnx"], "which does not exist"),
        (["net.h5"], "a .keras, .tflite, .onnx or .xml file"),
        (["folder"], "folder of a SavedModel"),
        (["broken"], "exports.json is damaged"),
        (["net.onnx", "--batch-sizes", "0"], "different whole numbers of at least 1"),
        (["net.onnx", "--batch-sizes", "4,4"], "different whole numbers"),
        (["net.onnx", "--batch-sizes", "a"], "batch_sizes[0]` must be a whole number"),
        (["net.onnx", "--threads", "0"], "`threads` must be None or at least 1"),
        (["net.onnx", "--seconds", "0"], "`seconds` must be above 0"),
        (["net.onnx", "--rounds", "0"], "`rounds` must be at least 1"),
        (["net.onnx", "--size", "many"], "`size` must be a whole number"),
        (["net.onnx", "--out", "picture.bmp"], "'.png', '.svg', '.pdf'"),
    ],
    ids=" ".join,
)
def test_mistakes(argv, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("net.h5", "net.onnx"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "exports.json").write_text("{")
    assert main(["bench", *argv]) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.splitlines()) == 1


def test_what_a_path_is(tmp_path):
    names = {"run": "model.keras", "served": "saved_model.pb", "graph": "model.xml"}
    for folder, name in names.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"12345")
    (tmp_path / "graph" / "model.bin").write_bytes(b"123")
    (tmp_path / "run" / "log").write_bytes(b"123")
    (tmp_path / "a.tflite").touch()
    (tmp_path / "exports.json").write_text(json.dumps({"graph": {}, "a.tflite": {}}))
    found = files_of([tmp_path, tmp_path / "run", tmp_path / "served", tmp_path / "a.tflite"])
    expected = {"graph": "openvino", "a.tflite": "litert", "run": "keras", "served": "saved_model"}
    assert found == [(tmp_path / name, format) for name, format in expected.items()]
    sizes = [size_of(tmp_path / name) for name in ("run", "graph", "graph/model.xml", "a.tflite")]
    assert sizes == [5, 8, 8, 0]


@pytest.mark.slow
@pytest.mark.drawn
def test_what_fails_is_named_and_the_others_are_measured(tmp_path, capsys, monkeypatch):
    """A network of any size, a damaged one, and a format whose runtime is not there."""
    model = create_model("resnet8v2", input_shape=(None, None, 1), classes=10)
    model.save(tmp_path / "net.keras")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    (tmp_path / "net.xml").touch()
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "openvino.py").write_text("raise ImportError(name='openvino')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(hidden), os.environ["PYTHONPATH"]])
                       if "PYTHONPATH" in os.environ else str(hidden))  # fmt: skip
    paths = [str(tmp_path / name) for name in ("net.xml", "net.keras", "bad.onnx")]
    options = ["--rounds", "2", "--seconds", "0.01", "--batch-sizes", "1,3", "--size", "9"]
    picture = tmp_path / "bench.png"
    assert main(["bench", *paths, *options, "--json", "--out", str(picture)]) == 0
    graph, good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert graph["failure"] == ("openvino is not installed: pip install 'keras-preact[openvino]'")
    assert bad["failure"] and bad["latency_ms"] is None
    assert good["images"] == [9, 9, 1] and good["failure"] is None
    assert set(good["by_batch"]) == {"1", "3"} and str(good["best_batch"]) in good["by_batch"]
    assert 0 < good["latency_ms"] <= good["p99_ms"] and good["peak_mb"] > 50
    assert picture.stat().st_size > 1000
    assert main(["bench", paths[0]]) == 2
    assert "At least one path must be measurable" in capsys.readouterr().err


def test_the_picture_has_a_point_a_file():
    found = [Measured(f"{k}.onnx", "onnx", latency_ms=k, images_per_second=9 * k, correct=9,
                      tested=10) for k in (1.0, 2.0)]  # fmt: skip
    (axes,) = plot_bench([*found, Measured("c", "keras", failure="gone")]).axes
    points = [tuple(line.get_xydata()[0]) for line in axes.lines]
    assert points == [(1.0, 90.0), (2.0, 90.0)]
    found[0].correct = None
    (axes,) = plot_bench(found).axes
    assert [bar.get_width() for bar in axes.patches] == [9.0, 18.0]


@pytest.mark.slow
@pytest.mark.tensorflow
def test_all_formats_beside_each_other(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    formats = [format for format in RUNTIMES if not missing(format)]
    for format in formats:
        export(run, format)
    config = BenchConfig("digits", (1, 4), seconds=0.05, rounds=2)
    found = bench([run, run / "export"], config)
    assert [m.format for m in found] == ["keras", *formats]
    trained = load_trained(run)
    data = trained.load_data()
    expected = evaluate(trained.model, data.test, data.class_names).correct
    for m in found:
        assert m.failure is None and m.images == (8, 8, 1) and m.tested == 360
        assert abs(m.correct - expected) <= 2 and m.load_seconds > 0 and m.megabytes > 0
    (axes,) = plot_bench(found).axes
    assert len(axes.lines) == len(found)
