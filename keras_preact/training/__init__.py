"""Training: recipes, the optimiser, and the one path from a config to a run folder."""

import importlib

_WHERE = {
    "RECIPES": "recipes",
    "Recipe": "recipes",
    "Result": "trainer",
    "SGD": "optimizer",
    "TrainConfig": "config",
    "train": "trainer",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str):
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__():
    return __all__
