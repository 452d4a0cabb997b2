"""`deepen`: a deeper network made from a shallower one and units that compute the identity."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_preact.applications.registry import model_info
from keras_preact.checked import is_whole, require
from keras_preact.config import KERNELS, ResNetConfig
from keras_preact.errors import ConfigError
from keras_preact.residual import build_network
from keras_preact.weights import load_weights_by_layer, weights_by_layer


def deepen(
    model: keras.Model, units: Sequence[int] | None = None, config: ResNetConfig | None = None
) -> keras.Model:
    """Makes a deeper network that computes the same function, and can be trained further.

    The construction behind the degradation argument (Deep Residual Learning, section 1): identity
    layers that are added to a network do not make it worse, so if a deeper network has a higher
    training error, the solver failed to optimise it. In a residual unit, the identity is a branch
    of zeros: its last convolution, or the scale of its last norm, starts at 0. In a plain net, it
    is kernels that copy their input, and norms that change nothing at inference.

    Args:
        model: A network of `build_network` or `create_model` that maps images to scores.
        units: Units per stage of the deeper network; by default one more per stage. The new units
            are at the end of their stage, but before a last unit that halves the feature map.
        config: The config of the model; by default that of the registered network of its name.

    Returns:
        A new functional `keras.Model` with the same outputs at inference.

    Raises:
        ConfigError: If there would be fewer units, the config is not that of the model, the model
            has layers before its stem, or its units cannot compute the identity exactly: units with
            gates, with scaled or projected shortcuts, or with more than a ReLU after the addition,
            and in plain nets all but units of 3x3 convolutions with ReLU.

    Example:
        >>> from keras_preact import create_model
        >>> from keras_preact.analysis import deepen
        >>> deeper = deepen(create_model("resnet8v2"), units=(3, 3, 3))
        >>> deeper.count_params() == create_model("resnet20v2").count_params()
        True
    """
    _refuse_layers_ahead(model)
    config = config or model_info(model.name).config
    units = tuple(n + 1 for n in config.units) if units is None else tuple(units)
    fits = len(units) == len(config.units) and all(map(is_whole, units))
    fits = fits and all(new >= old for new, old in zip(units, config.units, strict=True))
    require(fits, "units", units, f"as many whole numbers as stages, at least {config.units}")
    _refuse_others(config)
    halving = config.units[:-1] if config.downsample_at == "last_unit" else ()
    expected = "at least 2 in each stage whose last unit halves the feature map"
    require(all(old > 1 for old in halving), "config.units", config.units, expected)
    deeper_config = config.replace(units=units)
    deeper = _built_alike(model, deeper_config)
    weights = weights_by_layer(deeper)
    kept = {_moved(name, config, units): v for name, v in weights_by_layer(model).items()}
    new = {"_".join(name.split("_")[:2]) for name in weights.keys() - kept.keys()}
    for name in sorted(new):
        _make_identity(weights, name, config)
    load_weights_by_layer(deeper, {**weights, **kept})
    return deeper


def _refuse_layers_ahead(model):
    """The deeper network is built again, so the preprocessing layers of a run would be lost."""
    names = [x.name for x in model.layers if not isinstance(x, keras.layers.InputLayer)]
    if not names or not names[0].startswith("stem_"):
        raise ConfigError(
            "`model` must be a network of `build_network` or `create_model`, which begins with its "
            f"stem. Received: {model.name!r}, which begins with {(names or ['nothing'])[0]!r}. "
            "keras_preact.training.start_from loads the weights of a run into such a network."
        )


def _refuse_others(config):
    """Only units that can compute the identity exactly, and learn from there."""
    plain, steps = config.shortcut == "none", config.steps
    placement = f"order={config.order}" if config.order else f"placement={config.placement!r}"
    as_it_is = config.shortcut in ("identity", "dropout", "none") or (
        config.shortcut == "constant_scaling" and config.shortcut_scale == 1
    )
    reason = None
    if not as_it_is or config.projects_every_unit:
        reason = f"shortcut={config.shortcut!r}, projection={config.projection!r}"
    elif "norm" in steps.after or "act" in steps.last:
        reason = placement
    elif plain and config.normalization == "group":
        reason = "shortcut='none', normalization='group'"
    elif (steps.after or plain) and config.activation != "relu":
        reason = f"{placement}, activation={config.activation!r}"
    elif plain and (config.placement != "original" or config.block not in ("basic", "single")):
        reason = f"shortcut='none', placement={config.placement!r}, block={config.block!r}"
    if reason:
        raise ConfigError(
            "`deepen` adds units that compute the identity exactly and can be trained further. "
            "They must have shortcuts that are not scaled, gated or projected, and be "
            "pre-activation units or original units with ReLU; in plain nets, original units of "
            f"3x3 convolutions. Received: {reason}."
        )


def _built_alike(model, config):
    """The network of a config with the model's images, classes and layout."""
    conv, last = model.get_layer("stem_conv"), model.layers[-1]
    has_top = isinstance(last, keras.layers.Dense)
    top = {"classes": last.units, "classifier_activation": last.activation} if has_top else {}
    shape, pooled = model.input_shape[1:], len(model.output_shape) == 2
    return build_network(
        config,
        input_shape=shape,
        include_top=has_top,
        pooling="avg" if pooled and not has_top else None,
        data_format=conv.data_format,
        dtype=model.dtype_policy.name,
        name=f"{model.name}_deeper",
        **top,
    )


def _moved(layer, config, units):
    """The name of a layer in the deeper network."""
    if config.downsample_at == "first_unit":
        return layer
    for stage, (old, new) in enumerate(zip(config.units, units, strict=True), 1):
        if stage == len(units):  # the last stage halves nothing
            break
        prefix = f"stage{stage}_unit{old}_"
        if layer.startswith(prefix):
            return f"stage{stage}_unit{new}_{layer.removeprefix(prefix)}"
    return layer


def _make_identity(weights, unit, config):
    """Sets the weights of a unit so that it computes the identity; `weights` is changed."""
    convolutions = len(KERNELS[config.block])
    if config.shortcut == "none":
        for k in range(1, convolutions + 1):
            _set(weights, f"{unit}_conv{k}", _dirac)
            _set(weights, f"{unit}_norm{k}", lambda index, v: _neutral(index, v, config))
        _set(weights, f"{unit}_norm_out", lambda index, v: _neutral(index, v, config))
        return
    if config.residual_scale == "learned":  # from 0: the unit is the identity already
        return
    ends_with_norm = "norm" in config.steps.last and config.normalizes
    norms = sum(layer.startswith(f"{unit}_norm") for layer in weights)
    last = f"{unit}_norm{norms}" if ends_with_norm else f"{unit}_conv{convolutions}"
    # Scale and offset of a norm, kernel and bias of a convolution.
    _set(weights, last, lambda index, v: np.zeros_like(v) if index in ("0", "1") else v)


def _set(weights, layer, new):
    if layer in weights:
        weights[layer] = {index: new(index, value) for index, value in weights[layer].items()}


def _dirac(index, value):
    """A kernel that copies its input; a bias of zeros."""
    new = np.zeros_like(value)
    if index == "0":
        height, width, channels, _ = value.shape
        new[height // 2, width // 2] = np.eye(channels)
    return new


def _neutral(index, value, config):
    """Scale 1, offset 0, mean 0, and the variance that makes the deviation 1."""
    neutral = {"0": 1.0, "1": 0.0, "2": 0.0, "3": 1.0 - config.norm_epsilon}
    return np.full_like(value, neutral[index])
