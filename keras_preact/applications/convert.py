"""`convert`: a network with weights that others, or trainings of one's own, have made."""

from keras_preact.applications.registry import list_models, model_info
from keras_preact.checked import require


def convert(
    source,
    *,
    input_shape=None,
    include_top=None,
    classifier_activation="softmax",
    data_format=None,
    name=None,
    include_preprocessing=False,
    **arguments,
):
    """A network with weights that others have made: the same function of the same images.

    Depth, blocks, widths, classes and image channels are read off the arrays; strides, padding,
    epsilon and the like are those of the library's networks. Images are prepared as for the
    original, by the network itself if wanted: `read_source(source).preprocessing` says how.

    Args:
        source: A ResNet or ResNetV2 of `keras.applications` or KerasHub, or its `.weights.h5`,
            `.h5` or `.keras` file, with the classifier or without; the folder of a KerasHub
            preset; the state dict of a ResNet of torchvision or timm (its pre-activation ones with
            batch normalisation too), as a `.safetensors` file or a dictionary of arrays; the
            folder of a `ResNetForImageClassification` of Hugging Face transformers, or of a model
            of timm; a network of this package, its `.keras` file, the folder of a finished run, or
            a file of `keras_preact.weights.save_named` that has the config; a repository of the
            Hugging Face Hub with one of these, `"hf://timm/resnet50.a1_in1k"`; or what
            `keras_preact.weights.read_source` made of one of these.
        input_shape: Shape of an image; by default any height and width.
        include_top: Whether the network ends with the classifier; `None`: where the source does.
        classifier_activation: Activation of the classifier; `None` gives logits, which is what
            PyTorch's networks give.
        data_format: `"channels_last"`, `"channels_first"` or `None` for Keras's global setting.
        name: Name of the model; `None`: the one in `list_models()` with these units, else
            `"resnet"`.
        include_preprocessing: Whether the network takes raw images, red first, values 0 to 255,
            and prepares them itself.
        **arguments: Others of `keras_preact.build_network`: `input_tensor`, `pooling`, `dtype`,
            `packaging`, `recompute`.

    Returns:
        A `keras.Model` of this package.

    Raises:
        ConfigError: For weights that cannot be read or are not all there, and for networks that no
            config describes; and where `include_preprocessing` asks for what is not known.

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
    expected = "False or None, since the source has no classifier"
    require(source.classes is not None or not include_top, "include_top", include_top, expected)
    data_format = standardize_data_format(data_format)
    weights, images = source.weights, arguments.pop("input_tensor", None)
    if input_shape is None and images is None:
        known = source.preprocessing if include_preprocessing else None
        *size, channels = (known and known.shape) or (None, None, source.channels)
        input_shape = (*size, channels) if data_format == "channels_last" else (channels, *size)
    if include_preprocessing:
        expected, fix = (
            "False where the source does not say how",
            "Set `preprocessing` of a Source.",
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


def named_like(config) -> str | None:
    """The named network with the units of a config, whatever its strides and norms; or `None`.

    Example:
        >>> from keras_preact import ResNetConfig
        >>> from keras_preact.applications.convert import named_like
        >>> named_like(ResNetConfig(first_unit_entry="unit"))
        'resnet20v2'
    """

    def units(config):
        plain = config.shortcut == "none"
        return config.block, config.units, config.filters, config.preactivated, plain

    names = (name for name in list_models() if units(model_info(name).config) == units(config))
    return next(names, None)
