"""What the tables of loss surfaces say, in plain words."""

import numpy as np


def of_surface(table) -> str:
    """A sentence on what `loss_surface` gives."""
    away = np.sqrt(sum(table[axis] ** 2 for axis in "xy" if axis in table))
    here, reach = table["loss"][away.idxmin()], table["x"].max()
    near = table["loss"][(away > 0) & (away <= reach / 2)]
    higher = table["loss"] >= here
    return (
        f"the loss is {here:.3g} at the weights, {near.median():.3g} in the median of points up to "
        f"{reach / 2:g} lengths of the filters away, and {table['loss'].median():.3g} in that of "
        f"all {len(table)} points; {np.mean(~higher):.1%} of them are lower ({_speed(table)})."
    )


def of_trajectory(table) -> str:
    """A sentence on `Trajectory.points`."""
    both = table["explained_x"].iloc[0] + table["explained_y"].iloc[0]
    return (
        f"two directions hold {both:.1%} of the way from {table['name'].iloc[0]} to "
        f"{table['name'].iloc[-1]} over {len(table)} states; the loss goes from "
        f"{table['loss'].iloc[0]:.3g} to {table['loss'].iloc[-1]:.3g}."
    )


def of_lines(table) -> str:
    """A sentence on what `loss_between` gives, for each end."""
    texts = []
    for end, line in table.groupby("to", sort=False):
        losses = line.set_index("x")["loss"]
        ends, between = (losses[0.0], losses[1.0]), losses[(losses.index > 0) & (losses.index < 1)]
        barrier = between.max() - max(ends) if len(between) else np.nan
        word = "no barrier is" if not barrier > 0 else f"a barrier of {barrier:.3g} is"
        texts.append(f"from its loss of {ends[0]:.3g} to {ends[1]:.3g} of {end} {word} between")
    return f"{'; '.join(texts)}."


def _speed(table):
    return f"{len(table) / max(table['seconds'].sum(), 1e-9):.3g} points a second"
