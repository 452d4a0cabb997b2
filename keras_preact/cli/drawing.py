"""`draw`: a unit, a network, a gallery of variants, or what an augmentation does to images."""

import sys

from keras_preact.checked import require
from keras_preact.cli.arguments import settings_of
from keras_preact.console import import_keras_quietly, make_console
from keras_preact.errors import ConfigError, near, quoted
from keras_preact.files import suffix_of

#: Options that say which unit is drawn.
_OF_UNITS = ("stage", "unit", "filters", "stride", "in_channels")

#: The sheet that is no drawing of a network, and the options that say what is on it.
_SHEET, _OF_SHEETS = "augmentation", ("recipe", "data", "image_size", "images", "draws")


def _draw(arguments) -> None:
    from keras_preact.drawing.sheet import SUFFIXES

    name = arguments.variant
    if name == _SHEET:
        _draw_augmentation(arguments)
        return
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


def _draw_augmentation(arguments) -> None:
    import numpy as np

    from keras_preact.data import load_data
    from keras_preact.data.statistics import statistics
    from keras_preact.evaluation import plot_augmentation, save_figure
    from keras_preact.training import TrainConfig

    others = _options(arguments, ("what", *_OF_UNITS))
    if others:
        raise ConfigError(
            f"A sheet of augmented images takes {', '.join(map(_option, _OF_SHEETS))}, --set and "
            f"--out. Received: {', '.join(map(_option, others))}."
        )
    out, given = arguments.out or f"{_SHEET}.png", _options(arguments, _OF_SHEETS)
    suffix_of(out, (".png", ".svg", ".pdf"), "out")
    counts = {name: given.pop(name) for name in ("images", "draws") if name in given}
    for name, count in counts.items():
        require(2 <= count <= 40, name, count, "from 2 to 40")
    config = TrainConfig(**given, settings=settings_of(arguments.set))
    import_keras_quietly()
    parts = config.resolve()
    data = load_data(config.data, options=parts.data, seed=config.seed)
    figure = plot_augmentation(
        data.train,
        parts.augmentation,
        f"{config.recipe} on {data.name}",
        mixup=parts.recipe.mixup,
        cutmix=parts.recipe.cutmix,
        flip=data.flip,
        fill=np.rint(statistics(data.train, "channel", 200).mean),
        seed=config.seed,
        **counts,
    )
    save_figure(figure, out)
    make_console(sys.stdout).print(f"sheet {_SHEET}: {out}", soft_wrap=True)


def _what(arguments) -> str:
    """`"gallery"`, `"network"` or `"unit"`, by the name and the options."""
    from keras_preact.applications import list_models
    from keras_preact.drawing.variants import GALLERIES, variant_names

    name, what, networks = arguments.variant, arguments.what, list_models()
    if name not in (*GALLERIES, *variant_names()) and name.lower() not in networks:
        raise ConfigError(
            f"`draw` takes a gallery, {quoted(GALLERIES)}; a variant, {quoted(variant_names())}; "
            f"the name of a network, which `keras-preact models` lists; or {_SHEET!r}. Received: "
            f"{name!r}.{near(name.lower(), [*GALLERIES, *variant_names(), *networks, _SHEET])}"
        )
    if others := _options(arguments, _OF_SHEETS):
        raise ConfigError(
            f"{', '.join(map(_option, others))} belong to `draw {_SHEET}`. Received: {name!r}."
        )
    if what not in (None, "unit", "network"):
        raise ConfigError(
            f"`--what` must be one of 'unit', 'network'. Received: --what {what}."
            f"{near(what, ('unit', 'network'))}"
        )
    given = [*map(_option, _chosen(arguments))]
    if name in GALLERIES:
        others = [*given, *["--what"] * (what is not None), *["--set"] * bool(arguments.set)]
        if others:
            raise ConfigError(
                f"A gallery is drawn as in the papers and takes no {', '.join(others)}; units do: "
                f"{quoted(variant_names())}. Received: {name!r}."
            )
        return "gallery"
    is_unit = name in variant_names() or bool(given)
    if what == "network" and given:
        raise ConfigError(
            "The options of units do not apply to a network. Received: --what network with "
            f"{', '.join(given)}."
        )
    return what or ("unit" if is_unit else "network")


def _chosen(arguments) -> dict:
    """The options that say which unit is drawn, where they were given."""
    return _options(arguments, _OF_UNITS)


def _options(arguments, names) -> dict:
    """Those of the options that were given."""
    return {name: arguments[name] for name in names if arguments[name] is not None}


def _option(name) -> str:
    return f"--{name.replace('_', '-')}"


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
        "asymmetry), a unit (exclusive_gating, full_preactivation, bottleneck), or augmentation: "
        "what a recipe does to images"
    )
    command.add_argument("variant", metavar="VARIANT", help=variant)
    out = "file to write, .svg or .png; VARIANT.svg or augmentation.png if not given"
    command.add_argument("--out", type=str, default=None, metavar="FILE", help=out)
    what = "for a network: draw its stages (the default) or its unit"
    command.add_argument("--what", type=str, default=None, metavar="{network,unit}", help=what)
    option = {"action": "append", "default": [], "metavar": "PART.FIELD=VALUE"}
    words = "set network.FIELD of ResNetConfig; for augmentation, any field as in train; repeatable"
    command.add_argument("--set", **option, help=words)
    for name, words in {
        "recipe": "for augmentation: recipe; quick if not given",
        "data": "for augmentation: images, as in train; digits if not given",
    }.items():
        command.add_argument(f"--{name}", type=str, default=None, help=words)
    for name, words in {
        "stage": "draw a unit of this stage of the network, from 1",
        "unit": "number of the unit in that stage, from 1; 1 if not given",
        "filters": "filters of the residual branch; not shown if not given",
        "stride": "stride of the unit",
        "in-channels": "channels of the unit's input",
        "image-size": "for augmentation: side in pixels that images are resized and cropped to",
        "images": "for augmentation: number of images, one per row; 6 if not given",
        "draws": "for augmentation: number of epochs, one per column; 8 if not given",
    }.items():
        command.add_argument(f"--{name}", type=int, default=None, help=words)


COMMANDS = {
    "draw": (_draw, _draw_arguments, "draw a unit, a network, a gallery or augmented images"),
}
