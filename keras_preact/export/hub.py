"""`push`: a trained network as a repository of the Hugging Face Hub."""

import os
import pathlib
import tempfile
from typing import TYPE_CHECKING

import numpy as np

from keras_preact.applications import convert
from keras_preact.card import model_card
from keras_preact.errors import ExportError
from keras_preact.export.artefacts import TOLERANCE
from keras_preact.export.formats import call
from keras_preact.files import to_json
from keras_preact.run import CLASSES, GEOMETRY
from keras_preact.trained import load_trained
from keras_preact.weights import read_source, save_named
from keras_preact.weights.hub import HUB, address_of, endpoint, hub_errors, hub_library

if TYPE_CHECKING:
    from keras_preact.trained import Trained


def push(network: str | os.PathLike, to: str, public: bool = False) -> str:
    """Uploads a trained network to the Hugging Face Hub, for `weights="hf://user/name"`.

    In one commit, the repository gets the weights as safetensors (with the config, the geometry and
    the preprocessing in the header), the class names, and a model card with the results. Before the
    upload, the files are read back and compared with the network.

    Args:
        network: Folder of a finished run, or a `.keras` file of a network of this package.
        to: `"hf://user/name"`; the repository is created if it does not exist.
        public: Whether a new repository is public.

    Returns:
        The URL of the commit.

    Raises:
        ConfigError: If no config describes the network, the address is not valid, or the Hub
            refuses the upload.
        ExportError: If the files do not compute the same as the network.

    Example:
        >>> from keras_preact.export import push
        >>> url = push("runs/mine", "hf://user/name")  # doctest: +SKIP
    """
    address, hub = address_of(to), hub_library()
    trained = load_trained(network, "float32")
    with tempfile.TemporaryDirectory(prefix="keras-preact-") as folder:
        write_repository(trained, pathlib.Path(folder), address.name)
        with hub_errors(to):
            api = hub.HfApi(endpoint=endpoint())
            api.create_repo(address.name, private=not public, exist_ok=True)
            done = api.upload_folder(
                repo_id=address.name, folder_path=folder, revision=address.revision,
                commit_message=f"{trained.name} of keras_preact",
            )  # fmt: skip
    return str(done.commit_url)


def write_repository(trained: "Trained", folder: pathlib.Path, name: str) -> None:
    """Writes the files of a repository of the Hub.

    Args:
        trained: A `Trained`, as `keras_preact.load_trained` returns it.
        folder: An empty folder.
        name: `"user/name"`, for its card.

    Raises:
        ConfigError, ExportError: As `push`.

    Example:
        >>> import pathlib, tempfile
        >>> from keras_preact import create_model, load_trained
        >>> from keras_preact.export.hub import write_repository
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> create_model("resnet8v2", input_shape=(8, 8, 1), classes=3).save(folder / "mine.keras")
        >>> (folder / "out").mkdir()
        >>> write_repository(load_trained(folder / "mine.keras"), folder / "out", "me/mine")
        >>> sorted(path.name for path in (folder / "out").iterdir())
        ['README.md', 'classes.json', 'config.json', 'geometry.json', 'model.safetensors']
    """
    source = read_source(trained.path)
    file, about = folder / "model.safetensors", (source.preprocessing, trained.geometry)
    save_named(convert(source), file, source.config, *about)
    _compare(trained, file)
    (folder / CLASSES).write_bytes(to_json(list(trained.class_names)))
    (folder / GEOMETRY).write_bytes(to_json(trained.geometry.to_dict()))
    # The Hub counts downloads of this file.
    (folder / "config.json").write_bytes(to_json({"keras_preact": source.config.to_dict()}))
    (folder / "README.md").write_text(model_card(trained, hub=f"{HUB}{name}"))


def _compare(trained, file):
    """Refuses a file that would be converted to another network."""
    height, width, channels = trained.image_shape
    shape = (3, height or 64, width or 64, channels)
    noise = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    made = convert(file, include_preprocessing=read_source(file).preprocessing is not None)
    difference = float(np.abs(call(made, noise) - call(trained.model, noise)).max())
    if not difference <= TOLERANCE:
        raise ExportError(
            f"The scores of the uploaded weights must equal the network's to {TOLERANCE:g}. "
            f"Received: a difference of {difference:.2g}. Nothing was pushed."
        )
