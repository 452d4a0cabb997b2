"""`draw`: a unit, a network, or a gallery of variants, as SVG or PNG."""

import sys

from keras_preact.cli.arguments import settings_of
from keras_preact.console import import_keras_quietly, make_console
from keras_preact.errors import ConfigError, near, quoted
from keras_preact.files import suffix_of

#: Options that say which unit is drawn.
_OF_UNITS = ("stage", "unit", "filters", "stride", "in_channels")


def _draw(arguments) -> None:
    from keras_preact.drawing.sheet import SUFFIXES

    name = arguments.variant
    fields, what = _fields(arguments.set), _what(arguments)
    out = arguments.out or f"{name}.svg"
    suffix_of(out, SUFFIXES, "out")
    import_keras_quietly()
    from keras_preact.drawing import draw_gallery, draw_network, draw_unit, save_drawing
    from keras_preact.drawing.variants import config_of

    if what == "gallery":
        figure = draw_gallery(name)
    elif what == "network":
        figure = draw_network(name, **fields)
    else:
        config, given, _ = config_of(name)
        chosen = _chosen(arguments)
        if arguments.stage is None:
            chosen = {**given, **chosen}
        # `network.filters` are those of the stages, `filters` those of the unit.
        figure = draw_unit(config.replace(**fields), title=_title(name, arguments), **chosen)
    save_drawing(figure, out)
    make_console(sys.stdout).print(f"{what} {name}: {out}", soft_wrap=True)


def _what(arguments) -> str:
    """`"gallery"`, `"network"` or `"unit"`, by the name and the options."""
    from keras_preact.applications import list_models
    from keras_preact.drawing.variants import GALLERIES, variant_names

    name, what, networks = arguments.variant, arguments.what, list_models()
    if name not in (*GALLERIES, *variant_names()) and name.lower() not in networks:
        raise ConfigError(
            f"`draw` takes a gallery, {quoted(GALLERIES)}; a variant, {quoted(variant_names())}; "
            "or the name of a network, which `keras-preact models` lists. Received: "
            f"{name!r}.{near(name.lower(), [*GALLERIES, *variant_names(), *networks])}"
        )
    if what not in (None, "unit", "network"):
        raise ConfigError(
            f"`--what` must be one of 'unit', 'network'. Received: --what {what}."
            f"{near(what, ('unit', 'network'))}"
        )
    given = [f"--{option.replace('_', '-')}" for option in _chosen(arguments)]
    if name in GALLERIES:
        others = [*given, *["--what"] * (what is not None), *["--set"] * bool(arguments.set)]
        if others:
            raise ConfigError(
                f"A gallery is drawn as it stands in the papers, without {', '.join(others)}; a "
                f"unit takes them: {quoted(variant_names())}. Received: {name!r}."
            )
        return "gallery"
    is_unit = name in variant_names() or bool(given)
    if what == "network" and given:
        raise ConfigError(
            "A network is drawn without the options of units. Received: --what network with "
            f"{', '.join(given)}."
        )
    return what or ("unit" if is_unit else "network")


def _chosen(arguments) -> dict:
    """The options that say which unit is drawn, where they were given."""
    given = {name: arguments[name] for name in _OF_UNITS}
    return {name: value for name, value in given.items() if value is not None}


def _title(name, arguments) -> str:
    if arguments.stage is None:
        return name
    return f"{name}, stage {arguments.stage}, unit {arguments.unit or 1}"


def _fields(assignments) -> dict:
    """Fields of a network from `--set network.FIELD=VALUE`."""
    given = settings_of(assignments)
    for name in given:
        if not name.startswith("network."):
            raise ConfigError(f"`--set` takes network.FIELD=VALUE here. Received: --set {name}.")
    return {name.removeprefix("network."): value for name, value in given.items()}


def _draw_arguments(command) -> None:
    variant = (
        "a network (resnet110v2), a gallery (shortcuts, placements, blocks, dimensions, "
        "asymmetry), or a unit (exclusive_gating, full_preactivation, bottleneck)"
    )
    command.add_argument("variant", metavar="VARIANT", help=variant)
    out = "file to write, .svg or .png; VARIANT.svg if not given"
    command.add_argument("--out", type=str, default=None, metavar="FILE", help=out)
    what = "of a network: the network with its stages (the default), or its unit"
    command.add_argument("--what", type=str, default=None, metavar="{network,unit}", help=what)
    option = {"action": "append", "default": [], "metavar": "network.FIELD=VALUE"}
    command.add_argument("--set", **option, help="any field of ResNetConfig; may be repeated")
    for name, words in {
        "stage": "draw a unit of this stage of the network, from 1",
        "unit": "which unit of that stage, from 1; 1 if not given",
        "filters": "filters of the unit's branch; without them its boxes name none",
        "stride": "stride of the unit",
        "in-channels": "channels of its input",
    }.items():
        command.add_argument(f"--{name}", type=int, default=None, help=words)


COMMANDS = {
    "draw": (_draw, _draw_arguments, "draw a unit, a network or a gallery, as SVG or PNG"),
}
