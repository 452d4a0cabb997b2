"""Each check in an environment of its own: `nox --list` names them, `nox -s lint` runs one."""

import pathlib

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "types", "tests"]
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
]


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
    session.install("-e", ".[test]", "pyright")
    session.run("pyright", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session):
    """The suite; further arguments go to pytest."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python="3.11")
def lowest(session):
    """The core's tests with the lowest versions that pyproject.toml allows."""
    session.install("uv")
    session.run("uv", "pip", "install", "--resolution", "lowest-direct", "-e", ".[test]")
    session.run("python", "-m", "pytest", *(session.posargs or CORE_TESTS))


@nox.session
def jax(session):
    """The portable part of the suite on JAX, where there is no TensorFlow."""
    session.install("-e", "./core[jax,test]")
    env = {"KERAS_BACKEND": "jax"}
    session.run("python", "-m", "pytest", "--part", "portable", *session.posargs, env=env)


@nox.session(python=PYTHONS)
def smoke(session):
    """The wheel alone, as a user has it: trains, exports, predicts."""
    folder = pathlib.Path(session.create_tmp())
    _build(session, folder)
    (wheel,) = folder.glob("*.whl")
    session.install(str(wheel))
    session.run("python", "-P", "tests/smoke.py")


@nox.session
def build(session):
    """Wheel and source distribution of both distributions into dist/, checked."""
    _build(session, pathlib.Path("dist"))


@nox.session
def docs(session):
    """The site; any warning is an error."""
    session.install("-e", ".[docs]")
    session.run("mkdocs", "build", "--strict", *session.posargs)


def _build(session, folder):
    session.install("build", "twine")
    for project in (".", "core"):
        session.run("python", "-m", "build", "--outdir", str(folder), project)
    session.run("twine", "check", "--strict", *map(str, folder.glob("keras_preact*")))
