"""What tests of weights share."""

import h5py
import keras
import pytest


@pytest.fixture(scope="session")
def keras_2_file():
    """Writes a model's weights as Keras 2 did and keras.applications publishes them."""

    def write(model, path):
        names = {layer.name: layer.name for layer in model.layers} | {"predictions": "probs"}
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [names[layer.name].encode() for layer in model.layers]
            for layer in model.layers:
                name = names[layer.name]
                group = file.create_group(name)
                keys = [f"{name}/{weight.name}:0" for weight in layer.weights]
                group.attrs["weight_names"] = [key.encode() for key in keys]
                for key, weight in zip(keys, layer.weights, strict=True):
                    group[key] = keras.ops.convert_to_numpy(weight)
        return path.read_bytes()

    return write
