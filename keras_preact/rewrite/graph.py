"""`rebuild`: a functional model built again, layer by layer."""

from collections.abc import Callable
from typing import Any

import keras

from keras_preact.errors import ConfigError, reason

#: Dtypes that networks compute in.
FLOATS = ("float32", "bfloat16", "float16")


def rebuild(
    model: keras.Model,
    make_layer: Callable[[Any], Any],
    call_layer: Callable[..., Any] | None = None,
    make_input: Callable[[Any], Any] | None = None,
    whole: Callable[[Any], bool] | None = None,
) -> tuple[keras.Model, list[tuple[Any, Any]]]:
    """A copy of a functional model in which each layer can be replaced.

    Args:
        model: A functional or sequential model; nested models of either kind are included.
        make_layer: Takes a layer or another operation and returns its replacement.
        call_layer: Takes the new layer and its inputs and returns its outputs.
        make_input: Takes an input tensor of a graph and returns the `keras.Input` in its place.
        whole: Takes a nested model and returns whether it is passed to `make_layer` as a whole.

    Returns:
        The new model, not compiled, and the pairs (layer, replacement) of all its graphs. Weights
        are not copied.

    Raises:
        ConfigError: If the model is not a graph of layers.
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
            return layer(*args)  # without the arguments that only models take
        return call_layer(layer, *args, **kwargs) if call_layer else layer(*args, **kwargs)

    graph = as_graph(model)
    inputs = keras.tree.map_structure(make_input, graph.input) if make_input else None
    copy = keras.models.clone_model(graph, inputs, clone_function=make, call_function=call)
    copy.dtype_policy = model.dtype_policy  # so that `compile` scales the loss under float16
    return copy, pairs


def is_graph(layer: Any) -> bool:
    """Whether an object is a functional model, or a sequential one that is built."""
    return isinstance(layer, keras.Model) and hasattr(layer, "operations") and layer.built


def as_graph(model: Any) -> keras.Model:
    """The model as a functional model, not compiled; `ConfigError` if it has no graph."""
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(*model.inputs, *model.outputs, name=model.name)  # it has one each
    if is_graph(model):
        return keras.Model(model.input, model.output, name=model.name)
    raise ConfigError(
        "`model` must be a functional Keras model, or a sequential one that is built, since its "
        f"graph of layers is read. Received: {type(model).__name__}."
    )


def same(layer: Any, policy: keras.DTypePolicy | None = None) -> Any:
    """A new layer like this one, or the layer itself where nothing in it could change.

    Lambda functions and lookup tables cannot be made again from a config. With a `policy`, the new
    layer and those inside it use that dtype policy.
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
            f"Layer {layer.name!r} cannot be created from its config: {reason(error)}. "
            "Registering its class with keras.saving.register_keras_serializable usually helps."
        ) from None


def _computed_in(policy, value):
    """A config in which each floating-point dtype or policy is replaced by `policy`."""
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


def carry_weights(old: Any, new: Any) -> None:
    """Copies the weights of a layer to its replacement."""
    if old is new or not isinstance(old, keras.layers.Layer):
        return
    new.set_weights(old.get_weights())
    if hasattr(new, "finalize_state"):  # of preprocessing layers that were adapted
        new.finalize_state()
