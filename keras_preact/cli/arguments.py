"""What several commands share: options of a config's fields, and their values."""

import dataclasses
import os
import pathlib
import re
import typing
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Any

from keras_preact.cli.help import metavar_of
from keras_preact.errors import ConfigError
from keras_preact.files import make_folder, replacing

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_fields(
    command: "ArgumentParser", config_class: type[Any], leave_out: Container[str] = (), **same: Any
) -> None:
    """Adds an option for every field of a config, which describes and checks itself.

    Args:
        command: A `jsonargparse.ArgumentParser`.
        config_class: A dataclass whose docstring describes its fields under `Args`.
        leave_out: Fields that get no option.
        **same: `default`, to replace the fields' own.
    """
    import docstring_parser

    words = {p.arg_name: p.description for p in docstring_parser.parse(config_class.__doc__).params}
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        if field.name in leave_out:
            continue
        option = f"--{field.name.replace('_', '-')}"
        takes_text = isinstance(field.default, str) or hints[field.name] == str | None
        flag = {"nargs": "?", "const": True} if hints[field.name] is bool else {}
        command.add_argument(
            option,
            **flag,
            type=str if takes_text else typing.Any,
            default=same.get("default", field.default),
            metavar=metavar_of(hints[field.name], field.name),
            help=_help_of(words[field.name]),
        )


def _help_of(text) -> str:
    """A field's words, written as those of other options: no markup, capital or full stop."""
    text = " ".join(text.replace("`", "").split()).removesuffix(".")
    return text[0].lower() + text[1:] if text[1:2].islower() or text[1] == " " else text


def add_settings(command: "ArgumentParser") -> None:
    """Adds `--set`, for fields that have no option."""
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PART.FIELD=VALUE",
        help="set any other field; PART is network, recipe, data or augmentation; repeatable",
    )


def settings_of(assignments: Iterable[str]) -> dict:
    """`["a.b=1", ...]` as `{"a.b": 1, ...}`; values are YAML."""
    settings = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"`--set` takes PART.FIELD=VALUE. Received: --set {assignment}")
        settings[name.strip()] = read_yaml(value, f"--set {assignment}")
    return settings


def add_geometry(command: "ArgumentParser") -> None:
    """Adds `--size`, `--shorter` and `--interpolation`, which change how images are resized."""
    words = "the network's own if not given"
    size = f"side in pixels of the centre crop, such as 224; {words}"
    command.add_argument("--size", type=int, default=None, help=size)
    shorter = "shorter side in pixels to resize to before cropping; in proportion if not given"
    command.add_argument("--shorter", type=int, default=None, help=shorter)
    ways, words = "{nearest,bilinear,bicubic}", f"how images are resized; {words}"
    command.add_argument("--interpolation", type=str, default=None, metavar=ways, help=words)


def geometry_of(arguments: "Namespace") -> dict:
    """The values of these options, as `Geometry.changed` takes them."""
    return {name: arguments[name] for name in ("size", "shorter", "interpolation")}


def add_data_set(command: "ArgumentParser") -> None:
    """Adds `--set` to a command that reads images with `data_options`."""
    option = {"action": "append", "default": [], "metavar": "data.FIELD=VALUE"}
    command.add_argument("--set", **option, help="set a field of DataOptions; repeatable")


def data_options(assignments: Iterable[str]) -> dict[str, Any]:
    """Fields of `DataOptions` from `--set data.FIELD=VALUE`."""
    from keras_preact.data import DataOptions

    given = settings_of(assignments)
    for name in given:
        if not name.startswith("data."):
            raise ConfigError(f"`--set` takes data.FIELD=VALUE here. Received: --set {name}.")
    options = {name.removeprefix("data."): value for name, value in given.items()}
    DataOptions().replace(**options)
    return options


def write_page(path: str, page: str) -> None:
    """Writes a page atomically, and makes its folder if needed.

    Raises:
        SaveError: When it cannot be written.
    """
    make_folder(os.path.dirname(path) or ".", "The page")
    with replacing(path, "The page") as partial:
        partial.write_text(page, encoding="utf-8")


#: Endings of the files that are read as YAML, of which JSON is a part.
YAML = (".yaml", ".yml", ".json")


def read_yaml_file(path: str, option: str) -> Any:
    """Reads a YAML (or JSON) file.

    Args:
        path: The file.
        option: Whose value it is, as an error message names it.

    Raises:
        ConfigError: For a file that cannot be read, or is not YAML.
    """
    try:
        text = pathlib.Path(path).read_text()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"`{option}` takes a YAML or JSON file. Received: {path} ({error})."
        ) from None
    return read_yaml(text, f"{option} {path}")


def read_yaml(text: str, received: str) -> Any:
    """Reads a YAML (or JSON) value; 1e-4 is a number, as in YAML 1.2.

    Args:
        text: The YAML.
        received: The text that an error message shows.

    Raises:
        ConfigError: For text that is not YAML.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """PyYAML's loader; it follows YAML 1.1, where 1e-4 is text."""

    number = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, [*"-+0123456789"])
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"Expected a YAML value. Received: {received} ({reason}).") from None
