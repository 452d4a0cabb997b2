"""Augmented training images a second on one core, beside what training takes."""

import os
import statistics
import time

import numpy as np
from jsonargparse import auto_cli

from benchmarks.group import Spec, measure
from benchmarks.report import progress, show
from keras_preact.data import Augmentation, Batches
from keras_preact.data.splits import ArraySplit

COLUMNS = ["what", "batch", "images/s", "times what training takes"]


def main(
    model: str = "resnet20v2",
    dtype: str = "float32",
    batch_size: int = 128,
    images: int = 10000,
    size: int = 32,
    rounds: int = 5,
    json: bool = False,
):
    """Measures crops and flips of CIFAR-sized images, and the training that consumes them.

    Args:
        model: The network that trains.
        dtype: Its dtype policy.
        batch_size: Images in a step.
        images: Images in the data set.
        size: Side of an image in pixels.
        rounds: Turns, of which the median counts.
        json: Print JSON instead of a table.
    """
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


def _epoch(batches, epoch):
    """Images a second of one epoch."""
    batches.epoch = epoch
    start = time.perf_counter()
    for k in range(len(batches)):
        batches[k]
    return len(batches.split) / (time.perf_counter() - start)


if __name__ == "__main__":
    auto_cli(main)
