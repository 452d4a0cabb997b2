"""`split_at_maps`, `with_maps`: a network split at its last feature maps; class activation maps."""

import keras
import numpy as np

from keras_preact.checked import require
from keras_preact.errors import ConfigError
from keras_preact.rewrite.graph import as_graph, is_graph

_POOLINGS = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
#: Layers around the pooling and the classifier that change no value at inference.
_PASSING = (keras.layers.Dropout, keras.layers.Flatten, keras.layers.Identity)
_LAST = (keras.layers.Softmax, keras.layers.Activation)
_OPERATIONS = ("Cast", "Softmax")


def split_at_maps(model: keras.Model, layer: str | None = None) -> tuple[keras.Model, keras.Model]:
    """Splits a network in two: from images to feature maps, and from feature maps to scores.

    Args:
        model: A functional or sequential `keras.Model` of images; nested models are included.
        layer: Name of the layer whose feature maps are the split; `None` for the last ones.

    Returns:
        Two functional `keras.Model`s that share the network's layers.

    Raises:
        ConfigError: If the network has no feature maps, or has several candidates and `layer` is
            `None`; or if `layer` is unknown or does not return feature maps.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.rewrite.maps import split_at_maps
        >>> front, back = split_at_maps(create_model("resnet8v2", classes=3))
        >>> front.output_shape, back.output_shape
        ((None, 8, 8, 64), (None, 3))
    """
    graph = as_graph(model)
    if layer is None:
        parts = _split(graph)
        if parts is None:
            raise ConfigError(
                "The scores must be computed from the feature maps of one layer; if there are "
                f"several, choose one with `layer`. Received: {model.name!r}."
            )
        return parts
    known = {
        node.operation.name: node for nodes in graph._nodes_by_depth.values() for node in nodes
    }
    found = known[layer].outputs[0] if layer in known else None
    maps = sorted(name for name, node in known.items() if len(node.outputs[0].shape) == 4)
    expected = f"a layer of {model.name!r} that returns maps, such as {', '.join(maps[-3:])}"
    require(found is not None and len(found.shape) == 4, "layer", layer, expected)
    return keras.Model(graph.input, found), keras.Model(found, graph.output)


def with_maps(model: keras.Model) -> keras.Model:
    """Adds class activation maps to a network: where in the image each class's logit comes from.

    Class activation maps (Zhou et al. 2016) exist where global average pooling is followed by one
    dense layer. The map of a class is the feature maps weighted by the class's weights; its mean
    over all positions, plus the class's bias, is the logit.

    Args:
        model: A functional or sequential `keras.Model` that ends this way, with or without softmax.

    Returns:
        A functional `keras.Model` with the outputs `{"scores": (batch, classes), "maps": (batch,
        height, width, classes)}`; the maps are channels last for every network.

    Raises:
        ConfigError: If the network does not end with global average pooling and one dense layer.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.rewrite import with_maps
        >>> model = with_maps(create_model("resnet8v2", classes=3))
        >>> {name: tensor.shape for name, tensor in model.output.items()}
        {'scores': (None, 3), 'maps': (None, 8, 8, 3)}
    """
    front, back = split_at_maps(model)
    pool, dense = _ending(back)
    x = scored = front.outputs[0]
    if pool.data_format == "channels_first":
        x = keras.layers.Permute((2, 3, 1), name="maps_last")(x)
    layer = keras.layers.Conv2D(
        dense.units, 1, use_bias=False, data_format="channels_last", dtype=dense.dtype_policy,
        name="maps",
    )  # fmt: skip
    maps = layer(x)
    layer.set_weights([np.asarray(dense.get_weights()[0])[None, None]])
    return keras.Model(front.input, {"scores": back(scored), "maps": maps}, name=model.name)


def _split(graph):
    """Front and back of a graph at its last feature maps; `None` if there are none or several."""
    ends = _ends(graph.outputs[0])
    if len(ends) != 1:
        return None
    ((maps, inside, given),) = ends.values()
    parts = inside and _split(as_graph(inside))
    if not parts:
        is_made = maps is not None and all(maps is not tensor for tensor in graph.inputs)
        return (
            (keras.Model(graph.input, maps), keras.Model(maps, graph.output)) if is_made else None
        )
    front, back = parts
    x = keras.Input(batch_shape=front.output_shape, dtype=front.output.dtype)
    y = back(x)
    if given is not graph.outputs[0]:
        y = keras.Model(given, graph.output)(y)
    return keras.Model(graph.input, front(maps)), keras.Model(x, y)


def _ends(tensor):
    """The nearest feature maps that a tensor is computed from: `{id: (maps, None, None)}`.

    Where they enter a nested model that returns none: the maps, the nested model and its output.
    """
    operation, node_index, _ = tensor._keras_history
    if len(tensor.shape) == 4 and not _is_pooled(tensor):
        return {id(tensor): (tensor, None, None)}
    taken = operation._inbound_nodes[node_index].input_tensors
    if _is_model(operation) and len(taken) == 1 and len(taken[0].shape) == 4:
        return {id(tensor): (taken[0], operation, tensor)}
    return {key: end for one in taken for key, end in _ends(one).items()}


def _is_pooled(tensor):
    """Whether maps of size 1 x 1 are the result of a global pooling."""
    operation, node_index, _ = tensor._keras_history
    taken = operation._inbound_nodes[node_index].input_tensors
    one = tensor.shape[1:].count(1) >= 2
    return one and (isinstance(operation, _POOLINGS) or (len(taken) == 1 and _is_pooled(taken[0])))


def _ending(back):
    """The pooling and the classifier at the end of a network; `ConfigError` for other ends."""
    chain = [*_chain(back)]
    kept = [one for one in chain if not isinstance(one, _PASSING)]
    while kept and (isinstance(kept[-1], _LAST) or type(kept[-1]).__name__ in _OPERATIONS):
        kept.pop()
    kinds = (keras.layers.GlobalAveragePooling2D, keras.layers.Dense)
    if len(kept) != 2 or not all(map(isinstance, kept, kinds)):
        raise ConfigError(
            "`model` must end with global average pooling and one dense layer, whose weights "
            "give the class activation maps. Received: "
            f"{' -> '.join(type(one).__name__ for one in chain)}. The methods 'grad_cam' and "
            "'occlusion' work for any network."
        )
    return kept


def _chain(graph):
    """The operations of a graph in order, nested models included, without its inputs."""
    for operation in graph.operations:
        if _is_model(operation):
            yield from _chain(as_graph(operation))
        elif not isinstance(operation, keras.layers.InputLayer):
            yield operation


def _is_model(operation):
    return is_graph(operation) or (isinstance(operation, keras.Sequential) and operation.built)
