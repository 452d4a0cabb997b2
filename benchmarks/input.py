"""Augmented training images a second, beside what training takes and beside other loaders."""

import os
import pathlib
import statistics
import tempfile
import time

import numpy as np
from jsonargparse import auto_cli

from benchmarks.contenders import available
from benchmarks.group import Spec, measure, speedup
from benchmarks.loaders import LOADERS
from benchmarks.report import progress, show
from keras_preact.data import Augmentation, Batches
from keras_preact.data.splits import ArraySplit

COLUMNS = ["what", "batch", "images/s", "times what training takes"]
FILES = ["loader", "batch", "images/s", "files are read so many times as fast"]


def main(
    model: str = "resnet20v2",
    dtype: str = "float32",
    batch_size: int = 128,
    images: int = 10000,
    size: int = 32,
    rounds: int = 5,
    files: bool = False,
    folder: str | None = None,
    kind: str = "imagenet",
    contenders: list[str] | None = None,
    seconds_a_round: float = 4.0,
    json: bool = False,
):
    """Measures crops and flips of CIFAR-sized images, and the training that consumes them.

    With `files` it measures loaders of JPEG files in their place, on all processors.

    Args:
        model: The network that trains.
        dtype: Its dtype policy.
        batch_size: Images in a step.
        images: Images in the data set.
        size: Side of an image in pixels.
        rounds: Turns, of which the median counts.
        files: Measure loaders of files: this package's, with and without its cache on disk,
            tf.data, and torchvision's where it is installed.
        folder: Folders of JPEG files by class; `images` photographs of 500 x 375 are made if it is
            not given.
        kind: What is done to images of files: `imagenet` (window of a random scale, mirrored,
            colours shifted) or `crop` (padded, cropped, mirrored).
        contenders: Some of the loaders; all by default.
        seconds_a_round: About how long a loader's turn is.
        json: Print JSON instead of a table.
    """
    if files or folder:
        with tempfile.TemporaryDirectory() as temporary:
            place = folder or _photographs(pathlib.Path(temporary) / "photographs", images)
            fields = {"folder": str(place), "kind": kind}
            names = available(contenders or [*LOADERS])
            specs = [Spec(name, model, dtype, batch_size, size, fields=fields) for name in names]
            found = measure(specs, rounds, seconds_a_round, progress)
        rows = [[m.name, batch_size, m.images_per_second, _ratio(m, found)] for m in found]
        show(f"Files to {size} x {size}, {kind}", FILES, rows, json, found)
        return
    spec = Spec("keras_preact", model, dtype, batch_size, size)
    (training,) = measure([spec], rounds, 2.0, progress)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (images, size, size, 3), np.uint8)
    split = ArraySplit(pixels, random.integers(0, 10, images))
    batches = Batches(
        split, batch_size, shuffle=True, augmentation=Augmentation(kind="crop"), fill=(128,) * 3
    )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rate = statistics.median(_epoch(batches, epoch) for epoch in range(rounds))
    times = rate / training.images_per_second
    rows = [
        ["augmented images, one core", batch_size, rate, f"{times:.0f} x"],
        [f"training {model}, {dtype}", batch_size, training.images_per_second, ""],
    ]
    show("Input", COLUMNS, rows, json, [training])


def _photographs(folder, count):
    """JPEG files of 500 x 375 in two classes, cut out of the photographs of scikit-learn."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    for label, pixels in zip("ab", load_sample_images().images, strict=True):
        (folder / label).mkdir(parents=True)
        photograph = Image.fromarray(pixels).resize((600, 450))
        for k in range(count // 2):
            left, top = k % 97, k % 73
            cut = photograph.crop((left, top, left + 500, top + 375))
            cut.save(folder / label / f"{k}.jpg", quality=90)
    return folder


def _ratio(peer, found):
    """How many times as fast the files are read by this package without a cache."""
    first = found[0]
    same = peer is first or peer.failure or not first.name.startswith("keras_preact")
    return peer.failure or "" if same else f"{speedup(peer, first):.2f} x"


def _epoch(batches, epoch):
    """Images a second of one epoch."""
    batches.epoch = epoch
    start = time.perf_counter()
    for k in range(len(batches)):
        batches[k]
    return len(batches.split) / (time.perf_counter() - start)


if __name__ == "__main__":
    auto_cli(main)
