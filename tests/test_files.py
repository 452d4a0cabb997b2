"""Files and folders that several processes write at once, and that a killed one leaves behind."""

import concurrent.futures
import os
import signal
import subprocess
import sys
import threading

import pytest

from keras_preact.errors import SaveError
from keras_preact.files import replace_file, replacing

#: Writes a file, a folder and a JSON file again and again, at the moment at which all others begin.
WRITE = """
import pathlib, sys, time
from keras_preact.files import replace_file, replacing
mine = sys.argv[1] * 50_000
print("ready", flush=True)
sys.stdin.readline()
for _ in range(30):
    with replacing("file", "The file") as path:
        path.write_text(mine)
    with replacing("folder", "The folder") as path:
        path.mkdir()
        (path / "a").write_text(mine)
        (path / "b").write_text(mine)
    replace_file("bytes", mine.encode())
"""

#: Writes half of a folder, and sleeps.
HALF = """
import time
from keras_preact.files import replacing
with replacing("folder", "The folder") as path:
    path.mkdir()
    (path / "a").write_text("half")
    print("half", flush=True)
    time.sleep(60)
"""


def start(code, *arguments, folder):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, cwd=folder, text=True, **pipes)


def test_processes_that_write_the_same_at_once(tmp_path):
    processes = [start(WRITE, letter, folder=tmp_path) for letter in "abcd"]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0] * 4
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder", "bytes"}
    texts = {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert texts.keys() == {"file", "bytes", "a", "b"} and texts["a"] == texts["b"]
    for text in texts.values():
        assert len(text) == 50_000 and len({*text}) == 1


def test_threads_that_write_the_same_at_once(tmp_path):
    barrier = threading.Barrier(8)

    def write(number):
        barrier.wait()
        for _ in range(20):
            replace_file(tmp_path / "bytes", bytes([number]) * 10_000)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        [*pool.map(write, range(8))]
    assert len({*(tmp_path / "bytes").read_bytes()}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bytes"]


def test_a_kill_leaves_what_was_there_and_the_next_one_cleans_up(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "before").write_text("kept")
    process = start(HALF, folder=tmp_path)
    assert process.stdout.readline() == "half\n"
    with replacing(tmp_path / "folder", "It") as path:  # while the other is alive
        path.mkdir()
        (path / "before").write_text("of this process")
    (left,) = tmp_path.glob(".partial-*-folder")
    assert (left / "a").read_text() == "half"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "folder" / "before").read_text() == "of this process"
    with pytest.raises(SaveError), replacing(tmp_path / "folder", "It"):
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "before"]


def test_a_kill_between_the_old_folder_and_the_new_one(tmp_path):
    """Nothing of the system puts a folder in another's place at once, so it lies beside it then."""
    (tmp_path / ".partial-00000000-folder.lock").touch()
    (tmp_path / ".partial-00000000-folder").mkdir()
    before = tmp_path / ".partial-00000000-folder.before"
    before.mkdir()
    (before / "kept").touch()
    with pytest.raises(SaveError), replacing(tmp_path / "folder", "It"):
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "kept"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_one_before(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").touch()

    def refuse(old, new):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(SaveError), replacing(tmp_path / "folder", "It") as path:
        path.mkdir()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "kept"]
