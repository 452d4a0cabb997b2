"""Residual networks in every variant of the papers by He et al., as drop-in Keras models.

Importing this package imports neither Keras nor a data set: what is asked for is loaded then.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "ResNetConfig": "keras_preact.config",
    "build_network": "keras_preact.residual",
    "count_multiply_adds": "keras_preact.residual",
    "residual_unit": "keras_preact.residual",
    "create_model": "keras_preact.applications",
    "feature_extractor": "keras_preact.applications",
    "list_models": "keras_preact.applications",
    "model_info": "keras_preact.applications",
    "load_data": "keras_preact.data",
    "TrainConfig": "keras_preact.training",
    "train": "keras_preact.training",
}

__all__ = ["__version__", *_HOMES]


_ROOMS = ("applications", "data", "evaluation", "export", "residual", "training")


def __getattr__(name):
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"keras_preact.{name}")
    applications = importlib.import_module("keras_preact.applications")
    if name in applications.__all__:  # the named networks
        return getattr(applications, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    applications = importlib.import_module("keras_preact.applications")
    return sorted({*__all__, *_ROOMS, *applications.__all__})
