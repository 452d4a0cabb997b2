"""The variants that have a name, by gallery, each with the fields of its unit."""

from typing import Any, NamedTuple, get_args

from keras_preact.config import Block, Placement, ResNetConfig, Shortcut
from keras_preact.errors import ConfigError, near, quoted


class Variant(NamedTuple):
    """One drawing of a gallery: a unit, or several equal ones in a chain.

    Attributes:
        caption: Title above it.
        fields: Fields of its `ResNetConfig`.
        unit: Arguments of `read_unit`.
        count: Number of units in the chain.
        frames: `(start, end)` of each frame, around the boxes and circles `[start:end]` from the
            top.
    """

    caption: str
    fields: dict[str, Any]
    unit: dict[str, Any]
    count: int = 1
    frames: tuple[tuple[int, int], ...] = ()


#: Captions that are the papers' and not the names.
_CAPTIONS = {
    "identity": "original",
    "shortcut_only_gating": "shortcut-only gating",
    "conv1x1": "1×1 conv shortcut",
    "dropout": "dropout shortcut",
    "none": "none: plain net",
    "bn_after_addition": "BN after\naddition",
    "relu_before_addition": "ReLU before\naddition",
    "relu_only_preactivation": "ReLU-only\npre-activation",
    "full_preactivation": "full\npre-activation",
    "no_first_relu": "no first ReLU",
    "last_bn": "BN last",
    "no_first_relu_last_bn": "no first ReLU,\nBN last",
}


def _caption(name):
    return _CAPTIONS.get(name, name.replace("_", " "))


def _block(name):
    # One stage, since not every block can halve the map by itself.
    fields = {"block": name, "placement": "original", "units": (3,), "filters": (64,)}
    return Variant(name, fields, {"filters": 64})


def _option(caption, placement="original", **fields):
    return Variant(caption, {"placement": placement, **fields}, {"stride": 2})


def _pair(caption, placement, *frames):
    return Variant(caption, {"placement": placement}, {}, 2, frames)


#: Gallery, then the name of each variant: Identity Mappings, Figures 2 and 4; Deep Residual
#: Learning, Figure 5 and section 3.3 with the appendix of Identity Mappings; Identity Mappings,
#: Figure 5, where frames mark the units. An activation after the addition that only the next branch
#: uses is the first step of that branch: the same boxes in other frames.
GALLERIES: dict[str, dict[str, Variant]] = {
    "shortcuts": {
        name: Variant(_caption(name), {"shortcut": name, "placement": "original"}, {})
        for name in Shortcut.__args__
    },
    "placements": {
        name: Variant(_caption(name), {"placement": name}, {}) for name in Placement.__args__
    },
    "blocks": {name: _block(name) for name in get_args(Block)},
    "dimensions": {
        "option_a": _option("option A", projection="A"),
        "option_b": _option("option B", projection="B"),
        "shared_preactivation": _option(
            "option B, shared\npre-activation", "full_preactivation", projection="B"
        ),
        "raw_input": _option(
            "option B,\nraw input", "full_preactivation", projection="B", projection_input="raw"
        ),
    },
    "asymmetry": {
        "symmetric": _pair("activation for\nboth paths", "bn_after_addition", (0, 7), (7, 14)),
        "asymmetric": _pair("for the\nbranch only", "full_preactivation", (2, 9)),
        "preactivation": _pair(
            "the same as\npre-activation", "full_preactivation", (0, 7), (7, 14)
        ),
    },
}

_VARIANTS = {
    name: variant
    for gallery in GALLERIES.values()
    for name, variant in gallery.items()
    if variant.count == 1
}


def variant_names() -> list[str]:
    """The names of all variants, gallery by gallery."""
    return [*_VARIANTS]


def config_of(
    network: ResNetConfig | str | None,
) -> tuple[ResNetConfig, dict[str, Any], tuple[Any, int] | None]:
    """The config to draw for a config, the name of a variant or a network, or `None`.

    Returns:
        A config, arguments of `read_unit` that go with it, and the network's default
        `(input_shape, classes)` or `None`.

    Raises:
        ConfigError: If the name is neither that of a variant nor that of a network.
    """
    from keras_preact.applications import list_models, model_info

    if network is None or isinstance(network, ResNetConfig):
        return network or ResNetConfig(), {}, None
    if network in _VARIANTS:
        variant = _VARIANTS[network]
        return ResNetConfig(**variant.fields), variant.unit, None
    networks = list_models()
    if str(network).lower() in networks:
        info = model_info(network)
        return info.config, {}, (info.input_shape, info.classes)
    raise ConfigError(
        f"`network` must be a ResNetConfig, one of {quoted(_VARIANTS)}, or the name of a network; "
        f"`keras-preact models` lists them. Received: {network!r}."
        f"{near(str(network).lower(), [*_VARIANTS, *networks])}"
    )
