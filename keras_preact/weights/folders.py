"""The folders in which KerasHub, transformers and timm store a network: their JSON files."""

import functools
import json
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from keras_preact.checked import is_whole, require
from keras_preact.data import Geometry
from keras_preact.errors import ConfigError, quoted
from keras_preact.weights.by_layer import Weights
from keras_preact.weights.preprocessing import Preprocessing, by_scale_and_offset

#: Interpolations as Pillow numbers them.
_PILLOW = {0: "nearest", 2: "bilinear", 3: "bicubic"}

#: From this size on, ConvNext's processor scales the whole image without keeping its aspect ratio.
_WARPED = 384


class About(NamedTuple):
    """The contents of the JSON files in a folder.

    Attributes:
        kind: The key of its config.json that identifies the library, one of `KINDS`.
        config: The config in it.
        fields: Fields of `ResNetConfig` that do not follow from the arrays.
        of_images: Whether a file describes images.
        preprocessing: How images are scaled; `None` if unknown.
        geometry: How image files are resized and cropped; `None` if unknown, or if `Geometry` does
            not support it.
        class_names: Class names; `None` if unknown.
    """

    kind: str
    config: dict[str, Any]
    fields: dict[str, Any]
    of_images: bool
    preprocessing: Preprocessing | None
    geometry: Geometry | None
    class_names: tuple[str, ...] | None


def read_about(folder: pathlib.Path) -> About:
    """Reads the JSON files in a folder.

    Args:
        folder: The folder.

    Returns:
        Their contents.

    Raises:
        ConfigError: If the folder is of another kind, or no config describes the network.
    """
    about = _read_json(file_in(folder, "config.json"))
    kind = next((key for key in KINDS if isinstance(about, dict) and key in about), None)
    if not isinstance(about, dict) or kind is None:
        raise ConfigError(
            f"A folder must have a config.json with one of {quoted(KINDS)}, as KerasHub, Hugging "
            f"Face transformers and timm write it. Received: source={str(folder)!r}, which does "
            "not."
        )
    fields_of, images_of, preprocessing_of, geometry_of, names_of = KINDS[kind]
    config, fields = about.get("config", {}), fields_of(about)
    images, said = images_of(folder, about), (None, None)
    if isinstance(images, dict):
        said = preprocessing_of(images), geometry_of(images)
    return About(kind, config, fields, isinstance(images, dict), *said, names_of(about))


def file_in(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The path of a file that a folder must have."""
    fix = "A pytorch_model.bin is a pickle: save_pretrained() writes a model.safetensors instead."
    fix = fix if name == "model.safetensors" else ""
    require((folder / name).is_file(), "source", str(folder), f"a folder with a {name}", fix)
    return folder / name


def _read_json(path):
    """The content of a JSON file; `None` if it is damaged or missing."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return None


def _where_it_makes_sense(read):
    """The same function, which returns `None` for an invalid config."""

    @functools.wraps(read)
    def reading(config):
        try:
            return read(config)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return None

    return reading


def _of_keras_hub(about):
    kind, config = about["registered_name"], about.get("config")
    require(kind == "keras_hub>ResNetBackbone", "registered_name", kind, "that of a ResNetBackbone")
    if not isinstance(config, dict):
        raise ConfigError(f"`config` must be a dictionary. Received: config={config!r}.")
    blocks = ("basic_block", "bottleneck_block", "bottleneck_block_vd")
    block, units = config.get("block_type"), config.get("stackwise_num_blocks")
    require(block in blocks, "block_type", block, f"one of {quoted(blocks)}")
    numbers = isinstance(units, list) and all(type(n) is int and n > 0 for n in units)
    if not isinstance(units, list) or not units or not numbers:
        raise ConfigError(
            "`stackwise_num_blocks` must be a list with the number of units of each stage. "
            f"Received: stackwise_num_blocks={units!r}."
        )
    strides, halved = config.get("stackwise_num_strides"), [1, *[2] * (len(units) - 1)]
    require(strides == halved, "stackwise_num_strides", strides, f"{halved}")
    return {"projection_stride": "avg_pool" if block == "bottleneck_block_vd" else "conv"}


def _converter_of_keras_hub(folder, _):
    about = _read_json(folder / "image_converter.json")
    return about.get("config") if isinstance(about, dict) else None


def _prepared_by_keras_hub(config):
    return by_scale_and_offset(config.get("scale"), config.get("offset"), channels=3)


@_where_it_makes_sense
def _fitted_by_keras_hub(config):
    size, squash = config["image_size"], not config.get("crop_to_aspect_ratio", True)
    if config.get("pad_to_aspect_ratio") or not (squash or size[0] == size[1]):
        return None
    interpolation = config.get("interpolation", "bilinear")
    return Geometry(size, None, interpolation, "squash" if squash else "center")


def by_name(found: Weights, config: Mapping[str, Any]) -> Weights:
    """Weights of a KerasHub preset written by an older Keras, which numbers the layers.

    The layers of each class are numbered from the input on; the layers of a shortcut come directly
    before those of the branch's last convolution.
    """
    preactivated = config.get("use_pre_activation", False)
    stem = range(1, 1 + len(config.get("input_conv_filters", "1")))
    convs, norms = [f"conv{k}_conv" for k in stem], [f"conv{k}_bn" for k in stem]
    norms = norms[:-1] if preactivated else norms
    for stage, units in enumerate(config["stackwise_num_blocks"]):
        for unit in range(units):
            numbers = [1, 2] if config["block_type"] == "basic_block" else [1, 2, 3]
            branch = tuple(numbers)
            if unit == 0 and (stage or len(branch) == 3):
                numbers.insert(-1, 0)
            name = f"stack{stage}_block{unit}"
            convs += [f"{name}_{k}_conv" for k in numbers]
            before = ["pre_activation", *branch[:-1]]
            norms += [f"{name}_{k}_bn" for k in (before if preactivated else numbers)]
    norms += ["post_bn"] if preactivated else []
    order = {"conv2d": convs, "batch_normalization": norms, "dense": ["predictions"]}
    named = {}
    for layer, values in found.items():
        kind, number = re.fullmatch(r"(.*?)(?:_(\d+))?", layer).groups()
        names, k = order.get(kind, ()), int(number or 0)
        named[names[k] if k < len(names) else layer] = values
    return named


def _of_transformers(about):
    kind, first = about["model_type"], about.get("downsample_in_first_stage", False)
    require(kind == "resnet", "model_type", kind, "'resnet'")
    require(not first, "downsample_in_first_stage", first, "False")
    activation = about.get("hidden_act", "relu")  # some of its activations are always a ReLU
    require(activation == "relu", "hidden_act", activation, "'relu'")
    return {"stride_on": "1x1" if about.get("downsample_in_bottleneck", False) else "3x3"}


def _processor_of_transformers(folder, _):
    return _read_json(folder / "preprocessor_config.json")


def _prepared_by_transformers(config):
    scale = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    if not config.get("do_normalize", True):
        return by_scale_and_offset(scale, 0.0, channels=3)
    return _of_statistics(config.get("image_mean"), config.get("image_std"), scale)


@_where_it_makes_sense
def _fitted_by_transformers(config):
    """The geometry of ConvNext's processor, which its ResNets use, or of one that crops."""
    if not config.get("do_resize", True):
        return None
    interpolation = _PILLOW[config.get("resample", 3)]
    kind = config.get("image_processor_type") or config.get("feature_extractor_type") or "ConvNext"
    crops, size = config.get("do_center_crop", False), config.get("size", 384)
    if "ConvNext" in kind:
        edge = size if is_whole(size) else size["shortest_edge"]
        if edge >= _WARPED:
            return Geometry(edge, None, interpolation, "squash")
        shorter = int(edge / config.get("crop_pct", 0.875))
        return Geometry(edge, shorter, interpolation, "center_floor")
    if is_whole(size):
        size = {"shortest_edge": size} if crops else {"height": size, "width": size}
    if not crops:
        return Geometry((size["height"], size["width"]), None, interpolation, "squash")
    crop = config["crop_size"]
    crop = crop if is_whole(crop) else (crop["height"], crop["width"])
    if "shortest_edge" in size:
        return Geometry(crop, size["shortest_edge"], interpolation, "center_floor")
    square = size["height"] == size["width"]
    return Geometry(crop, size["height"], interpolation, "squash") if square else None


def _labels_of_transformers(about):
    names = _names(about.get("id2label")) or ()
    unnamed = tuple(f"LABEL_{k}" for k in range(len(names)))  # the default without names
    return None if names == unnamed else names


def _of_timm(about):
    name = about["architecture"]
    known = r"resnet(v2_)?\d+d?|wide_resnet\d+_\d+|resnext\d+d?_\d+x\d+d"
    plain = re.fullmatch(known, str(name)) is not None
    expected = "a ResNet, ResNet-D, Wide ResNet or ResNeXt, such as 'resnet50' or 'resnetv2_50d'"
    require(plain, "architecture", name, expected)
    return {}


def _pretrained_of_timm(_, about):
    config = about.get("pretrained_cfg")
    return config if isinstance(config, dict) else {}


def _prepared_by_timm(config):
    return _of_statistics(config.get("mean"), config.get("std"), 1 / 255)


@_where_it_makes_sense
def _fitted_by_timm(config):
    _, height, width = config.get("input_size") or (3, 224, 224)
    mode = config.get("crop_mode") or "center"
    if mode == "border" or height != width:
        return None
    shorter = math.floor(height / (config.get("crop_pct") or 0.875))
    interpolation = config.get("interpolation") or "bicubic"
    return Geometry(height, shorter, interpolation, "squash" if mode == "squash" else "center")


def _labels_of_timm(about):
    return _names(about.get("label_names"))


def _no_labels(about):
    return None


def _names(names):
    """Class names from a list of strings or a dictionary by label; else `None`."""
    if isinstance(names, dict):
        names = [names.get(str(k)) for k in range(len(names))]
    named = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    return tuple(names) if named else None


def _of_statistics(mean, deviation, scale) -> Preprocessing | None:
    """The preprocessing `(image * scale - mean) / deviation`; `None` if it is not valid.

    A single number applies to all three channels.
    """
    mean, deviation = ([v] * 3 if isinstance(v, (int, float)) else v for v in (mean, deviation))
    try:
        return Preprocessing(tuple(m / scale for m in mean), tuple(d / scale for d in deviation))
    except (TypeError, ZeroDivisionError, OverflowError, ConfigError):
        return None


#: The key of a config.json that identifies the library, and the functions that read the fields, the
#: description of images, from that their preprocessing and geometry, and the class names.
KINDS = {
    "registered_name": (
        _of_keras_hub, _converter_of_keras_hub, _prepared_by_keras_hub, _fitted_by_keras_hub,
        _no_labels,
    ),
    "model_type": (
        _of_transformers, _processor_of_transformers, _prepared_by_transformers,
        _fitted_by_transformers, _labels_of_transformers,
    ),
    "architecture": (
        _of_timm, _pretrained_of_timm, _prepared_by_timm, _fitted_by_timm, _labels_of_timm,
    ),
}  # fmt: skip
