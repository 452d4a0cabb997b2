"""Options of the suite, and small things that several rooms' tests share."""

import importlib.abc
import os
import sys

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class _NoTensorFlow(importlib.abc.MetaPathFinder):
    """Makes `import tensorflow` fail, as where it is not installed."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] == "tensorflow":
            raise ModuleNotFoundError("No module named 'tensorflow' (blocked)", name=fullname)
        return None


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow as well")
    parser.addoption(
        "--block-tensorflow", action="store_true", help="make importing TensorFlow fail"
    )


def pytest_configure(config):
    if config.getoption("--block-tensorflow"):
        sys.meta_path.insert(0, _NoTensorFlow())


def pytest_sessionstart(session):
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        import tensorflow as tf

        # Two devices, so that tf.distribute is tested without GPUs.
        (cpu,) = tf.config.list_physical_devices("CPU")
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)


def pytest_collection_modifyitems(config, items):
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    for item in items:
        if "slow" in item.keywords and not config.getoption("--run-slow"):
            item.add_marker(pytest.mark.skip(reason="slow: runs with --run-slow"))
        if "tensorflow" in item.keywords and backend != "tensorflow":
            item.add_marker(pytest.mark.skip(reason=f"needs TensorFlow; the backend is {backend}"))


@pytest.fixture(autouse=True)
def _clean_keras():
    """Each test starts from Keras's defaults and a fixed seed."""
    import keras

    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()


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
