"""What several commands share: options of a config's fields, and their values."""

import dataclasses
import os
import re
import typing

from keras_preact.cli.help import metavar_of
from keras_preact.errors import ConfigError
from keras_preact.files import make_folder, replacing


def add_fields(command, config_class, leave_out=(), **same) -> None:
    """An option for every field of a config, with its own words and its own checks.

    Args:
        command: A `jsonargparse.ArgumentParser`.
        config_class: A dataclass whose docstring describes its fields under `Args`.
        leave_out: Fields that get no option.
        **same: `default`, where it is not the field's own.
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


def add_settings(command) -> None:
    """`--set`, for the fields that are no options."""
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PART.FIELD=VALUE",
        help="any other field, its part network, recipe, data or augmentation; may be repeated",
    )


def settings_of(assignments) -> dict:
    """`["a.b=1", ...]` as `{"a.b": 1, ...}`; values are YAML."""
    settings = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"`--set` takes PART.FIELD=VALUE. Received: --set {assignment}")
        settings[name.strip()] = read_yaml(value, f"--set {assignment}")
    return settings


def add_geometry(command) -> None:
    """`--size`, `--shorter` and `--interpolation`, which change how images are fitted."""
    words = "as the network remembers it if not given"
    size = f"side in pixels that is cut out of images: 224, 320; {words}"
    command.add_argument("--size", type=int, default=None, help=size)
    shorter = "shorter side that images are scaled to before; in the network's proportion"
    command.add_argument("--shorter", type=int, default=None, help=shorter)
    ways = f"nearest, bilinear or bicubic; {words}"
    command.add_argument("--interpolation", type=str, default=None, help=ways)


def geometry_of(arguments) -> dict:
    """What these options say, as `Geometry.changed` takes it."""
    return {name: arguments[name] for name in ("size", "shorter", "interpolation")}


def add_data_set(command) -> None:
    """`--set` of a command that reads images with `data_options`."""
    option = {"action": "append", "default": [], "metavar": "data.FIELD=VALUE"}
    command.add_argument("--set", **option, help="any field of DataOptions")


def data_options(assignments):
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
    """Writes a page, whole or not at all, and the folder that it is in.

    Raises:
        SaveError: When it cannot be written.
    """
    make_folder(os.path.dirname(path) or ".", "The page")
    with replacing(path, "The page") as partial:
        partial.write_text(page, encoding="utf-8")


def read_yaml(text: str, received: str):
    """A value in YAML, and so in JSON, in which 1e-4 is a number as it is in YAML 1.2.

    Args:
        text: The YAML.
        received: What an error message shows.

    Raises:
        ConfigError: For text that is no YAML.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """PyYAML's, which follows YAML 1.1 and takes 1e-4 for text."""

    number = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, [*"-+0123456789"])
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"Expected a YAML value. Received: {received} ({reason}).") from None
