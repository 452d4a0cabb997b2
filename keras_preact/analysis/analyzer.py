"""`analyze`: measurements inside networks, as tables, plots and sentences."""

import dataclasses
import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import pandas as pd

from keras_preact.analysis.anatomy import dissect
from keras_preact.analysis.config import AnalyzeConfig, is_file
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
from keras_preact.trained import Trained, load_trained
from keras_preact.training import TrainConfig, train
from keras_preact.training.fine_tune import read_start
from keras_preact.training.job import build_for
from keras_preact.weights import weights_by_layer

if TYPE_CHECKING:
    from rich.console import Console

#: The tables of every analysis.
ALWAYS = ("summary", "signals", "responses", "activations", "gates", "gradients", "variance")

#: The file that is written last.
_LAST = "words.md"


@dataclasses.dataclass(frozen=True)
class Analysis:
    """The result of `analyze`; each table has all networks.

    Attributes:
        tables: Always `summary` (of the function of that name), `signals`, `responses`,
            `activations` and `gates` (of `Signals`), `gradients` (of `gradient_propagation`) and
            `variance` (of `variance_factors`, with `response_std`, measured if no norm follows).
            With `also`: `lesions`, `removals` and `orders` (of `Lesions`) and `paths` (of
            `path_lengths`); `eigenvalues`, `traces` and `spectrum` (of `Curvature`), and
            `curvature_steps` (of a run's checkpoints, if it has any); `surface` (of
            `loss_surface`), `trajectory` and `trajectory_surface` (of `Trajectory`) and `lines` (of
            `loss_between`). The first columns of each are `network` and `state` (`initial` or
            `trained`).
        words: Sentences by topic, in reading order.
        data: Description of the images.
        folder: The folder of its files; `None` if they are not written.
    """

    tables: dict[str, pd.DataFrame]
    words: dict[str, list[str]]
    data: str
    folder: pathlib.Path | None = None


def analyze(config: AnalyzeConfig | None = None, *, console: "Console | None" = None) -> Analysis:
    """Measures networks inside: signals and gradients of every unit, gates, rectifiers, equations.

    Args:
        config: The settings; by default ResNet-20 V2 with its initial weights, on `digits`.
        console: A `rich.console.Console` for progress; `None` prints nothing.

    Returns:
        An `Analysis`; its folder contains its tables as CSV files and its plots.

    Raises:
        ConfigError: If a network is unknown, a run is not finished, or options do not go together.
        DataError: If the data is not available.
        SaveError: If the folder cannot be written.

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
    expected, fix = "networks with different names, which label the tables", "Rename a folder."
    require(len({*names}) == len(names), "networks", config.networks, expected, fix)
    if all(subject.is_run for subject in subjects):
        expected = "omitted if all networks are run folders, which are analysed as trained"
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
    """The folder of an interrupted run of the same analysis; `None` if there is none."""
    path = pathlib.Path(config.out or "")
    if config.out is None or not (path / CONFIG).is_file() or (path / _LAST).exists():
        return None
    folder = RunFolder(path)
    known = {**folder.read_json(CONFIG), "out": config.out} == config.to_dict()
    expected = "a new folder, or the folder of an interrupted run of the same analysis"
    require(known, "out", config.out, expected)
    return folder


def _analysis(config, subjects, folder, console):
    """Measures all subjects; those that are trained first are trained in the folder."""
    found: dict[str, list[pd.DataFrame]] = {}
    looked_at: dict[str, str] = {}
    for number, subject in enumerate(subjects):
        if config.epochs and not (subject.trained or subject.opened):
            say(console, f"{subject.name}: {config.epochs} epoch{'s' * (config.epochs > 1)}")
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
    """Writes the tables as CSV files, the plots and the sentences."""
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
    """A network to analyse.

    Attributes:
        name: Its name in tables.
        config: How it is built and what it is analysed on.
        trained: The run or the tag with its trained weights.
        opened: The `Trained` of a file, in place of `config` and `trained`.
    """

    name: str
    config: TrainConfig
    trained: str | None = None
    opened: Trained | None = None

    @property
    def is_run(self) -> bool:
        """Whether its initial weights are known as well as its trained ones."""
        return bool(self.trained) and self.config.init != self.trained


def _subject(config, network):
    path = pathlib.Path(network)
    if is_file(network):
        expected = "omitted for files, but for data.FIELD"
        fields = [name for name in config.settings if not name.startswith("data.")]
        require(not fields, "settings", config.settings, expected)
        opened = load_trained(network, dtype="float32")
        return _Subject(opened.name, TrainConfig(seed=config.seed), opened=opened)
    if path.is_dir():
        run = RunFolder(path).config
        known = {name: run[name] for name in TrainConfig.field_names() if name in run}
        own = TrainConfig(**{**known, "out": None})
        return _Subject(path.resolve().name, own.replace(data=config.data or own.data), str(path))
    name, _, tag = network.partition("@")
    own = TrainConfig(
        model=name,
        data=config.data or "digits",
        epochs=config.epochs or None,
        seed=config.seed,
        dtype="float32",
        init=tag or None,
        settings=config.settings,
    )
    expected = "images of the classes that the network was trained on, such as cifar10"
    require(config.data or not tag, "data", None, f"given for {network}: {expected}")
    known = model_info(name).name
    return _Subject(f"{known}@{tag}" if tag else known, own, tag or None)


def _states(subject, config, look=None):
    """(state, tables, data in words) with the initial weights, and with trained ones if any.

    Of files and published weights there are only the trained ones.
    """
    if subject.opened:
        options = {name.partition(".")[2]: value for name, value in config.settings.items()}
        data = subject.opened.load_data(config.data, **options)
        yield "trained", *_state(subject.opened.model, data, config, look, {}, "trained")
        return
    own, parts = subject.config, subject.config.resolve()
    trained = read_start(subject.trained, own.model) if subject.trained else None
    keras.utils.set_random_seed(own.seed)  # from here on, the same as at the start of a training
    data = load_data(own.data, options=parts.data, seed=own.seed)
    begins = own.init and subject.is_run
    initial = read_start(own.init, own.model) if begins else None
    model, seen = build_for(data, own, parts, "float32", trained or initial), {}
    if not trained or subject.is_run:
        if initial:
            initial.into(model, parts.network)
        yield "initial", *_state(model, data, config, look, seen, "initial", not trained)
    if trained:
        new = trained.into(model, parts.network)
        expected = f"images of the classes that {subject.name} was trained on"
        require(not new, "data", own.data, expected)
        yield "trained", *_state(model, data, config, look, seen, "trained")


def _state(model, data, config, look, seen, state, last=True):
    """The tables of a network in a state, and what it was measured on."""
    tables = measure(model, batches_of(data.train, config))
    seen[state] = weights_by_layer(model) if "surface" in config.parts() else None
    for part in config.parts():
        measured, of_each = FURTHER[part]
        if last or of_each:
            tables |= measured(model, data, look, seen)
    return tables, repr(data)[1:-1]


def measure(model: keras.Model, batches: Iterable[tuple[Any, Any]]) -> dict[str, pd.DataFrame]:
    """Measures one network with its current weights.

    Args:
        model: A network of this package that maps images to logits or a softmax.
        batches: Mini-batches, pairs (images, labels); labels are integers.

    Returns:
        The tables `signals`, `responses`, `activations`, `variance`, `gates` and `gradients`, as in
        an `Analysis` without the columns `network` and `state`.

    Raises:
        ConfigError: If the model is not such a network, or a label is not one of its classes.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis import measure
        >>> from keras_preact.applications import ResNet8V2
        >>> images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
        >>> len(measure(ResNet8V2(), [(images, np.arange(4))])["signals"])
        3
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
    """The layers whose response is not normalised, since a norm hides the scale of the weights."""
    own = layers[layers["normalized"] == 0]
    return own[["layer", "std"]].rename(columns={"std": "response_std"})


def _as_markdown(analysis):
    lines = [f"# Analysis of {', '.join(analysis.tables['signals']['network'].unique())}", ""]
    lines += [f"Measured on {analysis.data}.", ""]
    for topic, sentences in analysis.words.items():
        lines += [f"**{topic}.** {' '.join(sentences)}", ""]
    return "\n".join(lines)
