"""`read_hdf5`: the content of an HDF5 file, read in a process that may crash."""

import atexit
import contextlib
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import threading
from typing import Any, NamedTuple

import numpy as np

from keras_preact.errors import ConfigError

#: Seconds that a file may take, and bytes per further second.
PATIENCE, _BYTES_A_SECOND = 5, 20 * 2**20

#: The libraries of the process need one thread only, and Landlock restricts only one.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Hdf5(NamedTuple):
    """The content of an HDF5 file.

    Attributes:
        arrays: Arrays by path, such as `"layers/dense/vars/0"`; bfloat16 as float32.
        attributes: Text attributes of groups by path and name, such as `"/"` and `"layer_names"`.
    """

    arrays: dict[str, np.ndarray]
    attributes: dict[str, dict[str, Any]]


class RefusedError(ValueError):
    """A file has content that is not allowed, or cannot be read; says what, and what is allowed."""


def read_hdf5(data: bytes) -> Hdf5:
    """Reads an HDF5 file.

    It is read in a child process, which a crafted file may crash, but which can open neither files
    nor connections on systems that can forbid it; see `hdf5_child`. The process is kept for the
    next file.

    Args:
        data: The bytes of the file.

    Returns:
        Its arrays and attributes.

    Raises:
        RefusedError: If the file has links to other files, claims sizes that it does not contain,
            has dtypes other than numbers, is damaged, crashes the process or takes too long.

    Example:
        >>> import tempfile
        >>> from keras_preact.applications import ResNet8V2
        >>> from keras_preact.weights.hdf5 import read_hdf5
        >>> path = tempfile.mkdtemp() + "/net.weights.h5"
        >>> ResNet8V2().save_weights(path)
        >>> read_hdf5(open(path, "rb").read()).arrays["layers/dense/vars/0"].shape
        (64, 10)
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    with _LOCK:
        child = _child()
        answer, packed = child.ask(data)
        if "memory" in answer:  # perhaps because HDF5 kept memory of damaged files before it
            child.stop()
            answer, packed = _child().ask(data)
    if "refused" in answer:
        raise RefusedError(*answer["refused"])
    if fault := answer.get("error", answer.get("memory")):
        raise RefusedError(fault)
    try:
        return Hdf5(dict(sorted(load(packed).items())), answer["attributes"])
    except (SafetensorError, KeyError) as error:
        raise RefusedError(str(error)) from None


def confinement() -> str:
    """The restrictions of the child process on this machine, in words."""
    with _LOCK:
        return _child().confined


class _Child:
    """The child process and its protocol."""

    def __init__(self):
        # It finds h5py where this process does, and no module in the folder of its own file.
        path = os.pathsep.join(filter(None, sys.path))
        environment = {**os.environ, **_ONE_THREAD, "PYTHONPATH": path}
        script = pathlib.Path(__file__).with_name("hdf5_child.py")
        self._process = subprocess.Popen(
            [sys.executable, "-P", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._owner = os.getpid()
        self.confined = str(self._answer(60)[0].get("confined"))

    def serves(self) -> bool:
        """Whether it can be used: it runs, and was not started before this process was forked."""
        return self._owner == os.getpid() and self._process.poll() is None

    def ask(self, data):
        """Its answer to a file; a crash of the process is an answer too."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(struct.pack("<Q", len(data)))
            self._process.stdin.write(data)
            self._process.stdin.flush()
        return self._answer(PATIENCE + len(data) / _BYTES_A_SECOND)

    def stop(self):
        if self._owner == os.getpid():
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()

    def _answer(self, seconds):
        late = threading.Timer(seconds, self._process.kill)
        late.daemon = True
        late.start()
        try:
            answer = json.loads(self._read(struct.unpack("<Q", self._read(8))[0]))
            return answer, self._read(answer.get("size", 0))
        except (EOFError, struct.error, ValueError):
            overdue = not late.is_alive()
            self.stop()
            return {"error": self._end(overdue, seconds)}, b""
        finally:
            late.cancel()

    def _read(self, size):
        data = self._process.stdout.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def _end(self, overdue, seconds):
        if overdue:
            return f"reading takes longer than {seconds:.0f} seconds"
        code = self._process.returncode
        with contextlib.suppress(ValueError):
            code = signal.Signals(-code).name
        return f"it crashes the process that reads it ({code})"


_LOCK = threading.Lock()
_CHILDREN: list[_Child] = []


def _child() -> _Child:
    """The process, started if there is none that can be used."""
    if not _CHILDREN or not _CHILDREN[0].serves():
        for child in _CHILDREN:
            child.stop()
        _CHILDREN[:] = [_Child()]
        if not _CHILDREN[0].serves():
            raise ConfigError(
                "Weights files are read in a separate process, which could not be started. "
                f"Received: {sys.executable!r} with h5py and safetensors, "
                f"{_CHILDREN[0]._end(False, 0)}."
            )
    return _CHILDREN[0]


@atexit.register
def _stop():
    for child in _CHILDREN:
        child.stop()
