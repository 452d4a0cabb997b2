"""Starting from trained weights: a new classifier, frozen stages, weights of another run."""

import pathlib

import keras

from keras_preact.checked import is_whole, require
from keras_preact.config import ResNetConfig
from keras_preact.errors import ConfigError, near, quoted
from keras_preact.run import RunFolder
from keras_preact.trained import open_keras_file
from keras_preact.weights import (
    load_weights_by_layer,
    read_config,
    read_weights,
    weights_by_layer,
)

HEAD = "predictions"


def replace_head(model: keras.Model, classes: int, activation="softmax") -> keras.Model:
    """The same network with a new classifier; all other layers are shared with `model`.

    Args:
        model: A model whose last layer is a `Dense` classifier, as this package's networks and
            those of `keras.applications` have it.
        classes: Number of classes.
        activation: Of the classifier; `None` gives logits.

    Returns:
        A model from the inputs of `model` to `(batch, classes)`.

    Raises:
        ConfigError: For a model that does not end with a `Dense` layer.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.training import replace_head
        >>> replace_head(create_model("resnet8v2"), classes=3).output_shape
        (None, 3)
    """
    require(is_whole(classes) and classes >= 1, "classes", classes, "a whole number of at least 1")
    head = model.layers[-1]
    if not isinstance(head, keras.layers.Dense):
        raise ConfigError(
            "`model` must end with a Dense classifier (include_top=True). "
            f"Received: {model.name!r}, which ends with {type(head).__name__} {head.name!r}."
        )
    fields = {**head.get_config(), "units": int(classes), "activation": activation}
    outputs = type(head).from_config(fields)(head.input)
    return keras.Model(model.input, outputs, name=model.name)


def freeze(model: keras.Model, up_to: str) -> list[str]:
    """Freezes a network from its input to a layer: weights, and batch normalisation's statistics.

    Frozen batch normalisation normalises by its moving statistics in training as well, and these
    no longer move. Compile afterwards.

    Args:
        model: A functional model.
        up_to: Name of the last layer to freeze, such as `"stage3"`.

    Returns:
        Names of the frozen layers that have weights.

    Raises:
        ConfigError: For a layer that the model does not have.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.training import freeze
        >>> model = create_model("resnet8v2")
        >>> freeze(model, "stage1")[0]
        'stem_conv'
    """
    names = [layer.name for layer in model.layers]
    fix = near(up_to, names).strip() or "model.summary() shows all names."
    stages = [name for name in names if name.startswith("stage") and name[5:].isdigit()]
    expected = f"a layer of the model, such as {quoted(stages or names[-2:-1])}"
    require(up_to in names, "up_to", up_to, expected, fix)
    frozen = keras.Model(model.inputs, model.get_layer(up_to).output).layers
    for layer in frozen:
        layer.trainable = False
    return [layer.name for layer in frozen if layer.weights]


def start_from(model: keras.Model, path: str, network: ResNetConfig | None = None) -> list[str]:
    """Sets the weights of a network to those of a run or a file, but for another classifier.

    Args:
        model: The network, in any packaging.
        path: A run folder, or a `.keras`, `.weights.h5` or `.safetensors` file of the same network.
        network: The network's config, where what a `.safetensors` file says of its own is to be
            held against it.

    Returns:
        The layers that keep their new weights: the classifier's, if its classes are others.

    Raises:
        ConfigError: When the rest is not that of this network.

    Example:
        >>> import tempfile
        >>> from keras_preact import create_model
        >>> from keras_preact.training import start_from
        >>> path = tempfile.mkdtemp() + "/net.weights.h5"
        >>> create_model("resnet8v2", classes=10).save_weights(path)
        >>> start_from(create_model("resnet8v2", classes=3), path)
        ['predictions']
    """
    file = _weights_file(path)
    made_for = read_config(file)
    fields = network.differences(made_for) if network and made_for else {}
    if fields:
        settings = " ".join(f"--set network.{name}={value}" for name, value in fields.items())
        raise ConfigError(
            "`init` must hold weights that were made for the network's own function. Received: "
            f"init={str(path)!r}, in which {', '.join(fields)} differ. To train that: {settings}"
        )
    new, trained = weights_by_layer(model), read_weights(file)
    shapes = [{k: v.shape for k, v in part.get(HEAD, {}).items()} for part in (new, trained)]
    kept = [HEAD] if shapes[0] != shapes[1] and HEAD in new else []
    load_weights_by_layer(model, {**trained, **{name: new[name] for name in kept}})
    return kept


def preprocessing_of(path: str) -> dict | None:
    """Config of the layer that prepared the images of a run or a `.keras` file; `None` without."""
    file = _weights_file(path)
    if file.suffix != ".keras":
        return None
    model = open_keras_file(file)
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)]
    return layers[0].get_config() if layers else None


def _weights_file(path: str) -> pathlib.Path:
    file = pathlib.Path(path)
    if file.is_dir():
        run = RunFolder(file)
        file = run.path / "model.keras"
        fix = "Let the run finish first: the same command goes on with it."
        require(file.is_file(), "init", path, "a finished run, with a model.keras in it", fix)
    known = file.name.endswith((".keras", ".weights.h5", ".safetensors")) and file.is_file()
    require(known, "init", path, "a run folder, a .keras, .weights.h5 or .safetensors file")
    return file
