"""`convert`: weights from elsewhere, in a file of this package."""

import sys

from keras_preact.checked import require
from keras_preact.console import import_keras_quietly, make_console
from keras_preact.errors import quoted
from keras_preact.files import save_error

_KINDS = (".keras", ".safetensors", ".weights.h5")


def _convert(arguments) -> None:
    require(arguments.out.endswith(_KINDS), "out", arguments.out, f"a file, {quoted(_KINDS)}")
    import_keras_quietly()
    from keras_preact.applications import convert, model_info
    from keras_preact.rewrite import portable
    from keras_preact.weights import read_source, save_named

    source = read_source(arguments.source)
    model = convert(source)
    try:
        if arguments.out.endswith(".safetensors"):
            save_named(model, arguments.out, source.config)
        elif arguments.out.endswith(".keras"):
            portable(model).save(arguments.out)
        else:
            model.save_weights(arguments.out)
    except OSError as error:
        raise save_error(error, "The weights", arguments.out) from None
    made_as = source.layout.name if source.layout else "network of this package"
    head = f"{source.classes} classes" if source.classes else "no classifier"
    console = make_console(sys.stdout)
    for line in (
        f"{made_as}: {model.name}, {model.count_params():,} parameters, {head}",
        f"written: {arguments.out}",
    ):
        console.print(line, soft_wrap=True)
    if model.name == "resnet":
        return
    fields = model_info(model.name).config.differences(source.config)
    settings = " ".join(f"--set network.{name}={value}" for name, value in fields.items())
    console.print("Fine-tune it on your own images:", soft_wrap=True)
    line = f"keras-preact train --data folder:PATH --model {model.name} --init {arguments.out}"
    console.print(f"  {line} --recipe fine_tune {settings}".rstrip(), soft_wrap=True)


def _convert_arguments(command) -> None:
    command.add_argument(
        "source",
        help="file or folder of weights: keras.applications, KerasHub, torchvision, timm or "
        "Hugging Face transformers",
    )
    command.add_argument(
        "--out", required=True, metavar="FILE", help="file to write: .keras, .safetensors or "
        ".weights.h5",
    )  # fmt: skip


COMMANDS = {
    "convert": (_convert, _convert_arguments, "make a file of this package of others' weights"),
}
