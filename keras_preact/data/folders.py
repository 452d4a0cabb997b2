"""Image files that a folder or a table lists by class: the images of a data set."""

import contextlib

import numpy as np

from keras_preact.data.images import turning
from keras_preact.data.options import DataOptions
from keras_preact.data.parts import Folder, Part, refuse
from keras_preact.data.picture import BadImage, Picture
from keras_preact.data.reading import AS_STORED, Reading
from keras_preact.data.splits import (
    ArraySplit,
    EncodedSplit,
    ImageData,
    Split,
    fitted,
    threaded,
    train_and_test,
)
from keras_preact.errors import DataError


def load_folder(folder: Folder, options: DataOptions, seed: int = 0, on_progress=None) -> ImageData:
    """The images of a listed folder or table; see `load_data`.

    All files are decoded once, so that a damaged one is named now and not in the middle of a
    training. Images that fit the memory are kept; of the others only the paths.
    """
    shape = _expected_shape(folder, options)
    count = sum(len(part.paths) for part in folder.parts.values())
    keep = options.fits(count * int(np.prod(shape)))
    images = decode_all(folder, shape if keep else None, on_progress, how=options.reading)
    if folder.bad and options.on_bad_image == "error":
        raise DataError(bad_files(folder.bad))
    refuse(folder.empty_classes())
    if options.image_size is None:
        refuse(folder.different_sizes())
    if options.channels is None and all(header.channels == 1 for header in folder.headers()):
        shape = (*shape[:2], 1)
    splits = {
        name: _split(part, images[name], shape, options.reading)
        for name, part in folder.parts.items()
    }
    return ImageData(
        name=folder.name,
        **train_and_test(splits, options.test_fraction, seed),
        class_names=folder.class_names,
        image_shape=shape,
        skipped=tuple(folder.bad),
        notes=(*folder.notes(), *turning(folder.headers(), options.reading)),
    )


def decode_all(
    folder: Folder,
    shape: tuple[int, int, int] | None = None,
    on_progress=None,
    look=None,
    how: Reading = AS_STORED,
) -> dict[str, np.ndarray | None]:
    """Decodes every file once, and notes the headers and the damaged files in `folder.parts`.

    Args:
        folder: what `listed` returned.
        shape: the shape to fit the images to; `None` (default): the pixels are not kept.
        on_progress: called with `(done, total)`.
        look: called with each image, its part's name and its position there, by several threads.
        how: how the values in the files become pixels.

    Returns:
        For each part a uint8 array `[number of files, *shape]`, or `None` without a `shape`. The
        rows of damaged files are not set, nor those of another size where `shape` is no square.
    """
    total, done, images = sum(len(part.paths) for part in folder.parts.values()), 0, {}
    for name, part in folder.parts.items():
        rows = None if shape is None else np.empty((len(part.paths), *shape), np.uint8)

        def decode_one(position: int, name=name, part=part, rows=rows) -> None:
            try:
                path, channels = part.paths[position], shape and shape[2]
                picture = Picture(path, channels, how=how)
                part.headers[position] = picture.header()
            except BadImage as error:
                part.bad[position] = error.reason
                return
            if look:
                look(picture.pixels(), name, position)
            if rows is not None and (picture.shape == shape or shape[0] == shape[1]):
                rows[position] = fitted(picture, shape)

        def report(count: int, _, before=done) -> None:
            on_progress(before + count, total)

        threaded(decode_one, range(len(part.paths)), on_progress and report)
        done, images[name] = done + len(part.paths), rows
    return images


def _split(part: Part, images: np.ndarray | None, shape, how: Reading) -> Split:
    """The undamaged images of a part: in memory, or by their paths."""
    good, labels = part.good, part.labels
    if images is not None:
        images = np.ascontiguousarray(images[..., : shape[2]])  # no copies in the usual case
        return ArraySplit(images if len(good) == len(images) else images[good], labels[good])
    paths = part.paths
    return EncodedSplit(
        lambda i: (paths[i], labels[i]), paths.__getitem__, good, shape, labels[good], how
    )


def _expected_shape(folder: Folder, options: DataOptions) -> tuple[int, int, int]:
    """The shape asked for, else that of the first undamaged image, in RGB."""
    channels = options.channels or 3
    if options.image_size is not None:
        return options.image_size, options.image_size, channels
    for part in folder.parts.values():
        for path in part.paths:
            with contextlib.suppress(BadImage):
                picture = Picture(path, how=options.reading)
                picture.pixels()
                return *picture.shape[:2], channels
    decode_all(folder, how=options.reading)
    raise DataError(bad_files(folder.bad))


def bad_files(bad: list[tuple[str, str]]) -> str:
    """Which files are damaged (the first five) and why, and what to do about them."""
    files = "; ".join(f"{path}: {reason}" for path, reason in bad[:5])
    more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
    return (
        f"{len(bad)} image file{'s are' if len(bad) > 1 else ' is'} damaged: {files}{more}. "
        'Repair or remove, or leave out with on_bad_image="skip" (--on-bad-image skip).'
    )
