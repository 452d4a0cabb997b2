"""`analyze`: everything that can be measured inside some networks, as tables, pictures, words."""

import dataclasses
import pathlib
from typing import NamedTuple

import keras
import pandas as pd

from keras_preact.analysis.anatomy import dissect
from keras_preact.analysis.config import AnalyzeConfig
from keras_preact.analysis.further import CONFIG, FURTHER, Look, batches_of
from keras_preact.analysis.gradients import gradient_propagation
from keras_preact.analysis.page_of_surfaces import surface_page
from keras_preact.analysis.signals import signal_propagation
from keras_preact.analysis.variance import variance_factors
from keras_preact.analysis.words import in_words, summary
from keras_preact.applications import model_info
from keras_preact.checked import require
from keras_preact.console import say
from keras_preact.data import load_data
from keras_preact.files import to_csv
from keras_preact.run import RunFolder
from keras_preact.training import TrainConfig, train
from keras_preact.training.fine_tune import read_start
from keras_preact.training.job import build_for
from keras_preact.weights import weights_by_layer

#: What is written last.
_LAST = "words.md"


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What `analyze` found, all networks in each table.

    Attributes:
        tables: `summary`, of the function of that name, and `signals`, `responses`,
            `activations`, `gates`, `gradients` and `variance`, as `Signals`,
            `gradient_propagation` and `variance_factors` have them (with `response_std`, measured
            where no norm follows); of what is asked for `lesions`, `removals` and `orders`, as
            `Lesions` has them, and `paths`, of `path_lengths`; `eigenvalues`, `traces` and
            `spectrum`, as `Curvature` has them; `surface`, of `loss_surface`, `trajectory` and
            `trajectory_surface`, as `Trajectory` has them, and `lines`, of `loss_between`;
            with the columns `network` and `state` (`initial` or `trained`) before.
        words: A sentence or more by topic, in the order in which to read them.
        data: What the images are, in words.
        folder: Where it is written; `None` before.
    """

    tables: dict[str, pd.DataFrame]
    words: dict[str, list[str]]
    data: str
    folder: pathlib.Path | None = None


def analyze(config: AnalyzeConfig | None = None, *, console=None) -> Analysis:
    """Looks into networks: signals and gradients at every unit, gates, rectifiers, equations.

    Args:
        config: What to look into; by default ResNet-20 V2 at its initial weights, on `digits`.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        An `Analysis`; its tables as CSV files and its pictures are in its folder.

    Raises:
        ConfigError: For unknown networks, runs that are not finished, options that do not fit.
        DataError: For data that cannot be had.
        SaveError: When the folder cannot be written.

    Example:
        >>> import tempfile
        >>> from keras_preact.analysis import AnalyzeConfig, analyze
        >>> config = AnalyzeConfig(("resnet8v2",), images=16, batch_size=8, out=tempfile.mkdtemp())
        >>> sorted(analyze(config).tables)
        ['activations', 'gates', 'gradients', 'responses', 'signals', 'summary', 'variance']
    """
    config = config or AnalyzeConfig()
    subjects = [_subject(config, network) for network in config.networks]
    names = [subject.name for subject in subjects]
    expected, fix = "of different names, by which tables tell them apart", "Rename a folder."
    require(len({*names}) == len(names), "networks", config.networks, expected, fix)
    if all(subject.trained for subject in subjects):
        expected = "left out for run folders alone, whose networks are as they were trained"
        require(not config.settings, "settings", config.settings, expected)
        require(not config.epochs, "epochs", config.epochs, expected)
    folder = _left_by_a_kill(config)
    folder = folder or RunFolder.create(config.out, f"analysis-{'-'.join(names)}"[:100])
    try:
        analysis = _analysis(config, subjects, folder, console)
    except BaseException:
        folder.discard_if_empty()
        raise
    folder.write_json(CONFIG, config.to_dict())
    _write(analysis, folder)
    return analysis


def _left_by_a_kill(config):
    """The folder in which the same analysis was begun and not ended, if it is that."""
    path = pathlib.Path(config.out or "")
    if config.out is None or not (path / CONFIG).is_file() or (path / _LAST).exists():
        return None
    folder = RunFolder(path)
    known = {**folder.read_json(CONFIG), "out": config.out} == config.to_dict()
    expected = "a new folder, or that of the very same analysis, which was interrupted"
    require(known, "out", config.out, expected)
    return folder


def _analysis(config, subjects, folder, console):
    """All subjects measured; the folder is for those that are trained first."""
    found: dict[str, list[pd.DataFrame]] = {}
    looked_at: dict[str, str] = {}
    for number, subject in enumerate(subjects):
        if config.epochs and subject.trained is None:
            say(console, f"{subject.name}: {config.epochs} epochs")
            out = str(folder.path / subject.name)
            run = subject.config.replace(out=out, saved_model=False)
            subject = subject._replace(trained=train(run, console=console).run)
        subjects[number] = subject
        look = Look(config, subject, folder, console, subjects[number + 1 :])
        for state, measured, images in _states(subject, config, look):
            looked_at[subject.name] = images
            say(console, f"{subject.name}, {state} weights: {len(measured['signals'])} units")
            for topic, table in measured.items():
                table.insert(0, "network", subject.name)
                table.insert(1, "state", state)
                found.setdefault(topic, []).append(table)
    tables = {topic: pd.concat(frames, ignore_index=True) for topic, frames in found.items()}
    data = "; ".join(dict.fromkeys(looked_at.values()))
    tables = {"summary": summary(tables), **tables}
    return Analysis(tables, in_words(tables), data, folder.path)


def _write(analysis, folder) -> None:
    """Tables as CSV, pictures, and the words."""
    from keras_preact.analysis.plots import pictures
    from keras_preact.evaluation import save_figure

    for topic, table in analysis.tables.items():
        folder.write_bytes(f"{topic}.csv", to_csv(table).encode())
    for name, figure in pictures(analysis.tables).items():
        with folder.replacing(f"{name}.png") as path:
            save_figure(figure, path)
    if "surface" in analysis.tables:
        folder.write_bytes("surface.html", surface_page(analysis.tables["surface"]).encode())
    folder.write_bytes(_LAST, _as_markdown(analysis).encode())


class _Subject(NamedTuple):
    """A network to look into: its name, how it is built, and the run with its trained weights."""

    name: str
    config: TrainConfig
    trained: str | None = None


def _subject(config, network):
    path = pathlib.Path(network)
    if path.is_dir():
        run = RunFolder(path).config
        known = {name: run[name] for name in TrainConfig.field_names() if name in run}
        own = TrainConfig(**{**known, "out": None})
        return _Subject(path.resolve().name, own.replace(data=config.data or own.data), str(path))
    own = TrainConfig(
        model=network,
        data=config.data or "digits",
        epochs=config.epochs or None,
        seed=config.seed,
        dtype="float32",
        settings=config.settings,
    )
    return _Subject(model_info(network).name, own)


def _states(subject, config, look=None):
    """(state, tables, data in words) at the initial weights, and at the trained ones if any."""
    own, parts = subject.config, subject.config.resolve()
    trained = read_start(subject.trained, own.model) if subject.trained else None
    keras.utils.set_random_seed(own.seed)  # from here on as a training begins
    data = load_data(own.data, options=parts.data, seed=own.seed)
    initial = read_start(own.init, own.model) if own.init else None
    model = build_for(data, own, parts, "float32", trained or initial)
    batches, seen = batches_of(data.train, config), {}
    for state, start in (("initial", initial), ("trained", trained)):
        new = start.into(model, parts.network) if start else []
        same = not (new and start is trained)
        require(same, "data", own.data, f"images of the classes that {subject.name} was trained on")
        if start or state == "initial":
            tables = measure(model, batches)
            last = state == "trained" or not trained
            seen[state] = weights_by_layer(model) if "surface" in config.parts() else None
            for part in config.parts():
                measured, of_each = FURTHER[part]
                if last or of_each:
                    tables |= measured(model, data, look, seen)
            yield state, tables, repr(data)[1:-1]


def measure(model, batches) -> dict[str, pd.DataFrame]:
    """The tables of one network at the weights that it has.

    Args:
        model: A network of this package, from images to logits or a softmax.
        batches: Pairs (images, labels).

    Returns:
        `signals`, `responses`, `activations`, `variance`, `gates` and `gradients`.
    """
    anatomy = dissect(model)
    signals = signal_propagation(anatomy, batches)
    return {
        "signals": signals.units,
        "responses": signals.layers,
        "activations": signals.activations,
        "variance": variance_factors(model).merge(_measured(signals.layers), "left", "layer"),
        "gates": signals.gates,
        "gradients": gradient_propagation(anatomy, batches),
    }


def _measured(layers):
    """Of the layers whose response is their own: what a norm gives out says nothing of weights."""
    own = layers[layers["normalized"] == 0]
    return own[["layer", "std"]].rename(columns={"std": "response_std"})


def _as_markdown(analysis):
    lines = [f"# Inside {', '.join(analysis.tables['signals']['network'].unique())}", ""]
    lines += [f"Measured on {analysis.data}.", ""]
    for topic, sentences in analysis.words.items():
        lines += [f"**{topic}.** {' '.join(sentences)}", ""]
    return "\n".join(lines)
