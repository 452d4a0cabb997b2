"""The dtype that is chosen, on machines of every kind."""

import keras
import pytest

from keras_preact import choose_dtype, machine, precision
from keras_preact.errors import ConfigError
from keras_preact.precision import serving_dtype


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch):
    """The suite sets what `auto` is; here the machine is asked."""
    monkeypatch.delenv(precision.DTYPE, raising=False)


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
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
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
    assert choose_dtype("mixed_float16") == ("mixed_float16", "as requested")
    with pytest.raises(ConfigError, match="Received: dtype='bfloat61'"):
        choose_dtype("bfloat61")


@pytest.mark.tensorflow
def test_an_environment_variable_says_what_auto_is(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text(AMX)
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    for policy in ("float32", "mixed_bfloat16", "mixed_float16"):
        monkeypatch.setenv("KERAS_PREACT_DTYPE", policy)
        assert choose_dtype() == (policy, "set by KERAS_PREACT_DTYPE")
        assert choose_dtype("float32") == ("float32", "as requested")
    for wrong in ("bf16", "int8", "auto"):
        monkeypatch.setenv("KERAS_PREACT_DTYPE", wrong)
        with pytest.raises(ConfigError, match=f"Received: KERAS_PREACT_DTYPE='{wrong}'"):
            choose_dtype()


@pytest.mark.parametrize(
    ("device", "units", "trained_in", "policy"),
    [
        ("cpu", True, "mixed_bfloat16", "mixed_bfloat16"),
        ("cpu", True, "bfloat16", "bfloat16"),
        ("cpu", True, "mixed_float16", "float32"),
        ("cpu", True, "float32", "float32"),
        ("cpu", False, "mixed_bfloat16", "float32"),
        ("cpu", False, "mixed_float16", "float32"),
        ("gpu", False, "mixed_float16", "mixed_float16"),
        ("gpu", False, "mixed_bfloat16", "mixed_bfloat16"),
        ("tpu", False, "mixed_bfloat16", "mixed_bfloat16"),
    ],
)
@pytest.mark.tensorflow
def test_images_are_classified_in_what_is_fast_here(
    device, units, trained_in, policy, monkeypatch, tmp_path
):
    (tmp_path / "cpuinfo").write_text(AMX if units else "")
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(precision, "_tensorflow_device", lambda: (device, None))
    choice = serving_dtype(trained_in)
    assert choice.policy == policy
    assert (trained_in in choice.reason) is (policy != trained_in)
    monkeypatch.setenv("KERAS_PREACT_DTYPE", "float32")
    assert serving_dtype(trained_in).policy == "float32"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t: fpu avx2\n", True),
        ("flags\t: fpu avx2 avx512f\n", True),
        ("flags\t: fpu avx2 avx512_vnni\n", False),
        ("flags\t: fpu avx2 avx_vnni\n", False),
        ("Features : fp asimd\n", False),
    ],
)
def test_where_weights_of_8_bits_may_overflow(text, expected, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    assert machine.adds_in_16_bits() is expected


def test_the_processors_name(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("model\t: 17\nmodel name\t: AMD EPYC 7B13\nflags : avx2\n")
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    assert machine.processor() == "AMD EPYC 7B13"
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "none")
    assert machine.processor() != ""
