"""`explain` and `demo`: where in an image a network sees a class, and a page to try it on."""

import ipaddress
import json
import pathlib
import sys
import tempfile
import threading

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
    """The index of a class; `None`: the most likely one of each image."""
    if name is None:
        return None
    require(name in names, "class", name, "a class of the network", near(name, names))
    return names.index(name)


def _free(folder, stem, used):
    """A file name that no other image of this call has, such as one of another folder."""
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
    words = "cam: the logit by position, for networks that end with global average pooling and a "
    words += "dense layer; grad_cam: gradients; occlusion: squares covered in turn"
    kinds = "{cam,grad_cam,occlusion}"
    command.add_argument("--kind", type=str, default="cam", metavar=kinds, help=words)
    words = "class to explain; the most likely one of each image if not given"
    command.add_argument("--class", type=str, default=None, metavar="NAME", help=words)
    words = "for grad_cam: layer, such as stage2; the last feature maps if not given"
    command.add_argument("--layer", type=str, default=None, metavar="NAME", help=words)
    words = "for occlusion: side of the squares in pixels; a quarter of the image if not given"
    command.add_argument("--square", type=int, default=None, help=words)
    words = "folder for the plots; explained/ in the run folder, or NAME-explained/ beside a file"
    command.add_argument("--out", type=str, default=None, help=words)
    command.add_argument("--dtype", type=str, default="auto", help=DTYPE)
    words = "print one JSON object per image, with its map at the network's resolution"
    command.add_argument("--json", action="store_true", help=words)


def _demo(arguments) -> None:
    import_keras_quietly()
    from keras_preact.demo import demo_of, serve, write_space
    from keras_preact.trained import load_trained

    console = make_console(sys.stdout)
    dtype = "float32" if arguments.space else arguments.dtype
    trained = load_trained(arguments.network, dtype).fitted(**geometry_of(arguments))
    if arguments.space:
        say(
            console,
            f"{write_space(trained, arguments.space)}: run `python app.py` there, as a Space does",
        )
        return
    with tempfile.TemporaryDirectory(prefix="keras-preact-") as folder:
        demo = demo_of(trained, folder, arguments.test_images, console)
        blocks, address = serve(demo, arguments.host, arguments.port)
        try:
            say(console, f"{address} (stop with Ctrl-C)")
            if not _only_here(arguments.host):
                say(console, _RISK)
            threading.Event().wait()
        finally:
            blocks.close(verbose=False)


#: What is said where others can reach the page.
_RISK = (
    "Anyone who can reach this address can use the model and this machine, and sees the mistakes "
    "on the test images: there is no password and no encryption. On a shared network leave --host "
    "out and use a tunnel: ssh -N -L 7860:127.0.0.1:7860 this-machine"
)


def _only_here(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _demo_arguments(command) -> None:
    command.add_argument("network", help=NETWORK)
    add_geometry(command)
    words = "address to listen on; any but 127.0.0.1 admits others, without a password"
    command.add_argument("--host", type=str, default="127.0.0.1", help=words)
    words = "port to listen on; the first free one from 7860 if not given"
    command.add_argument("--port", type=int, default=None, help=words)
    words = "number of the run's test images for mistakes and confusion matrix; 0 for none"
    command.add_argument("--test-images", type=int, default=2000, help=words)
    words = "write the page to this new folder, for a Hugging Face Space, and serve nothing"
    command.add_argument("--space", type=str, default=None, metavar="FOLDER", help=words)
    command.add_argument("--dtype", type=str, default="auto", help=DTYPE)


COMMANDS = {
    "explain": (_explain, _explain_arguments, "show where in an image a network sees a class"),
    "demo": (_demo, _demo_arguments, "serve a page to try a network on, or write one for a Space"),
}
