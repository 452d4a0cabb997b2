"""What was watched in a training, as a picture."""

import numpy as np

from keras_preact.evaluation.plots import INK, new_figure, plain_text

#: What the columns are called in a picture.
_TITLES = {
    "output_channel_variance": "variance of a channel of the output",
    "adds": "size of the branch / size of the input",
    "gradient": "norm of the gradient at the input",
    "error": "error",
    "cosine": "cosine of branch and negative gradient",
}


@plain_text
def plot_watch(table, columns, part=""):
    """How figures of each unit change in a training: a map each, of units over steps.

    Args:
        table: What `Watch` wrote: `step`, `unit` and figures.
        columns: `{column: whether its colours are logarithmic}`; one that is not there is left out.
        part: What was watched, for the title.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    columns = {name: log for name, log in columns.items() if name in table}
    figure, axes = new_figure(1 + 4.6 * len(columns), 4, columns=max(len(columns), 1))
    units = [unit for unit in table["unit"].unique() if unit != "head"]
    for axis, (name, log) in zip(np.ravel(axes), columns.items(), strict=True):
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
        axis.set_title(_TITLES.get(name, name), color=INK, fontsize=10)
        axis.set_xlabel("step")
        axis.set_ylabel("unit")
        figure.colorbar(image, ax=axis)
    figure.suptitle(f"{part}, as it trained".strip(", "), color=INK)
    return figure
