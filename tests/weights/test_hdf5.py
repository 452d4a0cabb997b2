"""The process that reads HDF5: what holds it, and what becomes of a file that ends it."""

import ast
import importlib
import io
import os
import pathlib
import signal
import subprocess
import sys
import threading

import h5py
import keras
import numpy as np
import pytest

from keras_preact import create_model
from keras_preact.errors import ConfigError
from keras_preact.weights import (
    hdf5,
    hdf5_child,
    read_weights,
    save_named,
    weights_by_layer,
    write_weights,
)
from keras_preact.weights.allowed import CLASSES, FUNCTIONS

ROOT = pathlib.Path(__file__).parents[2]


def file_of(**arrays):
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return data.getvalue()


def test_types_and_shapes_come_through():
    arrays = {
        "scalar": np.float32(2.5),
        "none": np.zeros((0, 3), "f4"),
        "big_endian": np.arange(5, dtype=">f8"),
        "half": np.arange(6, dtype="f2").reshape(2, 3),
        "flags": np.array([True, False]),
        "bytes": np.arange(4, dtype="u1"),
    }
    found = hdf5.read_hdf5(file_of(**arrays)).arrays
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == np.asarray(array).dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[name], array)


def test_one_process_reads_many_files_of_many_threads():
    hdf5.read_hdf5(file_of(a=np.ones(3)))
    before = hdf5._CHILDREN[0]._process.pid
    wrong = []

    def read(k):
        found = hdf5.read_hdf5(file_of(a=np.full(1000, k))).arrays["a"]
        wrong.extend([] if (found == k).all() else [k])

    threads = [threading.Thread(target=read, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and hdf5._CHILDREN[0]._process.pid == before


@pytest.mark.parametrize(
    ("number", "message"),
    [(signal.SIGSEGV, r"crashes the process .* \(SIGSEGV\)"), (signal.SIGSTOP, "longer")],
)
def test_a_file_that_ends_the_process_or_takes_too_long_is_refused(number, message, monkeypatch):
    data = file_of(a=np.ones(3))
    hdf5.read_hdf5(data)
    monkeypatch.setattr(hdf5, "PATIENCE", 0.5)
    child = hdf5._CHILDREN[0]
    monkeypatch.setattr(child, "serves", lambda: True)  # it ends when it has the file
    os.kill(child._process.pid, number)
    with pytest.raises(hdf5.RefusedError, match=message):
        hdf5.read_hdf5(data)
    monkeypatch.undo()
    assert hdf5.read_hdf5(data).arrays["a"].tolist() == [1, 1, 1]
    assert hdf5._CHILDREN[0] is not child


def test_a_process_that_was_forked_has_one_of_its_own():
    hdf5.read_hdf5(file_of(a=np.ones(3)))
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            hdf5.read_hdf5(file_of(a=np.ones(2)))
            os.write(write, str(hdf5._CHILDREN[0]._process.pid).encode())
            hdf5._stop()
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as pipe:
        other = int(pipe.read())
    os.wait()
    assert other != hdf5._CHILDREN[0]._process.pid
    hdf5.read_hdf5(file_of(a=np.ones(3)))


TRIES = """
import os, pathlib, signal, socket, sys
sys.path.insert(0, {folder!r})
import hdf5_child
held = hdf5_child.confine()
def refused(action):
    try:
        action()
    except OSError:
        return True
    return False
def connect():
    socket.create_connection(("127.0.0.1", {port}), 1)
tried = [
    refused(lambda: open("/etc/hostname")),
    refused(lambda: open({bait!r}, "a")),
    refused(lambda: os.mkdir({bait!r} + ".d")),
    refused(connect),
]
print(held, tried, file=sys.stderr)
"""


def test_the_process_reaches_nothing(tmp_path):
    bait = tmp_path / "bait"
    bait.touch()
    folder = str(pathlib.Path(hdf5_child.__file__).parent)
    code = TRIES.format(folder=folder, port=9, bait=str(bait))
    environment = {**os.environ, **hdf5._ONE_THREAD}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env=environment
    )
    held, _, tried = done.stderr.strip().splitlines()[-1].rpartition(" [")
    assert "resource limits" in held and "False" not in tried.split(", ")[0:2]
    assert tried.endswith("True]") and tried.count("True") == 3 + ("Landlock" in held)
    assert hdf5.confinement() == held


def test_damaged_files_before_it_take_no_memory_from_a_file(monkeypatch):
    """HDF5 leaves pieces of them: a process at its limit is replaced, and the file read again."""
    data = file_of(a=np.ones(3))
    hdf5.read_hdf5(data)
    child = hdf5._CHILDREN[0]
    monkeypatch.setattr(child, "ask", lambda data: ({"memory": "it takes more memory"}, b""))
    assert hdf5.read_hdf5(data).arrays["a"].size == 3
    assert hdf5._CHILDREN[0] is not child
    monkeypatch.setattr(hdf5._Child, "ask", lambda self, data: ({"memory": "too much"}, b""))
    with pytest.raises(hdf5.RefusedError, match="too much"):
        hdf5.read_hdf5(data)


def test_memory_is_what_the_file_explains():
    """A file whose arrays would take more than it may is refused, and the next one is read."""
    data = file_of(a=np.zeros(2**20))
    limits = []
    hdf5_child.read(data, limits.append)
    assert limits == [2**23]
    assert hdf5.read_hdf5(data).arrays["a"].size == 2**20


def test_nothing_else_opens_hdf5():
    """Files are written everywhere, and read by the child process alone."""
    for path in (ROOT / "keras_preact").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "h5py.File":
                writes = len(node.args) == 2 and ast.unparse(node.args[1]) == "'w'"
                assert writes or path.name == "hdf5_child.py", path


def test_every_name_that_is_allowed_is_one_of_keras():
    for module, names in {**CLASSES, **FUNCTIONS}.items():
        if module == "builtins":
            continue
        try:
            home = importlib.import_module(module)
        except ModuleNotFoundError:  # keras.optimizers.schedules and the like
            home = keras
            for part in module.split(".")[1:]:
                home = getattr(home, part)
        missing = [name for name in names if not hasattr(home, name)]
        assert not missing, (module, missing)


@pytest.fixture(scope="module")
def network():
    return create_model("resnet8v2", input_shape=(8, 8, 1), classes=3)


@pytest.mark.parametrize("suffix", [".safetensors", ".weights.h5"])
def test_what_this_package_writes_is_held_against_what_was_written(suffix, network, tmp_path):
    path, changed = tmp_path / f"net{suffix}", tmp_path / f"changed{suffix}"
    if suffix == ".safetensors":
        save_named(network, path)
    else:
        write_weights(path, weights_by_layer(network))
    expected, data = read_weights(path), path.read_bytes()
    value = expected["stem_conv"]["0"].tobytes()
    place = data.index(value) + 5
    changed.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(ConfigError, match="SHA-256 of the content that was written"):
        read_weights(changed)


def test_a_whole_model_of_keras_2_gives_its_weights(tmp_path):
    """And never its model, which may hold code (CVE-2025-9905)."""
    path = tmp_path / "model.h5"
    kernel = np.arange(6, dtype="f4").reshape(2, 3)
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = '{"class_name": "Lambda", "config": {"function": "x"}}'
        group = file.create_group("model_weights")
        # Long lists stand in pieces.
        group.attrs["layer_names0"], group.attrs["layer_names1"] = [b"conv"], [b"fc"]
        for layer in ("conv", "fc"):
            group.create_group(layer).attrs["weight_names"] = [f"{layer}/kernel:0".encode()]
            group[layer][f"{layer}/kernel:0"] = kernel
    found = read_weights(path)
    assert [*found] == ["conv", "fc"]
    np.testing.assert_array_equal(found["fc"]["0"], kernel)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["numbers"] = kernel
    with pytest.raises(ConfigError, match="a file with layer weights"):
        read_weights(tmp_path / "other.h5")
