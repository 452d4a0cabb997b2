"""`init_study`: He initialisation compared with Xavier initialisation, at 22 and 30 layers.

Delving Deep into Rectifiers, Figures 2 and 3, with networks of the same depth and form that are
narrow enough for small images and a processor.
"""

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_preact.checked import is_whole, require
from keras_preact.console import say
from keras_preact.files import to_csv
from keras_preact.papers.reproduction import train_or_tell
from keras_preact.run import RunFolder, watched
from keras_preact.training.config import TrainConfig

if TYPE_CHECKING:
    import pandas
    from rich.console import Console

#: Networks by their layers: model B and the 30-layer net.
NETWORKS = {22: "rectifiernetb", 30: "rectifiernet30"}

#: The two initialisations, each as the paper compares it.
INITIALIZATIONS = {
    "He": {"network.initializer": "he_normal", "network.initializer_mode": "fan_out"},
    "Xavier": {"network.initializer": "xavier_normal", "network.initializer_mode": "fan_in"},
}

#: What Figures 2 and 3 show: the outcome, and where one sees it.
PAPER = {
    (22, "He"): ("converges", "its error falls earlier, Figure 2"),
    (22, "Xavier"): ("converges", "Figure 2"),
    (30, "He"): ("converges", "Figure 3"),
    (30, "Xavier"): ("stalls", "Figure 3"),
}

#: Side of the images. On maps of fewer than 4 pixels a side a 3x3 layer would sum over borders for
#: the most part, and no initialisation would keep the variance.
_SIZE = 16
_FILTERS = 16

#: Narrow networks. Images are in [0, 255] but for their mean, as in the paper, and the dense layers
#: multiply the variance as the paper's 4096 units with 0.01 do.
_NETWORK = {
    "network.stem_filters": _FILTERS,
    "network.stem_kernel": 3,
    "network.stem_stride": 1,
    "network.stem_padded": True,
    "network.stem_pool": False,
    "network.pyramid": [2, 1],
    "network.dense": [64, 64],
    "network.dense_dropout": 0.0,
    "network.dense_stddev": 0.1,
    "network.activation": "relu",
}

#: The paper's optimiser, with batches of 16 and a constant rate of 0.003, for thousands of images
#: and not a million: at 0.01, the paper's, these narrow nets learn and fall back to guessing.
_RECIPE = {
    "recipe.schedule": "step",
    "recipe.milestones": [],
    "recipe.warmup_steps": 0,
    "recipe.preprocessing": "pixel_mean",
    "augmentation.kind": "none",
}

#: Final training loss, as a share of that of guessing, ln K.
CONVERGED, STALLED = 0.5, 0.98
#: A loss that is below this share has begun to fall.
BEGUN = 0.9


@dataclasses.dataclass(frozen=True)
class InitStudy:
    """The result of `init_study`.

    Attributes:
        frame: A `pandas.DataFrame` with a row for each number of `layers` and `initialisation`:
            `seeds`, the final training loss divided by ln K (`loss`, with its minimum and maximum
            over the seeds, `loss_least`, `loss_greatest`), test `error` likewise, the epoch
            `begins` in which the loss falls below 0.9 ln K (mean over the seeds, NaN if it never
            does), the `outcome` in words, and the `paper`'s.
        curves: `{(layers, initialisation): one list a seed of training losses as shares of ln K}`.
        sentence: The conclusion.
        folder: Where runs, `table.csv` and `curves.png` are.
    """

    frame: Any
    curves: dict[tuple[int, str], list[list[float]]]
    sentence: str
    folder: pathlib.Path


def init_study(
    data: str = "digits",
    seeds: int = 3,
    epochs: int = 24,
    out: str | None = None,
    *,
    console: "Console | None" = None,
) -> InitStudy:
    """Trains 22 and 30 layers from He and Xavier initialisation, with several seeds each.

    Each training is a separate run, which resumes after an interruption.

    Args:
        data: Images, as in `TrainConfig`; resized to 16 x 16 pixels.
        seeds: Runs of each network and initialisation.
        epochs: Passes over the training images.
        out: Folder for runs, table and plot; `runs/init-study-DATA` if not given.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        An `InitStudy`.

    Raises:
        ConfigError, DataError, SaveError, StoppedError: As `keras_preact.train`.
    """
    require(is_whole(seeds) and seeds >= 1, "seeds", seeds, "a whole number of at least 1")
    name = pathlib.Path(data.partition(":")[2] or data).stem
    folder = pathlib.Path(out or f"runs/init-study-{name}")
    curves, errors = {}, {}
    for layers, initialisation in PAPER:
        rows = []
        for seed in range(seeds):
            run = folder / f"{layers}-layers-{initialisation.lower()}-seed{seed}"
            config = study_config(layers, initialisation, data, seed, epochs, str(run))
            say(console, f"{layers} layers, {initialisation}, seed {seed}: {run}")
            rows.append(_trained(config, console))
        curves[layers, initialisation] = [losses for losses, _ in rows]
        errors[layers, initialisation] = [error for _, error in rows]
    frame = study_frame(curves, errors)
    study = InitStudy(frame, curves, in_words(frame), folder)
    _write(study, f"{name}, {seeds} seed{'s' * (seeds > 1)}")
    return study


def study_config(
    layers: int, initialisation: str, data: str, seed: int, epochs: int, out: str
) -> TrainConfig:
    """One training of the study.

    Example:
        >>> from keras_preact.papers.initialization import study_config
        >>> study_config(30, "He", "digits", 0, 20, "runs/one").resolve().network.depth
        30
    """
    stages = {22: 3, 30: 2}[layers]
    return TrainConfig(
        NETWORKS[layers],
        data,
        "rectifier_imagenet",
        epochs=epochs,
        batch_size=16,
        learning_rate=0.003,
        image_size=_SIZE,
        dtype="float32",
        seed=seed,
        out=out,
        saved_model=False,
        settings={
            **_NETWORK,
            "network.filters": [_FILTERS] * stages,
            **INITIALIZATIONS[initialisation],
            **_RECIPE,
        },
    )


def _trained(config, console):
    """Training losses of a run as shares of ln K, and its last test error; none if it diverged."""
    import keras

    train_or_tell(config, console)
    keras.backend.clear_session()
    run = RunFolder(config.out)
    guessing = math.log(len(run.read_json("data.json")["classes"]))
    log = run.log
    losses = [row["loss"] / guessing for row in log]
    if not run.is_finished:
        return [*losses, math.nan], math.nan
    return losses, log[-1][f"{watched(log[-1])}_error"]


def study_frame(
    curves: dict[tuple[int, str], list[list[float]]], errors: dict[tuple[int, str], list[float]]
) -> "pandas.DataFrame":
    """The table of `InitStudy.frame`.

    Args:
        curves: As `InitStudy.curves`.
        errors: Test errors, one a seed, by the same keys.
    """
    import pandas as pd

    rows = []
    for (layers, initialisation), seeds in curves.items():
        final = pd.Series([losses[-1] for losses in seeds])
        error = pd.Series(errors[layers, initialisation])
        rows.append(
            {
                "layers": layers,
                "initialisation": initialisation,
                "seeds": len(seeds),
                "loss": final.mean(skipna=False),
                "loss_least": final.min(),
                "loss_greatest": final.max(),
                "error": error.mean(skipna=False),
                "error_least": error.min(),
                "error_greatest": error.max(),
                "begins": pd.Series([begins(losses) for losses in seeds]).mean(skipna=False),
                "outcome": outcome([losses[-1] for losses in seeds]),
                "paper": "{} ({})".format(*PAPER[layers, initialisation]),
            }
        )
    return pd.DataFrame(rows)


def begins(losses: Sequence[float]) -> float:
    """The first epoch, from 1, whose loss is below 0.9 ln K; no number where there is none.

    Example:
        >>> from keras_preact.papers.initialization import begins
        >>> begins([1.0, 0.95, 0.7, 0.4])
        3.0
    """
    return next((float(k) for k, loss in enumerate(losses, 1) if loss < BEGUN), math.nan)


def outcome(final_losses: Sequence[float]) -> str:
    """What the final losses of several seeds, as shares of ln K, come to.

    Example:
        >>> from keras_preact.papers.initialization import outcome
        >>> outcome([0.2, 0.4]), outcome([1.0, 0.99, 0.3]), outcome([0.7])
        ('converges', 'stalls (2), converges (1)', 'learns slowly')
    """
    found = [_outcome(loss) for loss in final_losses]
    counts = {kind: found.count(kind) for kind in dict.fromkeys(found)}
    if len(counts) == 1:
        return found[0]
    return ", ".join(f"{kind} ({count})" for kind, count in counts.items())


def _outcome(loss):
    if math.isnan(loss):
        return "diverges"
    if loss < CONVERGED:
        return "converges"
    return "stalls" if loss > STALLED else "learns slowly"


def in_words(frame: "pandas.DataFrame") -> str:
    """One sentence on the table, and whether it is what the paper's figures show."""
    rows = {(row.layers, row.initialisation): row for row in frame.itertuples()}
    parts = []
    for layers in NETWORKS:
        both = [rows[layers, kind] for kind in INITIALIZATIONS]
        told = [f"{row.initialisation}'s initialisation {row.outcome}" for row in both]
        told = [
            text if math.isnan(row.begins) else f"{text} (falls from epoch {row.begins:.1f} on)"
            for text, row in zip(told, both, strict=True)
        ]
        parts.append(f"with {layers} layers {told[0]} and {told[1]}")
    same = all(rows[key].outcome == wanted for key, (wanted, _) in PAPER.items())
    same = same and rows[22, "He"].begins < rows[22, "Xavier"].begins
    ending = "as in the paper" if same else "which is not what the paper shows"
    ending += " (one training each)" if frame["seeds"].max() == 1 else ""
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}: {ending}."


def _write(study, title):
    """Table and picture, whole or not at all."""
    from keras_preact.evaluation import save_figure
    from keras_preact.papers.plots import plot_study

    folder = RunFolder(study.folder)
    folder.write_bytes("table.csv", to_csv(study.frame).encode())
    with folder.replacing("curves.png") as path:
        save_figure(plot_study(study.curves, title), path)
