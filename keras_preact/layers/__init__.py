"""The package's own layers: where Keras lacks the operation. They know nothing of networks."""

from keras_preact.layers.zero_pad_channels import ZeroPadChannels

__all__ = ["ZeroPadChannels"]
