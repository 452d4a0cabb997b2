"""Forward signals: the input, the branch and the output of each unit of a network."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd

from keras_preact.analysis.anatomy import Anatomy, UnitPiece


@dataclasses.dataclass(frozen=True)
class Signals:
    """The result of `signal_propagation`, in tables.

    Attributes:
        units: One row per unit. `input_`, `branch_` and `output_` `mean`, `variance` and
            `second_moment` (over images, positions and channels); `adds`: root mean square of the
            branch relative to that of the input; `negative`: share of output values below 0;
            `cut_off`: share of the sum's energy that the activation after the addition removes;
            `equation4_error`: distance of the output from the sum of equation 4 (2016), counted
            from the last unit or pooling that changed dimensions, relative to the norm of the
            output; `output_channel_mean_squared`, `output_channel_variance` and
            `branch_channel_variance`: squared mean and variance of a channel over images and
            positions, averaged over channels (Brock et al. 2021, arXiv 2101.08692); `scaling`: the
            factor of the shortcut (for gates its mean, for a convolution NaN), and
            `scaling_product`, its product from this unit to the last one (2016, equation 8) without
            the convolutions.
        layers: One row per convolution or hidden dense layer: `mean` and `std` of its response, and
            `normalized`, 1 if the response is measured after a norm and 0 otherwise.
        activations: One row per activation: `dead`, share of channels that are not positive for any
            image of any mini-batch; `always_on`, share of channels that are positive at every
            position of every image; `inactive`, share of inputs at or below 0; for PReLU
            `slope_count` (1: shared by all channels), `slope_mean`, `slope_std`, `slope_min` and
            `slope_max` over the channels.
        gates: One row per gated unit: `bias` (mean over channels), `mean`, `std` and quantiles of
            g (`q5`, `q25`, `q50`, `q75`, `q95`).
    """

    units: pd.DataFrame
    layers: pd.DataFrame
    activations: pd.DataFrame
    gates: pd.DataFrame


QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def signal_propagation(anatomy: Anatomy, batches: Iterable[tuple[Any, Any]]) -> Signals:
    """Measures the signals of a network as in a training step: moments, gates, inactive shares.

    Deep Residual Learning, Figure 7 (responses); Identity Mappings, equation 4 and sections 3 and 4
    (shortcuts, gates, activation after the addition); Delving Deep into Rectifiers, Table 1
    (slopes).

    Args:
        anatomy: A network in pieces, of `dissect`.
        batches: Mini-batches, pairs (images, labels); the result is the mean over them.

    Returns:
        A `Signals`.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis import dissect, signal_propagation
        >>> from keras_preact.applications import ResNet8V2
        >>> images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
        >>> found = signal_propagation(dissect(ResNet8V2()), [(images, np.zeros(4, int))])
        >>> found.units["cut_off"].tolist()  # there is no activation after the addition
        [0.0, 0.0, 0.0]
    """
    units, layers, activations, gates = [], [], [], []
    alive, open_ = {}, {}  # by activation, channels that are positive somewhere, and everywhere
    for images, _ in batches:
        x, reached = keras.ops.convert_to_tensor(images), None
        for piece in anatomy.pieces:
            seen: dict[str, Any] = {
                name: keras.ops.convert_to_numpy(v) for name, v in piece.look(x).items()
            }
            if isinstance(piece, UnitPiece):
                taken = keras.ops.convert_to_numpy(x)
                reached = _equation_4(piece, reached, taken, seen)
                units.append(_unit(piece, taken, seen, reached, anatomy.channel_axis))
                if piece.is_gated:
                    gates.append({**_place(piece), **_gate(piece, seen["gate"])})
            else:
                reached = None
            place = {"piece": piece.name}
            for name in piece.weighted:
                response = seen[f"{name}:response"]
                row = {"mean": response.mean(), "std": response.std()}
                row["normalized"] = int(piece.graph.response(name) is not piece.graph.output(name))
                layers.append({"layer": name, **place, **row})
            for name in piece.activations:
                row, channels = _activation(piece, name, seen, anatomy.channel_axis)
                alive[name] = (channels.max(axis=0) > 0) | alive.get(name, False)
                open_[name] = (channels.min(axis=0) > 0) & open_.get(name, True)
                activations.append({"layer": name, **place, **row})
            x = keras.ops.convert_to_tensor(seen["output"])
    units = mean_over_batches(units, ["unit", "stage", "number"])
    if "scaling" in units:
        units["scaling_product"] = units["scaling"][::-1].cumprod()[::-1]
    activations = mean_over_batches(activations, ["layer", "piece"])
    activations.insert(2, "dead", [1 - alive[name].mean() for name in activations["layer"]])
    activations.insert(3, "always_on", [open_[name].mean() for name in activations["layer"]])
    return Signals(
        units,
        mean_over_batches(layers, ["layer", "piece"]),
        activations,
        mean_over_batches(gates, ["unit", "stage", "number"]),
    )


def mean_over_batches(rows: Sequence[Mapping[str, Any]], keys: list[str]) -> pd.DataFrame:
    """The mean of rows with the same keys, in the order of their first appearance."""
    if not rows:
        return pd.DataFrame(columns=keys)
    means: Any = pd.DataFrame(rows).groupby(keys, sort=False, as_index=False).mean()
    return means


def _place(unit):
    return {"unit": unit.name, "stage": unit.stage, "number": unit.number}


def _unit(unit, taken, seen, reached, channel_axis):
    output = seen["output"]
    row = {**_place(unit), **_moments("input", taken)}
    if unit.is_residual:
        branch, carry = seen["branch"], unit.scale
        row |= _moments("branch", branch)
        row["adds"] = _rms(branch) / _rms(taken)
        row["scaling"] = float(seen["carry"].mean()) if carry is None else carry
        row["equation4_error"] = _distance(output, reached)
        after = f"{unit.name}_act_out"
        cut = after in unit.activations
        row["cut_off"] = _cut_off(seen[f"{after}:in"], seen[f"{after}:out"]) if cut else 0.0
        row["branch_channel_variance"] = _of_channels(branch, channel_axis)[1]
    row |= _moments("output", output)
    names = ("output_channel_mean_squared", "output_channel_variance")
    row |= dict(zip(names, _of_channels(output, channel_axis), strict=True))
    row["negative"] = np.mean(output < 0)
    return row


def _equation_4(unit, reached, taken, seen):
    """x_L = x_l + the sum of the branches between, from the last unit that changed dimensions."""
    if not unit.is_residual or seen["output"].shape != taken.shape:
        return None
    return (taken if reached is None else reached) + seen["branch"]


def _distance(output, reached):
    """The relative distance of the output from equation 4; NaN if it does not apply."""
    if reached is None:
        return np.nan
    return np.linalg.norm(output - reached) / np.linalg.norm(output)


def _moments(name, x):
    x = x.astype(np.float64)
    return {
        f"{name}_mean": x.mean(),
        f"{name}_variance": x.var(),
        f"{name}_second_moment": np.mean(x**2),
    }


def _of_channels(x, axis):
    """A channel's squared mean and its variance over images and places, averaged over channels."""
    places = tuple(k for k in range(x.ndim) if k != axis % x.ndim)
    x = x.astype(np.float64)
    return np.mean(x.mean(axis=places) ** 2), x.var(axis=places).mean()


def _rms(x):
    return np.sqrt(np.mean(x.astype(np.float64) ** 2))


def _cut_off(before, after):
    energy = np.sum(before.astype(np.float64) ** 2)
    return 1.0 - np.sum(after.astype(np.float64) ** 2) / energy if energy else 0.0


def _gate(unit, gate):
    bias = np.mean(keras.ops.convert_to_numpy(unit.layer(f"{unit.name}_gate").bias))
    row = {"bias": bias, "mean": gate.mean(), "std": gate.std()}
    return row | {f"q{q:.0%}".rstrip("%"): np.quantile(gate, q) for q in QUANTILES}


def _activation(piece, name, seen, channel_axis):
    """A row of the table, and the inputs of the activation, one column per channel."""
    before = seen[f"{name}:in"]
    channels = np.moveaxis(before, channel_axis, -1).reshape(-1, before.shape[channel_axis])
    row = {"inactive": np.mean(before <= 0)}
    alpha = getattr(piece.layer(name), "alpha", None)
    if alpha is not None:
        slope = np.asarray(keras.ops.convert_to_numpy(alpha))
        spread = {"count": slope.size, "mean": slope.mean(), "std": slope.std()}
        spread |= {"min": slope.min(), "max": slope.max()}
        row |= {f"slope_{key}": value for key, value in spread.items()}
    return row, channels
