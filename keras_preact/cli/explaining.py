"""`explain`: where in images a network sees a class."""

import json
import pathlib
import sys

from keras_preact.checked import require
from keras_preact.cli.arguments import add_geometry, geometry_of
from keras_preact.cli.using import DTYPE, NETWORK, say_of_files
from keras_preact.console import import_keras_quietly, make_console, say
from keras_preact.errors import near, shown
from keras_preact.files import make_folder, replacing


def _explain(arguments) -> None:
    import_keras_quietly()
    from keras_preact.analysis import explainer, plot_explanation
    from keras_preact.data.listing import find_images
    from keras_preact.evaluation import save_figure
    from keras_preact.evaluation.files import fitted_files
    from keras_preact.trained import load_trained

    trained = load_trained(arguments.network, arguments.dtype).fitted(**geometry_of(arguments))
    look = explainer(trained.model, arguments.kind, arguments.layer, arguments.square)
    label = _label(arguments["class"], trained.class_names)
    home = (
        trained.path / "explained" if trained.run else f"{trained.path.with_suffix('')}-explained"
    )
    out = pathlib.Path(arguments.out or home)
    make_folder(out, "The pictures")
    listed = find_images(arguments.images)
    headers, unreadable, used, done = [], dict(listed.missing), set(), 0
    console = make_console(sys.stderr if arguments.json else sys.stdout)
    for good in fitted_files(trained, listed.paths, unreadable, look=headers.append):
        for file, image in good:
            found = look(image[None], label)
            name, score = trained.class_names[found.classes[0]], float(found.scores[0])
            picture = _free(out, f"{pathlib.Path(file).stem}-{arguments.kind}", used)
            title = f"{shown(pathlib.Path(file).name)}: {name}, {score:.1%}"
            with replacing(picture, "The picture") as path:
                save_figure(plot_explanation(image, found.maps[0], title, found.unit), path)
            if arguments.json:
                line = {"file": shown(file), "class": name, "score": score, "kind": found.kind}
                line |= {"unit": found.unit, "picture": str(picture)}
                print(json.dumps({**line, "grid": found.grids[0].tolist()}))
            else:
                say(console, f"{shown(file)}: {name} {score:.1%}, {picture}")
            done += 1
    say_of_files(arguments.network, trained, listed, headers, unreadable, done)


def _label(name, names):
    """The number of a class; `None`: the most likely one of each image."""
    if name is None:
        return None
    require(name in names, "class", name, "a class of the network", near(name, names))
    return names.index(name)


def _free(folder, stem, used):
    """A file for a picture that no other image of this call has, such as one of another folder."""
    number, name = 1, stem
    while name in used:
        number += 1
        name = f"{stem}-{number}"
    used.add(name)
    return folder / f"{name}.png"


def _explain_arguments(command) -> None:
    command.add_argument("network", help=NETWORK)
    command.add_argument("images", nargs="+", help="image files, or folders of them")
    add_geometry(command)
    words = "cam (the logit by places; networks that end with global average pooling and a dense "
    words += "layer), grad_cam (gradients) or occlusion (covered squares)"
    command.add_argument("--kind", type=str, default="cam", help=words)
    words = "class to look for; the most likely one of each image if not given"
    command.add_argument("--class", type=str, default=None, metavar="NAME", help=words)
    words = "for grad_cam: layer whose maps are taken, such as stage2; the last maps if not given"
    command.add_argument("--layer", type=str, default=None, metavar="NAME", help=words)
    words = "for occlusion: side of the squares in pixels; a quarter of the image if not given"
    command.add_argument("--square", type=int, default=None, help=words)
    words = "folder of the pictures; explained/ in the run's, or NAME-explained/ beside the file"
    command.add_argument("--out", type=str, default=None, help=words)
    command.add_argument("--dtype", type=str, default="auto", help=DTYPE)
    words = "one JSON object an image, with the map in the network's own size"
    command.add_argument("--json", action="store_true", help=words)


COMMANDS = {
    "explain": (_explain, _explain_arguments, "show where in images a network sees a class"),
}
