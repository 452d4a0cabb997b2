"""Where the channels of an image tensor stand."""

import keras

from keras_preact.checked import require


def standardize_data_format(data_format: str | None) -> str:
    """`data_format`, or Keras's global setting for `None`; anything unknown is refused."""
    if data_format is None:
        return keras.config.image_data_format()
    allowed = ("channels_last", "channels_first")
    expected = "'channels_last', 'channels_first' or None"
    require(data_format in allowed, "data_format", data_format, expected)
    return data_format
