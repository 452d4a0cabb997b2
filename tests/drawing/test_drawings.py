"""Networks and galleries, the files they are written to, and the command."""

import pathlib
import re

import pytest

from keras_preact import ResNetConfig, model_info
from keras_preact.cli import main
from keras_preact.config import Block, Placement, Shortcut
from keras_preact.drawing import (
    GALLERIES,
    draw_gallery,
    draw_network,
    draw_unit,
    read_unit,
    save_drawing,
)
from keras_preact.errors import ConfigError

pytestmark = pytest.mark.drawn

ROOT = pathlib.Path(__file__).parents[2]


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_gallery_has_every_variant():
    assert tuple(GALLERIES["shortcuts"]) == Shortcut.__args__
    assert tuple(GALLERIES["placements"]) == Placement.__args__
    assert tuple(GALLERIES["blocks"]) == Block.__args__
    with pytest.raises(ConfigError, match="Did you mean 'shortcuts'"):
        draw_gallery("shortcut")


def test_an_activation_for_the_branch_only_is_pre_activation():
    """2016, Figure 5: equation 6's activation moves to the next branch, and nothing else does."""
    symmetric, asymmetric, preactivation = GALLERIES["asymmetry"].values()
    before, after = (
        {
            path: [step.text for step in getattr(paths, path)]
            for path in ("entry", "branch", "shortcut", "exit")
        }
        for variant in (symmetric, preactivation)
        for paths in [read_unit(ResNetConfig(**variant.fields))]
    )
    assert after == {**before, "branch": before["exit"] + before["branch"], "exit": []}
    # The frame of the asymmetric unit holds what those of the symmetric one do.
    start, end = asymmetric.frames[0]
    nodes = [*after["branch"], "+"] * 2
    assert nodes[start:end] == [*before["branch"], "+", *before["exit"]]
    assert preactivation.frames == symmetric.frames == ((0, end - start), (end - start, len(nodes)))


DEEP = pytest.param("resnet1001v2", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["resnet20v2", "plainnet20", "resnet164v2", DEEP])
@pytest.mark.sample(4)
def test_a_network_is_drawn_with_its_sizes(name):
    info = model_info(name)
    shown = texts(draw_network(name))
    for number, (units, channels) in enumerate(
        zip(info.config.units, info.config.stage_channels, strict=True), start=1
    ):
        assert f"stage {number}: {units} units" in shown
        assert any(text.endswith(f" × {channels}") for text in shown)
    sizes = f"{info.parameters:,} parameters, {info.multiply_adds:,} multiply-adds"
    assert any(sizes in text for text in shown)
    assert [text for text in shown if text.startswith("dense")] == [f"dense, {info.classes}"]
    # Convolutions of one unit stand for those of a stage.
    assert len([text for text in shown if " conv, " in text]) < 12


def test_a_network_of_other_fields_and_images():
    fields = {"units": (1, 2), "filters": (8, 16), "stem_filters": 8, "downsample_at": "last_unit"}
    shown = texts(draw_network("resnet20", (None, None, 1), 5, title="mine", **fields))
    assert {"mine", "any × any × 1", "stage 1: 1 unit", "stage 2: 2 units", "dense, 5"} <= {*shown}
    assert shown.count("unit 1 with stride 2") == 1
    assert not any("multiply-adds" in text for text in shown)


def test_files_are_the_same_at_every_run_and_their_text_is_text(tmp_path):
    for name in ("one.svg", "two.svg", "three.PNG"):
        save_drawing(draw_unit("dropout", title="$5 & more"), tmp_path / name)
    written = (tmp_path / "one.svg").read_text()
    assert written == (tmp_path / "two.svg").read_text()
    assert {"dropout 0.5", "$5 &amp; more"} <= {*re.findall(r">([^<>]+)</text>", written)}
    assert (tmp_path / "three.PNG").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"'\.svg', '\.png'.*unit\.pdf"):
        save_drawing(draw_unit(), tmp_path / "unit.pdf")


def structure(svg):
    """The texts of an SVG file, and how many lines and areas it has; no places."""
    return re.findall(r">([^<>]+)</text>", svg), svg.count("<path"), svg.count("fill: #")


@pytest.mark.parametrize("name", GALLERIES)
@pytest.mark.thorough
def test_the_galleries_of_the_guide_are_what_is_drawn_now(name, tmp_path):
    save_drawing(draw_gallery(name), tmp_path / "now.svg")
    kept = ROOT / "docs" / f"{name}.svg"
    again = f"keras-preact draw {name} --out docs/{name}.svg"
    assert structure(kept.read_text()) == structure((tmp_path / "now.svg").read_text()), again
    assert f"](../{name}.svg)" in (ROOT / "docs" / "guides" / "networks.md").read_text()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["exclusive_gating", "--out", "a.svg"], "unit exclusive_gating: a.svg"),
        (["ResNet20V2", "--stage", "2", "--out", "a.png"], "unit ResNet20V2: a.png"),
        (["plainnet20"], "network plainnet20: plainnet20.svg"),
        (["blocks"], "gallery blocks: blocks.svg"),
        (
            ["resnet20", "--what", "unit", "--set", "network.filters=[16, 64, 128]"],
            "unit resnet20: resnet20.svg",
        ),
        (["augmentation"], "sheet augmentation: augmentation.png"),
        (
            [
                *["augmentation", "--images", "3", "--draws", "2", "--recipe", "fast_cifar"],
                *["--set", "augmentation.policy=rand_augment", "--set", "recipe.cutmix=1"],
                *["--out", "sheet.svg"],
            ],
            "sheet augmentation: sheet.svg",
        ),
    ],
    ids=" ".join,
)
def test_the_command_says_where_it_drew(argv, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["draw", *argv]) == 0
    assert capsys.readouterr().out.strip() == said
    assert (tmp_path / said.split(": ")[1]).stat().st_size > 1000


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["exclusive_gatin"], "Did you mean 'exclusive_gating'?"),
        (["resnet110v3"], "Did you mean 'resnet110v2'?"),
        (["basic", "--out", "basic.pdf"], "'.svg', '.png'"),
        (["resnet20", "--what", "units"], "Did you mean 'unit'?"),
        (["resnet20", "--what", "network", "--stage", "2"], "--what network with --stage"),
        (["shortcuts", "--stride", "2"], "takes no --stride"),
        (["basic", "--set", "recipe.epochs=1"], "network.FIELD=VALUE"),
        (["basic", "--set", "network.gate_bais=1"], "Did you mean 'gate_bias'?"),
        (["resnet20", "--unit", "2"], "`unit` must be None unless `stage` is given"),
        (["resnet20", "--stage", "7"], "stage=7"),
        (["basic", "--stage", "two"], "two"),
        (
            ["basic", "--recipe", "quick", "--draws", "2"],
            "--recipe, --draws belong to `draw augment",
        ),
        (["augmentation", "--stage", "2", "--what", "unit"], "Received: --what, --stage."),
        (["augmentation", "--out", "sheet.gif"], "'.png', '.svg', '.pdf'"),
        (["augmentation", "--images", "0"], "`images` must be from 2 to 40"),
        (["augmentation", "--recipe", "quik"], "Did you mean 'quick'?"),
        (["augmentation", "--set", "augmentation.policy=auto"], "'rand_augment'"),
        (["augmentations"], "Did you mean 'augmentation'?"),
    ],
    ids=" ".join,
)
def test_mistakes_are_one_line_and_exit_code_2(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["draw", *argv]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert (out, len(err.splitlines()), [*tmp_path.iterdir()]) == ("", 1, [])
