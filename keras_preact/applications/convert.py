"""`convert`: weights of other libraries, or of a run of your own, as a network of this package."""

from typing import TYPE_CHECKING, Any, Literal

from keras_preact.applications.registry import list_models, model_info
from keras_preact.checked import require
from keras_preact.config import ResNetConfig

if TYPE_CHECKING:
    import keras


def convert(
    source: Any,
    *,
    input_shape: tuple[int | None, int | None, int | None] | None = None,
    include_top: bool | None = None,
    classifier_activation: str | None = "softmax",
    data_format: Literal["channels_last", "channels_first"] | None = None,
    name: str | None = None,
    include_preprocessing: bool = False,
    **arguments: Any,
) -> "keras.Model":
    """Converts trained weights of another library, or of your own run, into a network.

    The network computes the same function of the same images. Depth, blocks, widths, classes and
    image channels are read from the arrays; strides, padding, epsilon and the like are those of the
    library's networks. Images need the preprocessing of the original, which
    `read_source(source).preprocessing` describes and `include_preprocessing=True` builds in.

    Args:
        source: One of the following, or the result of `keras_preact.weights.read_source` on it:

            - a ResNet or ResNetV2 of `keras.applications` or KerasHub, or its `.weights.h5`, `.h5`
              or `.keras` file, with or without the classifier; the folder of a KerasHub preset;
            - the state dict of a ResNet, Wide ResNet or ResNeXt of torchvision or timm (including
              timm's ResNet-D and its pre-activation ResNets with batch normalisation), as a
              `.safetensors` file or a dictionary of arrays;
            - the folder of a `ResNetForImageClassification` of Hugging Face transformers, or of a
              timm model;
            - a network of this package, its `.keras` file, the folder of a finished run, or a file
              of `keras_preact.weights.save_named` that includes the config;
            - a repository of the Hugging Face Hub with one of these, such as
              `"hf://timm/resnet50.a1_in1k"`.
        input_shape: Shape of one image, `(height, width, channels)` or channels first; by default
            any height and width.
        include_top: Whether the network ends with the classifier; `None`: if the source does.
        classifier_activation: Activation of the classifier; `None` gives logits, as PyTorch's
            networks do.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras's global setting.
        name: Name of the model; `None`: the name in `list_models()` with these units, or
            `"resnet"` if there is none.
        include_preprocessing: Whether the network takes raw RGB images with values from 0 to 255
            and preprocesses them itself.
        **arguments: Other arguments of `keras_preact.build_network`: `input_tensor`, `pooling`,
            `dtype`, `packaging`, `recompute`.

    Returns:
        A functional `keras.Model` with the weights of the source.

    Raises:
        ConfigError: If the weights cannot be read or are incomplete, if no config describes the
            network, or if `include_preprocessing=True` and the preprocessing is unknown.

    Example:
        >>> import keras
        >>> from keras_preact import convert
        >>> theirs = keras.applications.ResNet50V2(weights=None, input_shape=(64, 64, 3))
        >>> model = convert(theirs)
        >>> model.name, model.output_shape
        ('resnet50v2', (None, 1000))
    """
    import keras

    from keras_preact.residual import build_network
    from keras_preact.residual.parts import standardize_data_format
    from keras_preact.weights import Source, load_weights_by_layer, read_source

    if not isinstance(source, Source):
        source = read_source(source)
    if include_top is None:
        include_top = source.classes is not None
    expected = "False or None, because the source has no classifier"
    require(source.classes is not None or not include_top, "include_top", include_top, expected)
    data_format = standardize_data_format(data_format)
    weights, images = source.weights, arguments.pop("input_tensor", None)
    if input_shape is None and images is None:
        known = source.preprocessing if include_preprocessing else None
        shape: Any = (known and known.shape) or (None, None, source.channels)
        height, width, channels = shape
        last = data_format == "channels_last"
        input_shape = (height, width, channels) if last else (channels, height, width)
    if include_preprocessing:
        expected, fix = (
            "False, because the preprocessing of the source is unknown",
            "Set `preprocessing` of the Source.",
        )
        known = source.preprocessing is not None
        require(known, "include_preprocessing", include_preprocessing, expected, fix)
        images = keras.Input(input_shape, name="images") if images is None else images
        images = source.preprocessing.layer(data_format)(images)
        weights, input_shape = source.preprocessing.rgb(weights), None
    model = build_network(
        source.config,
        input_shape=input_shape,
        input_tensor=images,
        include_top=include_top,
        classes=source.classes or 1,
        classifier_activation=classifier_activation,
        data_format=data_format,
        name=name or named_like(source.config) or "resnet",
        **arguments,
    )
    load_weights_by_layer(model, weights, source.called)
    return model


def named_like(config: ResNetConfig) -> str | None:
    """The named network with the units of a config, or `None`; strides and norms may differ.

    Example:
        >>> from keras_preact import ResNetConfig
        >>> from keras_preact.applications.convert import named_like
        >>> named_like(ResNetConfig(first_unit_entry="unit"))
        'resnet20v2'
    """

    def units(config):
        plain = config.shortcut == "none"
        widths = config.filters, config.width, config.groups
        return config.block, config.units, widths, config.stem, config.preactivated, plain

    names = (name for name in list_models() if units(model_info(name).config) == units(config))
    return next(names, None)
