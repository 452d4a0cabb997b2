"""`predict_function`: a network as one compiled function, its weights constants of it."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_preact.errors import ConfigError


def predict_function(model: keras.Model) -> Callable[[Any], Any]:
    """A network as a function of images that answers as fast as its backend can.

    In `keras.Model.predict` weights are variables, which may change between two calls, so oneDNN
    lays every kernel out anew in each call, a sixth of the time of a single image on ResNet-50 V2.
    Here they are constants: what the network learns after this call the function does not know.
    It is fastest on `fold_batch_norm(model)`; with many images a call it gains little.

    Args:
        model: A built `keras.Model`.

    Returns:
        A function of images `(batch, h, w, c)`, NumPy's or the backend's, to what the model gives
        for them, as NumPy arrays: scores `(batch, classes)`, or a dictionary of such. The first
        call with another number of images takes longer. It holds a copy of the weights.

    Raises:
        ConfigError: On backends other than TensorFlow and JAX.

    Example:
        >>> import numpy as np
        >>> from keras_preact import create_model, fold_batch_norm, predict_function
        >>> network = create_model("resnet8v2", input_shape=(8, 8, 1), classes=3)
        >>> predict = predict_function(fold_batch_norm(network))
        >>> predict(np.zeros((2, 8, 8, 1), "float32")).shape
        (2, 3)
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from keras_preact.rewrite.prediction_tf import frozen

        call = frozen(model)
    elif backend == "jax":
        import jax

        weights = model.trainable_variables, model.non_trainable_variables
        # Copies: what Keras's own `predict` takes of a model it gives back as other arrays.
        values = [[jax.numpy.array(v.value) for v in kind] for kind in weights]
        call = jax.jit(lambda images: model.stateless_call(*values, images, training=False)[0])
    else:
        raise ConfigError(
            "predict_function runs on the backends 'tensorflow' and 'jax' (the environment "
            f"variable KERAS_BACKEND). Received: {backend!r}."
        )
    dtype = model.inputs[0].dtype

    def predict(images):
        found = call(keras.ops.convert_to_tensor(images, dtype))
        return keras.tree.map_structure(np.asarray, found)

    return predict
