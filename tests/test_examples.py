"""Every example of a public docstring runs; those of the pages: test_documentation.py."""

import doctest
import importlib
import inspect
import io
import pathlib
import pkgutil
import re

import pytest

import keras_preact

ROOT = pathlib.Path(__file__).parents[1]
NEEDS_TENSORFLOW = ("keras_preact.export", "keras_preact.tuning")
#: Modules whose examples do what other tests do at length.
LONGEST = {
    "keras_preact.analysis.curvature", "keras_preact.analysis.hessian",
    "keras_preact.analysis.surface", "keras_preact.analysis.watch",
    "keras_preact.applications.convert", "keras_preact.bench.measuring",
    "keras_preact.export.litert_tf", "keras_preact.export.openvino_tf",
    "keras_preact.papers.schedule", "keras_preact.rewrite.swap", "keras_preact.training.check",
    "keras_preact.training.extend", "keras_preact.training.loggers", "keras_preact.training.walk",
    "keras_preact.tuning.budget", "keras_preact.tuning.hypermodels", "keras_preact.weights.sources",
}  # fmt: skip
#: Modules whose examples train, convert, measure or draw.
LONG = {
    "keras_preact.analysis.analyzer", "keras_preact.analysis.explanation",
    "keras_preact.analysis.gradients", "keras_preact.analysis.identity_units",
    "keras_preact.analysis.layer_plots", "keras_preact.analysis.lesion",
    "keras_preact.analysis.paths", "keras_preact.analysis.plots",
    "keras_preact.analysis.refinement", "keras_preact.card", "keras_preact.data.check",
    "keras_preact.demo.local", "keras_preact.drawing.network", "keras_preact.evaluation.data_page",
    "keras_preact.evaluation.files", "keras_preact.evaluation.scores",
    "keras_preact.export.artefacts", "keras_preact.export.hub",
    "keras_preact.export.saved_model_tf", "keras_preact.rewrite.fold",
    "keras_preact.rewrite.prediction", "keras_preact.rewrite.sizes",
    "keras_preact.training.fine_tune", "keras_preact.training.trainer",
    "keras_preact.weights.by_layer", "keras_preact.weights.files", "keras_preact.weights.named",
}  # fmt: skip


def modules():
    tuning = pkgutil.walk_packages([str(ROOT / "tuning")], "keras_preact.tuning.")
    found = (*pkgutil.walk_packages(keras_preact.__path__, "keras_preact."), *tuning)
    for name in dict.fromkeys(module.name for module in found):  # `tuning` may be in both
        needed = name.startswith(NEEDS_TENSORFLOW) or name.endswith("_tf")
        marks = [pytest.mark.tensorflow] if needed else []
        marks += [pytest.mark.thorough] if name in LONG else []
        marks += [pytest.mark.slow] if name in LONGEST else []
        yield pytest.param(name, marks=marks)


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
@pytest.mark.thorough
def test_the_builders_shared_example_runs(name):
    builder = getattr(keras_preact, name)
    test = doctest.DocTestParser().get_doctest(builder.__doc__, {}, name, None, None)
    assert test.examples
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0
