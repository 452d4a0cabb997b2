"""The dtype that is chosen, on machines of every kind."""

import keras
import pytest

from keras_preact import choose_dtype, precision
from keras_preact.errors import ConfigError

AMX = "processor\t: 0\nflags\t\t: fpu avx512_bf16 amx_tile amx_bf16\n"


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        (AMX, "mixed_bfloat16"),
        (AMX.replace("amx_bf16", "amx_int8"), "float32"),
        ("Features : fp asimd bf16\n", "float32"),
        (None, "float32"),
    ],
)
@pytest.mark.tensorflow
def test_a_cpu_is_asked_for_its_matrix_units(text, policy, monkeypatch, tmp_path):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "cpuinfo")
    assert choose_dtype().policy == policy
    assert "amx_bf16" in choose_dtype().reason


@pytest.mark.parametrize(
    ("device", "policy"),
    [
        (("gpu", (9, 0)), "mixed_bfloat16"),
        (("gpu", (8, 0)), "mixed_bfloat16"),
        (("gpu", (7, 5)), "float32"),
        (("gpu", None), "float32"),
        (("tpu", None), "mixed_bfloat16"),
    ],
)
def test_accelerators(device, policy, monkeypatch):
    find = f"_{keras.backend.backend()}_device"
    monkeypatch.setattr(precision, find, lambda: device)
    choice = choose_dtype()
    assert choice.policy == policy
    assert choice.reason


def test_what_is_asked_for_is_taken():
    assert choose_dtype("mixed_float16") == ("mixed_float16", "as asked for")
    with pytest.raises(ConfigError, match="Received: dtype='bfloat61'"):
        choose_dtype("bfloat61")
