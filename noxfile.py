#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox>=2025.2.9"]
# ///
"""Each check in an environment of its own: `nox --list` names them, `nox -s lint` runs one."""

import pathlib

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"

PYTHONS = ["3.11", "3.12", "3.13"]

#: What the lowest versions that pyproject.toml allows have to pass.
CORE_TESTS = [
    "tests/layers",
    "tests/residual/test_placements.py",
    "tests/residual/test_shortcuts.py",
    "tests/applications/test_contract.py",
    "tests/weights/test_named.py",
    "tests/weights/test_attacks.py",
    "tests/data/test_images.py",
    "tests/data/test_tables.py",
    "tests/training/test_engine.py",
    "tests/training/test_checkpoint.py",
    "tests/evaluation/test_evaluate.py",
    "tests/export/test_export.py",
    # TensorFlow 2.18's LiteRT gives other than as many scores as images; the export says so.
    "--deselect=tests/export/test_export.py::test_small_numbers[litert-int8-uint8]",
]


def emptied(folder):
    """A folder for distributions, without those of earlier versions."""
    folder = pathlib.Path(folder)
    for earlier in folder.glob("keras_preact*"):
        earlier.unlink()
    return folder


@nox.session
def lint(session):
    """Ruff over all, and what keeps the workflows safe."""
    session.install("ruff>=0.12", "zizmor")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("zizmor", "--offline", ".github/workflows")


@nox.session
def types(session):
    """Pyright, as pyproject.toml sets it up."""
    session.install("-e", ".[test,types]")
    session.run("pyright", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session):
    """The suite with what is thorough, or with the arguments that are given."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", *(session.posargs or ["--thorough"]))


@nox.session(python="3.11", venv_backend="uv", default=False)
def lowest(session):
    """The core's tests with the lowest versions that pyproject.toml allows."""
    session.install("--resolution", "lowest-direct", "-e", ".")
    session.install("hypothesis", "pytest", "pytest-xdist")
    session.run("python", "-m", "pytest", *(session.posargs or CORE_TESTS))


@nox.session(default=False)
def jax(session):
    """The portable part of the suite on JAX, where there is no TensorFlow."""
    session.install("-e", "./core[jax,test]")
    env = {"KERAS_BACKEND": "jax"}
    session.run("python", "-m", "pytest", "--part", "portable", *session.posargs, env=env)


@nox.session(python=PYTHONS, default=False)
def smoke(session):
    """The wheel alone, as a user has it: trains, exports, predicts."""
    folder = emptied(session.create_tmp())
    session.install("build")
    session.run("python", "-m", "build", "--wheel", "--outdir", str(folder))
    session.install(*map(str, folder.glob("*.whl")))
    session.run("python", "-P", "tests/smoke.py")


@nox.session(default=False)
def build(session):
    """Wheel and source distribution of both distributions into dist/, checked."""
    session.install("build", "twine")
    folder = emptied("dist")
    for project in (".", "core"):
        session.run("python", "-m", "build", "--outdir", str(folder), project)
    session.run("twine", "check", "--strict", *map(str, folder.glob("keras_preact*")))


@nox.session(default=False)
def docs(session):
    """The site; any warning is an error."""
    session.install("-e", ".[docs]")
    session.run("mkdocs", "build", "--strict", *session.posargs)


if __name__ == "__main__":
    nox.main()
