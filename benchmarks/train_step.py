"""Training steps a second, beside the same network in stock Keras layers and in PyTorch."""

from typing import Any

from jsonargparse import auto_cli

from benchmarks.contenders import available, fields_for
from benchmarks.group import Spec, measure, ours_of, speedup
from benchmarks.report import progress, show

COLUMNS = ["network", "batch", "dtype", "contender", "ms a step", "images/s", "peak GB", "ours is"]


def main(
    models: tuple[str, ...] = ("resnet20v2",),
    dtypes: tuple[str, ...] = ("float32",),
    contenders: tuple[str, ...] = ("keras_preact", "stock Keras", "PyTorch", "torch.compile"),
    variants: tuple[dict[str, Any], ...] = ({},),
    batch_size: int = 128,
    image_size: int | None = None,
    rounds: int = 5,
    seconds_a_round: float = 2.0,
    json: bool = False,
):
    """Measures training steps, contender by contender in turn.

    Args:
        models: Registered networks; beside the contender `accelerated` those of
            `keras.applications`, such as `EfficientNetB0`.
        dtypes: `float32`, `mixed_bfloat16`.
        contenders: This package and its peers, of `benchmarks.contenders.CONTENDERS`; those that
            are not installed are left out. Beside `keras.applications` (`resnet50v2` only) or
            `timm` (ImageNet networks that it has), the network takes the layout of theirs.
        variants: Fields of the networks, such as `[{}, {activation: prelu}]`; more than one
            compares those of this package's network with the first.
        batch_size: Images in a step.
        image_size: Side of an image; the network's own by default.
        rounds: Turns that each contender takes.
        seconds_a_round: About how long a turn is.
        json: Print JSON instead of a table.
    """
    rows, details = [], []
    for model in models:
        for dtype in dtypes:
            specs = [
                Spec(
                    name,
                    model,
                    dtype,
                    batch_size,
                    image_size,
                    fields=fields_for(model, contenders, fields),
                    label=f"{name} {_words(fields)}" if len(variants) > 1 else None,
                )
                for name in available(contenders)
                for fields in (variants if name == "keras_preact" else variants[:1])
            ]
            found = measure(specs, rounds, seconds_a_round, progress)
            details += found
            rows += [_row(m, ours_of(found)) for m in found]
    show("Training", COLUMNS, rows, json, details)


def _words(fields):
    """A variant's fields, as the table shows them."""
    return ", ".join(f"{name}={value}" for name, value in fields.items()) or "as it is"


def _row(m, ours):
    spec = m.spec
    head = [spec.model, spec.batch_size, spec.dtype, m.name]
    if m.failure:
        return [*head, float("nan"), float("nan"), float("nan"), m.failure[:60]]
    ratio = "" if m is ours else f"{speedup(m, ours):.2f} x as fast"
    return [*head, 1e3 * m.step, m.images_per_second, m.device_gb or m.peak_gb, ratio]


if __name__ == "__main__":
    auto_cli(main)
