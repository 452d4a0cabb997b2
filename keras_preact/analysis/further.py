"""The optional measurements of `analyze`: lesions, refinement, curvature, loss surfaces."""

import contextlib
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from keras_preact.analysis.anatomy import dissect
from keras_preact.analysis.config import AnalyzeConfig
from keras_preact.analysis.curvature import loss_curvature
from keras_preact.analysis.lesion import lesions
from keras_preact.analysis.paths import path_lengths
from keras_preact.analysis.refinement import branch_cosines, probes
from keras_preact.analysis.surface import loss_between, loss_surface, loss_trajectory
from keras_preact.errors import DataError
from keras_preact.run import RunFolder
from keras_preact.training.checkpoint import Checkpoints
from keras_preact.training.fine_tune import read_start
from keras_preact.weights import load_weights_by_layer, weights_by_layer

#: The file of an analysis with its settings.
CONFIG = "analysis.json"


class Look(NamedTuple):
    """What to measure, and on which network.

    Attributes:
        config: The `AnalyzeConfig`.
        subject: The network: its `name`, its `config` and its run, `trained`.
        folder: The folder of the analysis.
        console: A `rich.console.Console` for progress, or `None`.
        others: The networks that are not analysed yet.
    """

    config: AnalyzeConfig
    subject: Any
    folder: RunFolder
    console: Any
    others: list[Any]

    def keep(self, name: str) -> tuple[RunFolder, str]:
        """Where the points of a grid are stored; this marks the folder as that of the analysis."""
        self.folder.write_json(CONFIG, self.config.to_dict())
        return self.folder, f"{name}-{self.subject.name}.jsonl"


def batches_of(split: Any, config: AnalyzeConfig) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mini-batches of the images of a split to analyse, pairs (images, labels)."""
    order = np.random.default_rng(config.seed).permutation(len(split))[: config.images]
    size = min(config.batch_size, len(order))
    cuts = range(0, len(order) - size + 1, size)  # all of the same size
    return [
        (split.images(order[k : k + size]).astype(np.float32), split.labels[order[k : k + size]])
        for k in cuts
    ]


def _lesions(model, data, look, _):
    config, anatomy = look.config, dissect(model)
    held_out = data.test or data.train
    found = lesions(anatomy, batches_of(held_out, config), draws=config.draws, seed=config.seed)
    first = batches_of(data.train, config)[:1]  # the lengths are the same in each
    return {
        "lesions": found.units,
        "removals": found.removals,
        "orders": found.orders,
        "paths": path_lengths(anatomy, first, config.draws, config.seed),
    }


def _refinement(model, data, look, _):
    anatomy, batches = dissect(model), batches_of(data.train, look.config)
    held_out = batches_of(data.test or data.train, look.config)
    found = {"probes": probes(anatomy, batches, held_out)}
    cosines = branch_cosines(anatomy, held_out)
    return {**found, "cosines": cosines} if len(cosines) else found


def _curvature(model, data, look, seen):
    config = look.config
    batches = batches_of(data.train, config)
    found = loss_curvature(model, batches, draws=config.draws, seed=config.seed)
    tables = {
        "eigenvalues": found.eigenvalues,
        "traces": found.traces.assign(weights=found.weights),
        "spectrum": found.spectrum,
    }
    before = {}
    if look.subject.trained and "trained" in seen:
        end = weights_by_layer(model)
        for name, weights in _checkpoints(model, look.subject.trained, end).items():
            load_weights_by_layer(model, weights)
            before[name] = loss_curvature(model, batches, top=1, draws=1, seed=config.seed)
        load_weights_by_layer(model, end)
    if before:
        states = {**before, "end": found}
        rows = [{"name": name, **_extremes(one)} for name, one in states.items()]
        tables["curvature_steps"] = pd.DataFrame(rows)
    return tables


def _extremes(found):
    """The ends and the mean of the Hessian's eigenvalues."""
    values = found.eigenvalues["eigenvalue"]
    trace = found.traces["estimate"].mean()
    return {"largest": values.max(), "smallest": values.min(), "trace": trace}


def _surface(model, data, look, seen):
    """The loss around the last state, along its training, and towards the other runs."""
    config, subject = look.config, look.subject
    batches = batches_of(data.train, config)
    wanted = {"points": config.points, "console": look.console}
    keep = look.keep("surface")
    tables = {"surface": loss_surface(model, batches, seed=config.seed, keep=keep, **wanted)}
    if subject.trained:
        *before, (name, end) = seen.items()
        states = {**dict(before), **_checkpoints(model, subject.trained, end), name: end}
        if len(states) >= 3:
            keep = look.keep("trajectory")
            found = loss_trajectory(model, states, batches, keep=keep, **wanted)
            tables |= {"trajectory": found.points, "trajectory_surface": found.surface}
    lines = []
    for other in look.others:
        there = read_start(other.trained, other.config.model).weights if other.trained else {}
        if subject.trained and _shapes(there) == _shapes(weights_by_layer(model)):
            keep = look.keep(f"line-to-{other.name}")
            line = loss_between(model, there, batches, keep=keep, console=look.console)
            lines.append(line.assign(to=other.name))
    return {**tables, **({"lines": pd.concat(lines, ignore_index=True)} if lines else {})}


def _checkpoints(model, path, end):
    """`{step: weights by layer}` of a run's valid checkpoints, without the final state."""
    checkpoints, found = Checkpoints(pathlib.Path(path) / "checkpoints"), {}
    before = weights_by_layer(model)
    for name in checkpoints.names():
        with contextlib.suppress(DataError):
            checkpoint = checkpoints.read(name)
            for number, variable in enumerate(model.variables):
                variable.assign(checkpoint.state[f"model.{number:05d}.{variable.name}"])
            weights = weights_by_layer(model)
            if any(np.any(weights[k][i] != v) for k, w in end.items() for i, v in w.items()):
                found[f"step {checkpoint.progress['step']}"] = weights
    load_weights_by_layer(model, before)
    return found


def _shapes(weights):
    return {(k, i): np.shape(v) for k, values in weights.items() for i, v in values.items()}


#: For each name in `AnalyzeConfig.also`: the function, and whether it is run for every state.
FURTHER: dict[str, tuple[Callable[..., dict[str, pd.DataFrame]], bool]] = {
    "lesions": (_lesions, False),
    "refinement": (_refinement, True),
    "curvature": (_curvature, True),
    "surface": (_surface, False),
}
