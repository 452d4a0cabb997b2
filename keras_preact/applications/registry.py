"""The named networks: what each is, how it is built by name, and how names are listed.

Nothing here needs Keras before a network is built, so listing is instant.
"""

import dataclasses
import fnmatch
import inspect
import pathlib
import re
from collections.abc import Callable

from keras_preact.applications.published import (
    ForNetwork,
    HubWeights,
    TrainedWeights,
    trained_weights,
)
from keras_preact.checked import require
from keras_preact.config import ResNetConfig
from keras_preact.errors import ConfigError, near, quoted


@dataclasses.dataclass(frozen=True)
class Application:
    """One named network.

    Attributes:
        name: Name for `create_model`, such as `"resnet110v2"`.
        builder: Name of its function, such as `"ResNet110V2"`.
        config: Its architecture.
        input_shape: Default image, `(height, width, channels)`.
        classes: Default number of classes.
        parameters: Trainable parameters with these defaults.
        multiply_adds: Multiply-adds of one image with these defaults.
        reference: Where the papers describe it.
        weights: Its trained weights by tag, each with error, source and preprocessing.
    """

    name: str
    builder: str
    config: ResNetConfig
    input_shape: tuple[int, int, int]
    classes: int
    parameters: int
    multiply_adds: int
    reference: str

    @property
    def weights(self) -> dict[str, TrainedWeights]:
        """Trained weights by tag."""
        return trained_weights().get(self.name, {})


_APPLICATIONS: dict[str, Application] = {}
_BUILDERS: dict[str, Callable] = {}


def register(builder, config, input_shape, classes, parameters, multiply_adds, reference):
    """Registers a network and returns its function, which the family's module exports."""
    name = builder.lower()
    if name in _APPLICATIONS:
        raise ConfigError(f"A network may be registered once. Received: {name!r} again.")
    application = Application(
        name, builder, config, input_shape, classes, parameters, multiply_adds, reference
    )
    _APPLICATIONS[name] = application
    _BUILDERS[name] = _builder(application)
    return _BUILDERS[name]


def create_model(name: str, /, **kwargs):
    """Builds a named network.

    Args:
        name: One of `list_models()`; the function's name (`"ResNet110V2"`) means the same.
        **kwargs: Arguments of the network's function (`input_shape`, `classes`, `weights`, ...)
            and fields of `ResNetConfig` to change (`shortcut`, `activation`, ...).

    Returns:
        A `keras.Model`.

    Raises:
        ConfigError: For an unknown name or argument, or fields that do not go together.

    Example:
        >>> import keras_preact
        >>> model = keras_preact.create_model(
        ...     "resnet164v2", shortcut="exclusive_gating", gate_bias=-6.0
        ... )
        >>> model.output_shape
        (None, 10)
    """
    return _BUILDERS[model_info(name).name](**kwargs)


def list_models(pattern: str = "*") -> list[str]:
    """Names of the networks that match a shell-style pattern, in natural order (18 before 101).

    Example:
        >>> import keras_preact
        >>> keras_preact.list_models("resnet10?v2")
        ['resnet101v2']
    """
    return sorted(fnmatch.filter(_APPLICATIONS, pattern.lower()), key=_natural)


def model_info(name: str) -> Application:
    """What is known of a network without building it: config, size, source, trained weights.

    Raises:
        ConfigError: For an unknown name.

    Example:
        >>> import keras_preact
        >>> info = keras_preact.model_info("resnet164v2")
        >>> info.parameters, {tag: weights.top1_error for tag, weights in info.weights.items()}
        (1703258, {'cifar10': 3.64, 'cifar100': 20.18, 'svhn': 2.58})
    """
    application = _APPLICATIONS.get(str(name).lower())
    if application is None:
        raise ConfigError(
            "The name of a network is expected; `keras-preact models` and "
            f"keras_preact.list_models() list them. Received: {name!r}."
            f"{near(str(name).lower(), _APPLICATIONS)}"
        )
    return application


def _natural(name: str):
    """Sort key with numbers as numbers, originals before V2, the papers' before their kin."""
    parts = re.fullmatch(r"([a-z]+?net|vgg)(\d*)([a-z]*?)(v2)?", name)
    family, depth, kind, version = parts.groups()
    return family, kind, version or "", int(depth or 0)


_BUILDER_DOC = """{title}, {reference}.

    {depth} layers; with the defaults {parameters:,} trainable parameters and {giga:.3g} billion
    multiply-adds an image. Arguments mean what they mean in `keras.applications`.

    Args:
        include_top: Whether the network ends with a pooling over the map and a classifier.
        weights: `None` for random weights, the path of a `.weights.h5`, `.keras` or
            `.safetensors` file, the tag of trained weights, which are downloaded once ({tags}), or
            `"hf://user/name"`, a repository of the Hugging Face Hub. With a tag or a repository the
            network is built as these were trained; `preprocess_input(x, weights=tag)` prepares
            images for a tag.
        input_tensor: Keras tensor to use as input, such as another layer's output.
        input_shape: Shape of an image, with 1 or more channels; height and width may be `None`.
            By default {input_shape}, without the top (None, None, 3).
        pooling: Without the top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. By default {classes}, or those of the weights.
        classifier_activation: Activation of the classifier; `None` gives logits.
        name: Name of the model.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras's global setting.
        dtype: dtype policy of the layers; `None` for Keras's global policy. The head computes in
            float32 under a mixed policy.
        packaging: `"flat"`, `"nested"` (a sub-model a unit), `"repeated"` (a loop a stage) or
            `"auto"`.
        recompute: Whether units compute their activations again in the backward pass.
        **fields: Fields of `keras_preact.ResNetConfig` to change, such as `activation="prelu"`.

    Returns:
        A `keras.Model` from `(batch, height, width, channels)` to `(batch, classes)`; without the
        top, to feature maps or `(batch, channels)`.

    Raises:
        ConfigError: For arguments that are not allowed, or fields that do not go together or with
            the weights.

    Example:
        >>> from keras_preact.applications import {builder}
        >>> model = {builder}(input_shape=(64, 64, 1), classes=5)
        >>> model.output_shape
        (None, 5)
    """


def _builder(application: Application):
    """The network's function, with the signature of `keras.applications` and its own defaults."""

    def build(
        include_top=True,
        weights=None,
        input_tensor=None,
        input_shape=None,
        pooling=None,
        classes=None,
        classifier_activation="softmax",
        name=application.name,
        *,
        data_format=None,
        dtype=None,
        packaging="auto",
        recompute=False,
        **fields,
    ):
        from keras_preact.residual import build_network
        from keras_preact.residual.parts import standardize_data_format

        _refuse_unknown(fields, application, own)
        data_format = standardize_data_format(data_format)
        if input_shape is None and input_tensor is None:
            input_shape = _default_shape(application, include_top, data_format)
        source = _source(application, weights)
        trained = isinstance(source, ForNetwork)
        config, values = application.config.replace(**fields), None
        if classes is None:
            classes = (source if trained else application).classes
        if trained:
            config = source.config(application.config, fields, classes if include_top else None)
            source.announce(application.config)
            values = source.load(include_top)
        model = build_network(
            config,
            input_shape=input_shape,
            input_tensor=input_tensor,
            include_top=include_top,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            data_format=data_format,
            dtype=dtype,
            packaging=packaging,
            recompute=recompute,
            name=name,
        )
        if source is not None:
            _load(model, weights, values)
        return model

    own = list(inspect.signature(build).parameters)[:-1]
    build.__name__ = build.__qualname__ = application.builder
    build.__doc__ = _BUILDER_DOC.format(
        title=_title(application.builder),
        reference=application.reference,
        depth=application.config.depth,
        parameters=application.parameters,
        giga=application.multiply_adds / 1e9,
        input_shape=application.input_shape,
        classes=application.classes,
        tags=quoted(application.weights) or "none for this network",
        builder=application.builder,
    )
    return build


def _default_shape(application, include_top, data_format):
    """The images of the paper with the classifier, of any size without."""
    height, width, channels = application.input_shape
    sizes = (height, width) if include_top else (None, None)
    return (channels, *sizes) if data_format == "channels_first" else (*sizes, channels)


def _title(builder):
    """`ResNet14ImageNetV2` as "ResNet-14 ImageNet V2", `RectifierNetA` as "RectifierNet-A"."""
    title = re.sub(r"(?<=Net|VGG)(?=\d|[ABC]$)", "-", builder)
    return re.sub(r"(?<=[\da-z])(?=ImageNet|Bottleneck|V2)", " ", title)


def _source(application, weights) -> ForNetwork | pathlib.Path | None:
    """What the `weights` argument means: a tag, an existing file, or nothing."""
    if weights is None:
        return None
    expected = "None, a path or a tag"
    require(isinstance(weights, (str, pathlib.Path)), "weights", weights, expected)
    tags = application.weights
    if weights in tags:
        return tags[weights]
    if str(weights).startswith("hf://"):
        from keras_preact.weights import read_source

        return HubWeights(application.name, weights, read_source(weights), application.config)
    path = pathlib.Path(weights)
    if path.is_file() and path.name.endswith((".weights.h5", ".keras", ".safetensors")):
        return path
    raise ConfigError(
        f"`weights` of {application.name} must be None (random), the path of an existing "
        f"`.weights.h5`, `.keras` or `.safetensors` file, hf://user/name, or a tag: "
        f"{quoted(tags) or 'this network has none'}. "
        f"Received: weights={str(weights)!r}.{near(str(weights), tags)}"
    )


def _refuse_unknown(fields, application, own) -> None:
    """Names the closest argument or field when there is one that neither list has."""
    known = (*own, *ResNetConfig.field_names())
    for name, value in fields.items():
        if name not in known:
            raise ConfigError(
                f"{application.builder} takes the arguments {quoted(own)} and the fields of "
                f"ResNetConfig. Received: {name}={value!r}.{near(name, known)}"
            )


def _load(model, file, values=None) -> None:
    """Sets the weights of a file, or those that came from one."""
    from keras_preact.weights import load_weights_by_layer, read_weights

    try:
        load_weights_by_layer(model, values or read_weights(file))
    except ConfigError as error:
        raise ConfigError(
            f"`weights` must be a file saved from this very network, in any packaging. Received: "
            f"weights={str(file)!r}, which does not fit {model.name!r}: {error}"
        ) from None
