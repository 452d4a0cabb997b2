"""`read_hdf5`: what an HDF5 file holds, read in a process that may crash."""

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

#: Seconds that a file may take, and bytes for each further one.
PATIENCE, _BYTES_A_SECOND = 5, 20 * 2**20

#: Its libraries compute nothing, and Landlock holds one thread.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Hdf5(NamedTuple):
    """What an HDF5 file holds.

    Attributes:
        arrays: By their paths, such as `"layers/dense/vars/0"`; bfloat16 as float32.
        attributes: Texts that groups have, by path and name, such as `"/"` and `"layer_names"`.
    """

    arrays: dict[str, np.ndarray]
    attributes: dict[str, dict[str, Any]]


class RefusedError(ValueError):
    """A file has what it must not have, or cannot be read; says what, and what is expected."""


def read_hdf5(data: bytes) -> Hdf5:
    """What an HDF5 file holds.

    It is read in a child process, which a crafted file may crash, but which can open neither files
    nor connections where the system can forbid that; see `hdf5_child`. The process is kept and
    reads the next file too.

    Args:
        data: The file.

    Raises:
        RefusedError: For links to other files, sizes that are claimed and not held, types that are
            no numbers, files that are damaged, and those that end the process or take it too long.

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
        if "memory" in answer:  # perhaps for damaged files before it, of which HDF5 leaves pieces
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
    """What the child process is held by on this machine, in words."""
    with _LOCK:
        return _child().confined


class _Child:
    """The process, and how it is asked."""

    def __init__(self):
        # It finds h5py where this process does, and no module that lies beside its own file.
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
        """Whether it can be asked: it runs, and is no other process's, from which this one came."""
        return self._owner == os.getpid() and self._process.poll() is None

    def ask(self, data):
        """Its answer to a file; an end of the process is one too."""
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
            return f"it takes longer than {seconds:.0f} seconds"
        code = self._process.returncode
        with contextlib.suppress(ValueError):
            code = signal.Signals(-code).name
        return f"it ends the process that reads it ({code})"


_LOCK = threading.Lock()
_CHILDREN: list[_Child] = []


def _child() -> _Child:
    """The process, started where none serves."""
    if not _CHILDREN or not _CHILDREN[0].serves():
        for child in _CHILDREN:
            child.stop()
        _CHILDREN[:] = [_Child()]
        if not _CHILDREN[0].serves():
            raise ConfigError(
                "Files of weights are read in a process of their own, which could not be started. "
                f"Received: {sys.executable!r} with h5py and safetensors, "
                f"{_CHILDREN[0]._end(False, 0)}."
            )
    return _CHILDREN[0]


@atexit.register
def _stop():
    for child in _CHILDREN:
        child.stop()
