"""Errors of other libraries, as a user meets them: a line, and a file with all of it."""

import pathlib
import re
import sys

import keras
import pytest

from keras_preact.cli import main
from keras_preact.errors import ConfigError, ExportError, in_one_line, library_of, line_of

LAYERS = ["stem_conv", "stage1_unit1_conv1", "stage1_unit1_conv10", "predictions"]

GRAPH = """Graph execution error:

Detected at node resnet8v2_1/stage1_unit1_conv1_1/convolution defined at (most recent call last):
<stack traces unavailable>
OOM when allocating tensor with shape[128,64,32,32] and type float on CPU:0 by allocator cpu
\t [[{{node resnet8v2_1/stage1_unit1_conv1_1/convolution}}]] [Op:__inference_step_1]"""


class XlaRuntimeError(RuntimeError):
    """As JAX's, without JAX."""


XlaRuntimeError.__module__ = "jaxlib._jax"


def whole_text(line):
    assert "\n" not in line and len(line) < 500
    return pathlib.Path(re.search(r"Full text: (\S+)$", line)[1]).read_text()


def raised(error):
    try:
        raise error
    except Exception as caught:
        return caught


def test_jax_says_it_in_a_line():
    error = raised(XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nstack"))
    line = line_of(error)
    assert line.startswith("JAX: RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes. A smaller")
    assert "smaller batch_size" in line
    text = whole_text(line)
    assert "Traceback" in text and "stack" in text


@pytest.mark.tensorflow
def test_tensorflow_says_it_in_a_line_with_its_layer():
    import tensorflow as tf

    error = raised(tf.errors.ResourceExhaustedError(None, None, GRAPH))
    assert library_of(error) == "TensorFlow"
    line = line_of(error, LAYERS)
    assert line.startswith("TensorFlow: OOM when allocating tensor with shape[128,64,32,32]")
    assert "(layer 'stage1_unit1_conv1')" in line and "smaller batch_size" in line
    assert GRAPH in whole_text(line)


@pytest.mark.tensorflow
def test_the_command_line_ends_with_a_line(monkeypatch, capsys, tmp_path):
    import tensorflow as tf

    def fails(*_, **__):
        raise tf.errors.InternalError(None, None, "first\nsecond")

    monkeypatch.setattr("keras_preact.training.trainer.prepare", fails)
    assert main(["train", "--out", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        "keras-preact: TensorFlow: first. `keras-preact doctor` tests this machine"
    )
    assert "second" in whole_text(said.strip())


def test_a_fault_of_this_program_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("keras_preact.training.trainer.prepare", lambda *_: {}["wrong"])
    with pytest.raises(KeyError):
        main(["train", "--out", "nowhere"])


def test_what_is_ours_is_said_already():
    with pytest.raises(ConfigError, match=r"^mine$"), in_one_line(ExportError, "Not this"):
        raise ConfigError("mine")
    with pytest.raises(FileNotFoundError), in_one_line(ExportError, "Not this"):
        open("nowhere/at/all").close()
    broke = r"^It broke: ZeroDivisionError: division by zero\. Do"
    with pytest.raises(ExportError, match=broke), in_one_line(ExportError, "It broke", fix="Do."):
        _ = 1 / 0


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "format", ["litert", "onnx", pytest.param("openvino", marks=pytest.mark.slow)]
)
def test_what_a_format_cannot_hold(format, tmp_path):
    """An operation of TensorFlow's own, in a layer that the line names."""
    from keras_preact import export
    from keras_preact.export.formats import FORMATS

    for package in FORMATS[format].needs:
        pytest.importorskip(package)
    inputs = keras.Input((8, 8, 3))
    x = keras.ops.erfinv(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    path = tmp_path / "model"
    with pytest.raises(ExportError, match="--format saved_model supports any network") as caught:
        getattr(export, f"export_{format}")(model, path)
    assert "rfinv" in whole_text(str(caught.value))
    assert not path.exists()


def test_a_package_that_the_core_leaves_out_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as where it is not installed
    assert main(["check-data", "parquet:mine.parquet"]) == 2
    assert capsys.readouterr().err == (
        "keras-preact: This needs pyarrow, which is not installed here. Fix: pip install pyarrow.\n"
    )
