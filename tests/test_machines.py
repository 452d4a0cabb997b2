"""The numeric tests as other processors compute: with `--machines`, half an hour on two cores."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

#: TensorFlow asks the processor itself for bfloat16, and then leaves it to oneDNN, which refuses it
#: under a lower limit; on a processor without, it never comes to that.
NO_BFLOAT16 = ("-k", "not bfloat16")

#: What is set for each, and the options of the suite.
MACHINES = {
    "oneDNN up to SSE4.1": ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, NO_BFLOAT16),
    "oneDNN up to AVX2": ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, NO_BFLOAT16),
    "oneDNN up to AVX-512": ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, ()),
    "without oneDNN": ({"TF_ENABLE_ONEDNN_OPTS": "0"}, ()),
    "one thread": (
        dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"),
        (),
    ),
    "eight devices": ({}, ("--devices", "8")),
    "bfloat16 where it is free": ({"KERAS_PREACT_DTYPE": "mixed_bfloat16"}, ()),
    "JAX up to SSE4.2": (
        {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"},
        # XLA has no function that converts float16 where there is no instruction for it.
        ("--block-tensorflow", "-k", "not mixed_float16"),
    ),
    "JAX up to AVX2": (
        {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"},
        ("--block-tensorflow",),
    ),
}


@pytest.mark.machines
@pytest.mark.parametrize("machine", [*MACHINES])
def test_numbers_on(machine, tmp_path):
    variables, options = MACHINES[machine]
    part = "portable" if "KERAS_BACKEND" in variables else "numeric"
    command = [sys.executable, "-m", "pytest", "-n", "2", "--part", part, *options]
    command += ["--basetemp", str(tmp_path / "tests"), "-p", "no:cacheprovider"]
    outer = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    done = subprocess.run(
        command, cwd=ROOT, env={**outer, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:]
