"""`analyze` and its command: named networks and runs, before and after training, side by side."""

import json
import pathlib

import numpy as np
import pandas as pd
import pytest

from keras_preact import TrainConfig, create_model, train
from keras_preact.analysis import AnalyzeConfig, analyze, analyzer, further, plot_equation_5
from keras_preact.analysis.curvature import Curvature
from keras_preact.analysis.terrain import Terrain
from keras_preact.cli import main
from keras_preact.errors import ConfigError
from keras_preact.run import RunFolder
from keras_preact.trained import open_keras_file
from keras_preact.training.engines import make_engine
from keras_preact.training.job import prepare
from keras_preact.weights import read_weights, weights_by_layer

SMALL = {"images": 16, "batch_size": 8}

#: What is looked at in the last state of a network alone.
LAST = {"lesions", "removals", "paths"}


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    """Of a gated network with PReLU, before and after an epoch."""
    gates = {"network.shortcut": "shortcut_only_gating", "network.activation": "prelu"}
    small = {"network.units": [1, 1], "network.filters": [4, 8], "network.stem_filters": 4}
    settings = {**gates, **small, "recipe.batch_size": 128}
    out = tmp_path_factory.mktemp("inside") / "out"
    look = {"also": "lesions,refinement", "draws": 1, **SMALL}
    config = AnalyzeConfig(("resnet8",), epochs=1, out=str(out), settings=settings, **look)
    return analyze(config)


@pytest.fixture
def weights_seen(monkeypatch):
    """The weights of each network that is measured, in place of the measuring."""
    seen = []
    add = lambda model, batches: seen.append(weights_by_layer(model)) or {}  # noqa: E731
    monkeypatch.setattr(analyzer, "measure", add)
    return seen


def same(some, others):
    return all(
        np.array_equal(others[k][i], v) for k, values in some.items() for i, v in values.items()
    )


def test_before_and_after_training(analysis):
    assert analysis.tables["orders"].empty  # of stages of one unit
    for topic, table in analysis.tables.items():
        if topic == "orders":
            continue
        assert [*table["network"].unique()] == ["resnet8"], topic
        states = ["trained"] if topic in LAST else ["initial", "trained"]
        assert [*table["state"].unique()] == states, topic
    gates, activations = analysis.tables["gates"], analysis.tables["activations"]
    initial = gates["state"] == "initial"
    np.testing.assert_allclose(gates["bias"][initial], -6.0)
    assert (gates["bias"][~initial] != -6.0).any()
    assert activations["slope_mean"].nunique() > 1


def test_what_is_written(analysis):
    written = {path.name for path in analysis.folder.glob("*")}
    pictures = "signals equation_4 equation_5 responses gradients gates rectifiers slopes lesions"
    pictures += " path_lengths propagation refinement"
    assert written >= {f"{topic}.csv" for topic in analysis.tables}
    assert written >= {f"{picture}.png" for picture in pictures.split()} | {"words.md"}
    run = {path.name for path in (analysis.folder / "resnet8").glob("*")}
    assert "model.keras" in run and "saved_model" not in run  # which nothing here needs
    table = pd.read_csv(analysis.folder / "gradients.csv")
    pd.testing.assert_frame_equal(table, analysis.tables["gradients"], check_dtype=False)
    words = (analysis.folder / "words.md").read_text()
    assert "**Lesions.** resnet8, trained: removing one unit" in words
    assert "resnet8, trained: " in words and "PReLU" in words and "1437 training" in words


def test_a_run_is_seen_with_its_own_weights(analysis, weights_seen):
    config = AnalyzeConfig((str(analysis.folder / "resnet8"),), **SMALL)
    subject = analyzer._subject(config, *config.networks)
    assert [state for state, *_ in analyzer._states(subject, config)] == ["initial", "trained"]
    assert not same(*weights_seen)
    trained = read_weights(analysis.folder / "resnet8" / "model.keras")
    assert same(weights_seen[1], trained)


def test_a_runs_images_are_prepared_as_it_learned_to_take_them(analysis, monkeypatch, tmp_path):
    run = str(analysis.folder / "resnet8")
    means, name = [], "preprocessing"
    add = lambda model, batches: means.append(model.get_layer(name).mean) or {}  # noqa: E731
    monkeypatch.setattr(analyzer, "measure", add)
    images = np.full((20, 8, 8, 1), 200, "uint8")
    np.savez(tmp_path / "bright.npz", x_train=images, y_train=np.arange(20) % 10)
    config = AnalyzeConfig((run,), data=f"npz:{tmp_path}/bright.npz", **SMALL)
    [*analyzer._states(analyzer._subject(config, run), config)]
    trained = open_keras_file(pathlib.Path(run) / "model.keras").get_layer(name).mean
    for mean in means:
        np.testing.assert_array_equal(mean, trained)
    np.savez(tmp_path / "two.npz", x_train=images, y_train=np.arange(20) % 2)
    config = config.replace(data=f"npz:{tmp_path}/two.npz")
    with pytest.raises(ConfigError, match="classes that resnet8 was trained on"):
        [*analyzer._states(analyzer._subject(config, run), config)]


def test_initial_weights_are_those_that_training_begins_with(weights_seen):
    config = TrainConfig("resnet8v2", seed=3)
    begun = prepare(config, make_engine(config)).engine.model
    config = AnalyzeConfig(("resnet8v2",), seed=3, **SMALL)
    [*analyzer._states(analyzer._subject(config, "resnet8v2"), config)]
    assert same(weights_by_layer(begun), weights_seen[0])


def test_what_is_asked_for_is_looked_at_in_its_states(analysis, weights_seen, monkeypatch):
    one = pd.DataFrame({"estimate": [1.0], "eigenvalue": [2.0]})
    curved = []

    def curvature(model, batches, **_):
        curved.append(weights_by_layer(model))
        return Curvature(one, one, one, 7)

    monkeypatch.setattr(further, "loss_curvature", curvature)
    config = AnalyzeConfig((str(analysis.folder / "resnet8"),), also="curvature", **SMALL)
    subject = analyzer._subject(config, *config.networks)
    look = further.Look(config, subject, None, None, [])
    for _, tables, _ in analyzer._states(subject, config, look):
        assert tables["traces"]["weights"].tolist() == [7]
    assert len(weights_seen) == 2
    # The initial weights, the trained ones, and then those of a checkpoint before them, if any.
    assert same(curved[0], weights_seen[0]) and same(curved[1], weights_seen[1])
    assert ("curvature_steps" in tables) == (len(curved) > 2)


@pytest.mark.slow
def test_the_curvature_is_followed_along_a_run(tmp_path, monkeypatch):
    """Each checkpoint that is not the end, then the end; the network has its weights back."""
    path = str(tmp_path / "run")
    train(TrainConfig("resnet8v2", "digits", epochs=2, out=path, saved_model=False))
    numbers = []

    def curvature(model, batches, **_):
        numbers.append(float(np.asarray(model.get_layer("stem_conv").kernel).std()))
        values = {"estimate": -1.0, "eigenvalue": [numbers[-1], 0.0], "rank": [1, -1]}
        one = pd.DataFrame({**values, "error": 0.0, "draw": 0, "weight": 0.5})
        return Curvature(one.copy(), one.copy(), one.copy(), 7)

    monkeypatch.setattr(further, "loss_curvature", curvature)
    found = analyze(
        AnalyzeConfig((path,), also="curvature,lesions", out=str(tmp_path / "out"), **SMALL)
    )
    steps = found.tables["curvature_steps"]
    assert len(steps) == 2 and steps["name"].iloc[-1] == "end"
    assert steps["largest"].tolist() == [numbers[2], numbers[1]] and numbers[1] != numbers[2]
    assert steps["trace"].tolist() == [-1, -1]
    whole = found.tables["removals"].set_index("removed")["error"][0]
    other = analyze(AnalyzeConfig((path,), also="lesions", out=str(tmp_path / "other"), **SMALL))
    assert other.tables["removals"].set_index("removed")["error"][0] == whole
    assert "Curvature along the training" in found.words


def test_an_analysis_that_was_killed_goes_on(weights_seen, monkeypatch, tmp_path):
    at, calls = Terrain.at, []

    def interrupted(terrain, point):
        calls.append(0)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return at(terrain, point)

    monkeypatch.setattr(Terrain, "at", interrupted)
    monkeypatch.setattr(analyzer, "summary", lambda tables: pd.DataFrame())
    monkeypatch.setattr(analyzer, "in_words", lambda tables: {})
    monkeypatch.setattr(analyzer, "measure", lambda *_: {"signals": pd.DataFrame({"unit": ["a"]})})
    monkeypatch.setattr(analyzer, "_write", lambda _, folder: folder.write_bytes("words.md", b""))
    out = tmp_path / "out"
    config = AnalyzeConfig(("resnet8v2",), also="surface", points=2, out=str(out), **SMALL)
    with pytest.raises(KeyboardInterrupt):
        analyze(config)
    kept = RunFolder(out).read_lines("surface-resnet8v2.jsonl")[1:]
    with pytest.raises(ConfigError, match="interrupted run of the same analysis"):
        analyze(config.replace(seed=1))
    found = analyze(config).tables["surface"]
    assert (
        len(kept) == 2 and found.drop(columns=["network", "state"]).to_dict("records")[:2] == kept
    )
    assert len(found) == 4
    with pytest.raises(ConfigError, match="new or empty"):  # it is finished
        analyze(config)


def test_the_command_puts_networks_side_by_side(tmp_path, capsys):
    out = str(tmp_path / "both")
    sizes = ["--images", "16", "--batch-size", "8"]
    assert (
        main(["analyze", "--compare", "plainnet20", "resnet8v2", "--json", "--out", out, *sizes])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert [row["network"] for row in found["summary"]] == ["plainnet20", "resnet8v2"]
    assert found["folder"] == out
    assert any("resnet8v2, initial" in text for text in found["words"]["Backward, equation 5"])
    # Products of factors over layers are those of one path.
    assert [text[:10] for text in found["words"]["Initialisation"]] == ["plainnet20"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet8v3"], "Did you mean 'resnet8v2'"),
        (["resnet8v2", "resnet8v3"], "Did you mean 'resnet8v2'"),  # before the first is looked at
        (["resnet8v2", "resnet8", "--out", "x"], "Add --compare"),
        (["--compare", "resnet8", "ResNet8"], "networks with different names"),
        (["resnet8v2", "--also", "lesion"], "Did you mean 'lesions'"),
        (["resnet8v2", "--images", "1"], "`images` must be at least 2"),
    ],
)
def test_mistakes_are_named(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["analyze", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("network", "data", "message", "code"),
    [
        ("resnet8", "folder:nowhere", "nowhere", 3),
        ("rectifiernet14", "digits", "or `data.image_size`, to which images are scaled", 2),
    ],
)
def test_what_fails_leaves_no_folder(network, data, message, code, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["analyze", network, "--data", data, "--out", "here"]) == code
    assert message in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError):
        analyze(AnalyzeConfig((str(tmp_path / "run"),), out=str(tmp_path / "out")))


def test_units_that_no_direct_gradient_reaches_keep_their_numbers():
    table = pd.DataFrame(
        {
            "network": "net",
            "state": "initial",
            "unit": ["a", "b", "c", "head"],
            "gradient": 1.0,
            "weights": 1.0,
            "direct": [0.0, 0.1, 0.5, 1.0],  # less than a float32 holds, in the first unit
            "weight_term": [np.nan, 0.15, 0.25, 0.35],
            "weight_term_min": [np.nan, 0.1, 0.2, 0.3],
            "weight_term_max": [np.nan, 0.2, 0.3, 0.4],
        }
    )
    top = plot_equation_5(table).axes[0]
    for line in top.lines:
        assert line.get_xdata().tolist() == [1, 2, 3]


@pytest.mark.slow
def test_a_file_has_the_insides_of_its_run(analysis, tmp_path):
    """A `.keras` file and its run are one network."""
    path = str(analysis.folder / "resnet8")
    common = {"data": "digits", "also": "lesions", "draws": 1, **SMALL}
    of_run = analyze(AnalyzeConfig((path,), out=str(tmp_path / "a"), **common))
    of_file = analyze(AnalyzeConfig((f"{path}/model.keras",), out=str(tmp_path / "b"), **common))
    for topic in ("signals", "gradients", "lesions", "paths"):
        theirs, mine = (found.tables[topic].drop(columns="network") for found in (of_run, of_file))
        theirs = theirs[theirs["state"] == "trained"].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_published_weights_by_tag(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    labels = np.arange(20) % 10
    file = tmp_path / "images.npz"
    np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
    fields = {"data": f"npz:{file}", "out": str(tmp_path / "out"), **SMALL}
    found = analyze(AnalyzeConfig(("resnet20v2@cifar10-jpeg",), **fields))
    assert found.tables["summary"]["state"].tolist() == ["trained"]
    assert found.tables["summary"]["network"].tolist() == ["resnet20v2@cifar10-jpeg"]
    model = create_model("resnet20v2", weights="cifar10-jpeg")
    kernel = np.asarray(weights_by_layer(model)["stem_conv"]["0"])
    measured = found.tables["variance"].set_index("layer")["measured_std"]
    assert measured["stem_conv"] == pytest.approx(kernel.std(), rel=1e-4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"networks": ("resnet20v2@imagenet",)}, "one of 'cifar10', 'cifar100', 'cifar10-jpeg'"),
        ({"networks": ("plainnet20@cifar10",)}, "must be left out: there are none"),
        ({"networks": ("resnet20v2@cifar10-jpeg",)}, "given for resnet20v2@cifar10-jpeg"),
        ({"networks": ("nowhere.keras",)}, "It does not exist"),
    ],
)
def test_what_is_no_network_is_refused(fields, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        analyze(AnalyzeConfig(out=str(tmp_path / "out"), **fields))
    assert not (tmp_path / "out").exists()
