"""Public names of a package, loaded when they are first used."""

import importlib
from collections.abc import Callable
from typing import Any


def lazy_names(
    package: str, homes: dict[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` for a package.

    Args:
        package: The package's `__name__`.
        homes: Each public name and the module, relative to the package, that defines it.

    Returns:
        The three, in this order.

    Example:
        >>> from keras_preact.lazy import lazy_names
        >>> find, names, _ = lazy_names("keras_preact.data", {"load_data": ".load"})
        >>> find("load_data").__name__, names()
        ('load_data', ['load_data'])
    """

    def find(name):
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(homes[name], package), name)

    return find, lambda: sorted(homes), sorted(homes)
