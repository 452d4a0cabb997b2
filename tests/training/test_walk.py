"""The main path in small, where parts of it fail; that it works is `doctor`'s own example."""

import pytest

from keras_preact.errors import ConfigError
from keras_preact.training import walk


def test_a_part_that_fails_is_a_row_and_stops_no_other(monkeypatch):
    def fails(*_):
        raise RuntimeError("first line\nsecond line")

    def refuses(*_):
        raise ConfigError("`format` must be another.")

    monkeypatch.setattr(walk, "_train", lambda run, dtype: ("trained", True, "result"))
    monkeypatch.setattr(walk, "_evaluate", fails)
    monkeypatch.setattr(walk, "_predict", refuses)
    monkeypatch.setattr(walk, "_export", lambda run, format, precision=None: (format, True, None))
    monkeypatch.setenv("KERAS_PREACT_DTYPE", "mixed_bfloat16")
    rows = {what: (found, ok) for what, found, ok in walk.main_path()}
    assert len(rows) == 2 * (3 + len(walk.FORMATS) + 1)
    for dtype in ("float32", "mixed_bfloat16"):
        found, ok = rows[f"evaluate, {dtype}"]
        assert ok is False and found.startswith("RuntimeError: first line. ")
        with open(found.split(": ")[-1]) as file:
            assert "second line" in file.read()
        assert rows[f"predict, {dtype}"] == ("`format` must be another.", False)
        assert rows[f"export onnx, {dtype}"] == ("onnx", True)


def test_without_a_training_there_is_nothing_to_try(monkeypatch):
    monkeypatch.setattr(walk, "_train", lambda run, dtype: (_ for _ in ()).throw(MemoryError()))
    rows = [*walk.main_path()]
    assert {ok for _, _, ok in rows} == {False} and all("train" in what for what, _, _ in rows)
    assert "smaller batch_size" not in rows[0][1] and "report it" in rows[0][1]


@pytest.mark.parametrize("missing", ["tf2onnx", "onnxruntime"])
def test_what_is_not_installed_is_said(missing, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name != missing or None)
    words, ok, _ = walk._export("run", "onnx")
    assert (
        f"pip install 'keras-preact[onnx]'. Received: {missing} is not installed." in words
        and ok is None
    )
