"""Run folders: never overwritten, numbered, and read back."""

import os

import pytest

from keras_preact.errors import ConfigError, SaveError
from keras_preact.run import RunFolder, environment, refuse_used


def test_numbered_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [RunFolder.create(None, "net-data").path.name for _ in range(3)]
    assert names == ["net-data-1", "net-data-2", "net-data-3"]


def test_any_name_makes_one_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = RunFolder.create(None, "resnet20v2-imagenet_resized/32x32:5.*.*")
    assert run.path.parent.name == "runs"
    assert run.path.name == "resnet20v2-imagenet_resized_32x32_5._._-1"


def test_a_folder_with_files_is_refused_and_kept(tmp_path):
    (tmp_path / "log.jsonl").write_text("precious")
    with pytest.raises(ConfigError, match="new or empty"):
        RunFolder.create(tmp_path, "")
    assert (tmp_path / "log.jsonl").read_text() == "precious"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"can be written|new or empty"):
        RunFolder.create(tmp_path / "file" / "run", "")


def test_reading_what_was_written(tmp_path):
    run = RunFolder.create(tmp_path / "run", "")
    run.write_json("config.json", {"model": "resnet20"})
    run.append_log({"epoch": 1})
    run.append_log({"epoch": 2})
    again = RunFolder(run.path)
    assert again.config == {"model": "resnet20"}
    assert again.log == [{"epoch": 1}, {"epoch": 2}]
    with pytest.raises(ConfigError, match=r"no result\.json"):
        _ = again.result
    (run.path / "result.json").write_text('{"half')
    with pytest.raises(ConfigError, match=r"result\.json is damaged"):
        _ = again.result
    with pytest.raises(ConfigError, match="A run is a folder"):
        RunFolder(tmp_path / "none")


def test_logs_lose_what_is_behind_a_step_and_half_lines(tmp_path):
    run = RunFolder.create(tmp_path / "run", "")
    for step in range(1, 6):
        run.append_log({"step": step}, "steps.jsonl")
    with open(run.path / "steps.jsonl", "a") as file:
        file.write('{"step": 6')
    assert [row["step"] for row in run.steps] == [1, 2, 3, 4, 5]
    run.cut_log("steps.jsonl", "step", 3)
    run.append_log({"step": 4}, "steps.jsonl")
    assert [row["step"] for row in run.steps] == [1, 2, 3, 4]
    assert run.log == []


def test_a_folder_is_locked_for_others_only_while_it_is_used(tmp_path):
    run = RunFolder.create(tmp_path / "run", "")
    with run.locked():
        assert RunFolder(run.path).is_locked
        with (
            pytest.raises(ConfigError, match=f"process {os.getpid()} on"),
            RunFolder(run.path).locked(),
        ):
            pass
        run.write_json("config.json", {})
        with pytest.raises(
            ConfigError, match=r"new or empty.* Another process is training in it\."
        ):
            refuse_used(run.path)
    assert not run.is_locked
    assert not RunFolder(run.path).is_finished


def test_what_a_run_left_that_was_killed_at_once_is_no_obstacle(tmp_path):
    run = RunFolder.create(tmp_path / "run", "")
    (run.path / ".partial-00000000-config.json").write_text("{")
    RunFolder.create(tmp_path / "run", "")


def test_a_full_disk_takes_no_half_lines(tmp_path):
    run = RunFolder.create(tmp_path / "run", "")
    run.append_log({"epoch": 1})
    (run.path / "steps.jsonl").mkdir()
    with pytest.raises(SaveError, match=r"A line of steps\.jsonl could not be written"):
        run.append_log({"step": 1}, "steps.jsonl")
    with pytest.raises(SaveError, match="free there"), run.replacing("model.keras") as path:
        raise OSError(28, "No space left on device", str(path))
    assert run.log == [{"epoch": 1}]


def test_a_file_takes_no_folders_place(tmp_path):
    run = RunFolder.create(tmp_path / "run", "")
    (run.path / "model.keras").mkdir()
    (run.path / "model.keras" / "precious").write_text("kept")
    with pytest.raises(SaveError), run.replacing("model.keras") as path:
        path.write_text("new")
    assert (run.path / "model.keras" / "precious").read_text() == "kept"
    assert not [*run.path.glob(".partial-*")]


def test_temporary_folders_are_gone_with_their_object():
    run = RunFolder.temporary()
    path = run.path
    run.write_json("config.json", {})
    assert path.is_dir()
    run._kept.cleanup()
    assert not path.exists()


@pytest.mark.parametrize("called", ["/v/bin/keras-preact", "/p/keras_preact/__main__.py"])
def test_environment_has_the_command_to_type(called, monkeypatch):
    monkeypatch.setattr("sys.argv", [called, "train", "--epochs", "3"])
    assert environment()["command"] == ["keras-preact", "train", "--epochs", "3"]


def test_environment_names_versions():
    assert {"python", "packages", "platform"} <= set(environment())
    assert "keras" in environment()["packages"]
