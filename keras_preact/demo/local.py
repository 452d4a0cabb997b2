"""`demo_of`: a trained network and its results on its own test images, for a page."""

import os
import pathlib
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_preact.card import title_of
from keras_preact.console import say
from keras_preact.demo.app import Demo
from keras_preact.errors import ConfigError, DataError
from keras_preact.evaluation import evaluate, plot_confusion_matrix, save_figure
from keras_preact.rewrite import predict_function, with_maps

if TYPE_CHECKING:
    from rich.console import Console

    from keras_preact.trained import Trained

#: Number of mistakes that are shown.
_MISTAKES = 40


def demo_of(
    trained: "Trained",
    folder: str | os.PathLike | None = None,
    test_images: int = 2000,
    console: "Console | None" = None,
) -> Demo:
    """Makes the `Demo` of a trained network.

    Args:
        trained: A `Trained`, as `keras_preact.load_trained` returns it.
        folder: Folder for the images of its mistakes and of its confusion matrix; `None`: the page
            has neither.
        test_images: Number of images to classify, evenly spaced over the test split.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        A `Demo`.

    Raises:
        SaveError: If the images cannot be written.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from keras_preact import create_model, load_trained
        >>> from keras_preact.demo import demo_of
        >>> path = tempfile.mkdtemp() + "/mine.keras"
        >>> create_model("resnet8v2", input_shape=(8, 8, 1), classes=3).save(path)
        >>> demo = demo_of(load_trained(path))
        >>> scores, maps = demo.network(np.zeros((1, 8, 8, 1), "uint8"))
        >>> demo.title, scores.shape, maps.shape
        ('mine', (1, 3), (1, 2, 2, 3))
    """
    predict = predict_function(mapped(trained.model))

    def network(images):
        found = predict(images)
        found = found if isinstance(found, dict) else {"scores": found}
        scores, maps = found["scores"], found.get("maps")
        return np.asarray(scores, np.float32), maps if maps is None else np.asarray(
            maps, np.float32
        )

    tested: dict[str, Any] = {}
    if folder is not None and trained.run and test_images:
        try:
            tested = _tested(trained, pathlib.Path(folder), test_images, console)
        except DataError as error:
            say(console, f"{error} The page will not show mistakes.")
    channels = trained.image_shape[2]
    title = title_of(trained)
    about = {"words": f"Preprocessing of image files: {trained.geometry}.", **tested}
    return Demo(
        title=title, network=network, class_names=trained.class_names, geometry=trained.geometry,
        channels=channels, **about,
    )  # fmt: skip


def mapped(model: keras.Model) -> keras.Model:
    """The model with class activation maps if its architecture has them, else the model itself."""
    try:
        return with_maps(model)
    except ConfigError:
        return model


def _tested(trained, folder, most, console):
    """Files of the network's mistakes and confusion matrix, and its accuracy in words."""
    data = trained.load_data()
    places = np.unique(np.linspace(0, len(data.test) - 1, min(most, len(data.test))).astype(int))
    part = data.test.subset(places)
    say(console, f"classifying {len(part):,} of {len(data.test):,} test images")
    found = evaluate(trained.model, part, trained.class_names)
    mistakes = []
    for number, k in enumerate(found.mistakes[:_MISTAKES]):
        file = folder / f"mistake-{number + 1}.png"
        _save(part.raw(int(k)), file)
        taken, true = found.predictions[k], trained.class_names[found.labels[k]]
        name = "no class" if taken < 0 else trained.class_names[taken]
        mistakes.append((str(file), f"{true} → {name}"))
    picture = folder / "confusion_matrix.png"
    save_figure(plot_confusion_matrix(found, title_of(trained)), picture)
    words = (
        f"Accuracy on {len(part):,} test images ({data.tested}): **{found.accuracy:.2%}**. "
        f"Preprocessing of image files: {trained.geometry}."
    )
    return {"words": words, "mistakes": tuple(mistakes), "confusion": str(picture)}


def _save(image, file):
    from PIL import Image

    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file)
