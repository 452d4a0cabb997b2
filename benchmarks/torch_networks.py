"""The pre-activation networks in PyTorch, layer for layer those of this package."""

from torch import nn

from keras_preact.config import EXPANSION, KERNELS


def preact_resnet(config, classes, channels=3):
    """The network of a config with full pre-activation and identity shortcuts.

    Args:
        config: A `ResNetConfig`; its placement must be `full_preactivation`.
        classes: Number of classes.
        channels: Those of the images.

    Returns:
        A `torch.nn.Module` from `(batch, channels, height, width)` to logits.
    """
    kind = (config.placement, config.shortcut, config.activation, config.width, config.groups)
    kind += (config.stem, config.projection_stride, config.branch_dropout)
    if kind != ("full_preactivation", "identity", "relu", 1, 1, "conv", "conv", 0):
        raise ValueError("The PyTorch peer is there for full pre-activation with ReLU only.")
    return _Network(config, classes, channels)


class _Network(nn.Module):
    def __init__(self, config, classes, channels):
        super().__init__()
        width = config.stem_filters
        entered = config.first_unit_entry in ("stem", "both")
        bias = _has_bias(config, norm_follows=entered)
        stem = [_conv(channels, width, config.stem_kernel, config.stem_stride, bias)]
        if entered:
            stem += _norm_act(width)
        stem += [nn.MaxPool2d(3, 2, 1)] if config.stem_pool else []
        self.stem, units = nn.Sequential(*stem), []
        for stage, (count, filters) in enumerate(zip(config.units, config.filters, strict=True)):
            for number in range(count):
                if config.downsample_at == "first_unit":
                    stride = 2 if stage and number == 0 else 1
                else:
                    last = number == count - 1 and stage < len(config.units) - 1
                    stride = 2 if last else 1
                units.append(_Unit(config, width, filters, stride, stage == number == 0))
                width = filters * EXPANSION[config.block]
        self.units = nn.Sequential(*units)
        self.head = nn.Sequential(*_norm_act(width), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.predictions = nn.Linear(width, classes)

    def forward(self, x):
        return self.predictions(self.head(self.units(self.stem(x))))


class _Unit(nn.Module):
    def __init__(self, config, width, filters, stride, first):
        super().__init__()
        kernels = KERNELS[config.block]
        channels = filters * EXPANSION[config.block]
        entered = first and config.first_unit_entry == "stem"
        self.before = nn.Identity() if entered else nn.Sequential(*_norm_act(width))
        strided = 1 if config.block == "bottleneck" and config.stride_on == "3x3" else 0
        branch, entering = [], width
        for k, kernel in enumerate(kernels):
            last = k == len(kernels) - 1
            leaving, bias = channels if last else filters, _has_bias(config, not last)
            branch += _norm_act(entering) if k else []
            branch += [_conv(entering, leaving, kernel, stride if k == strided else 1, bias)]
            entering = leaving
        self.branch = nn.Sequential(*branch)
        self.stride, self.missing = stride, channels - width
        projects = config.projection == "B" and (width != channels)
        self.projection = (
            _conv(width, channels, 1, stride, _has_bias(config, False)) if projects else None
        )
        enters = config.first_unit_entry in ("stem", "unit")  # ahead of both paths
        self.shared = (first and enters) or width != channels

    def forward(self, x):
        activated = self.before(x)
        h = activated if self.shared else x
        if self.projection is not None:
            h = self.projection(h)
        else:
            h = h[:, :, :: self.stride, :: self.stride] if self.stride > 1 else h
            h = nn.functional.pad(h, (0, 0, 0, 0, 0, self.missing)) if self.missing else h
        return h + self.branch(activated)


def _has_bias(config, norm_follows):
    return config.conv_bias == "always" or (config.conv_bias == "without_norm" and not norm_follows)


def _conv(entering, leaving, kernel, stride, bias):
    conv = nn.Conv2d(entering, leaving, kernel, stride, kernel // 2, bias=bias)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out")
    return conv


def _norm_act(width):
    return [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
