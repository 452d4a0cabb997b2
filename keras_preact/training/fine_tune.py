"""Starting from trained weights: a new classifier, frozen stages, weights of another run."""

import pathlib
from typing import NamedTuple

import keras

from keras_preact.applications.published import trained_weights
from keras_preact.checked import is_whole, require
from keras_preact.config import ResNetConfig
from keras_preact.errors import ConfigError, near, quoted
from keras_preact.rewrite.graph import as_graph
from keras_preact.run import RunFolder
from keras_preact.weights import (
    PREPROCESSINGS,
    load_weights_by_layer,
    read_config,
    read_preprocessing,
    read_source,
    read_weights,
    weights_by_layer,
)
from keras_preact.weights.by_layer import Weights
from keras_preact.weights.files import weights_in
from keras_preact.weights.hub import on_hub
from keras_preact.weights.own import layers_of, preprocessing_of
from keras_preact.weights.safe import read_model_file

HEAD = "predictions"


def replace_head(
    model: keras.Model, classes: int, activation: str | None = "softmax"
) -> keras.Model:
    """The same network with a new classifier; all other layers are shared with `model`.

    Args:
        model: A model whose last layer is a `Dense` classifier, as in this package and in
            `keras.applications`, or a sub-model that ends with one.
        classes: Number of classes.
        activation: Activation of the classifier; `None` returns logits.

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
    graph = as_graph(model)
    head = graph.layers[-1]
    if isinstance(head, keras.Model):
        new = replace_head(head, classes, activation)
    elif isinstance(head, keras.layers.Dense):
        fields = {**head.get_config(), "units": int(classes), "activation": activation}
        new = type(head).from_config(fields)
    else:
        raise ConfigError(
            "`model` must end with a Dense classifier (include_top=True). "
            f"Received: {model.name!r}, which ends with {type(head).__name__} {head.name!r}."
        )
    outputs = new(*_node(graph, head.name).input_tensors)
    return keras.Model(graph.input, outputs, name=model.name)


def freeze(model: keras.Model, up_to: str) -> list[str]:
    """Freezes weights and batch normalisation statistics from the input up to a layer.

    Frozen batch normalisation uses its moving statistics in training too, and no longer updates
    them. Compile the model afterwards.

    Args:
        model: A functional or sequential model.
        up_to: Name of the last layer to freeze, such as `"stage3"`; of a sub-model, which is frozen
            as a whole; or of a layer inside one.

    Returns:
        Names of the frozen layers that have weights, including those in sub-models.

    Raises:
        ConfigError: For a name that no layer has, or that layers of several sub-models have.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.training import freeze
        >>> model = create_model("resnet8v2")
        >>> freeze(model, "stage1")[0]
        'stem_conv'
    """
    frozen = [*_layers_up_to(model, _path(model, up_to))]
    for layer in frozen:
        layer.trainable = False
    leaves = (leaf for layer in frozen for leaf in _leaves(layer))
    return [leaf.name for leaf in leaves if leaf.weights]


def _path(model, up_to):
    """The names that lead to a layer: those of the sub-models that it is in, then its own."""
    paths = [*_paths(model)]
    names = [path[-1] for path in paths]
    stages = [name for name in names if name.startswith("stage") and name[5:].isdigit()]
    expected = f"a layer of the model, such as {quoted(stages or names[-2:-1])}"
    fix = near(up_to, names).strip() or "model.summary(expand_nested=True) shows all names."
    require(up_to in names, "up_to", up_to, expected, fix)
    found = [path for path in paths if path[-1] == up_to]
    own = [path for path in found if len(path) == 1] or found
    inside = quoted("/".join(path[:-1]) for path in own)
    expected = f"a unique layer name; {inside} each have one"
    require(len(own) == 1, "up_to", up_to, expected, "Give the sub-model's name.")
    return own[0]


def _paths(model):
    for layer in model.layers:
        yield [layer.name]
        if isinstance(layer, keras.Model):
            yield from ([layer.name, *inner] for inner in _paths(layer))


def _layers_up_to(model, path):
    """The layers of a graph from its input to the one that a path leads to, that included."""
    graph, (name, *inside) = as_graph(model), path
    for layer in keras.Model(graph.inputs, _node(graph, name).outputs).layers:
        if layer.name == name and inside:
            yield from _layers_up_to(layer, inside)
        else:
            yield layer


def _leaves(layer):
    """The layers inside a sub-model, or the layer itself."""
    if not isinstance(layer, keras.Model):
        return [layer]
    return [leaf for inner in layer.layers for leaf in _leaves(inner)]


def _node(graph, name):
    """Where a layer is called in a graph; what a sub-model says of itself is of its own graph."""
    nodes = (node for depth in graph._nodes_by_depth.values() for node in depth)
    return next(node for node in nodes if node.operation.name == name)


class Start(NamedTuple):
    """Trained weights to start training from.

    Attributes:
        name: The run, file or tag that they come from.
        weights: Weights by layer; the stem takes RGB, whatever the order was before. `None` where
            a checkpoint has them.
        config: The network's config, or `None` if unknown.
        preprocessing: Config of the `keras.layers.Normalization` that preprocesses raw images for
            them, or `None` if unknown.
    """

    name: str
    weights: Weights | None
    config: ResNetConfig | None = None
    preprocessing: dict | None = None

    def into(self, model: keras.Model, network: ResNetConfig | None = None) -> list[str]:
        """Sets the weights of a network; see `start_from`."""
        fields = network.differences(self.config) if network and self.config else {}
        if fields:
            settings = " ".join(f"--set network.{name}={value}" for name, value in fields.items())
            raise ConfigError(
                "`init` must hold weights for the network's own architecture. Received: "
                f"init={self.name!r}, where {', '.join(fields)} differ. To train that network: "
                f"{settings}"
            )
        new = weights_by_layer(model)
        shapes = [{k: v.shape for k, v in w.get(HEAD, {}).items()} for w in (new, self.weights)]
        kept = [HEAD] if shapes[0] != shapes[1] and HEAD in new else []
        load_weights_by_layer(model, {**self.weights, **{name: new[name] for name in kept}})
        return kept


def start_from(model: keras.Model, path: str, network: ResNetConfig | None = None) -> list[str]:
    """Sets the weights of a network to trained ones, except for a different classifier.

    Args:
        model: The network, in any packaging.
        path: A run folder, a `.keras`, `.weights.h5` or `.safetensors` file of the same network, or
            a tag of the trained weights of the network that `model` is named for. A stem for BGR
            images is converted to RGB.
        network: The network's config, to compare with that of a run or a `.safetensors` file.

    Returns:
        The layers that keep their own weights: the classifier, if the classes differ.

    Raises:
        ConfigError: When the other weights do not fit this network.

    Example:
        >>> import tempfile
        >>> from keras_preact import create_model
        >>> from keras_preact.training import start_from
        >>> path = tempfile.mkdtemp() + "/net.weights.h5"
        >>> create_model("resnet8v2", classes=10).save_weights(path)
        >>> start_from(create_model("resnet8v2", classes=3), path)
        ['predictions']
    """
    return read_start(path, model.name).into(model, network)


def read_start(path: str, model: str) -> Start:
    """Reads trained weights, with what is known about them.

    Args:
        path: As `start_from` takes it.
        model: Name of the network that tags refer to.

    Returns:
        A `Start`.

    Raises:
        ConfigError: For anything else, and for files that are damaged or not safe to open.
    """
    path, tags = str(path), trained_weights().get(model, {})
    if path in tags:
        known = PREPROCESSINGS[tags[path].preprocessing]
        return Start(path, known.rgb(tags[path].load()), None, known.layer().get_config())
    if on_hub(path):
        source = read_source(path)
        if known := source.preprocessing:
            weights, layer = known.rgb(source.weights), known.layer().get_config()
            return Start(path, weights, source.config, layer)
        return Start(path, source.weights, source.config)
    file = _weights_file(path, tags)
    if file.suffix != ".keras":
        weights, config = read_weights(file), read_config(file)
        if known := read_preprocessing(file):
            return Start(path, known.rgb(weights), config, known.layer().get_config())
        return Start(path, weights, config)
    found, config = read_model_file(file), None
    if pathlib.Path(path).is_dir():
        config = ResNetConfig.from_dict(RunFolder(path).read_json("resolved.json")["network"])
    weights = weights_in(found)
    known = preprocessing_of(layers_of(found.config), weights)
    return Start(path, weights, config, known and known.layer().get_config())


def _weights_file(path: str, tags) -> pathlib.Path:
    file = pathlib.Path(path)
    if file.is_dir():
        run = RunFolder(file)
        file = run.path / "model.keras"
        fix = "Let the run finish first: the same command resumes it."
        require(file.is_file(), "init", path, "a finished run, with a model.keras in it", fix)
    known = file.name.endswith((".keras", ".weights.h5", ".safetensors")) and file.is_file()
    kinds = "a run folder, a .keras, .weights.h5 or .safetensors file, hf://user/name"
    expected = f"{kinds}, or one of the tags {quoted(tags)}" if tags else kinds
    require(known, "init", path, expected, near(path, tags).strip())
    return file
