"""Sentences about the tables of the loss's curvature."""

import numpy as np
import pandas as pd

from keras_preact.analysis.curvature import SETTLED


def of_eigenvalues(table: pd.DataFrame) -> str:
    """A sentence about `Curvature.eigenvalues`."""
    top = table[table["rank"] > 0]
    least = table["eigenvalue"][table["rank"] == -1].iloc[0]
    values = ", ".join(f"{value:.3g}" for value in top["eigenvalue"])
    largest = top["eigenvalue"].max()
    text = f"the largest eigenvalues of the Hessian are {values}, the smallest is {least:.3g}"
    if least < 0 < largest:
        share = f"of {-least / largest:.1%} of" if -least < largest else "larger in size than"
        text += f", a negative curvature {share} the largest"
    open_ends = int((table["error"] > SETTLED * table["eigenvalue"].abs().max()).sum())
    if open_ends:
        text += f"; not converged: {open_ends} of them (error up to {table['error'].max():.2g})"
    return f"{text}."


def of_traces(table: pd.DataFrame) -> str:
    """A sentence about `Curvature.traces`."""
    mean, draws, weights = table["estimate"].mean(), len(table), table["weights"].iloc[0]
    error = table["estimate"].std() / np.sqrt(draws)
    return (
        f"the trace is {mean:.4g} ± {2 * error:.2g} (two standard errors, {draws} random vectors), "
        f"{mean / weights:.2g} per weight ({weights:,} weights)."
    )


def of_steps(table: pd.DataFrame) -> str:
    """A sentence about the curvature along a run's checkpoints."""
    first, last = table.iloc[0], table.iloc[-1]
    parts = [
        f"the {title} goes from {first[name]:.3g} to {last[name]:.3g}"
        for title, name in (("largest eigenvalue", "largest"), ("trace", "trace"))
    ]
    return (
        f"from {first['name']} to the end of the training, over {len(table)} states, "
        f"{' and '.join(parts)}; the smallest eigenvalue is {table['smallest'].min():.3g} to "
        f"{table['smallest'].max():.3g}."
    )


def of_spectrum(table: pd.DataFrame) -> str:
    """A sentence about `Curvature.spectrum`."""
    values, draws = table["eigenvalue"], table["draw"].nunique()
    near = np.abs(values) < 0.01 * np.abs(values).max()
    shares = [
        table["weight"][part].sum() / draws
        for part in (near, ~near & (values < 0), ~near & (values > 0))
    ]
    return (
        f"{shares[0]:.1%} of the eigenvalues are within 1 % of the largest around 0, "
        f"{shares[1]:.2%} are below and {shares[2]:.2%} above ({draws} draws)."
    )
