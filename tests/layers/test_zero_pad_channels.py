"""Option A's zero channels."""

import keras
import numpy as np
import pytest

from keras_preact.errors import ConfigError
from keras_preact.layers import ZeroPadChannels


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_values_shapes_and_config(data_format, dtype):
    axis = -1 if data_format == "channels_last" else 1
    layer = ZeroPadChannels(7, data_format=data_format, dtype=dtype, name="pad")
    x = np.moveaxis(np.arange(2 * 3 * 4 * 5, dtype="float32").reshape(2, 3, 4, 5), -1, axis)
    y = keras.ops.convert_to_numpy(keras.ops.cast(layer(x), "float32"))
    np.testing.assert_array_equal(np.take(y, range(5), axis), x)
    np.testing.assert_array_equal(np.take(y, range(5, 7), axis), 0)
    assert layer.compute_output_shape(x.shape) == y.shape
    assert ZeroPadChannels.from_config(layer.get_config()).get_config() == layer.get_config()
    shape = [None, None, 5] if data_format == "channels_last" else [5, None, None]
    assert layer(keras.Input(shape)).shape[axis] == 7


def test_channels_cannot_be_removed():
    with pytest.raises(ConfigError, match=r"cannot remove channels.*5 channels to be made 3"):
        ZeroPadChannels(3, data_format="channels_last")(np.zeros((1, 2, 2, 5)))
    with pytest.raises(ConfigError, match="channels"):
        ZeroPadChannels(0)
    with pytest.raises(ConfigError, match="data_format"):
        ZeroPadChannels(3, data_format="NHWC")
