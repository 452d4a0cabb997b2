"""`open_model`: a model from a file of unknown origin, built from what was looked through."""

import math
import pathlib
import tempfile

import h5py
import keras
from keras.src.backend.common import global_state

from keras_preact.errors import ConfigError, reason
from keras_preact.weights.safe import LARGER, read_model_file

#: Numbers that one map of one image may have, 1 GiB in float32; and the image where any size goes.
LARGEST_MAP, _IMAGE = 2**28, 224


def open_model(path) -> keras.Model:
    """The model in a `.keras` file.

    Keras never gets the file itself: the model is built from its config, at first without memory
    for its weights, and its weights are those that `read_model_file` has read.

    Args:
        path: The file.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ConfigError: As `refuse_unsafe`, for configs that Keras cannot build, for weights of which
            the config asks more or fewer than the file holds, and for maps that no memory holds.
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
            f"Expected a model that Keras can open. Received: {str(path)!r}: {reason(error, 300)}"
        ) from None
    return model


def _built(config, held):
    """The model, whose weights have memory only if they are as many as the file holds."""
    waiting = "uninitialized_variables"
    before = [*global_state.get_global_attribute(waiting, [])]
    with keras.StatelessScope(initialize_variables=False) as scope:
        try:
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            asked = sum(math.prod(weight.shape) for weight in model.weights)
            _look_at_maps(model)
            if asked != held:
                raise ConfigError(
                    f"The config of a model asks for as many weights as its file holds, {held:,}. "
                    f"It asks for {asked:,}."
                )
            scope.initialize_variables = True
        finally:
            if not scope.initialize_variables:  # or Keras would give them memory later
                global_state.set_global_attribute(waiting, before)
    return model


def _look_at_maps(model):
    """Maps of one image, those of sub-models too."""
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
    """What computes the shapes that an operation gives, and looks at them."""

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
                f"The maps of a network have {LARGEST_MAP:,} numbers an image at most. "
                f"Those of {operation.name!r} have {size:,}."
            )


def _load(model, file):
    """Sets the weights to those of a file, which Keras reads from one that is written here."""
    with tempfile.TemporaryDirectory(prefix="keras-preact-") as folder:
        written = pathlib.Path(folder) / "model.weights.h5"
        with h5py.File(written, "w") as weights:
            for name, array in file.arrays.items():
                weights[name] = array
            for group, texts in file.attributes.items():
                if group in weights and "name" in texts:
                    weights[group].attrs["name"] = texts["name"]
        model.load_weights(written)
