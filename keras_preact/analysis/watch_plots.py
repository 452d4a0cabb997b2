"""What was watched in a training, as a picture."""

import numpy as np

from keras_preact.evaluation.plots import INK, new_figure, plain_text

#: Colour of units without such a figure.
_NONE = "#dddddd"


@plain_text
def plot_watch(table, columns, part=""):
    """How figures of each unit change in a training: a map each, of units over steps.

    Args:
        table: What `Watch` wrote: `step`, `unit` and figures.
        columns: `{column: (its title, whether its colours are logarithmic)}`; one that is not there
            is left out.
        part: What was watched, for the title.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import LogFormatter, MaxNLocator

    columns = {name: drawn for name, drawn in columns.items() if name in table}
    figure, axes = new_figure(1 + 4.6 * len(columns), 4, columns=max(len(columns), 1))
    units = [unit for unit in table["unit"].unique() if unit != "head"]
    for axis, (name, (title, log)) in zip(np.ravel(axes), columns.items(), strict=True):
        values = table.pivot(index="unit", columns="step", values=name).loc[units]
        grid = values.to_numpy(float)
        positive = grid[np.isfinite(grid) & (grid > 0)]
        log = log and len(positive) and positive.max() > positive.min()
        norm = LogNorm(positive.min(), positive.max()) if log else None
        extent = (0.5, len(values.columns) + 0.5, len(units) + 0.5, 0.5)
        image = axis.imshow(
            grid, aspect="auto", norm=norm, extent=extent, interpolation="nearest", cmap="viridis"
        )
        shown = np.unique(np.linspace(1, len(values.columns), 5).astype(int))
        axis.set_xticks(shown, [f"{values.columns[k - 1]:,}" for k in shown])
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_title(title, color=INK, fontsize=10)
        axis.set_xlabel("step")
        axis.set_ylabel("unit")
        axis.set_facecolor(_NONE)
        bar = figure.colorbar(image, ax=axis).ax.yaxis
        if log:  # as plain text, since names are shown as they are
            bar.set_major_formatter(LogFormatter())
            bar.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    figure.suptitle(
        f"{part} of every unit while the network trained".strip().capitalize(), color=INK
    )
    return figure
