"""Checkpoints: whole or not there, whatever is done to the process or to the files."""

import json
import os
import shutil
import signal

import numpy as np
import pytest

from keras_preact.errors import DataError, DivergedError, SaveError
from keras_preact.training.checkpoint import Checkpoints

FILES = ("state.safetensors", "progress.json", "MANIFEST.json")
OUT_OF_CALLS = 77
CALLS = ("write", "fsync", "rename", "mkdir", "open")


def state(step):
    random = np.random.default_rng(step)
    return {
        "model.kernel": random.normal(size=(3, 3, 4)).astype("float32"),
        "model.seed": np.array([step, 7], "uint32"),
        "optimizer.iterations": np.array(step, "int64"),
    }


def save(checkpoints, step, best="none"):
    progress = {"step": step, "epochs_done": 0, "best": {"checkpoint": best}, "seconds": 0.1 * step}
    return checkpoints.save(state(step), progress)


@pytest.fixture
def two(tmp_path):
    """Two checkpoints, of steps 1 and 2."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    save(checkpoints, 1)
    save(checkpoints, 2)
    return checkpoints


def assert_is(found, step):
    assert found.progress["step"] == step
    for name, value in state(step).items():
        np.testing.assert_array_equal(found.state[name], value, strict=True)


def test_what_is_saved_comes_back(two):
    found, damaged = two.latest()
    assert_is(found, 2)
    assert damaged == []
    assert found.progress["seconds"] == 0.2
    assert Checkpoints(two.path / "none").latest() == (None, [])


def test_every_kind_of_array_comes_back(tmp_path):
    """In any layout, empty, as single numbers, and larger than what is written at a time."""
    values = np.arange(24).reshape(2, 3, 4)
    kinds = "bool uint8 int8 uint32 int64 float16 float32 float64"
    arrays = {kind: values.astype(np.dtype(kind)) for kind in kinds.split()}
    arrays |= {"turned": values.T, "none": values[:0], "one": np.float32(3), "é": values}
    arrays |= {f"large{k}": np.full(3 * 2**16 + k, k, "float32") for k in range(6)}
    state = {name: np.asarray(value) for name, value in arrays.items()}
    Checkpoints(tmp_path).save(state, {"step": 1})
    found, _ = Checkpoints(tmp_path).latest()
    assert sorted(found.state) == sorted(state)
    for name, value in state.items():
        np.testing.assert_array_equal(found.state[name], value, strict=True)


def test_the_last_two_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    best = save(checkpoints, 1).name
    for step in range(2, 12):
        save(checkpoints, step, best)
    assert checkpoints.names() == [best, "000010-step-10", "000011-step-11"]
    assert_is(checkpoints.read(best), 1)
    save(checkpoints, 12, "000012-step-12")
    assert checkpoints.names() == ["000011-step-11", "000012-step-12"]


def damages(data):
    """200 single bits, five lengths, and nothing at all in place of a file's bytes."""
    random = np.random.default_rng(len(data))
    for bit in random.choice(8 * len(data), min(200, 8 * len(data)), replace=False):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << (bit % 8)
        yield bytes(changed)
    for share in (0, 0.25, 0.5, 0.75, 0.99):
        yield data[: int(share * len(data))]
    yield None


@pytest.mark.parametrize("file", FILES)
def test_damage_is_noticed_and_the_one_before_used(two, file):
    path = two.path / two.names()[-1] / file
    data = path.read_bytes()
    for damaged in damages(data):
        if damaged is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
        found, problems = two.latest()
        assert_is(found, 1)
        assert len(problems) == 1
        assert str(path.parent) in problems[0]
        path.write_bytes(data)
    assert_is(two.latest()[0], 2)


def test_damaged_ones_no_longer_count_as_kept(two):
    (two.path / two.names()[1] / "MANIFEST.json").unlink()
    two.set_aside(two.latest()[0].path.name)
    save(two, 3)
    assert two.names() == ["000001-step-1", "000002-step-3"]
    assert (two.path / "damaged-000002-step-2").is_dir()


def test_when_none_is_whole_the_file_is_named(two):
    for name in two.names():
        (two.path / name / "progress.json").write_text("{}")
    with pytest.raises(DataError, match=r"All checkpoints .* are damaged.*000002.*progress\.json"):
        two.latest()


def test_what_a_later_version_wrote_is_refused(two, monkeypatch):
    monkeypatch.setattr("keras_preact.training.checkpoint.FORMAT", 2)
    save(two, 3)
    monkeypatch.undo()
    with pytest.raises(DataError, match="later version"):
        two.read(two.names()[-1])


def test_numbers_that_are_not_finite_are_never_saved(two):
    bad = {**state(3), "model.kernel": np.array([1.0, np.nan])}
    words = r"model\.kernel is not finite at step 3\. .*000002-step-2.*learning-rate"
    with pytest.raises(DivergedError, match=words):
        two.save(bad, {"step": 3})
    assert two.names() == ["000001-step-1", "000002-step-2"]


def in_child(function):
    """Runs a function in a process of its own; its exit code, or minus a signal's number."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fault(name, number, action, before):
    """Makes the `number`-th call of `os.name` do something before or after it; counts the calls."""
    function, calls = getattr(os, name), [0]

    def call(*arguments, **options):
        calls[0] += 1
        if before and calls[0] == number:
            action()
        result = function(*arguments, **options)
        if not before and calls[0] == number:
            action()
        return result

    setattr(os, name, call)
    return calls


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.sample(3)
def test_killed_at_every_system_call_of_a_save(two, name, before):
    """R2: before and after each write, fsync and rename."""
    number, outcomes = 0, []
    while True:
        number += 1
        copy = Checkpoints(two.path.with_name(f"copy{number}"))
        shutil.copytree(two.path, copy.path)

        def attempt(copy=copy, number=number):
            calls = fault(name, number, die, before)
            save(copy, 3)
            if calls[0] < number:
                os._exit(OUT_OF_CALLS)

        ended = in_child(attempt)
        if ended == OUT_OF_CALLS:
            break
        found, damaged = copy.latest()
        assert damaged == []
        step = found.progress["step"]
        assert_is(found, step)
        killed = ended == -signal.SIGKILL
        assert step == 3 or (killed and step == 2)
        outcomes += [step] * killed
        save(copy, 4)
        assert_is(copy.latest()[0], 4)
        assert not list(copy.path.glob(".partial*"))
    assert outcomes == sorted(outcomes), "once it is there it stays"
    assert outcomes, "the call was not met"


@pytest.mark.parametrize("name", CALLS)
def test_a_disk_that_fills_up_leaves_what_was_there(two, name, monkeypatch):
    """R5: one line, with what is free; the earlier ones are whole."""
    real, failed = getattr(os, name), 0
    for number in range(1, 30):
        calls = 0

        def full(*arguments, number=number, **options):
            nonlocal calls
            calls += 1
            if calls == number:
                raise OSError(28, "No space left on device")
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, full)
        try:
            save(two, 3)
        except SaveError as error:
            failed += 1
            assert "No space left on device" in str(error) and "MB are free there" in str(error)
            assert error.exit_code == 1
            assert not list(two.path.glob(".partial*")), "others need the space"
        finally:
            monkeypatch.undo()
        if calls < number:
            break
        found, damaged = two.latest()
        assert not damaged
        assert_is(found, found.progress["step"])
    assert failed >= 1


def test_the_manifest_names_size_and_hash(two):
    folder = two.path / two.names()[-1]
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    assert set(manifest) == {"state.safetensors", "progress.json"}
    assert manifest["progress.json"]["bytes"] == (folder / "progress.json").stat().st_size
