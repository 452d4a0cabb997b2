"""Options of the suite, and small things that several rooms' tests share."""

import importlib.machinery
import os

import pytest

import keras_preact  # noqa: F401  before TensorFlow, as users have it: it turns oneDNN's kernels on

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _hide_tensorflow():
    """Makes Python look for TensorFlow in vain, as where it is not installed."""
    finder = importlib.machinery.PathFinder
    find_spec = finder.find_spec

    def find_others(name, *arguments):
        return None if name.split(".")[0] == "tensorflow" else find_spec(name, *arguments)

    finder.find_spec = find_others


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow as well")
    parser.addoption("--kills", type=int, default=5, help="how often a training is killed")
    parser.addoption(
        "--block-tensorflow", action="store_true", help="make importing TensorFlow fail"
    )


def pytest_configure(config):
    if config.getoption("--block-tensorflow"):
        _hide_tensorflow()


def pytest_sessionstart(session):
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        import tensorflow as tf

        # Two devices, so that tf.distribute is tested without GPUs.
        (cpu,) = tf.config.list_physical_devices("CPU")
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
    elif os.environ["KERAS_BACKEND"] == "jax":
        import jax

        jax.config.update("jax_num_cpu_devices", 2)


def pytest_collection_modifyitems(config, items):
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    for item in items:
        if "slow" in item.keywords and not config.getoption("--run-slow"):
            item.add_marker(pytest.mark.skip(reason="slow: runs with --run-slow"))
        if "tensorflow" in item.keywords and backend != "tensorflow":
            item.add_marker(pytest.mark.skip(reason=f"needs TensorFlow; the backend is {backend}"))


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
