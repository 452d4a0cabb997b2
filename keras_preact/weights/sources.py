"""`read_source`: weights of other libraries as weights by layer, with the config of their network.

A source may also be a network of this package.
"""

import collections.abc
import dataclasses
import itertools
import json
import os
import pathlib
import re
from typing import Any

import keras
import numpy as np

from keras_preact.checked import require
from keras_preact.config import ResNetConfig
from keras_preact.data import Geometry
from keras_preact.errors import ConfigError, quoted
from keras_preact.run import CLASSES, RunFolder, beside
from keras_preact.weights.about import read_config, read_geometry, read_preprocessing
from keras_preact.weights.by_layer import Weights, weights_by_layer
from keras_preact.weights.files import read_tensors, read_weights, weights_in
from keras_preact.weights.folders import by_name, file_in, read_about
from keras_preact.weights.hub import on_hub, pull
from keras_preact.weights.layouts import LAYOUTS, OWN, Layout
from keras_preact.weights.own import layers_of, learned_constants, preprocessing_of, size_in
from keras_preact.weights.preprocessing import PREPROCESSINGS, Preprocessing
from keras_preact.weights.safe import read_model_file
from keras_preact.weights.shapes import config_of

#: Index of a weight in its layer, by the name of the tensor in PyTorch's layers.
_TORCH = {"weight": "0", "bias": "1", "running_mean": "2", "running_var": "3"}

#: Prefixes of layer names in models for a task, and in models that were compiled or ran on several
#: devices, in any order.
_PREFIXES = re.compile(r"^(?:(?:_orig_mod|module|model|net|network|backbone|resnet)\.)+")

#: Most arrays in a layer.
_OF_A_LAYER = 5

#: Layer names of `keras.applications` before Keras 2.3.
_OLD_KERAS = re.compile(r"(?:res|bn)\d[a-z]\d*_branch")


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights by this package's layer names, with the config and metadata of their network.

    Attributes:
        weights: `{layer: {index: array}}`, as `weights_by_layer` returns it.
        config: Architecture of the network.
        layout: Layer names of its library; `None` for a network of this package.
        preprocessing: Preprocessing of its images: from its files, or else the one that its library
            uses for its own weights; `None` if unknown.
        class_names: Class names in the order of the labels; `None` if its files do not have them.
        geometry: How image files are resized and cropped for it, from the same places.

    Raises:
        ConfigError: If the weights have no stem, or the preprocessing is for another number of
            channels.
    """

    weights: Weights
    config: ResNetConfig
    layout: Layout | None = None
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] | None = None
    geometry: Geometry | None = None

    def __post_init__(self):
        stem = np.ndim(self.weights.get("stem_conv", {}).get("0"))
        expected = "the weights of a network with a stem_conv"
        require(stem == 4, "weights", [*self.weights][:3], expected)
        known = self.preprocessing
        expected = f"None, or one for the {self.channels} channels of its images"
        fits = known is None or known.channels == self.channels
        require(fits, "preprocessing", str(known), expected)

    @property
    def channels(self) -> int:
        """Number of channels of its images."""
        return self.weights["stem_conv"]["0"].shape[2]

    @property
    def classes(self) -> int | None:
        """Number of classes of its classifier; `None` without one."""
        head = self.weights.get("predictions")
        return head["0"].shape[-1] if head else None

    def called(self, layer: str) -> str:
        """The library's name of one of our layers."""
        return (self.layout.theirs(layer) if self.layout else None) or layer


def read_source(source: Any) -> Source:
    """Reads trained weights of another library, or of a network of this package.

    Depth, blocks, widths, classes and image channels are read from the arrays.

    Args:
        source: One of the following:

            - a ResNet or ResNetV2 of `keras.applications` or KerasHub, or its `.weights.h5`, `.h5`
              or `.keras` file, with or without the classifier; the folder of a KerasHub preset;
            - the state dict of a ResNet of torchvision or timm, as a `.safetensors` file or a
              dictionary of arrays;
            - the folder of a `ResNetForImageClassification` of Hugging Face transformers, or of a
              timm model;
            - a network of this package, its `.keras` file, the folder of a finished run, or a file
              of `save_named` that includes the config;
            - a repository of the Hugging Face Hub with one of these, `"hf://user/name"`.

    Returns:
        A `Source`.

    Raises:
        ConfigError: If the source cannot be read, or no config describes the network.

    Example:
        >>> import keras
        >>> from keras_preact.weights import read_source
        >>> found = read_source(keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3)))
        >>> found.config.units, found.config.block, found.classes
        ((3, 4, 6, 3), 'bottleneck', 1000)
    """
    about: Any = None
    path, graph = source, None
    if isinstance(source, keras.Model):
        graph = json.loads(source.to_json())
        theirs = weights_by_layer(source) | learned_constants(graph)
    elif isinstance(source, collections.abc.Mapping):
        theirs = _of_state_dict(source)
    else:
        paths = isinstance(source, (str, os.PathLike))
        require(paths, "source", source, "a model, a dictionary of arrays, or a path")
        path = pull(source) if on_hub(source) else pathlib.Path(source)
        if (path / "resolved.json").is_file():
            path = path / "model.keras"
            fix = "Let the run finish first: the same command resumes it."
            require(path.is_file(), "source", str(source), "a finished run", fix)
        file = path / "model.safetensors" if path.is_dir() else path  # as `push` writes it
        if config := read_config(file):
            about = {"preprocessing": read_preprocessing(file), "geometry": read_geometry(file)}
            found = Source(read_weights(file), config, **about)
            return dataclasses.replace(found, class_names=_names_beside(file, found.classes))
        if path.suffix == ".keras" and path.is_file():
            found = read_model_file(path)
            theirs, graph = weights_in(found), found.config
        else:
            theirs, about = _read_folder(path) if path.is_dir() else (_read_file(path), None)
    if "stem_conv" in theirs:
        return _own(path, theirs, graph)
    weights, layout = renamed(theirs)
    config = config_of(weights, layout, fields=about.fields if about else {})
    preprocessing = about.preprocessing if about else None
    preprocessing = preprocessing or PREPROCESSINGS.get(layout.preprocessing or "")
    # A file's geometry that is not supported is not replaced by the library's default.
    geometry = about.geometry if about and about.of_images else layout.geometry
    geometry = geometry and geometry.of_size(size_in(graph) or geometry.size)
    found, names = Source(weights, config, layout), about.class_names if about else None
    fits = preprocessing and preprocessing.channels == found.channels
    return dataclasses.replace(
        found,
        preprocessing=preprocessing if fits else None,
        geometry=geometry,
        class_names=names if names and len(names) == found.classes else None,
    )


def _own(source, weights, graph) -> Source:
    """A network of this package: its config is that of its run, or read from its graph."""
    config, geometry = None, None
    if graph is None:
        raise ConfigError(
            "The weights alone do not determine the strides and padding of a network of this "
            f"package. Received: source={str(source)!r}. Pass the folder of its run, its `.keras` "
            "file, or a file of `save_named` with the config."
        )
    if isinstance(source, pathlib.Path):
        folder = RunFolder(source.parent)
        if source.name == "model.keras" and (folder.path / "resolved.json").is_file():
            config = ResNetConfig.from_dict(folder.read_json("resolved.json")["network"])
        geometry = read_geometry(source)
    layers = layers_of(graph)
    preprocessing = preprocessing_of(layers, weights)
    config = config or config_of(weights, OWN, layers)
    found = Source(weights, config, None, preprocessing)
    names = _names_beside(source, found.classes) if isinstance(source, pathlib.Path) else None
    size = size_in(graph)
    geometry = geometry or (size and Geometry(size))
    return dataclasses.replace(found, class_names=names, geometry=geometry)


def _names_beside(file, classes):
    """The class names beside a file; `None` if there are none, or not as many as classes."""
    found = beside(file, CLASSES)
    names = RunFolder(found.parent).read_json(found.name) if found.is_file() else None
    named = isinstance(names, list) and len(names) == classes
    return tuple(map(str, names)) if named else None


def renamed(theirs: Weights) -> tuple[Weights, Layout]:
    """Renames the layers of a library to ours.

    Args:
        theirs: Weights by the layer names of one of the libraries.

    Returns:
        The weights by our layer names, and the layout of the library.

    Raises:
        ConfigError: If no library has these names.

    Example:
        >>> import numpy as np
        >>> from keras_preact.weights.sources import renamed
        >>> list(renamed({"conv2_block1_1_conv": {"0": np.ones((1, 1, 64, 64))}})[0])
        ['stage1_unit1_conv1']
    """
    layout = _layout_of(theirs)
    weights = {str(layout.ours(layer)): dict(values) for layer, values in theirs.items()}
    if head := weights.get("predictions"):
        kernel = np.asarray(head.get("0"))
        if kernel.ndim == 4 and kernel.shape[:2] == (1, 1):  # timm's pre-activation networks
            head["0"] = kernel = kernel[0, 0]
        name, expected = str(layout.theirs("predictions")), "a classifier with a kernel"
        require(kernel.ndim == 2, name, f"{len(head)} arrays", expected)
    return weights, layout


def _read_folder(path):
    """The weights in a folder, and the contents of its JSON files."""
    about = read_about(path)
    if about.kind != "registered_name":
        return _read_file(file_in(path, "model.safetensors")), about
    found, head = _read_file(file_in(path, "model.weights.h5")), path / "task.weights.h5"
    found |= {} if not head.is_file() else _read_file(head)
    return (by_name(found, about.config) if "conv2d" in found else found), about


def _read_file(path) -> Weights:
    known = (".safetensors", ".h5", ".keras")
    if path.suffix in (".pth", ".pt", ".bin", ".ckpt"):
        raise ConfigError(
            "A PyTorch checkpoint is a pickle, which may run any code when it is read. Save its "
            "state dict as safetensors, with PyTorch: safetensors.torch.save_file(torch.load(PATH, "
            f"weights_only=True), 'net.safetensors'). Received: source={str(path)!r}."
        )
    expected = f"an existing file ({quoted(known)}), or a folder written by transformers, timm or "
    right = path.is_file() and path.suffix in known
    require(right, "source", str(path), f"{expected}KerasHub")
    if path.suffix == ".safetensors":
        return _of_state_dict(read_tensors(path))
    return read_weights(path)


def _of_state_dict(tensors) -> Weights:
    """PyTorch's tensors by layer, with kernels transposed to Keras's order."""
    inside = [key for key, value in tensors.items() if isinstance(value, collections.abc.Mapping)]
    fix = f"Pass one of the inner dictionaries, such as source[{inside[0]!r}]." if inside else ""
    expected = "one dictionary of arrays, without nested dictionaries"
    require(not inside, "source", f"dictionaries under {quoted(inside[:5])}", expected, fix)
    keys = [key for key, value in tensors.items() if "." in str(key) or np.size(value) > 1]
    layers = _without_prefixes([str(key).rpartition(".")[0] for key in keys])
    found: Weights = {}
    for key, layer in zip(keys, layers, strict=True):
        name = str(key).rpartition(".")[2]
        if name == "num_batches_tracked":
            continue
        array = np.asarray(tensors[key])
        # (out, in, height, width) to (height, width, in, out).
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        index, values = _TORCH.get(name, name), found.setdefault(layer, {})
        twice = f"{key!r}, and the same under another name"
        require(index not in values, "source", twice, "the tensors of one network", "Choose one.")
        values[index] = array
    return found


def _without_prefixes(layers):
    """Layer names without the prefix that all share, and without known prefixes of some.

    Example:
        >>> from keras_preact.weights.sources import _without_prefixes
        >>> _without_prefixes(["ema.0.resnet.conv1", "ema.0.fc"])
        ['conv1', 'fc']
    """
    for _ in range(2):
        parts = [layer.split(".") for layer in layers]
        columns = zip(*(part[:-1] for part in parts), strict=False)
        ahead = len([*itertools.takewhile(lambda column: len({*column}) == 1, columns)])
        layers = [_PREFIXES.sub("", ".".join(part[ahead:])) for part in parts]
    return layers


def _layout_of(theirs) -> Layout:
    """The layout that knows all the layer names."""
    strangers = [[name for name in theirs if layout.ours(name) is None] for layout in LAYOUTS]
    layout, unknown = min(zip(LAYOUTS, strangers, strict=True), key=lambda pair: len(pair[1]))
    if len(unknown) == len(theirs) or any(map(_OLD_KERAS.match, theirs)):
        raise ConfigError(
            f"The weights must be those of a {', '.join(one.name for one in LAYOUTS)}. "
            f"Received: layers {quoted([*theirs][:3]) or 'without any'}.{_older(theirs)}"
        )
    if unknown:
        raise ConfigError(
            f"The weights look like those of a {layout.name}, but some layers are unknown. "
            f"Received: {quoted(unknown[:3])} ({len(unknown)} of {len(theirs)}). Networks with "
            "other stems, blur pooling or attention are not supported; if the model contains a "
            "backbone, pass that: model.get_layer(NAME)."
        )
    return layout


def _older(theirs):
    """What to do with files of older versions of Keras."""
    if "conv2d" in theirs:
        return (
            " Older versions of Keras did not write layer names: load the file into its model, "
            "and pass the model."
        )
    inside = [name for name, values in theirs.items() if len(values) > _OF_A_LAYER]
    if inside:
        return (
            f" {quoted(inside)} is a nested model: load the file into its model, and pass "
            f"model.get_layer({inside[0]!r})."
        )
    if any(map(_OLD_KERAS.match, theirs)):
        return (
            " These are layer names of keras.applications before Keras 2.3: set the weights of the "
            "current keras.applications model in the order of the file, and pass the model."
        )
    return ""
