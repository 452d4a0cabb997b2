"""Registers this package's classes with Keras as soon as Keras is imported.

A `.keras` file names the classes of its layers and of its optimiser, and Keras finds those of
others only where their modules have been imported. `import keras_preact` does not import Keras,
which takes seconds; these modules take hundredths of one once Keras is there.
"""

import contextlib
import gc
import importlib
import sys

#: The modules that register classes with `keras.saving.register_keras_serializable`.
REGISTERING = ("keras_preact.layers", "keras_preact.training.optimizer")


def register() -> None:
    """Imports the modules that register classes: now, or when Keras has been imported."""
    if "keras" in sys.modules:
        _import_all()
    else:
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds `keras` where Python's own finders do, and has more imported behind it."""

    def find_spec(self, name, path=None, target=None):
        if name != "keras":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module):
                with _without_collecting():
                    execute(module)
                    _import_all()

            spec.loader.exec_module = execute_and_register
        return spec


@contextlib.contextmanager
def _without_collecting():
    """Keras comes with half a million objects, and all of them stay.

    Looking for garbage among them again and again is a quarter of the time that importing takes.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _import_all():
    for name in REGISTERING:
        importlib.import_module(name)
