"""What the tables of the loss's curvature say, in plain words."""

import numpy as np

from keras_preact.analysis.curvature import SETTLED


def of_eigenvalues(table) -> str:
    """A sentence on `Curvature.eigenvalues`."""
    top = table[table["rank"] > 0]
    least = table["eigenvalue"][table["rank"] == -1].iloc[0]
    values = ", ".join(f"{value:.3g}" for value in top["eigenvalue"])
    largest = top["eigenvalue"].max()
    text = f"the largest eigenvalues of the loss's Hessian are {values}, the smallest {least:.3g}"
    if least < 0 < largest:
        text += f", {abs(least) / largest:.1%} of the largest the other way"
    open_ends = int((table["error"] > SETTLED * table["eigenvalue"].abs().max()).sum())
    if open_ends:
        text += f"; undecided: {open_ends} of them to within {table['error'].max():.2g} only"
    return f"{text}."


def of_traces(table) -> str:
    """A sentence on `Curvature.traces`."""
    mean, draws, weights = table["estimate"].mean(), len(table), table["weights"].iloc[0]
    error = table["estimate"].std() / np.sqrt(draws)
    return (
        f"{mean:.4g} ± {2 * error:.2g} (two standard errors, {draws} random vectors), "
        f"{mean / weights:.2g} for each of {weights:,} weights."
    )


def of_spectrum(table) -> str:
    """A sentence on `Curvature.spectrum`."""
    values, draws = table["eigenvalue"], table["draw"].nunique()
    near = np.abs(values) < 0.01 * np.abs(values).max()
    shares = [
        table["weight"][part].sum() / draws
        for part in (near, ~near & (values < 0), ~near & (values > 0))
    ]
    return (
        f"{shares[0]:.1%} of the eigenvalues are within a hundredth of the largest of 0, "
        f"{shares[1]:.2%} below and {shares[2]:.2%} above ({draws} draws)."
    )
