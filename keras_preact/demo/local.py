"""`demo_of`: a trained network, with what it does on its own test images, for a page."""

import pathlib

import numpy as np

from keras_preact.card import title_of
from keras_preact.console import say
from keras_preact.demo.app import Demo
from keras_preact.errors import ConfigError, DataError
from keras_preact.evaluation import evaluate, plot_confusion_matrix, save_figure
from keras_preact.rewrite import predict_function, with_maps

#: Mistakes that are shown.
_MISTAKES = 40


def demo_of(trained, folder=None, test_images: int = 2000, console=None) -> Demo:
    """What the page shows of a trained network.

    Args:
        trained: A `Trained`.
        folder: Where its mistakes and its confusion matrix are put, as files; `None`: without them.
        test_images: How many images of the test part are looked at, spread over it.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        A `Demo`.

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

    tested = {}
    if folder is not None and trained.run and test_images:
        try:
            tested = _tested(trained, pathlib.Path(folder), test_images, console)
        except DataError as error:
            say(console, f"{error} The page has no mistakes then.")
    channels = trained.image_shape[2]
    title = title_of(trained)
    about = {"words": f"Image files are fitted to it so: {trained.geometry}.", **tested}
    return Demo(
        title=title, network=network, class_names=trained.class_names, geometry=trained.geometry,
        channels=channels, **about,
    )  # fmt: skip


def mapped(model):
    """A model with class activation maps where it can have them, else itself."""
    try:
        return with_maps(model)
    except ConfigError:
        return model


def _tested(trained, folder, most, console):
    """The network's mistakes and its confusion matrix as files, and how good it is in words."""
    data = trained.load_data()
    places = np.unique(np.linspace(0, len(data.test) - 1, min(most, len(data.test))).astype(int))
    part = data.test.subset(places)
    say(console, f"{len(part):,} of {len(data.test):,} images of the test part are looked at")
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
        f"Of {len(part):,} test images ({data.tested}) **{found.accuracy:.2%}** are "
        f"classified correctly. Image files are fitted to it so: {trained.geometry}."
    )
    return {"words": words, "mistakes": tuple(mistakes), "confusion": str(picture)}


def _save(image, file):
    from PIL import Image

    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file)
