"""The folders in which KerasHub, transformers and timm keep a network: what their JSON says."""

import json
import re
from typing import Any, NamedTuple

from keras_preact.checked import require
from keras_preact.errors import ConfigError, quoted
from keras_preact.weights.by_layer import Weights
from keras_preact.weights.preprocessing import Preprocessing, by_scale_and_offset


class About(NamedTuple):
    """What the JSON files in a folder say.

    Attributes:
        kind: The key of its config.json that tells whose it is, one of `KINDS`.
        config: The config in it.
        fields: Fields of `ResNetConfig` that no array tells.
        preprocessing: How images are prepared; `None` where no file says so.
        class_names: Names of the classes; `None` where no file says them.
    """

    kind: str
    config: dict[str, Any]
    fields: dict[str, Any]
    preprocessing: Preprocessing | None
    class_names: tuple[str, ...] | None


def read_about(folder) -> About:
    """Reads the JSON files in a folder.

    Args:
        folder: A `pathlib.Path`.

    Raises:
        ConfigError: For a folder of another kind, and for networks that no config describes.
    """
    about = _read_json(file_in(folder, "config.json"))
    kind = next((key for key in KINDS if isinstance(about, dict) and key in about), None)
    if kind is None:
        raise ConfigError(
            f"A folder has a config.json with one of {quoted(KINDS)}, as KerasHub, Hugging Face "
            f"transformers and timm write it. Received: source={str(folder)!r}, which has not."
        )
    fields_of, preprocessing_of, names_of = KINDS[kind]
    fields, preprocessing = fields_of(about), preprocessing_of(folder, about)
    return About(kind, about.get("config", {}), fields, preprocessing, names_of(about))


def file_in(folder, name):
    """The path of a file that a folder must have."""
    fix = "A pytorch_model.bin is a pickle: save_pretrained() writes it as model.safetensors."
    fix = fix if name == "model.safetensors" else ""
    require((folder / name).is_file(), "source", str(folder), f"a folder with a {name}", fix)
    return folder / name


def _read_json(path):
    """What a JSON file holds; `None` for one that is damaged or not there."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return None


def _of_keras_hub(about):
    kind, config = about["registered_name"], about.get("config")
    require(kind == "keras_hub>ResNetBackbone", "registered_name", kind, "that of a ResNetBackbone")
    require(isinstance(config, dict), "config", config, "a dictionary")
    blocks = ("basic_block", "bottleneck_block")
    block, units = config.get("block_type"), config.get("stackwise_num_blocks")
    require(block in blocks, "block_type", block, f"one of {quoted(blocks)}")
    numbers = isinstance(units, list) and all(type(n) is int and n > 0 for n in units)
    require(numbers and units, "stackwise_num_blocks", units, "a list of numbers of units")
    strides, halved = config.get("stackwise_num_strides"), [1, *[2] * (len(units) - 1)]
    require(strides == halved, "stackwise_num_strides", strides, f"{halved}")
    return {}


def _converter_of_keras_hub(folder, _):
    about = _read_json(folder / "image_converter.json")
    config = about.get("config") if isinstance(about, dict) else None
    if not isinstance(config, dict):
        return None
    return by_scale_and_offset(config.get("scale"), config.get("offset"), channels=3)


def by_name(found, config) -> Weights:
    """Weights of a KerasHub preset that an older Keras wrote, which numbers the layers.

    The numbers are those of the layers of one class, from the images on; a shortcut's come with
    those of the branch's last convolution, ahead of them.
    """
    preactivated = config.get("use_pre_activation", False)
    convs, norms = ["conv1_conv"], [] if preactivated else ["conv1_bn"]
    for stage, units in enumerate(config["stackwise_num_blocks"]):
        for unit in range(units):
            numbers = [1, 2, 3] if config["block_type"] == "bottleneck_block" else [1, 2]
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
    activation = about.get("hidden_act", "relu")  # some of its activations are a ReLU always
    require(activation == "relu", "hidden_act", activation, "'relu'")
    return {"stride_on": "1x1" if about.get("downsample_in_bottleneck", False) else "3x3"}


def _processor_of_transformers(folder, _):
    about = _read_json(folder / "preprocessor_config.json")
    if not isinstance(about, dict):
        return None
    scale = about.get("rescale_factor", 1 / 255) if about.get("do_rescale", True) else 1.0
    if not about.get("do_normalize", True):
        return by_scale_and_offset(scale, 0.0, channels=3)
    return _of_statistics(about.get("image_mean"), about.get("image_std"), scale)


def _labels_of_transformers(about):
    names = _names(about.get("id2label")) or ()
    unnamed = tuple(f"LABEL_{k}" for k in range(len(names)))  # where nobody has named them
    return None if names == unnamed else names


def _of_timm(about):
    name = about["architecture"]
    plain = re.fullmatch(r"resnet(v2_)?\d+", str(name)) is not None
    require(plain, "architecture", name, "a plain ResNet, such as 'resnet50' or 'resnetv2_50'")
    return {}


def _pretrained_of_timm(_, about):
    config = about.get("pretrained_cfg")
    config = config if isinstance(config, dict) else {}
    return _of_statistics(config.get("mean"), config.get("std"), 1 / 255)


def _labels_of_timm(about):
    return _names(about.get("label_names"))


def _no_labels(about):
    return None


def _names(names):
    """Names of classes from a list of texts, or a dictionary by their numbers; else `None`."""
    if isinstance(names, dict):
        names = [names.get(str(k)) for k in range(len(names))]
    named = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    return tuple(names) if named else None


def _of_statistics(mean, deviation, scale) -> Preprocessing | None:
    """That of images times `scale`, less `mean`, over `deviation`; `None` where it cannot be.

    One number is that of all three channels.
    """
    mean, deviation = ([v] * 3 if isinstance(v, (int, float)) else v for v in (mean, deviation))
    try:
        return Preprocessing([m / scale for m in mean], [d / scale for d in deviation])
    except (TypeError, ZeroDivisionError, OverflowError, ConfigError):
        return None


#: The key of a config.json that says whose it is, and what reads its fields, its preprocessing and
#: the names of its classes.
KINDS = {
    "registered_name": (_of_keras_hub, _converter_of_keras_hub, _no_labels),
    "model_type": (_of_transformers, _processor_of_transformers, _labels_of_transformers),
    "architecture": (_of_timm, _pretrained_of_timm, _labels_of_timm),
}
