"""The images of the recipes' tables, from CIFAR-10 as an npz file and Tiny-ImageNet as published.

    python results/recipes/images.py cifar10.npz tiny-imagenet-200 FOLDER

writes to a folder:

- `cifar-10000.npz`: 1,000 training images of each class of CIFAR-10, and its 10,000 test images;
- `cifar-uneven.npz`: of these 1,000 of the first class and ever fewer of the others, to 20 of the
  last (1:50, falling exponentially as in Cui et al. 2019), and the 10,000 test images;
- `photographs-20.csv`, `photographs-200.csv`: 20 classes of Tiny-ImageNet with 20 and 200 training
  photographs each, and their 50 validation photographs as test part; they name files, copy none.
"""

import csv
import pathlib
import sys

import numpy as np

CLASSES, OF_EACH, LEAST = 20, 1000, 20


def main(cifar, tiny, out) -> None:
    draw = np.random.default_rng(0)
    with np.load(cifar) as file:
        arrays = {name: file[name] for name in file.files}
    labels = arrays["y_train"].reshape(-1)
    drawn = [draw.permutation(np.flatnonzero(labels == k))[:OF_EACH] for k in range(10)]
    counts = np.geomspace(OF_EACH, LEAST, 10).round().astype(int)
    uneven = [of_class[:count] for of_class, count in zip(drawn, counts, strict=True)]
    for name, places in {"cifar-10000": drawn, "cifar-uneven": uneven}.items():
        places = np.sort(np.concatenate(places))
        train = {"x_train": arrays["x_train"][places], "y_train": arrays["y_train"][places]}
        np.savez(out / f"{name}.npz", **{**arrays, **train})
    folders = sorted(folder for folder in (tiny / "train").iterdir() if folder.is_dir())
    chosen = [folders[k] for k in np.sort(draw.permutation(len(folders))[:CLASSES])]
    for count in (20, 200):
        with (out / f"photographs-{count}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("path", "label", "split"))
            for folder in chosen:
                some = draw.permutation(sorted(folder.rglob("*.JPEG")))[:count]
                rows.writerows((path.resolve(), folder.name, "train") for path in some)
                others = tested(tiny / "val", folder.name)
                rows.writerows((path.resolve(), folder.name, "test") for path in others)


def tested(val, name) -> list[pathlib.Path]:
    """The test images of a class, in a folder of theirs or, as in the archive, in one for all."""
    found = sorted((val / name).rglob("*.JPEG"))
    if not found:
        rows = [line.split("\t") for line in (val / "val_annotations.txt").read_text().splitlines()]
        found = sorted(val / "images" / file for file, label, *_ in rows if label == name)
    return found


if __name__ == "__main__":
    main(*(pathlib.Path(argument) for argument in sys.argv[1:]))
