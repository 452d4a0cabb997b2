"""A plot of what `bench` measured."""

import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from keras_preact.evaluation.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from keras_preact.bench.measuring import Measured


def plot_bench(measured: "Iterable[Measured]", title: str = "bench") -> "Figure":
    """Plots accuracy against latency, one point per file; without accuracies, throughput as bars.

    Args:
        measured: `Measured` of each file; those that failed are omitted.
        title: Title of the plot.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> from keras_preact.bench import Measured, plot_bench
        >>> found = Measured("a.onnx", "onnx", latency_ms=2.0, images_per_second=900.0)
        >>> plot_bench([found]).axes[0].get_xlabel()
        'images per second'
    """
    measured = [m for m in measured if m.failure is None]
    names = ["/".join(pathlib.Path(m.path).parts[-2:]) for m in measured]
    with_accuracy = measured and all(m.accuracy is not None for m in measured)
    figure, axes = new_figure(8, 4.5 if with_accuracy else 1.5 + 0.35 * len(measured))
    if with_accuracy:
        for name, m in zip(names, measured, strict=True):
            axes.plot(m.latency_ms, 100 * m.accuracy, "o", label=name)
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, (low + high) / 2 - 1), max(high, (low + high) / 2 + 1))
        axes.set_xscale("log")
        for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            axis("{x:g}")
        axes.set_xlabel("median latency of one image, ms")
        axes.set_ylabel("accuracy, %")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False)
    else:
        axes.barh(names, [m.images_per_second for m in measured])
        axes.invert_yaxis()
        axes.set_xlabel("images per second")
    axes.set_title(title)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
