"""`classify_files`: classifies image files with a trained network."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_preact.checked import require
from keras_preact.data.listing import find_images
from keras_preact.data.picture import BadImage, Picture
from keras_preact.data.threads import threaded
from keras_preact.errors import shown

if TYPE_CHECKING:
    import pandas as pd

    from keras_preact.trained import Trained


def classify_files(
    trained: "Trained",
    paths: Sequence[str | os.PathLike],
    top: int = 5,
    batch_size: int = 64,
    look: Callable[[Any], None] | None = None,
) -> "tuple[pd.DataFrame, dict[str, str]]":
    """Classifies image files, which are read, resized and cropped as in the network's training.

    Args:
        trained: A `Trained`, as `keras_preact.load_trained` returns it.
        paths: Image files, or folders, of which all images are used that a training would use.
        top: Number of classes per image, most likely first.
        batch_size: Number of images per batch.
        look: Called with the `Header` of each image, without the range of its values.

    Returns:
        A `pandas.DataFrame` with one row per image and class: `file`, `rank` (from 1), `label` and
        `probability`; and `{file: reason}` of the files that are missing or cannot be read.

    Raises:
        ConfigError: If `top` is below 1.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from keras_preact import create_model, load_trained
        >>> from keras_preact.evaluation import classify_files
        >>> folder = tempfile.mkdtemp()
        >>> create_model("resnet8v2", classes=3).save(f"{folder}/mine.keras")
        >>> Image.new("RGB", (40, 30)).save(f"{folder}/black.png")
        >>> found, unreadable = classify_files(load_trained(f"{folder}/mine.keras"), [folder])
        >>> found["rank"].tolist(), unreadable
        ([1, 2, 3], {})
    """
    import pandas as pd

    listed = find_images(paths)
    top = min(top, len(trained.class_names))
    require(top >= 1, "top", top, "at least 1")
    rows, unreadable = [], dict(listed.missing)
    for good in fitted_files(trained, listed.paths, unreadable, batch_size, look):
        for file, scores in _scored(trained.model, good):
            for rank, k in enumerate(np.argsort(-scores, kind="stable")[:top], 1):
                rows.append((file, rank, trained.class_names[k], float(scores[k])))
    return pd.DataFrame(rows, columns=["file", "rank", "label", "probability"]), unreadable


def fitted_files(
    trained: "Trained",
    files: Sequence[Any],
    unreadable: dict[Any, str],
    batch_size: int = 64,
    look: Callable[[Any], None] | None = None,
) -> Iterator[list[tuple[Any, np.ndarray]]]:
    """Yields image files as the network's input, in batches.

    Args:
        trained: A `Trained`, as `keras_preact.load_trained` returns it.
        files: Paths.
        unreadable: `{file: reason}`, to which files that cannot be read are added.
        batch_size: Number of files per batch.
        look: As in `classify_files`.

    Returns:
        An iterator over lists of pairs: the path, and the image, uint8 `[h, w, c]`.

    Example:
        >>> import tempfile
        >>> from keras_preact import create_model, load_trained
        >>> from keras_preact.evaluation.files import fitted_files
        >>> path = tempfile.mkdtemp() + "/mine.keras"
        >>> create_model("resnet8v2", classes=3).save(path)
        >>> unreadable = {}
        >>> [*fitted_files(load_trained(path), [path], unreadable)], len(unreadable)
        ([[]], 1)
    """
    require(batch_size >= 1, "batch_size", batch_size, "at least 1")
    for first in range(0, len(files), batch_size):
        part = files[first : first + batch_size]
        images = threaded(lambda file: _read(file, trained, look), part, chunk=4)
        unreadable |= {i.path: i.reason for i in images if isinstance(i, BadImage)}
        yield [(f, i) for f, i in zip(part, images, strict=True) if not isinstance(i, BadImage)]


def _read(file, trained, look):
    how = trained.geometry
    try:
        picture = Picture(file, trained.image_shape[2], how=how.reading)
        image = how.fit(picture)
    except BadImage as error:
        return error
    if look:
        look(picture.header())
    return image


def _scored(model, images):
    """File and scores of each image, in order; images of one size are one batch."""
    by_shape = {}
    for k, (_, image) in enumerate(images):
        by_shape.setdefault(image.shape, []).append(k)
    scores = {}
    for places in by_shape.values():
        batch = np.stack([images[k][1] for k in places]).astype(np.float32)
        scores |= zip(places, model.predict_on_batch(batch), strict=True)
    return [(shown(file), scores[k]) for k, (file, _) in enumerate(images)]
