"""The initialisation study: which networks it trains, what it makes of their losses, and files."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from keras_preact import training
from keras_preact.analysis import variance_factors
from keras_preact.applications import create_model
from keras_preact.cli import main
from keras_preact.errors import ConfigError, DivergedError
from keras_preact.papers import init_study, initialization
from keras_preact.papers.initialization import (
    PAPER,
    begins,
    in_words,
    outcome,
    study_config,
    study_frame,
)
from keras_preact.papers.reproduction import train_or_tell

#: Losses as shares of ln K of two seeds, as the paper's figures have them.
AS_IN_THE_PAPER = {
    (22, "He"): [[0.95, 0.6, 0.3], [0.8, 0.4, 0.2]],
    (22, "Xavier"): [[1.0, 0.95, 0.4], [1.0, 0.7, 0.49]],
    (30, "He"): [[1.0, 0.7, 0.4], [0.9, 0.6, 0.1]],
    (30, "Xavier"): [[1.0, 1.0, 1.0], [1.01, 1.0, 0.99]],
}
ERRORS = {key: [0.1, 0.3] for key in PAPER}


@pytest.mark.parametrize(("layers", "initialisation"), PAPER)
@pytest.mark.thorough
def test_networks_are_the_papers_in_depth_and_start_as_named(layers, initialisation):
    config = initialization.study_config(layers, initialisation, "digits", 0, 1, "out")
    parts = config.resolve()
    assert parts.network.depth == layers
    model = create_model(config.model, input_shape=(16, 16, 1), **parts.network.to_dict())
    frame = variance_factors(model)
    assert len(frame) == layers
    convolutions = frame[:-3]
    expected = {"He": convolutions.he_backward, "Xavier": convolutions.xavier}[initialisation]
    np.testing.assert_allclose(convolutions["std"], expected)


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([0.1, 0.49], "converges"),
        ([0.5], "learns slowly"),
        ([0.98], "learns slowly"),
        ([0.981, 1.2], "stalls"),
        ([math.nan], "diverges"),
        ([0.3, 1.0, 0.2], "converges (2), stalls (1)"),
    ],
)
def test_outcomes(losses, words):
    assert outcome(losses) == words


def test_where_a_loss_begins_to_fall():
    assert begins([1.0, 0.9, 0.89]) == 3.0
    assert math.isnan(begins([1.0, 0.9]))


def test_the_table_has_means_spreads_and_words():
    frame = study_frame(AS_IN_THE_PAPER, ERRORS).set_index(["layers", "initialisation"])
    row = frame.loc[(22, "Xavier")]
    assert (row.seeds, row.loss, row.loss_least, row.loss_greatest) == (2, 0.445, 0.4, 0.49)
    assert (row.error, row.error_least, row.error_greatest) == (0.2, 0.1, 0.3)
    assert (row.begins, row.outcome, row.paper) == (2.5, "converges", "converges (Figure 2)")
    assert math.isnan(frame.loc[(30, "Xavier")].begins)
    diverged = {**AS_IN_THE_PAPER, (30, "He"): [[1.0, math.nan], [0.9, 0.4]]}
    row = study_frame(diverged, ERRORS).set_index(["layers", "initialisation"]).loc[(30, "He")]
    assert math.isnan(row.loss) and row.outcome == "diverges (1), converges (1)"


def test_the_sentence_says_whether_it_is_the_papers():
    words = in_words(study_frame(AS_IN_THE_PAPER, ERRORS))
    assert words == (
        "With 22 layers He's initialisation converges (falls from epoch 1.5 on) and Xavier's "
        "initialisation converges (falls from epoch 2.5 on); with 30 layers He's initialisation "
        "converges (falls from epoch 2.0 on) and Xavier's initialisation stalls: as in the paper."
    )
    others = {
        "both start at once": {(22, "Xavier"): AS_IN_THE_PAPER[22, "He"]},
        "30 layers learn": {(30, "Xavier"): AS_IN_THE_PAPER[30, "He"]},
        "22 layers stall": {(22, "Xavier"): AS_IN_THE_PAPER[30, "Xavier"]},
    }
    for curves in others.values():
        words = in_words(study_frame({**AS_IN_THE_PAPER, **curves}, ERRORS))
        assert words.endswith("which is not what the paper shows.")


def fake_train(config, console=None):
    """What a training leaves behind: losses by its depth and initialisation."""
    from keras_preact.run import RunFolder

    layers = config.resolve().network.depth
    stalls = (layers, config.settings["network.initializer"]) == (30, "xavier_normal")
    run = RunFolder.create(config.out, name="")
    run.write_json("data.json", {"classes": ["a", "b"]})
    run.write_json("resolved.json", config.resolve().to_dict())
    run.write_json("config.json", config.to_dict())
    losses = [math.log(2)] * 2 if stalls else [math.log(2), 0.1]
    log = [{"epoch": k, "loss": loss, "test_error": 0.5} for k, loss in enumerate(losses, 1)]
    run.write_bytes("log.jsonl", "".join(json.dumps(row) + "\n" for row in log).encode())
    if config.seed == 1:
        raise DivergedError("no number")
    run.write_json("result.json", {})


def _refuse(*_, **__):
    raise AssertionError("trained again")


@pytest.mark.slow
@pytest.mark.drawn
def test_study_and_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "train", fake_train)
    out = tmp_path / "study"
    assert main(["init-study", "--seeds", "1", "--epochs", "2", "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["outcome"] for row in printed["rows"]] == ["converges"] * 3 + ["stalls"]
    frame = pd.read_csv(out / "table.csv")
    assert frame.loss.round(3).to_list() == [0.144, 0.144, 0.144, 1.0]
    assert (out / "curves.png").stat().st_size > 10_000
    study = init_study(seeds=2, out=tmp_path / "other")
    assert study.frame.outcome[0] == "converges (1), diverges (1)"
    monkeypatch.setattr(training, "train", _refuse)  # what diverged is not tried again
    for layers, name in PAPER:
        folder = str(tmp_path / "other" / f"{layers}-layers-{name.lower()}-seed1")
        assert not train_or_tell(study_config(layers, name, "digits", 1, 24, folder), None)
        with pytest.raises(ConfigError, match="can only resume with its original config"):
            train_or_tell(study_config(layers, name, "digits", 1, 48, folder), None)
    with pytest.raises(ConfigError, match="seeds=0"):
        init_study(seeds=0)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_study_of_few_images_goes_on_where_it_was(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype("uint8")
    np.savez(tmp_path / "few.npz", x_train=images, y_train=np.arange(40) % 2)
    found = [
        init_study(f"npz:{tmp_path}/few.npz", seeds=1, epochs=1, out=tmp_path / "study")
        for _ in range(2)
    ]
    assert found[0].curves == found[1].curves
    assert found[0].frame.loss.notna().all()
