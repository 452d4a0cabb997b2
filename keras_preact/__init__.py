"""Residual networks in every variant of the papers by He et al., as drop-in Keras models.

Importing this package does not import Keras; everything is loaded when it is first used.
"""

import importlib
import os
import platform

from keras_preact.lazy import lazy_names
from keras_preact.with_keras import register

try:
    from keras_preact._version import __version__  # written when it is built, from Git's tags
except ImportError:
    __version__ = "0.1.0.dev0"  # a checkout that was never installed

if platform.machine().lower() in ("x86_64", "amd64"):
    # TensorFlow turns oneDNN's kernels on by itself only on processors with AVX-512 VNNI or AMX,
    # and training is twice as fast with them where there is AVX2 only. It reads this when it is
    # imported; TF_ENABLE_ONEDNN_OPTS=0 in the environment refuses.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

register()

_HOMES = {
    "ResNetConfig": ".config",
    "build_network": ".residual",
    "count_multiply_adds": ".residual",
    "residual_unit": ".residual",
    "convert": ".applications",
    "create_model": ".applications",
    "feature_extractor": ".applications",
    "list_models": ".applications",
    "model_info": ".applications",
    "accelerate": ".rewrite",
    "fold_batch_norm": ".rewrite",
    "predict_function": ".rewrite",
    "portable": ".rewrite",
    "load_data": ".data",
    "load_trained": ".trained",
    "choose_dtype": ".precision",
    "TrainConfig": ".training",
    "train": ".training",
}
_ROOMS = (
    "analysis",
    "applications",
    "bench",
    "data",
    "demo",
    "drawing",
    "evaluation",
    "export",
    "layers",
    "papers",
    "residual",
    "rewrite",
    "training",
    "tuning",
    "weights",
)

_find, _, __all__ = lazy_names(__name__, _HOMES)


def __getattr__(name):
    if name in _HOMES:
        return _find(name)
    if name in _ROOMS:
        return importlib.import_module(f"keras_preact.{name}")
    applications = importlib.import_module("keras_preact.applications")
    if name in applications.__all__:  # the named networks
        return getattr(applications, name)
    return _find(name)


def __dir__():
    applications = importlib.import_module("keras_preact.applications")
    return sorted({"__version__", *_HOMES, *_ROOMS, *applications.__all__})
