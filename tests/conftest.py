"""Options of the suite, and small things that several rooms' tests share."""

import collections
import gc
import importlib.machinery
import itertools
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import types
import zlib

import hypothesis
import pytest
import xdist

import keras_preact  # noqa: F401  before TensorFlow, as users have it: it turns oneDNN's kernels on
from keras_preact.console import end_quickly

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The same on every machine; the main path is walked under the other answer too.
os.environ.setdefault("KERAS_PREACT_DTYPE", "float32")
# Whoever is killed, what the system has taken is there; here nobody waits until the disk has it.
os.fsync = os.fstat
# A machine that is busy with other things is no fault.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")


ROOT = pathlib.Path(__file__).parents[1]
ANATOMY = "tests/analysis/test_anatomy.py::test_pieces_make_the_whole_and_parts_the_gradient"

#: Parts of the suite: what they hold, by the beginnings of tests' names, and what of that is left
#: out. `portable` is the core that runs without TensorFlow, less what takes XLA long to compile and
#: is the same in another test; `numeric` is what another processor might compute otherwise.
PARTS = {
    "portable": (
        (
            "tests/layers/", "tests/rewrite/", "tests/test_initializers.py",
            "tests/test_precision.py", "tests/residual/test_placements.py",
            "tests/residual/test_shortcuts.py", "tests/training/test_engine.py",
            "tests/training/test_optimizer.py", "tests/training/test_golden.py",
            "tests/analysis/test_explanation.py",
            "tests/training/test_trainer.py::test_training_that_diverges_stops_and_says_where",
            "tests/applications/test_contract.py::test_keras_round_trip",
            f"{ANATOMY}[original, exclusive_gating]", f"{ANATOMY}[repeated]",
            "tests/analysis/test_curvature.py::test_equals_the_dense_one",
        ),
        r"registered_networks|all_kinds|packagings|twenty_steps|portable_copy|every_copy"
        r"|one_device_and_two.*everything|definition_at_every_size|loop_over_windows"
        r"|copies_of_networks|gradients_are_differences|in_16_bits_maps"
        r"|last_bit.*-(sgd|rmsprop|adam|adamw|lamb)\]",
    ),
    "numeric": (
        (
            "tests/layers/", "tests/rewrite/", "tests/analysis/test_anatomy.py",
            "tests/analysis/test_variance.py", "tests/export/test_export.py::test_a_run_in_use",
            "tests/test_policies.py", "tests/residual/test_placements.py",
            "tests/residual/test_shortcuts.py", "tests/training/test_engine.py",
            "tests/training/test_optimizer.py", "tests/training/test_golden.py",
            "tests/evaluation/test_evaluate.py",
            "tests/weights/test_convert.py::test_outputs",
            "tests/applications/test_keras_parity.py", "tests/faults/test_workers.py",
        ),
        r"$^",
    ),
}  # fmt: skip


#: Marks of what is left out, each with the option that runs it.
LEFT_OUT = {"thorough": "--thorough", "slow": "--run-slow", "machines": "--machines"}
COUNTS = pytest.StashKey[dict[str, int]]()


def _hide_tensorflow():
    """Makes Python look for TensorFlow in vain, as where it is not installed."""
    finder = importlib.machinery.PathFinder
    find_spec = finder.find_spec

    def find_others(name, *arguments):
        return None if name.split(".")[0] == "tensorflow" else find_spec(name, *arguments)

    finder.find_spec = find_others


def pytest_addoption(parser):
    parser.addoption("--thorough", action="store_true", help="run the tests marked thorough too")
    parser.addoption("--share", metavar="K/N", help="run the K-th of N shares of these, as CI does")
    parser.addoption(
        "--run-slow", action="store_true", help="run the tests marked thorough and slow as well"
    )
    parser.addoption("--machines", action="store_true", help="run as other processors would")
    parser.addoption("--part", choices=[*PARTS], help="run a part of the suite only")
    parser.addoption("--devices", type=int, default=2, help="devices that the CPU is made into")
    parser.addoption("--kills", type=int, default=1, help="how often a training is killed")
    parser.addoption(
        "--fuzz-seconds",
        type=float,
        help="how long a format is fuzzed; with --run-slow 140, which is half an hour in all",
    )
    parser.addoption(
        "--block-tensorflow", action="store_true", help="make importing TensorFlow fail"
    )


def pytest_configure(config):
    config.option.thorough |= config.option.run_slow
    if config.getoption("--block-tensorflow"):
        _hide_tensorflow()


def pytest_sessionstart(session):
    if xdist.is_xdist_controller(session):
        return
    # Shells let what runs in the background ignore Ctrl-C, which tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        import tensorflow as tf

        # Several devices, so that tf.distribute is tested without GPUs.
        (cpu,) = tf.config.list_physical_devices("CPU")
        several = [tf.config.LogicalDeviceConfiguration()] * session.config.getoption("--devices")
        tf.config.set_logical_device_configuration(cpu, several)
    elif os.environ["KERAS_BACKEND"] == "jax":
        import jax

        jax.config.update("jax_num_cpu_devices", session.config.getoption("--devices"))


def pytest_ignore_collect(collection_path, config):
    """Leaves out files that have nothing of the part that is asked for, without importing them."""
    if config.getoption("--part") and collection_path.suffix == ".py":
        names, _ = PARTS[config.getoption("--part")]
        name = collection_path.relative_to(ROOT).as_posix()
        return None if any((name.startswith(n) or n.startswith(name)) for n in names) else True
    return None


def _runs(mark, item, config):
    """Whether the options ask for a test with a mark."""
    if mark == "thorough" and config.option.share:
        place, shares = map(int, config.option.share.split("/"))
        return zlib.crc32(item.nodeid.encode()) % shares == place % shares
    return config.getoption(LEFT_OUT[mark])


def pytest_collection_modifyitems(config, items):
    if config.getoption("--part"):
        names, left_out = PARTS[config.getoption("--part")]
        whole = re.compile(left_out)
        kept = [i for i in items if i.nodeid.startswith(names) and not whole.search(i.nodeid)]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
    backend, cases = os.environ.get("KERAS_BACKEND", "tensorflow"), collections.Counter()
    left_out = collections.defaultdict(list)
    for item in items:
        if sample := item.get_closest_marker("sample"):
            function = item.nodeid.split("[")[0]
            if number := cases[function] % sample.args[0]:
                item.add_marker("thorough" if number % 4 == 1 else "slow")
            cases[function] += 1
        for mark, option in LEFT_OUT.items():
            if mark in item.keywords and not _runs(mark, item, config):
                left_out[mark].append(item)
                item.add_marker(pytest.mark.skip(reason=f"{mark}: runs with {option}"))
        if "tensorflow" in item.keywords and backend != "tensorflow":
            item.add_marker(pytest.mark.skip(reason=f"needs TensorFlow; the backend is {backend}"))
    gone = {*itertools.chain(*left_out.values())}
    if len(gone) < len(items):  # else they were asked for by name, and are told why they do not run
        items[:] = [item for item in items if item not in gone]
        config.stash[COUNTS] = {mark: len(some) for mark, some in left_out.items()}


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """A process of the suite tells the first one what it has left out."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(COUNTS, {})


def pytest_testnodedown(node):
    node.config.stash[COUNTS] = getattr(node, "workeroutput", {}).get("left_out", {})


def pytest_terminal_summary(terminalreporter, config):
    """Says what was left out."""
    for mark, count in config.stash.get(COUNTS, {}).items():
        terminalreporter.write_line(f"left out: {count} {mark} tests; {LEFT_OUT[mark]} runs them")


def pytest_collection_finish():
    """Leaves what was imported, half a million objects, out of the search for garbage."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    end_quickly()


@pytest.fixture(scope="session", autouse=True)
def _temporary_files(tmp_path_factory):
    """What examples and killed processes leave lies where pytest removes it."""
    folder = str(tmp_path_factory.mktemp("temporary"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TMPDIR", folder)
        patched.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(autouse=True)
def _clean_keras():
    """Each test starts from Keras's blank state, its default policy and a fixed seed.

    Without it Keras would keep the variables of networks that a test has built without weights,
    and make gigabytes of them at the end of the next `StatelessScope`.
    """
    import keras

    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def drawing(pytestconfig):
    """A switch for whether pictures in PNG are drawn; where not, they are a pixel each."""
    import matplotlib.figure
    import PIL.Image

    switch = types.SimpleNamespace(on=pytestconfig.option.run_slow)
    draw = matplotlib.figure.Figure.savefig

    def savefig(figure, file, *, format=None, **arguments):
        if switch.on or (format or pathlib.Path(file).suffix[1:]) != "png":
            draw(figure, file, format=format, **arguments)
        else:
            PIL.Image.new("RGB", (1, 1)).save(file, "png")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(matplotlib.figure.Figure, "savefig", savefig)
        yield switch


@pytest.fixture(autouse=True)
def _draws_what_is_looked_at(request, drawing):
    """A third of a short training's time is its pictures, which most tests do not look at."""
    drawing.on = request.config.option.run_slow or "drawn" in request.node.keywords
    yield
    drawing.on = request.config.option.run_slow  # for what the next modules' tests share


@pytest.fixture(scope="session")
def strategy():
    """Two replicas, the same that a training on two devices has."""
    from keras_preact.training.engine_tf import mirrored

    return mirrored(("CPU:0", "CPU:1"))


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """A finished run, trained once for all processes of the suite; copy it to write into it."""
    import filelock

    from keras_preact import TrainConfig, train

    base = tmp_path_factory.getbasetemp()
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "trained_run"
    settings = {"recipe.preprocessing": "pixel_mean"}
    config = TrainConfig("resnet8v2", epochs=1, batch_size=64, settings=settings, out=str(out))
    with filelock.FileLock(f"{out}.lock"):
        train(config)  # says the same again where it is finished
    return out


@pytest.fixture(scope="session")
def run_python():
    """Runs code in a process of its own, and gives what it printed."""
    ahead = "import atexit, gc\ngc.disable()\natexit.register(gc.freeze)\n"  # two seconds less

    def run(code, folder=None, *arguments, **environment):
        command = [sys.executable, "-c", ahead + code, *map(str, arguments)]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def randomize():
    """Gives every weight of a model values that no initialiser would, so that all of them count."""
    import numpy as np

    def set_random(model, seed=0):
        random = np.random.default_rng(seed)
        for weight in model.weights:
            values = random.normal(0.0, 0.3, weight.shape)
            if weight.path.endswith(("variance", "gamma")):
                values = 0.5 + np.abs(values)
            weight.assign(values)
        return model

    return set_random
