"""Every known attack by a model file, through every command that opens one.

Each is refused in one line with the exit code of a mistake, before Keras builds anything; nothing
outside is read, written or asked for. The table in SECURITY.md has the same rows.
"""

import http.server
import io
import json
import pathlib
import re
import stat
import threading
import zipfile

import h5py
import keras
import numpy as np
import pytest
from PIL import Image

from keras_preact import create_model
from keras_preact.cli import main

ROOT = pathlib.Path(__file__).parents[2]


class Bait:
    """What an attack would reach: a file to read, a file to write, and a server to ask."""

    def __init__(self, folder):
        self.file, self.written = folder / "bait.txt", folder / "written"
        self.file.write_text("secret\n")
        self.asked = asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_error(404)

            do_HEAD = do_GET

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/bait"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def bait(tmp_path_factory):
    bait = Bait(tmp_path_factory.mktemp("bait"))
    yield bait
    bait.server.shutdown()


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """What is in an honest file: its config, and its weights as HDF5."""
    path = tmp_path_factory.mktemp("good") / "net.keras"
    create_model("resnet8v2", input_shape=(8, 8, 1)).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


class File:
    """A `.keras` file that is being made.

    Attributes:
        config: What goes into config.json.
        members: All members by name, and what may be repeated or linked.
    """

    def __init__(self, good):
        self.config = json.loads(good["config.json"])
        self.weights = io.BytesIO(good["model.weights.h5"])
        self.members = [("metadata.json", good["metadata.json"])]
        self.text = None

    def layer(self, name="predictions"):
        layers = self.config["config"]["layers"]
        return next(layer for layer in layers if layer["config"]["name"] == name)

    def put(self, module, name, config, layer="head_act", **fields):
        """One layer is another."""
        config = {"name": layer, "trainable": True, "dtype": "float32", **config}
        self.layer(layer).update(module=module, class_name=name, config=config)
        self.layer(layer).update({"registered_name": None, **fields})

    def write(self, path):
        with zipfile.ZipFile(path, "w") as archive:
            text = self.text or json.dumps(self.config)
            archive.writestr("config.json", text, zipfile.ZIP_DEFLATED)
            archive.writestr("model.weights.h5", self.weights.getvalue())
            for name, data in self.members:
                archive.writestr(name, data)


def function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def lookup(name):
    def attack(file, bait):
        file.put("keras.layers", name, {"vocabulary": str(bait.file)})

    return attack


def activation(module, name):
    return lambda file, bait: file.layer()["config"].update(activation=function(module, name))


def in_weights(change):
    def attack(file, bait):
        with h5py.File(file.weights, "a") as content:
            change(content, bait)

    return attack


def lambda_layer(file, bait):
    code = {"class_name": "__lambda__", "config": {"value": "4wEAAAA=", "closure": None}}
    file.put("keras.layers", "Lambda", {"function": code, "arguments": {}})


def gadget(file, bait):
    fetch = function("keras.utils", "get_file")
    arguments = {"fname": str(bait.written), "origin": bait.url}
    file.put("keras.layers", "Lambda", {"function": fetch, "arguments": arguments})


def link_inside(content, bait):
    first = next(iter(content["layers"]))
    del content["layers"][first]
    content[f"layers/{first}"] = h5py.ExternalLink(str(bait.file), "/")


def external(content, bait):
    content.create_dataset("out", (1,), "f4", external=[(str(bait.file), 0, 4)])


def virtual(content, bait):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(bait.file), "x", (4,))
    content.create_virtual_dataset("far", layout)


def bomb(file, bait):
    file.text = json.dumps(file.config) + " " * (80 * 2**20)


def many_bombs(content, bait):
    for k in range(80):
        content.create_dataset(str(k), data=np.zeros(2**18, "f4"), compression="gzip")


def nested(depth):
    def attack(file, bait):
        file.layer()["config"]["activation"] = None
        inner = "[" * depth + "]" * depth
        file.text = json.dumps(file.config).replace('"activation": null', f'"activation": {inner}')

    return attack


def many_filters(file, bait):
    """Weights of 107 GB in a file that holds none of them."""
    file.put("keras.layers", "Conv2D", {"filters": 65_536, "kernel_size": [80, 80]})
    file.layer("head_act")["config"]["padding"] = "same"
    file.layer("predictions")["build_config"]["input_shape"] = [None, 65_536]


def member(name, data=b"x", link=False):
    def attack(file, bait):
        entry = zipfile.ZipInfo(name)
        entry.external_attr = ((stat.S_IFLNK if link else stat.S_IFREG) | 0o777) << 16
        file.members.append((entry, str(bait.file).encode() if link else data))

    return attack


def compiled(file, bait):
    loss = function("keras.models", "load_model")
    file.config["compile_config"] = {"optimizer": "sgd", "loss": loss, "metrics": None}


def typespec(file, bait):
    spec = {"class_name": "__typespec__", "spec_name": "TensorSpec", "module": "os", "config": []}
    file.layer()["config"]["activation"] = spec


#: (row in SECURITY.md, what is done to a file, what the line says)
ATTACKS = [
    ("CVE-2024-3660", lambda_layer, r"keras\.layers\.Lambda"),
    ("CVE-2025-1550", activation("os", "system"), r"os\.system"),
    ("CVE-2025-1550, class", lambda f, b: f.put("subprocess", "Popen", {}), r"subprocess\.Popen"),
    # Keras itself would follow the dots.
    ("CVE-2025-1550, by dots", activation("keras", "utils.get_file"), r"keras\.utils\.get_file"),
    (
        "CVE-2025-1550, by dots in a known module",
        activation("keras.activations", "a.set_floatx"),
        r"keras\.activations\.a\.set_floatx",
    ),
    (
        "CVE-2025-1550, class by dots",
        lambda f, b: f.put("keras", "layers.Lambda", {}),
        r"keras\.layers\.Lambda",
    ),
    (
        "CVE-2025-1550, registered",
        lambda f, b: f.put("x", "Y", {}, registered_name="x>Y"),
        r"x\.Y",
    ),
    ("CVE-2025-8747", gadget, r"keras\.layers\.Lambda"),
    ("CVE-2025-8747, alone", activation("keras.utils", "get_file"), r"keras\.utils\.get_file"),
    (
        "CVE-2025-9906",
        activation("keras.config", "enable_unsafe_deserialization"),
        "enable_unsafe_deserialization",
    ),
    *(
        (f"CVE-2025-9906, {name}", activation("keras.models", name), rf"keras\.models\.{name}")
        for name in ("load_model", "save_model", "model_from_json", "clone_model")
    ),
    ("CVE-2025-9906, compile_config", compiled, r"keras\.models\.load_model"),
    *(
        (f"deserialize of {room}", activation(f"keras.{room}", "deserialize"), "deserialize")
        for room in ("layers", "losses", "optimizers", "initializers", "activations", "metrics")
    ),
    (
        "CVE-2025-49655",
        lambda f, b: f.put("keras.layers", "TorchModuleWrapper", {"module": "x"}),
        "TorchModuleWrapper",
    ),
    (
        "CVE-2025-49655, by its other path",
        lambda f, b: f.put("keras.src.utils.torch_utils", "TorchModuleWrapper", {"module": "x"}),
        "TorchModuleWrapper",
    ),
    *(
        (f"CVE-2025-12058, {name}", lookup(name), name)
        for name in ("StringLookup", "IntegerLookup", "TextVectorization", "Hashing")
    ),
    (
        "CVE-2025-12058, URL",
        lambda f, b: f.put("keras.layers", "StringLookup", {"vocabulary": b.url}),
        "StringLookup",
    ),
    (
        "CVE-2026-0897",
        in_weights(lambda f, b: f.create_dataset("huge", (2**21, 2**20), "f4", chunks=(64, 64))),
        "bytes are stored",
    ),
    (
        "CVE-2026-1462",
        lambda f, b: f.put("keras.layers", "TFSMLayer", {"filepath": str(b.file)}),
        r"keras\.layers\.TFSMLayer",
    ),
    (
        "CVE-2026-1462, by its other path",
        lambda f, b: f.put("keras.src.export.tfsm_layer", "TFSMLayer", {"filepath": str(b.file)}),
        "TFSMLayer",
    ),
    ("CVE-2026-1462, function", activation("keras.layers", "TFSMLayer"), "TFSMLayer"),
    (
        "CVE-2026-1669",
        in_weights(lambda f, b: f.__setitem__("far", h5py.ExternalLink(str(b.file), "/"))),
        "a link at",
    ),
    ("CVE-2026-1669, mid-path", in_weights(link_inside), "a link at"),
    ("CVE-2026-1669, storage", in_weights(external), "another file"),
    (
        "CVE-2026-1669, soft link",
        in_weights(lambda f, b: f.__setitem__("near", h5py.SoftLink("/layers"))),
        "a link at",
    ),
    ("CVE-2026-12480", in_weights(virtual), "another file"),
    (
        "CVE-2026-12479",
        lambda f, b: f.layer()["config"].update(name="..\\..\\evil"),
        r"the name '\.\.",
    ),
    (
        "CVE-2026-12479, in weights",
        in_weights(lambda f, b: f.__setitem__("layers/..\\evil/vars/0", [1.0])),
        "the name",
    ),
    ("CVE-2026-12481", lambda f, b: f.put(None, "Lambda", {}), "Lambda"),
    ("member bombs", bomb, "that unpack to"),
    ("many small bombs", in_weights(many_bombs), "that unpack to"),
    ("pickle member", member("model.weights.npz"), "the member 'model.weights.npz'"),
    (
        "registered_name",
        lambda f, b: f.layer().update(registered_name="keras_preact>Dense"),
        "registered as 'keras_preact>Dense'",
    ),
    (
        "functions that read folders",
        activation("keras.utils", "image_dataset_from_directory"),
        "image_dataset_from_directory",
    ),
    (
        "functions that draw",
        activation("keras.visualization", "plot_image_gallery"),
        "plot_image_gallery",
    ),
    ("link member", member("assets/link", link=True), "the member 'assets/link'"),
    ("assets", member("assets/vocabulary.txt"), "the member 'assets/vocabulary.txt'"),
    ("member outside", member("../evil"), r"the member '\.\./evil'"),
    ("member outside, absolute", member("/etc/evil"), "the member '/etc/evil'"),
    ("member twice", member("metadata.json"), "two members of the same name"),
    ("__typespec__", typespec, "__typespec__"),
    ("size", lambda f, b: f.layer()["config"].update(units=10**9), "the size 1,000,000,000"),
    (
        "size as float",
        lambda f, b: f.layer()["config"].update(units=1e9),
        r"the size 1,000,000,000\.0",
    ),
    (
        "size as text",
        lambda f, b: f.layer()["config"].update(units="1000000000"),
        "the size 1,000,000,000",
    ),
    (
        "UpSampling2D",
        lambda f, b: f.put("keras.layers", "UpSampling2D", {"size": [60_000, 60_000]}),
        "a UpSampling2D with the number 60,000",
    ),
    (
        "ZeroPadding2D",
        lambda f, b: f.put("keras.layers", "ZeroPadding2D", {"padding": [65_000, 65_000]}),
        "a ZeroPadding2D with the number 65,000",
    ),
    (
        "classes of keras_preact",
        lambda f, b: f.put(
            "keras_preact.training.trainer", "Job", {}, registered_name="keras_preact>Job"
        ),
        r"keras_preact\.training\.trainer\.Job",
    ),
    ("deep JSON", nested(900), "nested|recursion"),
    ("deep JSON, 250", nested(250), "nested deeper than 200"),
    ("weights that are not there", many_filters, "as many weights as the file contains"),
]


@pytest.fixture
def watched(monkeypatch):
    """What Keras was asked to build from a config, and where that is allowed."""
    built = []
    original = keras.saving.deserialize_keras_object

    def build(config, *arguments, **options):
        built.append(config)
        return original(config, *arguments, **options)

    monkeypatch.setattr(keras.saving, "deserialize_keras_object", build)
    return built


def commands(path, folder):
    image = folder / "image.png"
    Image.fromarray(np.zeros((8, 8), "uint8")).save(image)
    return {
        "predict": ["predict", path, image],
        "export": ["export", path, "--format", "keras", "--out", folder / "out.keras"],
        "evaluate": ["evaluate", path, "--data", "digits"],
        "convert": ["convert", path, "--out", folder / "out.safetensors"],
        "train": ["train", "--model", "resnet8v2", "--init", path, "--out", folder / "run"],
    }


@pytest.mark.parametrize("number", range(len(ATTACKS)), ids=[row for row, *_ in ATTACKS])
def test_it_is_refused(number, good, bait, watched, tmp_path, capsys, request):
    """By one command or two that take turns; with `--run-slow` by each."""
    _, attack, message = ATTACKS[number]
    file, folder = File(good), tmp_path / "folder"
    attack(file, bait)
    folder.mkdir()
    path = tmp_path / "crafted.keras"
    file.write(path)
    secret, before = bait.file.read_text(), {*tmp_path.iterdir(), *bait.file.parent.iterdir()}
    turns, option = [*commands(path, folder).items()], request.config.option
    turns = turns[number % len(turns) :] + turns[: number % len(turns)]
    for name, command in turns if option.run_slow else turns[: 1 + option.thorough]:
        if attack is many_filters and name in ("convert", "train"):
            continue  # which only read the weights that are there
        code = main([str(word) for word in command])
        said = capsys.readouterr()
        last = said.err.strip().splitlines()[-1]
        assert code in (2, 3), (name, said.err)
        assert re.search(message, last) and str(path) in last, (name, said.err)
        assert "Traceback" not in said.err and secret not in said.err + said.out
        assert not watched or attack is many_filters, name
    assert {*tmp_path.iterdir(), *bait.file.parent.iterdir()} == before
    assert bait.file.read_text() == secret and not bait.asked


def test_security_md_has_all_rows():
    text = (ROOT / "SECURITY.md").read_text()
    assert not [row for row, *_ in ATTACKS if f"| {row.partition(',')[0]} |" not in text]
