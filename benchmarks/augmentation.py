"""Augmented images a second on one core: policies, erasing and windows, beside torchvision's."""

import os

from jsonargparse import auto_cli

from benchmarks.augmenters import AUGMENTERS, CHANGES
from benchmarks.contenders import available
from benchmarks.group import Spec, measure, speedup
from benchmarks.report import progress, show

COLUMNS = ["augmentation", "pixels", "loader", "images/s", "ours is"]


def main(
    sizes: list[int] = [32, 224],  # noqa: B006  auto_cli shows it
    changes: list[str] | None = None,
    contenders: list[str] | None = None,
    batch_size: int = 64,
    rounds: int = 5,
    seconds_a_round: float = 1.0,
    json: bool = False,
):
    """Measures batches of photographs that are held in memory and augmented, contenders in turn.

    Seconds are the processor's.

    Args:
        sizes: Sides of the images in pixels.
        changes: Some of `rand_augment`, `trivial_augment`, `erasing`, `resized_crop`; all by
            default.
        contenders: Some of this package and torchvision, whose images are Pillow's or tensors;
            all by default.
        batch_size: Images in a step.
        rounds: Turns, of which the median counts.
        seconds_a_round: About how long a turn is.
        json: Print JSON instead of a table.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    names, rows, everything = available(contenders or [*AUGMENTERS]), [], []
    for change in changes or CHANGES:
        for size in sizes:
            fields = {"change": change}
            specs = [
                Spec(n, change, "uint8", batch_size, size, fields=fields, clock="process_time")
                for n in names
            ]
            found = measure(specs, rounds, seconds_a_round, progress)
            everything += found
            for m in found:
                ours = "" if m is found[0] else f"{speedup(m, found[0]):.2f} x"
                rows.append([change, size, m.name, m.images_per_second, m.failure or ours])
    show("Augmentation, one core", COLUMNS, rows, json, everything)


if __name__ == "__main__":
    auto_cli(main)
