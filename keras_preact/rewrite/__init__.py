"""The same function as another graph: other layers or dtypes, no loops, no norms, any size."""

from keras_preact.rewrite.fold import fold_batch_norm
from keras_preact.rewrite.maps import split_at_maps, with_maps
from keras_preact.rewrite.outputs import outputs_of, with_softmax, without_softmax
from keras_preact.rewrite.policy import policy_of, with_policy
from keras_preact.rewrite.prediction import predict_function
from keras_preact.rewrite.sizes import any_size, dense
from keras_preact.rewrite.swap import accelerate, portable, unrolled
from keras_preact.rewrite.temperature import with_temperature

__all__ = [
    "accelerate",
    "any_size",
    "dense",
    "fold_batch_norm",
    "outputs_of",
    "policy_of",
    "portable",
    "predict_function",
    "split_at_maps",
    "unrolled",
    "with_maps",
    "with_policy",
    "with_softmax",
    "with_temperature",
    "without_softmax",
]
