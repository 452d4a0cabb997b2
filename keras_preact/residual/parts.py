"""`Parts`: makes the named layers of one network, so that what they share is set once."""

import math
from typing import Any, Literal

import keras

from keras_preact.checked import require
from keras_preact.config import KERNELS, NEGATIVE_SLOPES, ResNetConfig
from keras_preact.errors import ConfigError
from keras_preact.initializers import he_normal, xavier_normal
from keras_preact.layers import (
    BatchNormalization,
    Conv2D,
    PReLU,
    ScalarAffine,
    StandardizedConv2D,
)
from keras_preact.precision import dtype_policy

#: Channels below which oneDNN's AVX2 kernel (TensorFlow 2.21) computes wrong filter gradients of a
#: 1x1 convolution with a stride: it is told to pick the pixels first, which is the same function.
_ONEDNN_CHANNELS = 8


class Parts:
    """Applies convolutions, normalisation, activations and padding as a config prescribes.

    Args:
        config: The network's `ResNetConfig`.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras's global setting.
        dtype: dtype policy of every layer; `None` for Keras's global policy.
    """

    def __init__(
        self,
        config: ResNetConfig,
        data_format: str | None = None,
        dtype: str | keras.DTypePolicy | None = None,
    ):
        self.config = config
        self.data_format = standardize_data_format(data_format)
        self.policy = dtype_policy(dtype)
        self.channel_axis = 1 if self.data_format == "channels_first" else -1

    def channels(self, x: Any) -> int:
        """The number of channels of a tensor."""
        return x.shape[self.channel_axis]

    def layer(self, cls: type | str, name: str, *args: Any, **kwargs: Any) -> Any:
        """A layer with the network's dtype policy, of a class or of the name of one of Keras's."""
        cls = getattr(keras.layers, cls) if isinstance(cls, str) else cls
        return cls(*args, name=name, dtype=self.policy.name, **kwargs)

    def spatial(self, cls: type, name: str, *args: Any, **kwargs: Any) -> Any:
        """A layer of any class with the network's dtype policy and data format."""
        return self.layer(cls, name, *args, data_format=self.data_format, **kwargs)

    def conv(
        self,
        x: Any,
        filters: int,
        kernel: int,
        name: str,
        *,
        stride: int = 1,
        margin: int | None = None,
        norm_follows: bool = True,
        **kwargs: Any,
    ) -> Any:
        """A convolution padded by `margin` pixels; by default the output is `ceil(size / stride)`.

        Strided convolutions are padded symmetrically, as in the authors' code, so that the windows
        are centred on the pixels that option A's shortcut picks; Keras's "same" is off by one.
        """
        x = self.offset(x, name)
        if kernel == 1 and stride > 1 and self.channels(x) < _ONEDNN_CHANNELS:
            x, stride = self.subsample(x, stride, f"{name}_pick"), 1
        margin = (kernel - 1) // 2 if margin is None else margin
        same = stride == 1 and 2 * margin == kernel - 1
        if margin and not same:
            x = self.spatial(keras.layers.ZeroPadding2D, f"{name}_pad", margin)(x)
        self.refuse_smaller(x, kernel - 2 * margin, name)
        use_bias = {
            "never": False,
            "without_norm": not (norm_follows and self.config.normalizes),
            "always": True,
        }[self.config.conv_bias]
        arguments = {
            "strides": stride,
            "padding": "same" if same else "valid",
            "use_bias": use_bias,
            "kernel_initializer": kwargs.get("kernel_initializer") or self.initializer(),
            **kwargs,
        }
        cls = Conv2D if kwargs.get("groups", 1) > 1 else keras.layers.Conv2D
        if self.config.weight_standardization:
            cls, arguments["gain"] = StandardizedConv2D, _gain(self.config.slope)
        return self.spatial(cls, name, filters, kernel, **arguments)(x)

    def norm(self, x: Any, name: str, *, zero: bool = False) -> Any:
        """Normalisation, with a scale that starts at 0 or 1; `x` itself in networks without."""
        config = self.config
        if not config.normalizes:
            return x
        start = {"gamma_initializer": "zeros"} if zero else {}
        arguments = {"axis": self.channel_axis, "epsilon": config.norm_epsilon, **start}
        if config.normalization == "group":
            groups = config.norm_groups
            return self.layer("GroupNormalization", name, groups, **arguments)(x)
        return self.layer(BatchNormalization, name, momentum=config.norm_momentum, **arguments)(x)

    def act(self, x: Any, name: str) -> Any:
        """The network's activation."""
        x, kind = self.offset(x, name), self.config.activation
        if kind in ("prelu", "prelu_shared"):
            # Keras's PReLU has one slope per position unless the spatial axes are shared.
            every = range(1, len(x.shape))
            spatial = [axis for axis in every if axis != self.channel_axis % len(x.shape)]
            return self.layer(
                PReLU,
                name,
                alpha_initializer=self.constant(self.config.slope),
                shared_axes=(spatial or None) if kind == "prelu" else [*every],
            )(x)
        if kind in NEGATIVE_SLOPES:
            return self.layer(keras.layers.LeakyReLU, name, self.config.slope)(x)
        return self.layer(keras.layers.Activation, name, _keras_activation(kind))(x)

    def offset(self, x: Any, name: str) -> Any:
        """Fixup's learned number before a layer of this name; `x` itself in other networks."""
        if self.config.normalization != "fixup":
            return x
        return self.layer(ScalarAffine, f"{name}_offset", scale=None, bias=0.0)(x)

    def scale_branch(self, x: Any, name: str) -> Any:
        """The branch's factor, a number or learned; `x` itself where it is 1."""
        scale, fixup = self.config.residual_scale, self.config.normalization == "fixup"
        if fixup or scale == "learned":
            start = 1.0 if fixup else 0.0
            return self.layer(ScalarAffine, f"{name}_learned_scale", scale=start)(x)
        if scale == "inverse_sqrt_units":
            scale = 1 / math.sqrt(sum(self.config.units))
        return x if scale == 1 else self.layer("Rescaling", f"{name}_residual_scale", scale)(x)

    def subsample(self, x: Any, stride: int, name: str) -> Any:
        """Every `stride`-th pixel, as a pooling of size 1."""
        return self.spatial(keras.layers.MaxPooling2D, name, 1, strides=stride)(x)

    def average_pool(self, x: Any, stride: int, name: str) -> Any:
        """Means of 2x2 windows; the last one is cut off where the map ends."""
        layer = keras.layers.AveragePooling2D  # whose padding is not averaged
        return self.spatial(layer, name, 2, strides=stride, padding="same")(x)

    def max_pool(
        self,
        x: Any,
        size: int,
        stride: int,
        name: str,
        *,
        padded: bool = True,
        padding: str = "zeros",
    ) -> Any:
        """Max pooling; if padded, the output is `ceil(size / stride)` on each side.

        An odd size is padded equally on all sides, as `padding` says. An even size is padded only
        where the last window would be cut off, with values that the maximum ignores.
        """
        margin = (size - 1) // 2 if padded else 0
        if margin and size % 2:
            x = self.pad(x, margin, f"{name}_pad", padding)
        same = "same" if padded and size % 2 == 0 else "valid"
        if same == "valid":
            self.refuse_smaller(x, size, name)
        return self.spatial(keras.layers.MaxPooling2D, name, size, strides=stride, padding=same)(x)

    def refuse_smaller(self, x: Any, size: int, name: str) -> None:
        """Names the layer that an image is too small for, before Keras fails deep inside."""
        sides = x.shape[2:] if self.channel_axis == 1 else x.shape[1:-1]
        if any(side is not None and side < size for side in sides):
            raise ConfigError(
                f"The image is too small for this network: layer {name!r} needs feature maps of at "
                f"least {size} x {size}. Received: a map of {sides[0]} x {sides[1]}. Increase "
                "`input_shape`, or `data.image_size`, to which images are scaled."
            )

    def pad(self, x: Any, margin: int, name: str, padding: str) -> Any:
        """A border of `"zeros"`, or of values that a maximum ignores (`"excluded"`)."""
        if padding == "zeros":
            return self.spatial(keras.layers.ZeroPadding2D, name, margin)(x)
        # A window that reaches the border already contains the values mirrored there.
        margins = [(0, 0), (margin, margin), (margin, margin)]
        margins.insert(1 if self.channel_axis == 1 else 3, (0, 0))
        return keras.ops.pad(x, margins, mode="symmetric")

    def pad_channels(self, x: Any, channels: int, name: str) -> Any:
        """Appends zero channels after the existing ones, as in fb.resnet.torch (option A)."""
        missing = channels - self.channels(x)
        if missing < 0:
            raise ConfigError(
                "Zero padding (option A) cannot remove channels: use projection='B'. Received: "
                f"{self.channels(x)} channels to be made {channels}."
            )
        # ZeroPadding2D pads the last two axes with channels_first and the middle two with
        # channels_last: with the opposite data format, one of them is the channel axis.
        last = self.channel_axis == -1
        return self.layer(
            keras.layers.ZeroPadding2D,
            name,
            ((0, 0), (0, missing)) if last else ((0, missing), (0, 0)),
            data_format="channels_first" if last else "channels_last",
        )(x)

    def initializer(self, in_branch: bool = False) -> keras.initializers.Initializer:
        """A new kernel initialiser, since one object gives the same values at every call."""
        config, factor = self.config, 1.0
        if in_branch and config.normalization == "fixup":  # its section 3, rule 2
            factor = sum(config.units) ** (-1 / max(1, 2 * len(KERNELS[config.block]) - 2))
        mode, truncated = config.initializer_mode, config.initializer_truncated
        if config.initializer == "xavier_normal":
            return xavier_normal(mode, truncated, factor=factor)
        slope = config.slope if config.initializer_slope_aware else 0.0
        return he_normal(mode, truncated, slope, factor=factor)

    def constant(self, value: float) -> Any:
        """An initialiser that gives one value."""
        return keras.initializers.Constant(value)


def standardize_data_format(data_format: Any) -> Literal["channels_last", "channels_first"]:
    """`data_format`, or Keras's global setting for `None`; raises `ConfigError` for others."""
    if data_format is None:
        data_format = keras.config.image_data_format()
    allowed = ("channels_last", "channels_first")
    expected = "'channels_last', 'channels_first' or None"
    require(data_format in allowed, "data_format", data_format, expected)
    return data_format


def _gain(slope):
    """Factor on kernels of mean 0 that keeps the variance of signals through the activation.

    Its inverse is the deviation of the (leaky) ReLU of a standard normal (Brock et al. 2021,
    section 4.1, for a slope of 0).
    """
    return 1 / math.sqrt((1 + slope**2) / 2 - (1 - slope) ** 2 / (2 * math.pi))


def _keras_activation(name):
    try:
        return keras.activations.get(name)
    except ValueError:
        known = "'prelu', 'prelu_shared', 'leaky_relu' or the name of a Keras activation"
        raise ConfigError(f"`activation` must be {known}. Received: activation={name!r}.") from None
