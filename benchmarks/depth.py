"""What depth costs: time to the first step, time of a step, and memory, at 1001 layers."""

from jsonargparse import auto_cli

from benchmarks.contenders import available
from benchmarks.group import Spec, measure, speedup
from benchmarks.report import progress, show

COLUMNS = [
    "network", "batch", "dtype", "form", "build + first step, s", "step, s", "peak GB",
    "first: ours is", "step: ours is", "memory: ours takes",
]  # fmt: skip


def main(
    model: str = "resnet1001v2",
    shallow_units: tuple[int, ...] | None = (3, 3, 3),
    dtypes: tuple[str, ...] = ("float32",),
    forms: tuple[str, ...] = ("repeated", "repeated, recomputed", "nested", "stock Keras"),
    batch_size: int = 16,
    rounds: int = 2,
    json: bool = False,
):
    """Measures a deep network in its packagings beside stock Keras layers.

    Args:
        model: The deep network.
        shallow_units: Units of a shallow form of the network in `repeated` packaging, for the ratio
            of first steps; with the defaults it has 29 layers.
        dtypes: `float32`, `mixed_bfloat16`.
        forms: Packagings, with `, recomputed` where activations are; `stock Keras` is nested, as
            a flat graph of a thousand layers cannot be built.
        batch_size: Images in a step.
        rounds: Turns that each takes, of one step or more.
        json: Print JSON instead of a table.
    """
    rows, details = [], []
    for dtype in dtypes:
        specs = [_spec(form, model, dtype, batch_size) for form in forms]
        if shallow_units:
            fields = {"units": shallow_units}
            specs.append(_spec("repeated", model, dtype, batch_size, fields))
        # One after the other, since each may need most of the memory.
        found = [measure([spec], rounds, 1.0, progress)[0] for spec in specs]
        details += found
        rows += [_row(m, found[0]) for m in found]
    show("Depth", COLUMNS, rows, json, details)


def _spec(form, model, dtype, batch_size, fields=None):
    packaging, _, extra = form.partition(", ")
    stock = form == "stock Keras"
    (contender,) = available(["stock Keras" if stock else "keras_preact"])
    return Spec(
        contender,
        model,
        dtype,
        batch_size,
        packaging="nested" if stock else packaging,
        recompute=bool(extra),
        fields=fields or {},
        label=f"{form}, units {fields['units']}" if fields else form,
    )


def _row(m, ours):
    spec = m.spec
    head = [spec.model, spec.batch_size, spec.dtype, m.name]
    if m.failure:
        return [*head, float("nan"), float("nan"), float("nan"), m.failure[:60], "", ""]
    first, peak = m.build + m.first, m.device_gb or m.peak_gb
    ratios = [
        f"{first / (ours.build + ours.first):.2f} x",
        f"{speedup(m, ours):.2f} x",
        f"{peak / (ours.device_gb or ours.peak_gb):.2f} x",
    ]
    return [*head, first, m.step, peak, *([""] * 3 if m is ours else ratios)]


if __name__ == "__main__":
    auto_cli(main)
