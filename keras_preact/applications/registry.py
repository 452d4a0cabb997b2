"""The named networks: what each is, how it is built by name, and how names are listed.

Nothing here needs Keras before a network is built, so listing is instant.
"""

import dataclasses
import fnmatch
import inspect
import os
import pathlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from keras_preact.applications.published import (
    ForNetwork,
    HubWeights,
    TrainedWeights,
    trained_weights,
)
from keras_preact.checked import require
from keras_preact.config import ResNetConfig
from keras_preact.errors import ConfigError, near, quoted

if TYPE_CHECKING:
    import keras  # pyright: ignore[reportMissingTypeStubs]


@dataclasses.dataclass(frozen=True)
class Application:
    """One named network.

    Attributes:
        name: Name for `create_model`, such as `"resnet110v2"`.
        builder: Name of its function, such as `"ResNet110V2"`.
        config: Its architecture.
        input_shape: Default shape of one image, `(height, width, channels)`.
        classes: Default number of classes.
        parameters: Number of trainable parameters with these defaults.
        multiply_adds: Multiply-adds for one image with these defaults.
        reference: Paper and section or table that describes it.
        weights: Its trained weights by tag, each with error, source and preprocessing.

    Example:
        >>> from keras_preact import model_info
        >>> info = model_info("resnet50v2")
        >>> info.builder, info.input_shape, info.parameters
        ('ResNet50V2', (224, 224, 3), 25549352)
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
_BUILDERS: dict[str, Callable[..., Any]] = {}


def register(
    builder: str,
    config: ResNetConfig,
    input_shape: tuple[int, int, int],
    classes: int,
    parameters: int,
    multiply_adds: int,
    reference: str,
) -> Callable[..., Any]:
    """Registers a network and returns its function, which the family's module exports."""
    name = builder.lower()
    if name in _APPLICATIONS:
        raise ConfigError(f"A network can be registered only once. Received: {name!r} again.")
    application = Application(
        name, builder, config, input_shape, classes, parameters, multiply_adds, reference
    )
    _APPLICATIONS[name] = application
    _BUILDERS[name] = _builder(application)
    return _BUILDERS[name]


def create_model(name: str, /, **kwargs: Any) -> "keras.Model":
    """Builds a named network.

    Args:
        name: One of `list_models()`; the name of the function (`"ResNet110V2"`) works as well.
        **kwargs: Arguments of the network's function (`input_shape`, `classes`, `weights`, ...)
            and fields of `ResNetConfig` to change (`shortcut`, `activation`, ...).

    Returns:
        A functional `keras.Model` that maps images `(batch, height, width, channels)` to scores
        `(batch, classes)`.

    Raises:
        ConfigError: If the name or an argument is unknown, or fields do not go together.

    Example:
        >>> import keras_preact
        >>> model = keras_preact.create_model(
        ...     "resnet20v2", shortcut="exclusive_gating", gate_bias=-6.0
        ... )
        >>> model.output_shape
        (None, 10)
    """
    return _BUILDERS[model_info(name).name](**kwargs)


def list_models(pattern: str = "*") -> list[str]:
    """Lists the names of the networks that match a pattern, in natural order (18 before 101).

    Args:
        pattern: Shell-style pattern, such as `"resnet*v2"`; upper and lower case are the same.

    Returns:
        The names, for `create_model` and `model_info`.

    Example:
        >>> import keras_preact
        >>> keras_preact.list_models("resnet10?v2")
        ['resnet101v2']
    """
    return sorted(fnmatch.filter(_APPLICATIONS, pattern.lower()), key=_natural)


def model_info(name: str) -> Application:
    """Describes a network without building it: config, size, reference, trained weights.

    Args:
        name: One of `list_models()`; the name of the function (`"ResNet110V2"`) works as well.

    Returns:
        Its `keras_preact.applications.Application`.

    Raises:
        ConfigError: If the name is unknown.

    Example:
        >>> import keras_preact
        >>> info = keras_preact.model_info("resnet164v2")
        >>> info.parameters, {tag: weights.top1_error for tag, weights in info.weights.items()}
        (1703258, {'cifar10': 3.64, 'cifar100': 20.18, 'svhn': 2.58})
    """
    application = _APPLICATIONS.get(str(name).lower())
    if application is None:
        raise ConfigError(
            "`name` must be the name of a network: `keras-preact models` and "
            f"keras_preact.list_models() list them. Received: {name!r}."
            f"{near(str(name).lower(), _APPLICATIONS)}"
        )
    return application


def _natural(name: str) -> tuple[str, str, str, int]:
    """Sort key with numbers as numbers, originals before V2, the papers' before their kin."""
    ((family, depth, kind, version),) = re.findall(
        r"^([a-z]+?net|resnext|vgg)(\d*)([a-z]*?)(v2)?(?:_\w+)?$", name
    )
    return family, kind, version, int(depth or 0)


_BUILDER_DOC = """{title}, {reference}.

    {depth} layers; with the defaults {parameters:,} trainable parameters and {giga:.3g} billion
    multiply-adds per image. The arguments have the same meaning as in `keras.applications`.

    Args:
        include_top: Whether the network ends with global pooling and a classifier.
        weights: `None` for random weights; the path of a `.weights.h5`, `.keras` or
            `.safetensors` file; the tag of trained weights, which are downloaded once ({tags}); or
            `"hf://user/name"`, a repository of the Hugging Face Hub. With a tag or a repository the
            network is built as it was trained; `preprocess_input(x, weights=tag)` preprocesses
            images for a tag.
        input_tensor: Keras tensor to use as input, such as another layer's output.
        input_shape: Shape of one image, with at least one channel; height and width may be `None`.
            By default {input_shape}, or that of the weights' images; with `include_top=False`
            height and width are `None`.
        pooling: With `include_top=False`: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. By default {classes}, or that of the weights.
        classifier_activation: Activation of the classifier; `None` gives logits.
        name: Name of the model.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras's global setting.
        dtype: dtype policy of the layers; `None` for Keras's global policy. Under a mixed policy,
            average pooling and the classifier compute in float32.
        packaging: `"flat"` (every layer in the graph), `"nested"` (one nested model per unit),
            `"repeated"` (one loop per stage) or `"auto"` (chosen by depth).
        recompute: Whether the backward pass computes the activations of a unit again instead of
            storing them, which saves memory.
        **fields: Fields of `keras_preact.ResNetConfig` to change, such as `activation="prelu"`.

    Returns:
        A functional `keras.Model` that maps images `(batch, height, width, channels)` to scores
        `(batch, classes)`; with `include_top=False`, to feature maps or, with `pooling`, to
        features `(batch, channels)`.

    Raises:
        ConfigError: If an argument has a value that is not allowed, or fields do not go together
            or do not fit the weights.

    Example:
        >>> from keras_preact.applications import {builder}
        >>> model = {builder}(input_shape=(64, 64, 1), classes=5)
        >>> model.output_shape
        (None, 5)
    """


def _builder(application: Application) -> Callable[..., Any]:
    """The network's function, with the signature of `keras.applications` and its own defaults."""

    def build(
        include_top: bool = True,
        weights: str | os.PathLike[str] | None = None,
        input_tensor: "keras.KerasTensor | None" = None,
        input_shape: tuple[int | None, int | None, int | None] | None = None,
        pooling: Literal["avg", "max"] | None = None,
        classes: int | None = None,
        classifier_activation: str | None = "softmax",
        name: str = application.name,
        *,
        data_format: Literal["channels_last", "channels_first"] | None = None,
        dtype: "str | keras.DTypePolicy | None" = None,
        packaging: Literal["auto", "flat", "nested", "repeated"] = "auto",
        recompute: bool = False,
        **fields: Any,
    ) -> "keras.Model":
        from keras_preact.residual import build_network
        from keras_preact.residual.parts import standardize_data_format

        _refuse_unknown(fields, application, own)
        data_format = standardize_data_format(data_format)
        source = _source(application, weights)
        trained = isinstance(source, ForNetwork)
        if input_shape is None and input_tensor is None:
            shape = (trained and source.input_shape) or application.input_shape
            input_shape = _default_shape(shape, include_top, data_format)
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


def _default_shape(shape: tuple[int, int, int], include_top: bool, data_format: str) -> Any:
    """The shape of the paper's images; without the classifier, images of any size."""
    height, width, channels = shape
    sizes = (height, width) if include_top else (None, None)
    return (channels, *sizes) if data_format == "channels_first" else (*sizes, channels)


def _title(builder: str) -> str:
    """`ResNet14ImageNetV2` as "ResNet-14 ImageNet V2", `WideResNet28_10` as "WideResNet-28-10"."""
    title = re.sub(r"(?<=Net|VGG|eXt)(?=\d|[ABC]$)|(?<=\d)(?=D$)|_(?=\d+$)", "-", builder)
    title = title.replace("_", " ")
    return re.sub(r"(?<=[\da-z])(?=ImageNet|Bottleneck|V2)", " ", title)


def _source(
    application: Application, weights: Any
) -> TrainedWeights | HubWeights | pathlib.Path | None:
    """What the argument `weights` means: a tag, a repository, an existing file, or nothing."""
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
        "`.weights.h5`, `.keras` or `.safetensors` file, hf://user/name, or a tag: "
        f"{quoted(tags) or 'this network has none'}. "
        f"Received: weights={str(weights)!r}.{near(str(weights), tags)}"
    )


def _refuse_unknown(fields: dict[str, Any], application: Application, own: list[str]) -> None:
    """Refuses unknown arguments and fields, and names the closest known one."""
    known = (*own, *ResNetConfig.field_names())
    for name, value in fields.items():
        if name not in known:
            raise ConfigError(
                f"{application.builder} takes the arguments {quoted(own)} and the fields of "
                f"ResNetConfig. Received: {name}={value!r}.{near(name, known)}"
            )


def _load(model: Any, file: Any, values: Any = None) -> None:
    """Sets the weights of a file, or the given values."""
    from keras_preact.weights import load_weights_by_layer, read_weights

    try:
        load_weights_by_layer(model, values or read_weights(file))
    except ConfigError as error:
        raise ConfigError(
            "`weights` must be a file saved from the same network, in any packaging. Received: "
            f"weights={str(file)!r}, which does not fit {model.name!r}: {error}"
        ) from None
