"""Run folders: never overwritten, numbered, and read back."""

import pytest

from keras_preact.errors import ConfigError
from keras_preact.run import RunFolder, environment


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


def test_environment_names_versions():
    assert {"python", "packages", "platform"} <= set(environment())
    assert "keras" in environment()["packages"]
