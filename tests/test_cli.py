"""The command line: results, and every mistake as one line with its exit code."""

import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

from keras_preact.applications import list_models
from keras_preact.cli import _COMMANDS, main, parser_for
from keras_preact.cli.help import EXAMPLES, HEADINGS
from keras_preact.cli.training import train_config
from keras_preact.cli.tuning import _SEARCHES, tune_config

SMALL = ("--set", "network.units=[1]", "--set", "network.filters=[4]", "--set",
         "network.stem_filters=4")  # fmt: skip


def _parsed(*argv):
    return train_config(parser_for(argv).parse_args(argv)["train"])


def run(capsys, *argv):
    code = main(list(argv))
    return code, *capsys.readouterr()


def test_models(capsys):
    code, out, _ = run(capsys, "models")
    assert code == 0
    for name in list_models():
        assert f" {name} " in f" {out} "
    code, out, _ = run(capsys, "models", "resnet*v2", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["name"] for row in rows] == list_models("resnet*v2")
    assert next(row for row in rows if row["name"] == "resnet8v2") == {
        "name": "resnet8v2", "depth": 8, "parameters": 75290, "multiply_adds": 12239488,
    }  # fmt: skip


def test_train_prints_one_json_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(
        capsys, "train", "--model", "resnet8v2", "--epochs", "1", "--json", *SMALL,
        "--set", "network.shortcut=dropout", "--set", "network.dropout_rate=0.1",
    )  # fmt: skip
    assert code == 0
    (line,) = out.splitlines()
    result = json.loads(line)
    assert {"test_accuracy", "seconds", "images_per_second", "run"} <= set(result)
    resolved = json.loads((tmp_path / result["run"] / "resolved.json").read_text())
    assert resolved["network"]["dropout_rate"] == 0.1
    assert "epoch 1/1" in err
    config = _parsed("train", "--config", f"{result['run']}/config.json", "--epochs", "7",
                     "--set", "network.dropout_rate=0.2")  # fmt: skip
    assert (config.model, config.epochs) == ("resnet8v2", 7)
    assert config.settings["network.dropout_rate"] == 0.2
    assert config.settings["network.shortcut"] == "dropout" and len(config.settings) == 5


def test_a_runs_settings_can_be_read_from_a_file(capsys, tmp_path):
    (tmp_path / "mine.yaml").write_text("model: resnet8v2\nepochs: 0\n")
    code, _, err = run(capsys, "train", "--config", str(tmp_path / "mine.yaml"))
    assert (code, "`epochs` must be at least 1" in err) == (2, True)


@pytest.mark.slow  # .ci/run always runs README's first command, and the next test reads a result
def test_train_says_where_everything_is(capsys, tmp_path):
    out_folder = tmp_path / "mine"
    code, out, _ = run(
        capsys, "train", "--model", "resnet8v2", "--epochs", "1", "--out", str(out_folder)
    )
    assert code == 0
    assert str(out_folder) in out.replace("\n", "")
    for word in ("test images", "model.keras", "Next"):
        assert word in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["trai"], "'trai'"),
        (["train", "--epochs", "many"], "`epochs` must be a whole number. Received: epochs='many'"),
        (["train", "--epochs", "1.5"], "whole number"),
        (["train", "--epoch-count", "3"], "--epoch-count 3"),
        (["train", "--batch-sise", "3"], "Did you mean '--batch-size'?"),
        (["train", "--epoch", "3"], "Did you mean '--epochs'?"),  # no abbreviations
        (["tune", "gating-bias", "--fold", "5"], "Did you mean '--folds'? `keras-preact tune gat"),
        (["tune"], "`tune` needs one of gating-bias, depth, variant, fields, report"),
        (["tune", "report", "nowhere"], "A run is a folder"),
        (["tune", "fields", "--space", "[1]"], "a mapping from names to values"),
        (["tune", "fields", "--space", "no.yaml"], "`--space` takes a YAML or JSON file"),
        (["tune", "depth", "--set", "data.holdout=0.2"], "choose the validation images"),
        (["train", "--model", "resnet51"], "Received: 'resnet51'"),
        (["train", "--learning-rate", "-1"], "learning_rate"),
        (["train", "--dtype", "float8"], "'float32', 'mixed_bfloat16', 'mixed_float16'"),
        (["train", "--set", "network.gate_bais=1"], "Did you mean 'gate_bias'?"),
        (["train", "--set", "network.gate_bias"], "PART.FIELD=VALUE"),
        (["train", "--set", "network.units=[1"], "YAML"),
        (["train", "--set", "network.shortcut=none",
          "--set", "network.placement=bn_after_addition"], "plain net"),
        (["train", "--config", "missing.yaml"], "missing.yaml"),
        (["train", "--data", "no-such-set"], "no-such-set"),
        (["models", "inception*"], "pattern='inception*'"),
        (["predict", "no.keras", "a.png", "--json", "--csv"], "`csv` must be left out beside"),
        (["check-data"], "path"),
        (["models", "--epochs", "3"], "keras-preact models --help"),
        (["train", "--out", ""], "out"),
        (["train", "--set", "recipe.weight_decay=-1e-4"], "weight_decay=-0.0001"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_code_2(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *argv)
    assert code == 2
    assert words in err
    assert (len(err.splitlines()), out) == (1, "")
    assert list(tmp_path.iterdir()) == []


def test_names_are_shown_as_they_are(capsys, tmp_path):
    from PIL import Image

    for name in ("[cat]", "[bold]"):
        (tmp_path / "[new]" / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "[new]" / name / "1.png")
    code, out, _ = run(capsys, "check-data", str(tmp_path / "[new]"))
    assert code == 0
    assert "[cat]" in out
    assert "[bold]" in out


def test_names_cannot_command_the_terminal(capsys, tmp_path):
    """Whoever made a folder or a file chose its name: colours, titles and cursors stay words."""
    from PIL import Image

    for name in ("\x1b]0;mine\x07", "\x1b[31mred", "\x9b2J", "zwölf"):
        (tmp_path / "new" / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "new" / name / "1.png")
    code, out, _ = run(capsys, "check-data", str(tmp_path / "new"))
    assert code == 0
    for words in ("\\x1b]0;", "\\x1b[31", "\\x9b2J", "zwölf"):
        assert words in out
    _, _, err = run(capsys, "predict", str(tmp_path / "\x1b[31m.keras"), "1.png")
    assert "x1b[31m.keras" in err
    assert not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 for c in out + err)


def test_an_out_folder_in_use_is_kept(capsys, tmp_path):
    (tmp_path / "precious").write_text("kept")
    code, _, err = run(capsys, "train", "--epochs", "1", "--out", str(tmp_path))
    assert (code, "new or empty" in err) == (2, True)


def test_data_that_cannot_be_used_is_exit_code_3(capsys, tmp_path):
    np.savez(tmp_path / "bad.npz", x_train=np.zeros((4, 8, 8, 3), "uint8"), y_train=np.arange(3))
    for data in (f"folder:{tmp_path}/none", f"npz:{tmp_path}/bad.npz"):
        code, out, err = run(capsys, "train", "--data", data)
        assert (code, out, len(err.splitlines())) == (3, "", 1)


@pytest.mark.thorough
def test_divergence_is_exit_code_4(capsys, tmp_path):
    code, _, err = run(
        capsys, "train", "--model", "resnet8v2", "--learning-rate", "1e30", "--epochs", "1",
        "--out", str(tmp_path / "run"), "--set", "recipe.warmup_steps=0", "--json", *SMALL,
    )  # fmt: skip
    assert code == 4
    assert "The loss is" in err.splitlines()[-1]


def test_help_and_version(capsys):
    assert main([]) == 2
    assert "check-data" in capsys.readouterr().out
    for argv in (["--help"], ["train", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as stop:
            main(argv)
        assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "0.1.0" in out
    assert "--set PART.FIELD=VALUE" in out


COMMANDS = [*_COMMANDS, *(f"tune {name}" for name in [*_SEARCHES, "report"])]


def help_of(command, capsys):
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_types_choices_and_defaults(command, capsys):
    text = help_of(command, capsys)
    assert not re.search(r"type:|null|None|Any|\(default: \[", text)
    options = re.findall(r"^  (?:-h, )?--\S+", text, re.MULTILINE)
    headings = set(re.findall(r"^([a-z ]+):$", text, re.MULTILINE)) & set(HEADINGS)
    assert ("run" in headings) is (len(options) > 10) is (command in EXAMPLES)
    assert len(headings) != 1
    assert re.findall(r"^  keras-preact (.*)", text, re.MULTILINE) == [*EXAMPLES.get(command, ())]


def test_help_of_training_has_all_its_headings(capsys):
    text = help_of("train", capsys)
    headings = re.findall(r"^([a-z]+):$", text, re.MULTILINE)
    assert headings == ["model", "data", "recipe", "devices", "run", "examples"]
    for words in ("--epochs INT", "--batch-size {INT,auto}", "--recompute [{true,false}]",
                  "--on-bad-image {error,skip}", "(default: digits)"):  # fmt: skip
        assert words in text


@pytest.mark.parametrize("command", EXAMPLES)
def test_examples_of_the_help_are_understood(command):
    assert len(EXAMPLES[command]) == 3
    for example in EXAMPLES[command]:
        words = shlex.split(example)
        assert example.startswith(f"{command} ")
        arguments = parser_for(words).parse_args(words)[words[0]]
        if command == "train":
            assert train_config(arguments).resolve()
        if words[0] == "tune":
            assert tune_config(words[1], arguments[words[1]]).dimensions()


def test_what_stands_under_a_heading_is_an_option(capsys):
    text = "".join(help_of(command, capsys) for command in COMMANDS)
    known = {name[2:].replace("-", "_") for name in re.findall(r"--[a-z-]+", text)}
    for names in HEADINGS.values():
        assert set(names) <= known


def test_a_dry_run_says_how_long_it_would_take(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "train", "--dry-run", "--model", "resnet8v2")
    assert code == 0
    assert "75,002 parameters, 22 steps of 64 images" in out
    assert "all epochs about" in out and "written and read back" in out
    code, out, _ = run(capsys, "train", "--dry-run", "--model", "resnet8v2", "--json", *SMALL)
    assert json.loads(out)["steps"] == 22
    assert not list(tmp_path.iterdir())


def test_doctor(capsys, monkeypatch):
    """What it finds; that it finds nothing wrong here is its own example."""
    rows = [("export litert", "read back", True), ("export onnx", "not installed", None)]
    monkeypatch.setattr("keras_preact.training.check.main_path", lambda: rows)
    code, out, _ = run(capsys, "doctor")
    assert code == 0
    assert "dtype auto" in out and "training" in out and " ok" in out and "not installed" in out
    monkeypatch.setattr("keras_preact.training.check._self_check", lambda: ())
    rows.append(("predict", "[red] another class", False))
    code, out, err = run(capsys, "doctor")
    assert code == 1 and "[red] another class" in out and "wrong" in out and "see above" in err
    code, out, _ = run(capsys, "doctor", "--json")
    assert code == 1
    assert {row["what"]: row["ok"] for row in json.loads(out)}["predict"] is False


@pytest.mark.drawn
def test_runs_and_their_curves(capsys, tmp_path):
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        row = {"error": 0.5, "test_error": 0.25, "seconds": 100, "images_per_second": 321}
        lines = [json.dumps({**row, "epoch": epoch}) for epoch in (1, 2)]
        (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
        config = {"model": "resnet20v2", "data": "digits", "recipe": "quick"}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "resolved.json").write_text(json.dumps({"recipe": {"epochs": 30}}))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{")
    code, out, _ = run(capsys, "runs", str(tmp_path), "--markdown")
    assert code == 0
    rows = [line for line in out.splitlines() if "resnet20v2" in line]
    assert len(rows) == 2
    for words in ("interrupted", "2/30", "75.00%", "321", "3.3 min"):
        assert words in rows[0]
    code, out, _ = run(capsys, "runs", str(tmp_path), "--csv")
    assert out.splitlines()[0].startswith("run,state,model")
    picture = tmp_path / "both.png"
    code, _, _ = run(capsys, "compare", f"{tmp_path}/a", f"{tmp_path}/b", "--out", str(picture))
    assert code == 0 and picture.stat().st_size > 10_000
    (tmp_path / "a" / "log.jsonl").unlink()
    code, _, err = run(capsys, "compare", f"{tmp_path}/a")
    assert code == 2 and "at least one epoch" in err


def test_streams_that_are_closed_are_no_fault():
    """As some services start programs: what is opened next must not take their numbers."""
    code = (
        "import sys; from keras_preact.cli import main; "
        "main(['models', 'resnet8v2']); sys.stderr.flush(); "
        "sys.exit(open(sys.executable).fileno() <= 2)"
    )
    command = f'{sys.executable} -c "{code}" 0<&- >&- 2>&-'
    assert subprocess.run(["bash", "-c", command]).returncode == 0


@pytest.mark.slow  # a whole training in a process of its own
def test_where_nobody_reads_any_more_a_training_goes_on(tmp_path):
    """`keras-preact train ... | head -1`"""
    out = tmp_path / "run"
    command = f"{sys.executable} -m keras_preact train --model resnet8v2 --epochs 2 --out {out}"
    small = "--set network.units=[1] --set network.filters=[4] --set network.stem_filters=4"
    shell = ["bash", "-c", f"set -o pipefail; {command} {small} | head -1"]
    done = subprocess.run(shell, capture_output=True, text=True)
    assert done.returncode == 0 and "Error" not in done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert (out / "result.json").is_file()
