"""`write_space`: a folder that a Hugging Face Space runs as it is."""

import dataclasses
import importlib.metadata
import os
import pathlib
import shutil
import sys
from typing import TYPE_CHECKING

import numpy as np
import yaml

import keras_preact
from keras_preact.card import model_card, title_of
from keras_preact.checked import require
from keras_preact.demo.app import read_folder
from keras_preact.demo.local import demo_of, mapped
from keras_preact.errors import ConfigError, ExportError
from keras_preact.export.artefacts import TOLERANCE_FOLDED
from keras_preact.export.elsewhere import write
from keras_preact.export.formats import Wish, refuse_missing
from keras_preact.files import replacing, to_json
from keras_preact.rewrite import fold_batch_norm, portable
from keras_preact.run import CLASSES, GEOMETRY

if TYPE_CHECKING:
    from keras_preact.trained import Trained

#: Modules that are copied with the page: they read images and overlay maps on them. The empty files
#: make packages of their folders.
_CARRIED = (
    "checked.py", "errors.py", "data/formats.py", "data/geometry.py", "data/images.py",
    "data/jpeg.py", "data/picture.py", "data/reading.py", "analysis/occlusion.py",
    "analysis/overlay.py",
)  # fmt: skip
_EMPTY = ("__init__.py", "data/__init__.py", "analysis/__init__.py")

#: The packages that the page needs, pinned to the versions that are installed here.
_NEEDS = ("gradio", "numpy", "onnxruntime", "pillow", "simplejpeg")


def write_space(trained: "Trained", folder: str | os.PathLike) -> pathlib.Path:
    """Writes a folder that runs as a Hugging Face Space, or on any other machine.

    It contains the network in ONNX with its class activation maps, the page (`app.py`) with the
    modules of this package that read images, pinned requirements, and a README with the metadata of
    the Space. Before the folder is put in place, its network is run and compared with the original.
    It contains no images of the data set.

    Args:
        trained: A `Trained`, as `keras_preact.load_trained` returns it; the page computes in
            float32.
        folder: A new folder, or an empty one.

    Returns:
        Its path.

    Raises:
        ConfigError: If the folder is not empty, or a package that the page needs is not installed.
        ExportError: If the exported network does not compute the same as the original.
        SaveError: If the folder cannot be written.

    Example:
        >>> from keras_preact import load_trained
        >>> from keras_preact.demo import write_space
        >>> folder = write_space(load_trained("runs/mine"), "space")  # doctest: +SKIP
    """
    folder = pathlib.Path(folder)
    free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    expected = "a new folder or an empty one; write to a new one and copy its files"
    require(free, "space", str(folder), expected)
    refuse_missing("onnx")
    requirements = _requirements()
    trained = dataclasses.replace(trained, model=portable(trained.model))
    demo = demo_of(trained)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder, "The Space") as partial:
        partial.mkdir()
        model = mapped(fold_batch_norm(trained.model))
        write("onnx", model, partial / "model.onnx", Wish())
        (partial / CLASSES).write_bytes(to_json(list(trained.class_names)))
        (partial / GEOMETRY).write_text(trained.geometry.to_json())
        about = {"title": demo.title, "words": demo.words, "channels": demo.channels}
        (partial / "demo.json").write_bytes(to_json(about))
        (partial / "requirements.txt").write_text("".join(f"{r}\n" for r in requirements))
        (partial / "README.md").write_text(_readme(trained, requirements))
        _carry(partial)
        _compare(demo, read_folder(partial))
    return folder


def _requirements():
    """The packages that the page needs, pinned."""
    found = {}
    for name in _NEEDS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise ConfigError(
                "A Space needs Gradio and ONNX: pip install 'keras-preact[demo,onnx]'. Received: "
                f"{name} is not installed."
            ) from None
    return [f"{name}=={version}" for name, version in found.items()]


def _carry(folder):
    """Copies the page and the modules of the package that it needs."""
    package = pathlib.Path(keras_preact.__file__).parent
    shutil.copyfile(package / "demo" / "app.py", folder / "app.py")
    for name in _CARRIED:
        target = folder / "keras_preact" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(package / name, target)
    for name in _EMPTY:
        (folder / "keras_preact" / name).touch()


def _readme(trained, requirements):
    """The metadata of the Space, followed by the model card."""
    versions = dict(line.split("==") for line in requirements)
    metadata = {
        "title": title_of(trained)[:60],
        "sdk": "gradio",
        "sdk_version": versions["gradio"],
        "python_version": f"{sys.version_info.major}.{sys.version_info.minor}",
        "app_file": "app.py",
        "pinned": False,
    }
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    card = model_card(trained).partition("---\n\n")[2]
    here = (
        "This folder is a page to try the network: run `pip install -r requirements.txt` and "
        "`python app.py`, or upload the folder as a Space. `model.onnx` is the network; the "
        "modules in `keras_preact/` (Apache-2.0) read images as in training."
    )
    title, _, rest = card.partition("\n\n")
    return f"---\n{front}---\n\n{title}\n\n{here}\n\n{rest}"


def _compare(demo, written):
    """Refuses an export whose scores or maps differ from the network's."""
    height, width = demo.geometry.size or (64, 64)
    noise = np.random.default_rng(0).integers(0, 256, (3, height, width, demo.channels), np.uint8)
    for expected, found in zip(demo.network(noise), written.network(noise), strict=True):
        if expected is None and found is None:
            continue
        same = expected is not None and found is not None and expected.shape == found.shape
        scale = max(np.abs(expected).max(), 1) if same else 1
        difference = np.abs(expected - found).max() / scale if same else float("inf")
        if not difference <= TOLERANCE_FOLDED:
            raise ExportError(
                "The scores and maps of the Space must equal the network's to "
                f"{TOLERANCE_FOLDED:g}. Received: a difference of {difference:.2g}. "
                "Nothing was written."
            )
