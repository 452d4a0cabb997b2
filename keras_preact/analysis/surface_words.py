"""Sentences about the tables of loss surfaces."""

import numpy as np
import pandas as pd


def of_surface(table: pd.DataFrame) -> str:
    """A sentence about the table of `loss_surface`."""
    away = np.sqrt(sum(table[axis] ** 2 for axis in "xy" if axis in table))
    here, reach = table["loss"][away.idxmin()], table["x"].max()
    near = table["loss"][(away > 0) & (away <= reach / 2)]
    higher = table["loss"] >= here
    return (
        f"the loss is {here:.3g} at the weights; its median is {near.median():.3g} over points up "
        f"to {reach / 2:g} filter norms away, and {table['loss'].median():.3g} over all "
        f"{len(table)} points, of which {np.mean(~higher):.1%} are lower ({_speed(table)})."
    )


def of_trajectory(table: pd.DataFrame) -> str:
    """A sentence about `Trajectory.points`."""
    both = table["explained_x"].iloc[0] + table["explained_y"].iloc[0]
    return (
        f"two directions explain {both:.1%} of the trajectory from {table['name'].iloc[0]} to "
        f"{table['name'].iloc[-1]} over {len(table)} states; the loss goes from "
        f"{table['loss'].iloc[0]:.3g} to {table['loss'].iloc[-1]:.3g}."
    )


def of_lines(table: pd.DataFrame) -> str:
    """A sentence about the tables of `loss_between`, for each end."""
    texts = []
    for end, line in table.groupby("to", sort=False):
        losses = line.set_index("x")["loss"]
        ends, between = (losses[0.0], losses[1.0]), losses[(losses.index > 0) & (losses.index < 1)]
        barrier = between.max() - max(ends) if len(between) else np.nan
        word = "no barrier" if not barrier > 0 else f"a barrier of {barrier:.3g}"
        losses = f"its loss of {ends[0]:.3g} and the loss of {ends[1]:.3g} of {end}"
        texts.append(f"there is {word} between {losses}")
    return f"{'; '.join(texts)}."


def _speed(table):
    return f"{len(table) / max(table['seconds'].sum(), 1e-9):.3g} points per second"
