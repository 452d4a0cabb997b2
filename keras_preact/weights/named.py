"""Weights in safetensors files, under names that a person can read.

A key is `layer/weight`, such as `stage1_unit1_conv1/kernel`. The layers' names are those of the
flat packaging, so that all packagings of a network have the same keys.
"""

import dataclasses
import fnmatch
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
    """What `load_named` did, by the names of the layers.

    Attributes:
        loaded: Layers that have the file's weights now.
        skipped: Layers of the model that kept theirs because `skip` says so.
        missing: Layers of the model that kept theirs because the file has none for them.
        unused: Layers of the file that the model does not have.
    """

    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]


def save_named(
    model: keras.Model,
    path,
    config: ResNetConfig | None = None,
    preprocessing: Preprocessing | None = None,
    geometry: Geometry | None = None,
) -> None:
    """Writes the weights of a model to a safetensors file, under names that a person can read.

    The keys are `stem_conv/kernel`, `stage1_unit1_norm1/gamma`, `predictions/bias`, ..., the same
    in every packaging. The file is written whole or not at all.

    Args:
        model: A functional model, in any packaging.
        path: The file, `.safetensors`.
        config: The network's architecture, for the file's header; with it `keras_preact.convert`
            builds the network from the file alone.
        preprocessing: How its images are prepared, for the header as well; a training that starts
            from the file then prepares them so.
        geometry: How image files become what it takes, for the header too.

    Raises:
        ConfigError: For another kind of file, and as `weights_by_layer` does.
        SaveError: When it cannot be written.

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
    model: keras.Model, path, skip: str | Iterable[str] = (), partial: bool = False
) -> LoadReport:
    """Sets the weights of a model to those of a file, all or some; nothing unless they fit.

    Args:
        model: A functional model, in any packaging.
        path: A `.safetensors` file of `save_named`, or any that `read_weights` reads.
        skip: Layers that keep their weights, as shell-style patterns: `"predictions"` for a new
            classifier, `"stage4_*"`.
        partial: Whether layers may be missing in the file, or left over.

    Returns:
        A `LoadReport`.

    Raises:
        ConfigError: When a layer is missing, left over (but for `predictions`), of another shape,
            or has weights of other names, and for a pattern that matches no layer.

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
        expected = "names of layers, or shell-style patterns that match some"
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
    """Order alone would take a shift for a scale."""
    for layer in layers:
        mine, received = own.get(layer), theirs.get(layer)
        if mine and received and received != mine and not all(map(str.isdecimal, received)):
            raise ConfigError(
                f"The weights must be those of this very network: layer {layer!r} has "
                f"{quoted(mine)}. Received: {quoted(received)}."
            )


def _weight_names(model) -> dict[str, list[str]]:
    """What the weights of each layer are called, by index."""
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
    # In layers of other kinds weights are called by their index, as in Keras's own files.
    return names if names == in_order else [str(k) for k in range(len(names))]
