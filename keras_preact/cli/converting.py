"""`convert` and `push`: weights from other libraries, and networks onto the Hub."""

import dataclasses
import pathlib
import sys

from keras_preact.checked import require
from keras_preact.cli.arguments import add_geometry, geometry_of
from keras_preact.console import import_keras_quietly, make_console
from keras_preact.errors import near, quoted
from keras_preact.files import replacing, to_json
from keras_preact.run import CLASSES, GEOMETRY

_KINDS = (".keras", ".safetensors", ".weights.h5")


def _convert(arguments) -> None:
    require(arguments.out.endswith(_KINDS), "out", arguments.out, f"a file, {quoted(_KINDS)}")
    import_keras_quietly()
    from keras_preact.applications import convert, model_info
    from keras_preact.data import Geometry
    from keras_preact.rewrite import outputs_of, portable
    from keras_preact.weights import read_source, save_named

    source = read_source(arguments.source)
    if arguments.preprocessing:
        known = _preprocessing(arguments.preprocessing)
        source = dataclasses.replace(source, preprocessing=known)
    changes = geometry_of(arguments)
    if {*changes.values()} != {None}:
        geometry = (source.geometry or Geometry()).changed(**changes)
        source = dataclasses.replace(source, geometry=geometry)
    known, raw = source.preprocessing, arguments.out.endswith(".keras")
    model = convert(source, include_preprocessing=raw and known is not None)
    with replacing(arguments.out, "The weights") as path:
        if path.suffix == ".safetensors":
            save_named(model, path, source.config, known, source.geometry)
        elif path.suffix == ".keras":
            portable(model).save(path)
            for name in (CLASSES, GEOMETRY):  # those of the file whose place it takes
                pathlib.Path(arguments.out).with_suffix(f".{name}").unlink(missing_ok=True)
        else:
            model.save_weights(path)
    written = " and ".join([arguments.out, *(_write_beside(arguments.out, source) if raw else ())])
    made_as = source.layout.name if source.layout else "network of this package"
    scores = f"{source.classes} classes, {outputs_of(model)}"
    head = scores if source.classes else "no classifier"
    console = make_console(sys.stdout)
    for line in (
        f"{made_as}: {model.name}, {model.count_params():,} parameters, {head}",
        f"images: {_of_images(known, arguments.out)}",
        f"their size: {_of_size(source.geometry, arguments.out)}",
        f"written: {written}",
    ):
        console.print(line, soft_wrap=True)
    if model.name == "resnet":
        return
    fields = model_info(model.name).config.differences(source.config)
    settings = " ".join(f"--set network.{name}={value}" for name, value in fields.items())
    console.print("Fine-tune it on your own images:", soft_wrap=True)
    line = f"keras-preact train --data folder:PATH --model {model.name} --init {arguments.out}"
    console.print(f"  {line} --recipe fine_tune {settings}".rstrip(), soft_wrap=True)


def _write_beside(out, source):
    """Writes what is known about a network beside its file; yields the files in words."""
    names, geometry = source.class_names, source.geometry
    for name, words, value in (
        (CLASSES, "the class names", names and [*names]),
        (GEOMETRY, "how images are resized for it", geometry and geometry.to_dict()),
    ):
        if value:
            file = pathlib.Path(out).with_suffix(f".{name}")
            with replacing(file, words.capitalize()) as path:
                path.write_bytes(to_json(value))
            yield f"{file}, {words}"


def _preprocessing(name):
    from keras_preact.weights import PREPROCESSINGS

    known = {"none": None, **PREPROCESSINGS}
    fix = near(name, known).strip()
    require(name in known, "preprocessing", name, f"one of {quoted(known)}", fix)
    return known[name]


def _of_images(known, out):
    """How images are preprocessed, and whether the file says or does it."""
    if known is None:
        return "the source does not say how they are preprocessed; set it with --preprocessing"
    if out.endswith(".keras"):
        return f"raw, values 0 to 255; the network preprocesses them itself: {known}"
    if out.endswith(".safetensors"):
        return f"preprocessed as {known}; train --init {out} does the same"
    return f"preprocessed as {known}, which .weights.h5 cannot store; .keras and .safetensors can"


def _of_size(geometry, out):
    """How images are resized, and whether the file stores that."""
    if geometry is None:
        return "the source does not say how images are resized; set it with --size"
    lost = ", which a .weights.h5 file cannot store" * out.endswith(".weights.h5")
    return f"{geometry}{lost}"


def _convert_arguments(command) -> None:
    command.add_argument(
        "source",
        help="weights (file or folder) of keras.applications, KerasHub, torchvision, timm or "
        "Hugging Face transformers; hf://user/name, a repository on the Hub with such weights; a "
        "finished run; or a .keras file of this package",
    )
    command.add_argument(
        "--out", required=True, metavar="FILE", help="file to write: .keras, .safetensors or "
        ".weights.h5",
    )  # fmt: skip
    command.add_argument(
        "--preprocessing", metavar="NAME", help="how images are preprocessed, if the source does "
        "not say or is wrong: caffe, tf, torch, cifar10, ..., none",
    )  # fmt: skip
    add_geometry(command)


def _push(arguments) -> None:
    import_keras_quietly()
    from keras_preact.export import push

    print(push(arguments.network, arguments.to, arguments.public))


def _push_arguments(command) -> None:
    command.add_argument("network", help="folder of a finished run, or a .keras file")
    command.add_argument("to", help="hf://user/name, a repository on the Hugging Face Hub")
    words = "make a new repository public; it is private otherwise"
    command.add_argument("--public", action="store_true", help=words)


COMMANDS = {
    "convert": (
        _convert,
        _convert_arguments,
        "convert weights of other libraries into a file of this package",
    ),
    "push": (_push, _push_arguments, "upload a trained network to the Hugging Face Hub"),
}
