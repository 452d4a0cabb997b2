"""`open_model`: a model from a file of unknown origin, built from its checked content."""

import math
import os
import pathlib
import tempfile

import h5py
import keras
from keras.src.backend.common import global_state

from keras_preact.errors import ConfigError, reason
from keras_preact.weights.safe import LARGER, read_model_file

#: Most numbers in one feature map of one image, 1 GiB in float32; and the side of the image for
#: models of any size.
LARGEST_MAP, _IMAGE = 2**28, 224


def open_model(path: str | os.PathLike) -> keras.Model:
    """Opens the model in a `.keras` file.

    Keras never reads the file itself: the model is built from its config, at first without memory
    for its weights, and its weights are those that `read_model_file` has read.

    Args:
        path: The file.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ConfigError: As `refuse_unsafe`, and if Keras cannot build the config, if the config needs
            more or fewer weights than the file contains, or if its feature maps are too large for
            any memory.
    """
    file = read_model_file(path)
    held = sum(array.size for name, array in file.arrays.items() if name.startswith("layers/"))
    try:
        model = _built(file.config, held)
        if held:
            _load(model, file)
    except ConfigError as error:
        raise ConfigError(f"{error} Received: {str(path)!r}.") from None
    except Exception as error:  # whatever a damaged config makes Keras raise
        raise ConfigError(
            f"`path` must be a model that Keras can open. Received: {str(path)!r}: "
            f"{reason(error, 300)}"
        ) from None
    return model


def _built(config, held):
    """The model, whose weights get memory only if there are as many as in the file."""
    waiting = "uninitialized_variables"
    before = [*(global_state.get_global_attribute(waiting, []) or ())]
    with keras.StatelessScope(initialize_variables=False) as scope:
        try:
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            asked = sum(math.prod(weight.shape) for weight in model.weights)
            _look_at_maps(model)
            if asked != held:
                raise ConfigError(
                    f"The config must need as many weights as the file contains, {held:,}. "
                    f"It needs {asked:,}."
                )
            scope.initialize_variables = True
        finally:
            if not scope.initialize_variables:  # otherwise Keras would give them memory later
                global_state.set_global_attribute(waiting, before)
    return model


def _look_at_maps(model):
    """Checks the sizes of all feature maps of one image, nested models included."""
    for part in model._flatten_layers():
        if isinstance(part, keras.Model) and any(_enlarges(layer) for layer in part.layers):
            images = [
                keras.KerasTensor([1, *(size or _IMAGE for size in tensor.shape[1:])], tensor.dtype)
                for tensor in part.inputs
            ]
            part._run_through_graph(images, _measured)
        for node in part._inbound_nodes:
            _look_at_map(part, node.output_tensors)


def _enlarges(layer):
    return type(layer).__name__ in LARGER


def _measured(operation):
    """A function that computes the output shapes of an operation, and checks them."""

    def shapes(*arguments, **options):
        found = operation.compute_output_spec(*arguments, **options)
        _look_at_map(operation, keras.tree.flatten(found))
        return found

    return shapes


def _look_at_map(operation, tensors):
    for tensor in tensors:
        size = math.prod(_IMAGE if n is None else n for n in tensor.shape[1:])
        if size > LARGEST_MAP:
            raise ConfigError(
                f"Feature maps must have at most {LARGEST_MAP:,} numbers per image. "
                f"Those of {operation.name!r} have {size:,}."
            )


def _load(model, file):
    """Loads the weights of a file, which Keras reads from a copy that is written here."""
    with tempfile.TemporaryDirectory(prefix="keras-preact-") as folder:
        written = pathlib.Path(folder) / "model.weights.h5"
        with h5py.File(written, "w") as weights:
            for name, array in file.arrays.items():
                weights[name] = array
            for group, texts in file.attributes.items():
                if group in weights and "name" in texts:
                    weights[group].attrs["name"] = texts["name"]
        model.load_weights(written)
