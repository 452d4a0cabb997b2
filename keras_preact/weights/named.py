"""Weights in safetensors files, under readable names.

A key is `layer/weight`, such as `stage1_unit1_conv1/kernel`. The layer names are those of the flat
packaging, so that all packagings of a network have the same keys.
"""

import dataclasses
import fnmatch
import os
from collections.abc import Iterable

import keras
import numpy as np
from safetensors.numpy import save

from keras_preact.checked import require
from keras_preact.config import ResNetConfig
from keras_preact.data import Geometry
from keras_preact.errors import ConfigError, near, quoted
from keras_preact.files import replace_file, save_error
from keras_preact.layers import Repeat
from keras_preact.weights.about import FORMAT
from keras_preact.weights.by_layer import (
    layers_with_weights,
    load_weights_by_layer,
    weights_by_layer,
)
from keras_preact.weights.files import (
    DIGEST,
    NAMES,
    digest_of_arrays,
    read_names,
    read_weights,
)
from keras_preact.weights.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """The result of `load_named`, as layer names.

    Attributes:
        loaded: Layers that now have the weights of the file.
        skipped: Layers of the model that kept their weights because of `skip`.
        missing: Layers of the model that kept their weights because the file has none for them.
        unused: Layers of the file that the model does not have.
    """

    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]


def save_named(
    model: keras.Model,
    path: str | os.PathLike,
    config: ResNetConfig | None = None,
    preprocessing: Preprocessing | None = None,
    geometry: Geometry | None = None,
) -> None:
    """Writes the weights of a model to a safetensors file, under readable names.

    The keys are `stem_conv/kernel`, `stage1_unit1_norm1/gamma`, `predictions/bias`, ..., the same
    in every packaging. The file is written completely or not at all.

    Args:
        model: A functional `keras.Model`, in any packaging.
        path: The file, `.safetensors`.
        config: Architecture of the network, stored in the header of the file; with it
            `keras_preact.convert` builds the network from the file alone.
        preprocessing: Preprocessing of its images, stored in the header; a training that starts
            from the file then applies it.
        geometry: How image files are resized and cropped for it, stored in the header.

    Raises:
        ConfigError: If the suffix is another one, two layers have the same name, or a layer keeps
            weights in layers inside it.
        SaveError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> from safetensors.numpy import load_file
        >>> from keras_preact.applications import ResNet8V2
        >>> from keras_preact.weights import save_named
        >>> path = tempfile.mkdtemp() + "/net.safetensors"
        >>> save_named(ResNet8V2(), path)
        >>> sorted(load_file(path))[:2]
        ['head_norm/beta', 'head_norm/gamma']
    """
    require(str(path).endswith(".safetensors"), "path", str(path), "a `.safetensors` file")
    names = _weight_names(model)
    arrays = {
        f"{layer}/{names[layer][int(index)]}": np.asarray(array, order="C")
        for layer, values in weights_by_layer(model).items()
        for index, array in values.items()
    }
    about = {"format": FORMAT, "name": model.name}
    if config is not None:
        about["config"] = config.to_json()
    if preprocessing is not None:
        about["preprocessing"] = preprocessing.to_json()
    if geometry is not None:
        about["geometry"] = geometry.to_json()
    about[DIGEST] = digest_of_arrays(arrays, about)
    try:
        replace_file(path, save(arrays, about))
    except OSError as error:
        raise save_error(error, "Weights", path) from None


def load_named(
    model: keras.Model,
    path: str | os.PathLike,
    skip: str | Iterable[str] = (),
    partial: bool = False,
) -> LoadReport:
    """Loads all or some of the weights in a file into a model; nothing is set unless they fit.

    Args:
        model: A functional `keras.Model`, in any packaging.
        path: A `.safetensors` file of `save_named`, or any file that `read_weights` reads.
        skip: Layers that keep their weights, as shell-style patterns: `"predictions"` for a new
            classifier, `"stage4_*"`.
        partial: Whether model and file may have layers that the other one does not have.

    Returns:
        A `LoadReport`.

    Raises:
        ConfigError: If a layer is missing or superfluous (except `predictions`), has another shape
            or other weight names, or a pattern matches no layer.

    Example:
        >>> import tempfile
        >>> from keras_preact.applications import ResNet8V2
        >>> from keras_preact.weights import load_named, save_named
        >>> path = tempfile.mkdtemp() + "/net.safetensors"
        >>> save_named(ResNet8V2(classes=10), path)
        >>> load_named(ResNet8V2(classes=3), path, skip="predictions").skipped
        ('predictions',)
    """
    patterns = [skip] if isinstance(skip, str) else list(skip)
    own, found = weights_by_layer(model), read_weights(path)
    known = own | found
    for pattern in patterns:
        expected = "layer names, or shell-style patterns that match layer names"
        require(bool(fnmatch.filter(known, pattern)), "skip", pattern, expected,
                near(pattern, known).strip())  # fmt: skip
    skipped = {layer for pattern in patterns for layer in fnmatch.filter(known, pattern)}
    kept = {layer: values for layer, values in own.items() if layer in skipped}
    wanted = {layer: values for layer, values in found.items() if layer not in skipped}
    _refuse_other_names(_weight_names(model), read_names(path), wanted)
    report = LoadReport(
        loaded=tuple(layer for layer in own if layer in wanted),
        skipped=tuple(kept),
        missing=tuple(layer for layer in own if layer not in wanted and layer not in kept),
        unused=tuple(layer for layer in wanted if layer not in own),
    )
    if partial:
        wanted = {layer: wanted.get(layer, own[layer]) for layer in own}
    load_weights_by_layer(model, {**wanted, **kept})
    return report


def _refuse_other_names(own, theirs, layers):
    """Compares the names, since the order alone could confuse an offset with a scale."""
    for layer in layers:
        mine, received = own.get(layer), theirs.get(layer)
        if mine and received and received != mine and not all(map(str.isdecimal, received)):
            raise ConfigError(
                f"The weights must be those of this network: layer {layer!r} has "
                f"{quoted(mine)}. Received: {quoted(received)}."
            )


def _weight_names(model) -> dict[str, list[str]]:
    """The names of the weights of each layer, by index."""
    found = {}
    for layer in layers_with_weights(model):
        if isinstance(layer, Repeat):
            for inner in layers_with_weights(layer.template()):
                names = _names_of(inner)
                found |= {layer.layer_name(k, inner.name): names for k in range(len(layer.names))}
        else:
            found[layer.name] = _names_of(layer)
    return found


def _names_of(layer):
    names = [weight.name for weight in layer.weights]
    in_order = [name for name in NAMES if name in names]
    # In layers of other kinds the name of a weight is its index, as in Keras's own files.
    return names if names == in_order else [str(k) for k in range(len(names))]
