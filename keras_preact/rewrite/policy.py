"""`with_policy`: the same network, computed in another dtype."""

from typing import Any

import keras

from keras_preact.layers import Repeat
from keras_preact.precision import dtype_policy
from keras_preact.rewrite.graph import FLOATS, as_graph, carry_weights, is_graph, rebuild, same

#: Layers that compute in float32 in a mixed-precision network too, like the classifier and the
#: layers that scale raw images: this is how the networks of this package are built.
WIDE = (
    keras.layers.Normalization,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
)


def with_policy(
    model: keras.Model, dtype: str | keras.DTypePolicy | None = "float32"
) -> keras.Model:
    """A copy of a network with another dtype policy and the same weights.

    Networks are trained in 16 bits for speed; the models that a run saves compute in float32,
    which every processor and every format supports.

    Args:
        model: A functional or sequential `keras.Model`, in any packaging; nested models are
            included.
        dtype: The dtype policy: `"float32"`, `"mixed_bfloat16"`, `"mixed_float16"` or another one
            of Keras. Under a mixed policy, image preprocessing, global pooling and the last layer
            stay in float32.

    Returns:
        A functional `keras.Model`, not compiled; the model itself if it is float32 already and
        `dtype` is float32.

    Raises:
        ConfigError: If the model is not a graph of layers, or the policy is unknown.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.rewrite import with_policy
        >>> model = create_model("resnet8v2", dtype="mixed_bfloat16")
        >>> with_policy(model).get_layer("stem_conv").compute_dtype
        'float32'
    """
    policy = dtype_policy(dtype)
    if policy.name == policy_of(model) == "float32":
        return model
    graph = as_graph(model)
    last, images = graph.layers[-1], graph.inputs[0]

    def is_wide(layer):
        scales = isinstance(layer, keras.layers.Rescaling)
        scales = scales and layer._inbound_nodes[0].input_tensors[0] is images
        return layer is last or scales or isinstance(layer, WIDE)

    return _with_policy(graph, policy, is_wide)


def policy_of(model: Any) -> str:
    """The dtype policy of a network.

    Args:
        model: A `keras.Model`, in any packaging; nested models are included.

    Returns:
        The name of the policy of the first layer that computes in 16 bits; `"float32"` if there
        is none.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.rewrite import policy_of
        >>> policy_of(create_model("resnet8v2", dtype="mixed_float16"))
        'mixed_float16'
    """
    for layer in getattr(model, "layers", ()):
        if getattr(layer, "compute_dtype", None) in FLOATS[1:]:
            return layer.dtype_policy.name
        inner = layer.template() if isinstance(layer, Repeat) else layer
        if policy_of(inner) != "float32":
            return policy_of(inner)
    return "float32"


def _with_policy(graph, policy, is_wide):
    wide = keras.DTypePolicy(policy.variable_dtype)
    outer = {id(tensor) for tensor in graph.inputs}

    def make(layer):
        wanted = wide if is_wide(layer) else policy
        if isinstance(layer, Repeat):
            return layer.with_template(
                _with_policy(as_graph(layer.template()), policy, is_wide), wanted
            )
        return same(layer, wanted)

    def make_input(tensor):
        dtype = tensor.dtype
        if dtype in FLOATS:  # images keep float32; the inputs of nested models follow the policy
            dtype = wide.name if id(tensor) in outer else policy.compute_dtype
        return keras.Input(batch_shape=tensor.shape, dtype=dtype, name=tensor.name)

    copy, pairs = rebuild(graph, make, make_input=make_input)
    for old, new in pairs:
        carry_weights(old, new)
    for inner in (copy, *filter(is_graph, copy._flatten_layers())):
        inner.dtype_policy = policy
    return copy
