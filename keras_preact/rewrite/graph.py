"""`rebuild`: a functional model once more, layer by layer."""

import keras

from keras_preact.errors import ConfigError, reason

#: Dtypes that networks compute in.
FLOATS = ("float32", "bfloat16", "float16")


def rebuild(model, make_layer, call_layer=None, make_input=None, whole=None):
    """A copy of a functional model in which each layer may be another.

    Args:
        model: A functional or sequential model; sub-models of either kind are entered.
        make_layer: Function of a layer, or of another operation, to the one that takes its place.
        call_layer: Function of the new layer and its inputs to its outputs.
        make_input: Function of a tensor that a graph takes to the `keras.Input` in its place.
        whole: Function of a sub-model to whether it goes to `make_layer` and is not entered.

    Returns:
        The new model, not compiled, and the pairs (layer, the one in its place) of all graphs in
        it, without weights carried over.

    Raises:
        ConfigError: For models that are not made of a graph of layers.
    """
    pairs, in_place_of_graphs = [], set()

    def make(layer):
        if is_graph(layer) and not (whole and whole(layer)):
            inner, found = rebuild(layer, make_layer, call_layer, make_input, whole)
            pairs.extend(found)
            return inner
        pairs.append((layer, make_layer(layer)))
        if is_graph(layer):
            in_place_of_graphs.add(id(pairs[-1][1]))
        return pairs[-1][1]

    def call(layer, *args, **kwargs):
        if id(layer) in in_place_of_graphs:
            return layer(*args)  # without what only models are called with
        return call_layer(layer, *args, **kwargs) if call_layer else layer(*args, **kwargs)

    graph = as_graph(model)
    inputs = keras.tree.map_structure(make_input, graph.input) if make_input else None
    copy = keras.models.clone_model(graph, inputs, clone_function=make, call_function=call)
    copy.dtype_policy = model.dtype_policy  # so that `compile` scales the loss under float16
    return copy, pairs


def is_graph(layer):
    """Whether something is a functional model, or a sequential one whose layers are connected."""
    return isinstance(layer, keras.Model) and hasattr(layer, "operations") and layer.built


def as_graph(model):
    """The model as a functional one that is not compiled; `ConfigError` for what has no graph."""
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(*model.inputs, *model.outputs, name=model.name)  # it has one each
    if is_graph(model):
        return keras.Model(model.input, model.output, name=model.name)
    raise ConfigError(
        "`model` must be a functional or sequential Keras model with a known input, whose graph of "
        f"layers can be read. Received: {type(model).__name__}."
    )


def same(layer, policy=None):
    """A new layer like this one, or the layer itself where nothing in it could change.

    Functions of one's own and tables of words cannot be made again from a config. With a `policy`,
    a `keras.DTypePolicy`, the new layer and those inside it compute in that.
    """
    if hasattr(layer, "save_assets"):
        return layer
    try:
        config = layer.get_config()
        return type(layer).from_config(_computed_in(policy, config) if policy else config)
    except (ValueError, TypeError) as error:
        if not getattr(layer, "weights", None):
            return layer
        raise ConfigError(
            f"Layer {layer.name!r} cannot be made again from its config: {reason(error)}. "
            "Registering its class with keras.saving.register_keras_serializable usually helps."
        ) from None


def _computed_in(policy, value):
    """A config in which each dtype of floating numbers, or policy of one, is another."""
    if isinstance(value, list):
        return [_computed_in(policy, item) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {name: _computed_in(policy, item) for name, item in value.items()}
    dtype = value.get("dtype")
    if isinstance(dtype, dict) and dtype.get("class_name") == "DTypePolicy":
        changed["dtype"] = policy.name
    elif dtype in FLOATS:  # of an input, or of a cast in the graph
        changed["dtype"] = policy.compute_dtype
    return changed


def carry_weights(old, new):
    """Gives a layer the weights of the one whose place it takes."""
    if old is new or not isinstance(old, keras.layers.Layer):
        return
    new.set_weights(old.get_weights())
    if hasattr(new, "finalize_state"):  # of preprocessing layers that were adapted
        new.finalize_state()
