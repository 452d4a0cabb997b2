"""Every example of a public docstring and of README runs."""

import doctest
import importlib
import inspect
import io
import pathlib
import pkgutil
import re
import shlex

import pytest

import keras_preact
from keras_preact.applications import list_models, model_info

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
NEEDS_TENSORFLOW = ("keras_preact.export", "keras_preact.tuning")


def modules():
    tuning = pkgutil.walk_packages([str(ROOT / "tuning")], "keras_preact.tuning.")
    for module in (*pkgutil.walk_packages(keras_preact.__path__, "keras_preact."), *tuning):
        needed = module.name.startswith(NEEDS_TENSORFLOW) or module.name.endswith("_tf")
        yield pytest.param(module.name, marks=pytest.mark.tensorflow if needed else ())


def public(module):
    """(name, object) of the public classes and functions that a module defines."""
    for name, member in vars(module).items():
        defined = (inspect.isclass(member) or inspect.isfunction(member)) and not re.match(
            "_", name
        )
        if defined and member.__module__ == module.__name__:
            yield name, member


@pytest.mark.parametrize("name", [*modules()])
def test_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    output = io.StringIO()
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(test, out=output.write)
    assert runner.failures == 0, output.getvalue()


def test_public_functions_and_classes_say_what_they_are():
    for module in modules():
        for name, member in public(importlib.import_module(module.values[0])):
            assert inspect.getdoc(member), f"{member.__module__}.{name} has no docstring"


@pytest.mark.parametrize("name", ["ResNet20V2", "ResNet18", "PlainNet20"])
def test_the_builders_shared_example_runs(name):
    builder = getattr(keras_preact, name)
    test = doctest.DocTestParser().get_doctest(builder.__doc__, {}, name, None, None)
    assert test.examples
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "part", ["all but the searches", pytest.param("all", marks=pytest.mark.slow)]
)
def test_readme_python_runs_from_top_to_bottom(part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = [
        code for code in blocks("python") if part == "all" or "keras_preact.tuning" not in code
    ]
    assert len(examples) >= 2
    exec(compile("\n".join(examples), "README.md", "exec"), {})


def test_readme_commands_are_understood(tmp_path, monkeypatch):
    from keras_preact.cli import parser_for
    from keras_preact.cli.training import train_config
    from keras_preact.cli.tuning import tune_config

    monkeypatch.chdir(tmp_path)
    pathlib.Path("space.yaml").write_text(blocks("yaml")[0])

    text = "".join(blocks("bash")).replace("\\\n", " ")
    lines = text.splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if "keras-preact " in line]
    commands = [words[words.index("keras-preact") + 1 :] for words in commands]
    assert {command[0] for command in commands} >= {"train", "models", "check-data"}
    for command in commands:
        arguments = parser_for(command).parse_args(command)[command[0]]
        if command[0] == "train":
            assert train_config(arguments).resolve()
        if command[0] == "tune" and command[1] != "report":
            assert tune_config(command[1], arguments[command[1]]).dimensions()


def test_readme_table_of_networks_is_the_registrys(capsys):
    from keras_preact.cli import main

    assert main(["models", "--markdown"]) == 0
    table = capsys.readouterr().out.strip()
    assert table in README, "paste the output of `keras-preact models --markdown` into README.md"
    assert all(
        f"| {name} " in table and model_info(name).builder in table for name in list_models()
    )
