"""`Checked`, the base of every config: a frozen dataclass that checks its fields and converts to
and from JSON.

The annotation of a field is its first check (`Literal`, `int`, `float`, `bool`, `str`, tuples,
`| None`); rules that an annotation cannot express are in the class's own `check`.
"""

import contextlib
import dataclasses
import functools
import inspect
import json
import math
import numbers
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from keras_preact.errors import ConfigError, near, quoted


class Checked:
    """Mixin for frozen dataclasses: checked fields, `replace`, and a JSON round trip."""

    if TYPE_CHECKING:  # at run time each subclass has its own
        __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __post_init__(self):
        hints = _hints(type(self))
        for field in dataclasses.fields(self):
            value = _checked(field.name, getattr(self, field.name), hints[field.name])
            object.__setattr__(self, field.name, value)
        self.check()

    def check(self) -> None:
        """Checks rules between fields; raises `ConfigError`. The base class has none."""

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """The names of the fields, in order."""
        return tuple(field.name for field in dataclasses.fields(cls))

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; an unknown field raises an error with a suggestion."""
        _refuse_unknown(type(self), changes)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values for JSON."""
        return json.loads(self.to_json())

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; missing fields take their defaults."""
        if not isinstance(values, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(
                f"{cls.__name__} expects a JSON object. Received: {type(values).__name__}."
            )
        _refuse_unknown(cls, values)
        return cls(**values)

    def to_json(self) -> str:
        """The fields as a JSON object, one field per line."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{cls.__name__} expects JSON text: {error}.") from None
        return cls.from_dict(values)


def require(
    condition: bool, name: str, value: Any, expected: str, fix: "str | Callable[[], str]" = ""
) -> None:
    """Raises `ConfigError` unless `condition` holds; `fix` is text or a function of it."""
    if not condition:
        fix = fix() if callable(fix) else fix
        end = f" {fix.strip()}" if fix else ""
        raise ConfigError(f"`{name}` must be {expected}. Received: {name}={value!r}.{end}")


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, of Python or NumPy; `True` and `False` are not."""
    return not isinstance(value, bool) and isinstance(value, numbers.Integral)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _refuse_unknown(cls: type[Checked], values: dict[str, Any]) -> None:
    known = cls.field_names()
    for name in values:
        if name not in known:
            raise ConfigError(
                f"{cls.__name__} has the fields {quoted(known)}. Received: {name}={values[name]!r}."
                f"{near(name, known)}"
            )


def _checked(name: str, value: Any, hint: Any) -> Any:
    """`value` converted to the annotation `hint`: lists become tuples, whole numbers floats."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is types.UnionType or origin is typing.Union:
        if value is None and type(None) in args:
            return None
        *others, last = [arg for arg in args if arg is not type(None)]
        for other in others:
            with contextlib.suppress(ConfigError):
                return _checked(name, value, other)
        if others and float in others and typing.get_origin(last) is typing.Literal:
            choices = quoted(typing.get_args(last))
            require(value in typing.get_args(last), name, value, f"a finite number, {choices}")
        return _checked(name, value, last)
    if origin is typing.Literal:
        fix = functools.partial(near, value, args)  # looking for a near one takes time
        require(value in args, name, value, f"one of {quoted(args)}", fix)
        return value
    if origin is tuple:
        require(isinstance(value, (list, tuple)), name, value, "a list")
        return tuple(_checked(f"{name}[{i}]", item, args[0]) for i, item in enumerate(value))
    if origin is dict:
        require(isinstance(value, dict), name, value, "a mapping")
        return json.loads(json.dumps(value))  # as it comes back from a file: lists for tuples
    if hint is float:
        number = not isinstance(value, bool) and isinstance(value, numbers.Real)
        require(number and math.isfinite(value), name, value, "a finite number")
        return float(value)
    if hint is int:
        require(is_whole(value), name, value, "a whole number")
        return int(value)
    if inspect.isclass(hint) and issubclass(hint, Checked) and isinstance(value, dict):
        return hint.from_dict(typing.cast("dict[str, Any]", value))
    words: dict[Any, str] = {str: "a string", bool: "True or False"}
    require(isinstance(value, hint), name, value, words.get(hint, hint.__name__))
    return value
