"""Predictions a second, beside `keras.applications` and PyTorch, and the machine's limit."""

import time

import numpy as np
from jsonargparse import auto_cli

from benchmarks.contenders import available, fields_for
from benchmarks.group import Spec, measure, ours_of, speedup
from benchmarks.report import progress, show
from keras_preact import model_info

COLUMNS = ["network", "batch", "dtype", "contender", "ms a step", "images/s", "GFLOP/s", "ours is"]


def main(
    model: str = "resnet50v2",
    dtypes: tuple[str, ...] = ("float32",),
    contenders: tuple[str, ...] = (
        "keras_preact",
        "keras.applications",
        "stock Keras",
        "PyTorch",
        "torch.compile",
    ),
    batch_size: int = 32,
    image_size: int | None = None,
    rounds: int = 5,
    seconds_a_round: float = 3.0,
    json: bool = False,
):
    """Measures predictions, contender by contender in turn.

    Args:
        model: A registered network.
        dtypes: `float32`, `mixed_bfloat16`.
        contenders: This package and its peers; those that are not installed are left out.
        batch_size: Images in a step.
        image_size: Side of an image; the network's own by default.
        rounds: Turns that each contender takes.
        seconds_a_round: About how long a turn is.
        json: Print JSON instead of a table.
    """
    rows, details = [], []
    fields = fields_for(model, contenders)
    for dtype in dtypes:
        specs = [
            Spec(name, model, dtype, batch_size, image_size, train=False, fields=fields)
            for name in available(contenders)
        ]
        found = measure(specs, rounds, seconds_a_round, progress)
        details += found
        ours, info = ours_of(found), model_info(model)
        scale = ((image_size or info.input_shape[0]) / info.input_shape[0]) ** 2
        work = 2 * info.multiply_adds * scale * batch_size / 1e9
        for m in found:
            head = [model, batch_size, dtype, m.name]
            if m.failure:
                rows.append([*head, float("nan"), float("nan"), float("nan"), m.failure[:60]])
                continue
            ratio = "" if m is ours else f"{speedup(m, ours):.2f} x as fast"
            rows.append([*head, 1e3 * m.step, m.images_per_second, work / m.step, ratio])
    progress("the machine's limit")
    rate = matrix_rate()
    rows.append(["2048 x 2048 matrices", "", "float32", "NumPy", "", "", rate, "the limit"])
    show("Inference", COLUMNS, rows, json, details)


def matrix_rate(size=2048, seconds=3.0):
    """GFLOP/s of NumPy's product of square float32 matrices, on all cores."""
    random = np.random.default_rng(0)
    a, b = (random.random((size, size), dtype="float32") for _ in range(2))
    best, start = 0.0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        before = time.perf_counter()
        a @ b
        best = max(best, 2 * size**3 / (time.perf_counter() - before) / 1e9)
    return best


if __name__ == "__main__":
    auto_cli(main)
