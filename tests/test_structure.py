"""The house: which room may import which, what importing costs, and that all rooms are shipped."""

import ast
import graphlib
import pathlib
import subprocess
import sys
import tomllib

import pytest

import keras_preact

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "keras_preact"

# Each room may import those of the lines before it; rooms on one line do not know each other.
FLOORS = [
    # `_version` is written by a build.
    {
        "_version",
        "errors",
        "lazy",
        "machine",
        "with_keras",
        "precision_tf",
        "citations",
    },
    {"checked", "console"},
    {"placements", "shortcuts"},
    {"files"},
    {"config", "initializers", "precision", "run", "data", "layers"},
    {"residual", "weights", "rewrite"},
    {"applications"},
    {"trained"},
    {"evaluation", "card", "drawing"},
    {"export"},
    {"bench"},
    {"training"},
    {"analysis"},
    {"papers"},
    {"tuning", "demo"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: k for k, floor in enumerate(FLOORS) for room in floor}


def sources():
    for base, prefix in ((PACKAGE, ()), (ROOT / "tuning", ("tuning",))):
        for path in base.rglob("*.py"):
            yield path, (*prefix, *path.relative_to(base).with_suffix("").parts)


def imports(path):
    """Pairs of a module and the name that is taken from it, "" for the module itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def imported_rooms(path):
    for module, name in imports(path):
        parts = [*module.split("."), *filter(None, [name])]
        if parts[0] == "keras_preact" and parts[-1] in keras_preact._HOMES:
            parts = ["keras_preact", keras_preact._HOMES[parts[-1]].strip(".")]
        if parts[0] == "keras_preact" and len(parts) > 1 and parts[1] in FLOOR:
            yield parts[1]


@pytest.mark.parametrize(("path", "parts"), [*sources()])
def test_rooms_import_only_what_stands_below(path, parts):
    room = "__main__" if parts[-1] == "__main__" else parts[0]
    if room == "__init__":
        return
    assert room in FLOOR, f"{room} is a new room: give it its floor"
    for other in imported_rooms(path):
        assert other == room or FLOOR[other] < FLOOR[room], f"{path} imports {other}"


def homes(path):
    """The modules in which the names of a package's `lazy_names` stand."""
    pairs = (
        (key.value, value.value)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(value, ast.Constant)
    )
    return {key: value for key, value in pairs if str(value).startswith(".")}


def test_no_modules_import_each_other_in_a_circle():
    """Imports within functions count too."""
    named = {".".join(("keras_preact", *parts)): path for path, parts in sources()}
    modules = {name.removesuffix(".__init__"): path for name, path in named.items()}
    lazy = {name: homes(path) for name, path in modules.items() if path.stem == "__init__"}

    def target(module, name):
        if f"{module}.{name}" in modules:
            return f"{module}.{name}"
        return module + lazy.get(module, {}).get(name, "")

    graph = {
        module: {target(*pair) for pair in imports(path)} & {*modules}
        for module, path in modules.items()
    }
    assert "keras_preact.data.batches" in graph["keras_preact.training.engine_tf"]  # a lazy name
    graphlib.TopologicalSorter(graph).prepare()  # an error names the modules of a circle


def test_tensorflow_is_imported_by_files_named_for_it_only():
    for path, _ in sources():
        modules = {module.split(".")[0] for module, _ in imports(path)}
        assert "tensorflow" not in modules or path.stem.endswith("_tf"), path


def settings(file):
    return tomllib.loads((ROOT / file).read_text())


def test_every_room_is_shipped():
    rooms = {path.parent.relative_to(ROOT) for path in PACKAGE.rglob("__init__.py")}
    expected = {".".join(room.parts) for room in rooms} | {"keras_preact.tuning"}
    assert set(settings("pyproject.toml")["tool"]["setuptools"]["packages"]) == expected


def test_the_core_is_the_same_code_with_fewer_dependencies():
    whole, core = settings("pyproject.toml"), settings("core/pyproject.toml")
    assert core["tool"]["setuptools"] == whole["tool"]["setuptools"]
    assert core["build-system"] == whole["build-system"]
    for key in ("requires-python", "license", "license-files", "scripts", "dynamic"):
        assert core["project"][key] == whole["project"][key]
    for key in ("version_file", "version_file_template", "fallback_version"):
        assert core["tool"]["setuptools_scm"][key] == whole["tool"]["setuptools_scm"][key]
    needs, extras = whole["project"]["dependencies"], whole["project"]["optional-dependencies"]
    core_extras = core["project"]["optional-dependencies"]
    left_out = set(needs) - set(core["project"]["dependencies"])
    optional = {*core_extras["datasets"], *core_extras["tune"]}
    assert set(core["project"]["dependencies"]) < set(needs)
    assert optional < left_out and len(left_out - optional) == 1
    assert (left_out - optional).pop().startswith("tensorflow>=")
    assert core_extras["jax"] == extras["jax"]
    assert set(core_extras["test"]) < set(extras["test"])


def modules_after(code):
    """Names of the packages that a fresh process has imported after running `code`."""
    end = "import sys; print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    run = [sys.executable, "-c", f"{code}\n{end}"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "code",
    [
        "import keras_preact; keras_preact.ResNetConfig(units=(1, 1, 1))",
        "import keras_preact; keras_preact.list_models(); keras_preact.ResNet110V2",
        "from keras_preact.cli import main; main(['models']); main(['papers', 'he2016-table1'])",
        "from keras_preact.cli import main\ntry: main(['train', '--help'])\nexcept SystemExit: 0",
        "from keras_preact import TrainConfig; TrainConfig()",
    ],
)
def test_what_needs_no_keras_does_not_import_it(code):
    assert not modules_after(code) & {"keras", "tensorflow", "jax", "pandas"}


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import keras_preact; keras_preact.__version__", set()),
        ("from keras_preact.cli import main; main([])", {"jsonargparse", "yaml"}),
    ],
)
def test_what_is_to_begin_at_once_imports_little(code, allowed):
    """What each of these may import beside the standard library and what `site` does."""
    others = modules_after(code) - modules_after("") - sys.stdlib_module_names
    helpers = {"typing_extensions", "typeshed_client", "importlib_resources", "docstring_parser"}
    compiled = {name for name in others if name.startswith(("_cython", "cython"))}  # of PyYAML
    assert others - compiled - helpers <= allowed | {"keras_preact"}


def test_loading_data_needs_no_keras():
    code = "from keras_preact import load_data; load_data('digits')"
    assert not modules_after(code) & {"keras", "tensorflow", "jax"}


def test_rooms_can_be_reached_from_the_face():
    code = "import keras_preact; keras_preact.applications.ResNet50V2; keras_preact.data.load_data"
    assert "keras_preact" in modules_after(code)


def test_the_face_has_what_it_lists():
    for name in dir(keras_preact):
        assert getattr(keras_preact, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = keras_preact.nothing
