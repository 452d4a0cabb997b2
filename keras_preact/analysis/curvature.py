"""`loss_curvature`: eigenvalues, trace and spectral density of the loss's Hessian.

Yao, Gholami, Keutzer and Mahoney 2020, "PyHessian: Neural Networks Through the Lens of the Hessian"
(arXiv 1912.07145), for networks of these papers; Ghorbani, Krishnan and Xiao 2019 (arXiv
1901.10159) for the density.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd

from keras_preact.analysis.hessian import Hessian
from keras_preact.checked import is_whole, require

#: An eigenvalue has converged if its error is at most this share of the largest one.
SETTLED = 1e-5

#: Largest number of Lanczos steps per requested eigenvalue.
_STEPS_EACH = 30

#: Vectors for the trace per draw of the density, whose first product is one of them.
_TRACES = 10


@dataclasses.dataclass(frozen=True)
class Curvature:
    """The result of `loss_curvature`, in tables.

    Attributes:
        eigenvalues: One row per eigenvalue: `rank` (1 is the largest, -1 the smallest),
            `eigenvalue`, and `error`, an upper bound of its distance from a true eigenvalue.
        traces: One row per random vector: `estimate` of the trace; their mean is the result.
        spectrum: One row per quadrature node and draw: `draw`, `eigenvalue`, and `weight`, the
            share of all eigenvalues that it represents.
        weights: Number of weights, which is the number of eigenvalues.
    """

    eigenvalues: pd.DataFrame
    traces: pd.DataFrame
    spectrum: pd.DataFrame
    weights: int


def loss_curvature(
    model: keras.Model,
    batches: Sequence[tuple[Any, Any]],
    top: int = 5,
    steps: int = 20,
    draws: int = 5,
    seed: int = 0,
    training: bool = True,
) -> Curvature:
    """Measures the curvature of the loss: its Hessian, by matrix-vector products only.

    Args:
        model: A network in any packaging and dtype that maps images to logits or a softmax.
        batches: Mini-batches, pairs (images, labels); labels are integers. The loss is the mean
            cross-entropy, without weight decay.
        top: Number of largest eigenvalues, found by the Lanczos method with full
            reorthogonalisation; equal eigenvalues count once.
        steps: Lanczos steps per draw of the density, each a product with the Hessian.
        draws: Number of random vectors for the density (stochastic Lanczos quadrature); the trace
            (Hutchinson) uses ten times as many.
        seed: Seed of the random vectors.
        training: Whether norms use the statistics of each mini-batch, as in a training step,
            instead of their moving statistics.

    Returns:
        A `Curvature`.

    Raises:
        ConfigError: If the network does not end with logits or a softmax, or a label is not one of
            its classes.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis import loss_curvature
        >>> from keras_preact.applications import ResNet8V2
        >>> model = ResNet8V2(input_shape=(8, 8, 1))
        >>> images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
        >>> found = loss_curvature(model, [(images, np.arange(4))], top=1, steps=3, draws=1)
        >>> found.eigenvalues["rank"].tolist(), len(found.spectrum), len(found.traces)
        ([1, -1], 3, 10)
    """
    for name, value in (("top", top), ("steps", steps), ("draws", draws)):
        require(is_whole(value) and value >= 1, name, value, "a whole number of at least 1")
    hessian, random = Hessian(model, batches, training), np.random.default_rng(seed)
    start = random.normal(size=hessian.size)
    found = lanczos(hessian.times, start, _STEPS_EACH * top, lambda *so_far: _settled(top, *so_far))
    values, errors, _ = ritz(*found)
    places = [*range(len(values) - 1, max(len(values) - top, 0) - 1, -1), 0]
    ranks = [*range(1, len(places)), -1]
    rows = {"rank": ranks, "eigenvalue": values[places], "error": errors[places]}
    nodes, traces = [], []
    for draw in range(draws):
        found = lanczos(hessian.times, _signs(random, hessian.size), steps)
        values, _, weights = ritz(*found)
        nodes.append(pd.DataFrame({"draw": draw, "eigenvalue": values, "weight": weights}))
        traces.append(hessian.size * found[0][0])
        for _ in range(_TRACES - 1):
            vector = _signs(random, hessian.size)
            traces.append(vector @ hessian.times(vector))
    return Curvature(
        pd.DataFrame(rows),
        pd.DataFrame({"estimate": traces}),
        pd.concat(nodes, ignore_index=True),
        hessian.size,
    )


def lanczos(
    times: Callable[[np.ndarray], Any],
    start: np.ndarray,
    steps: int,
    until: Callable[[list[float], list[float]], bool] | None = None,
) -> tuple[list[float], list[float]]:
    """The Lanczos method with full reorthogonalisation, twice against all earlier vectors.

    Args:
        times: Function that multiplies a vector by a symmetric matrix.
        start: The start vector.
        steps: Largest number of products; fewer if the Krylov space is exhausted.
        until: Function that tells from the result so far whether it suffices.

    Returns:
        Diagonal and off-diagonal of the tridiagonal matrix, the latter with the next entry at its
        end.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis.curvature import lanczos, ritz
        >>> values, *_ = ritz(*lanczos(lambda v: [1, 2, 4] * v, np.ones(3), 5))
        >>> values.round(6).tolist()
        [1.0, 2.0, 4.0]
    """
    basis = np.empty((min(steps, len(start)), len(start)), np.float64)
    vector, diagonal, beside = start / np.linalg.norm(start), [], []
    for step in range(len(basis)):
        basis[step] = vector
        product = np.asarray(times(vector), np.float64)
        diagonal.append(float(vector @ product))
        size = np.linalg.norm(product)
        for _ in range(2):
            product = product - basis[: step + 1].T @ (basis[: step + 1] @ product)
        beside.append(float(np.linalg.norm(product)))
        # The rest of a float32 product is only its rounding error.
        if beside[-1] <= 1e-6 * size or (until and until(diagonal, beside)):
            break
        vector = product / beside[-1]
    return diagonal, beside


def ritz(
    diagonal: Sequence[float], beside: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The eigenvalues that result from the Lanczos method.

    Args:
        diagonal, beside: The result of `lanczos`.

    Returns:
        Ritz values in ascending order; upper bounds of their distances from an eigenvalue; and
        their weights in the quadrature of the spectral density, which add up to 1.
    """
    from scipy.linalg import eigh_tridiagonal

    values, vectors = eigh_tridiagonal(diagonal, beside[:-1])
    return values, np.abs(beside[-1] * vectors[-1]), vectors[0] ** 2


def density(spectrum: pd.DataFrame, points: int = 400) -> pd.DataFrame:
    """The spectral density, with a narrow normal distribution for each node of the quadrature.

    Args:
        spectrum: The table of one network, as in `Curvature`.
        points: Number of points at which it is computed.

    Returns:
        A table with `eigenvalue` and `density`, the mean over the draws; its integral is 1.
    """
    values = spectrum["eigenvalue"].to_numpy()
    width = max(np.ptp(values), 1e-12) / 100
    grid = np.linspace(values.min() - 4 * width, values.max() + 4 * width, points)
    bells = np.exp(-(((grid[:, None] - values) / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi))
    weights = spectrum["weight"].to_numpy() / spectrum["draw"].nunique()
    return pd.DataFrame({"eigenvalue": grid, "density": bells @ weights})


def _settled(top, diagonal, beside):
    if len(diagonal) <= top:
        return False
    values, errors, _ = ritz(diagonal, beside)
    wanted = [*range(-top, 0), 0]
    return bool(np.all(errors[wanted] <= SETTLED * np.abs(values).max()))


def _signs(random, size):
    return random.choice([-1.0, 1.0], size)
