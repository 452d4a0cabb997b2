"""Image files that a folder or a table lists by class: the images of a data set."""

import functools
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_preact.data.cache import cached
from keras_preact.data.images import turning
from keras_preact.data.options import DataOptions
from keras_preact.data.partition import parts_of
from keras_preact.data.parts import Folder, Part, refuse
from keras_preact.data.picture import BadImage, Picture
from keras_preact.data.random import epoch_order
from keras_preact.data.reading import AS_STORED, Reading
from keras_preact.data.splits import (
    Encoded,
    EncodedSplit,
    Held,
    HeldSplit,
    ImageData,
)
from keras_preact.data.threads import threaded
from keras_preact.errors import DataError, shown

#: Files of each part that are decoded before a training begins; the others on the way.
LOOKED_AT = 2048


def load_folder(
    folder: Folder,
    options: DataOptions,
    seed: int = 0,
    on_progress: "Callable[[int, int], None] | None" = None,
) -> ImageData:
    """The images of a listed folder or table; see `load_data`.

    A sample of the files is decoded now, which shows their size, their channels and what is wrong
    with them; the others when they are asked for, and one that is damaged or unlike the sample is
    named then. Where damaged files are to be left out, and for a cache, all are decoded now.
    """
    shape = _expected_shape(folder, options)
    whole = options.cache is not None or options.on_bad_image == "skip"
    count = sum(len(part.paths) for part in folder.parts.values())
    keep = options.cache is None and options.fits(count * int(np.prod(shape)))
    how = options.geometry.of_size(shape[:2])
    held = {name: Held(len(part.paths), shape, how) for name, part in folder.parts.items() if keep}
    refused = functools.partial(_refused, shape=shape, options=options)

    def look(picture: Picture, name: str, position: int) -> None:
        if refused(picture):
            picture.pixels()  # which may be damaged as well
        elif keep:
            held[name].keep(position, picture)
        else:
            how.fit(picture)

    def decode(look) -> None:
        most = None if whole else LOOKED_AT
        decode_all(folder, on_progress, look, options.reading, shape[2], most)
        if folder.bad and options.on_bad_image == "error":
            raise DataError(bad_files(folder.bad))

    cache = cached(folder, options, shape[2], decode) if options.cache is not None else decode(look)
    if folder.bad and options.on_bad_image == "error":  # of a cache made without them
        raise DataError(bad_files(folder.bad))
    refuse(folder.empty_classes())
    if options.image_size is None:
        refuse(folder.different_sizes())
    splits = {}
    for name, part in folder.parts.items():
        source = Encoded(
            functools.partial(_read, part, cache and functools.partial(cache.pixels, name)),
            part.paths.__getitem__,
            shape,
            how,
            refused,
        )
        good = part.good
        known = {**part.columns, **groups_in(folder, part, options.group)}
        columns = {use: np.asarray(values)[good] for use, values in known.items()}
        rest = source, good, part.labels[good], columns
        splits[name] = HeldSplit(held[name], *rest) if keep else EncodedSplit(*rest)
    return ImageData(
        name=folder.name,
        **parts_of(splits, options.test_fraction, seed),
        class_names=folder.class_names,
        image_shape=shape,
        skipped=tuple(folder.bad),
        notes=(*folder.notes(), *turning(folder.headers(), options.reading), *_rest(folder, count)),
    )


def decode_all(
    folder: Folder,
    on_progress: "Callable[[int, int], None] | None" = None,
    look: Callable[..., None] | None = None,
    how: Reading = AS_STORED,
    channels: int | None = None,
    most: int | None = None,
) -> None:
    """Decodes files once, and notes the headers and the damaged files in `folder.parts`.

    Args:
        folder: what `listed` returned.
        on_progress: called with `(done, total)`.
        look: called with each `Picture`, its part's name and its position there, by several
            threads, to decode what is needed of it; `None` (default): all pixels are decoded.
        how: how the values in the files become pixels.
        channels: 1 or 3 to convert to; `None` (default): each as it is.
        most: files of each part that are decoded, a fixed sample; `None` (default): all.
    """
    chosen = {name: _sample(len(part.paths), most) for name, part in folder.parts.items()}
    total, done = sum(map(len, chosen.values())), 0
    for name, part in folder.parts.items():

        def decode_one(position: int, name=name, part=part) -> None:
            try:
                picture = Picture(part.paths[position], channels, how=how)
                if look:
                    look(picture, name, position)
                else:
                    picture.pixels()
                part.headers[position] = picture.header()
            except BadImage as error:
                part.bad[position] = error.reason

        report = on_progress and (lambda count, _, before=done: on_progress(before + count, total))
        threaded(decode_one, chosen[name], report)
        done += len(chosen[name])


def _sample(count, most):
    """Positions of some of `count` files, always the same."""
    return (np.arange(count) if most is None else np.sort(epoch_order(0, 0, count)[:most])).tolist()


def groups_in(folder: Folder, part: Part, pattern: str | None) -> dict[str, list[Any]]:
    """The groups of a folder's files, by what a regular expression finds in their names."""
    if pattern is None or folder.kind != "folder":
        return {}
    found = [re.search(pattern, os.path.basename(path)) for path in part.paths]
    groups = [match and match[1] for match in found]
    if None in groups:
        path = part.paths[groups.index(None)]
        raise DataError(
            f"`group` must be a regular expression that matches a group in every file name. "
            f"Received: group={pattern!r}, which does not match {shown(path)!r}."
        )
    return {"group": groups}


def _rest(folder, count):
    """A line where files are left that are not looked at yet; else none."""
    looked = len(folder.headers()) + len(folder.bad)
    if looked < count:
        yield (
            f"{looked:,} of {count:,} files were checked; the others are decoded when needed. "
            "check-data checks all of them."
        )


def _read(part, pixels, position):
    """What an `Encoded` reads: a path, or pixels that a cache has, and the label."""
    image = part.paths[position] if pixels is None else pixels(position)
    return image, int(part.labels[position])


def _expected_shape(folder: Folder, options: DataOptions) -> tuple[int, int, int]:
    """The shape asked for, else that of the first undamaged image, grey if all of a sample are."""
    shape, channels = options.geometry.size, options.channels
    for picture in _pictures(folder, options.reading):
        if shape and channels:
            break
        try:
            if shape is None:
                shape = picture.pixels().shape[:2]
            channels = channels or (picture.in_colour and 3)
        except BadImage:
            continue
    if shape is None:
        decode_all(folder, how=options.reading)
        raise DataError(bad_files(folder.bad))
    height, width = shape
    return height, width, channels or 1


def _pictures(folder, how):
    """The first file of each part that can be opened, and others of a sample."""
    for part in folder.parts.values():
        count = len(part.paths)
        for position in dict.fromkeys([*range(count)[:1], *_sample(count, LOOKED_AT)]):
            try:
                yield Picture(part.paths[position], how=how)
            except BadImage:
                continue


def _refused(picture, shape, options):
    """Why a picture cannot be used beside those that were looked at first; `None` if it can."""
    height, width, channels = shape
    if options.image_size is None and picture.shape[:2] != (height, width):
        return (
            f"{picture.shape[1]} x {picture.shape[0]} pixels, where earlier images have {width} "
            f"x {height}; set a size to resize and crop them to, such as image_size=224 "
            "(--set data.image_size=224)"
        )
    if options.channels is None and channels == 1 and picture.in_colour:
        return (
            "in colour, where the images checked first are grey; choose channels=3 or 1 "
            "(--set data.channels=3)"
        )
    return None


def bad_files(bad: list[tuple[str, str]]) -> str:
    """Which files are damaged (the first five) and why, and what to do about them."""
    files = "; ".join(f"{path}: {reason}" for path, reason in bad[:5])
    more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
    return (
        f"{len(bad)} image file{'s are' if len(bad) > 1 else ' is'} damaged: {files}{more}. "
        'Repair or remove them, or skip them with on_bad_image="skip" (--on-bad-image skip, or '
        "--set data.on_bad_image=skip)."
    )
