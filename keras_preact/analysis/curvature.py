"""`loss_curvature`: eigenvalues, trace and spectral density of the loss's Hessian.

Yao, Gholami, Keutzer and Mahoney 2020, "PyHessian: Neural Networks Through the Lens of the Hessian"
(arXiv 1912.07145), for networks of these papers; Ghorbani, Krishnan and Xiao 2019 (arXiv
1901.10159) for the density.
"""

import dataclasses

import numpy as np
import pandas as pd

from keras_preact.analysis.hessian import Hessian
from keras_preact.checked import is_whole, require

#: An eigenvalue is settled where its error is at most this share of the largest.
SETTLED = 1e-5

#: Steps of Lanczos for each eigenvalue that is wanted, at most.
_STEPS_EACH = 30

#: Vectors of the trace for each draw of the density, whose first product is one of them.
_TRACES = 10


@dataclasses.dataclass(frozen=True)
class Curvature:
    """What `loss_curvature` found, in tables.

    Attributes:
        eigenvalues: A row an eigenvalue: `rank`, 1 the largest, -1 the smallest; `eigenvalue`;
            `error`, at most which it is from a true one.
        traces: A row a random vector: `estimate` of the trace, whose mean they are.
        spectrum: A row a node of a draw's quadrature: `draw`, `eigenvalue`, `weight`, the share of
            all eigenvalues that it stands for.
        weights: How many weights, and so eigenvalues, there are.
    """

    eigenvalues: pd.DataFrame
    traces: pd.DataFrame
    spectrum: pd.DataFrame
    weights: int


def loss_curvature(
    model, batches, top: int = 5, steps: int = 20, draws: int = 5, seed: int = 0, training=True
) -> Curvature:
    """How the loss curves around a network's weights: its Hessian, without ever having it whole.

    Args:
        model: A network of any packaging and dtype, from images to logits or a softmax.
        batches: Mini-batches, pairs (images, labels), labels whole numbers; the loss is the mean
            cross-entropy, without weight decay.
        top: How many of the largest eigenvalues, found by Lanczos's method with full
            reorthogonalisation; equal ones count once.
        steps: Of Lanczos's method for a draw of the density, each a product with the Hessian.
        draws: Random vectors of the density (stochastic Lanczos quadrature); the trace
            (Hutchinson) takes ten times as many.
        seed: Decides the vectors.
        training: Whether norms take the statistics of each mini-batch, as in a training step, and
            not those that they gathered.

    Returns:
        A `Curvature`.

    Raises:
        ConfigError: For networks that give anything else, and labels that they do not have.

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


def lanczos(times, start, steps, until=None):
    """Lanczos's method with full reorthogonalisation, each vector against all before it, twice.

    Args:
        times: Function of a vector to its product with a symmetric matrix.
        start: The vector that it starts from.
        steps: Products, at most; fewer where the vectors so far are all that the start reaches.
        until: Function of what is returned so far to whether that is enough.

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
        # What is left of a product of float32 is its rounding.
        if beside[-1] <= 1e-6 * size or (until and until(diagonal, beside)):
            break
        vector = product / beside[-1]
    return diagonal, beside


def ritz(diagonal, beside):
    """What Lanczos's method says of eigenvalues.

    Args:
        diagonal, beside: Of `lanczos`.

    Returns:
        Values in ascending order; at most how far each is from an eigenvalue; and their weights in
        the quadrature of the spectral density, which add up to 1.
    """
    from scipy.linalg import eigh_tridiagonal

    values, vectors = eigh_tridiagonal(diagonal, beside[:-1])
    return values, np.abs(beside[-1] * vectors[-1]), vectors[0] ** 2


def density(spectrum, points: int = 400) -> pd.DataFrame:
    """The spectral density, each node of the quadrature a narrow normal distribution.

    Args:
        spectrum: Of one network, as in `Curvature`.
        points: Where it is computed.

    Returns:
        `eigenvalue` and `density`, mean over the draws; its integral is 1.
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
