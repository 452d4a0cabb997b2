"""Zero channels behind the existing ones: the dimension change of option A."""

import keras

from keras_preact.checked import require
from keras_preact.errors import ConfigError
from keras_preact.layers.data_format import standardize_data_format


@keras.saving.register_keras_serializable("keras_preact")
class ZeroPadChannels(keras.layers.Layer):
    """Appends channels of zeros, as option A's shortcut does (2015 paper, section 3.3).

    No parameters. The zeros stand behind the existing channels, as in fb.resnet.torch.

    Args:
        channels: Channels of the output, at least those of the input.
        data_format: `"channels_last"` or `"channels_first"`; `None` is Keras's global setting.

    Input shape:
        `(batch, height, width, c)`, or `(batch, c, height, width)`; height and width may be `None`.

    Output shape:
        The same with `channels` in place of `c`.

    Raises:
        ConfigError: When the input has more channels than the output shall have.

    Example:
        >>> import numpy as np
        >>> from keras_preact.layers import ZeroPadChannels
        >>> ZeroPadChannels(32, data_format="channels_last")(np.ones((1, 8, 8, 16))).shape[-1]
        32
    """

    def __init__(self, channels, data_format=None, **kwargs):
        super().__init__(**kwargs)
        require(isinstance(channels, int) and channels > 0, "channels", channels, "at least 1")
        self.channels = channels
        self.data_format = standardize_data_format(data_format)
        self._axis = 1 if self.data_format == "channels_first" else -1

    def build(self, input_shape):
        if input_shape[self._axis] > self.channels:
            raise ConfigError(
                "Zero padding (option A) cannot remove channels; projection='B' can. Received: "
                f"{input_shape[self._axis]} channels to be made {self.channels}."
            )
        self.built = True

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        shape[self._axis] = self.channels
        return tuple(shape)

    def call(self, x):
        padding = [[0, 0] for _ in x.shape]
        padding[self._axis][1] = self.channels - x.shape[self._axis]
        return keras.ops.pad(x, padding)

    def get_config(self):
        config = {"channels": self.channels, "data_format": self.data_format}
        return {**super().get_config(), **config}
