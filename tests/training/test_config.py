"""`TrainConfig`: what resolves to what, and the mistakes that are refused."""

import json
import pathlib

import pytest

from keras_preact import TrainConfig
from keras_preact.citations import citations
from keras_preact.cli import main
from keras_preact.errors import ConfigError
from keras_preact.training import RECIPES, Recipe, recipe_card


def adamw(name, value):
    """Fields of a training with AdamW, but for a setting."""
    return {"learning_rate": 0.001, "settings": {"recipe.optimizer": "adamw", name: value}}


def test_shorthands_and_settings_reach_their_parts():
    config = TrainConfig(
        "resnet110",
        "folder:images",
        "he2016_cifar",
        epochs=3,
        batch_size=64,
        learning_rate=0.05,
        image_size=48,
        on_bad_image="skip",
        settings={
            "network.shortcut": "exclusive_gating",
            "network.gate_bias": -7,
            "recipe.momentum": 0.8,
            "augmentation.pad": 2,
            "data.test_fraction": 0.3,
            "network.units": (2, 2, 2),
        },
    )
    parts = config.resolve()
    assert (parts.network.shortcut, parts.network.gate_bias) == ("exclusive_gating", -7.0)
    assert parts.network.placement == "original"
    assert parts.recipe == RECIPES["he2016_cifar"].replace(
        epochs=3, batch_size=64, learning_rate=0.05, momentum=0.8
    )
    assert (parts.augmentation.kind, parts.augmentation.pad) == ("crop", 2)
    assert (parts.data.image_size, parts.data.on_bad_image) == (48, "skip")
    assert parts.data.test_fraction == 0.3
    assert TrainConfig.from_json(config.to_json()) == config
    assert set(parts.to_dict()) == {"network", "recipe", "data", "augmentation"}


def test_the_recipes_augmentation_can_be_set():
    parts = TrainConfig(settings={"recipe.augmentation": "none"}).resolve()
    assert parts.augmentation.kind == "none"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "resnet20-v2"}, "Did you mean 'resnet20v2'"),
        ({"recipe": "quik"}, "one of 'quick'.*Did you mean 'quick'"),
        ({"epochs": 0}, "`epochs` must be at least 1"),
        ({"epochs": "ten"}, "`epochs` must be a whole number. Received: epochs='ten'"),
        ({"batch_size": -1}, "batch_size"),
        ({"learning_rate": 0}, "learning_rate` must be above 0"),
        ({"learning_rate": float("inf")}, "finite"),
        ({"dtype": "bfloat61"}, "'mixed_bfloat16'"),
        ({"seed": -1}, "seed"),
        ({"out": ""}, "out"),
        ({"epochs": 3, "settings": {"recipe.epochs": 5}}, "one value for recipe.epochs"),
        ({"on_bad_image": "ignore"}, "'error', 'skip'"),
        ({"settings": {"network.shortcuts": "none"}}, "Did you mean 'shortcut'"),
        ({"settings": {"netwrok.shortcut": "none"}}, "Did you mean 'network'"),
        ({"settings": {"shortcut": "none"}}, "PART.FIELD"),
        ({"settings": {"network": "none"}}, "PART.FIELD"),
        ({"batch_size": "all"}, r"batch_size. must be one of 'auto'. Received: batch_size='all'"),
        ({"workers": "a:1"}, "different addresses host:port"),
        ({"workers": "a:1,a:1", "index": 0}, "different addresses host:port"),
        ({"workers": "a:1,b:1"}, "`index` must be from 0 to 1"),
        ({"workers": "a:1,b:1", "index": 2}, "`index` must be from 0 to 1"),
        ({"index": 0}, "None without workers"),
        ({"save_every": 0}, "save_every"),
        ({"sync_batch_norm": True, "packaging": "repeated"}, "packaging='flat' or 'nested'"),
        ({"settings": {"recipe.ema": 1.0}}, r"`ema` must be in \[0, 1\)"),
        ({"settings": {"recipe.bn_batch": 0}}, "bn_batch"),
        ({"settings": {"recipe.momentum": 1.0}}, r"in \[0, 1\)"),
        ({"settings": {"recipe.milestones": [0.5, 0.2]}}, "ascending"),
        ({"settings": {"recipe.optimizer": "adam"}}, "`learning_rate` must be given for adam"),
        (adamw("recipe.optimizer", "muon"), "one of 'sgd', 'rmsprop'"),
        (adamw("recipe.decay", "coupled"), "'decoupled' or None for adamw"),
        (
            adamw("recipe.optimizer_arguments", {"betas": 1}),
            "some of 'beta_1', .*optimizers.Adam",
        ),
        (adamw("recipe.optimizer_arguments", {"weight_decay": 1}), "Set recipe.weight_decay"),
        (adamw("recipe.optimizer_arguments", {"beta_1": 1}), "a number between 0 and 1"),
        (adamw("recipe.optimizer_arguments", {"epsilon": "1"}), "a number above 0"),
        (adamw("recipe.optimizer_arguments", {"amsgrad": 1}), "True or False"),
        ({"settings": {"recipe.optimizer_arguments": {"momentum": 0.5}}}, "Set recipe.momentum"),
        ({"settings": {"recipe.layer_decay": 1.5}}, "above 0 and at most 1"),
        ({"settings": {"recipe.blend_until": 0}}, "above 0 and at most 1"),
        ({"settings": {"recipe.augmentation_arguments": {"cutuot": 8}}}, "Did you mean 'cutout'"),
        ({"settings": {"recipe.clip_norm": 0}}, "above 0, or None"),
        ({"settings": {"recipe.loss": "mse"}}, "'binary_crossentropy'"),
        ({"settings": {"recipe.repeats": 0}}, "`repeats` must be at least 1"),
        ({"settings": {"recipe.repeats": 33}}, "1, or at most 32, half of the batch"),
        (
            {"settings": {"recipe.repeats": 3, "recipe.balance": "sampling"}},
            "1 with balance='sampling'.*balance='weights' does not",
        ),
        (
            {"settings": {"recipe.repeats": 3, "recipe.augmentation": "none"}},
            "1 without augmentation",
        ),
        (
            {"settings": {"recipe.network_arguments": {"stochastic_deepth": 0.5}}},
            "Did you mean 'stochastic_depth'",
        ),
        (
            {"recipe": "imagenet_a1", "model": "plainnet18"},
            "shortcut='none' needs stochastic_depth=0",
        ),
    ],
    ids=str,
)
def test_mistakes_are_refused_in_one_line(fields, words):
    with pytest.raises(ConfigError, match=words) as caught:
        TrainConfig(**fields)
    assert "\n" not in str(caught.value)
    assert "Received: " in str(caught.value)


def test_a_recipe_says_all_of_its_augmentation_and_settings_come_after_it():
    config = TrainConfig("resnet18v2", recipe="imagenet_a3", image_size=160)
    found = config.resolve().augmentation
    assert (found.kind, found.policy, found.magnitude) == ("imagenet", "rand_augment", 6)
    assert found.aspect and not found.colour
    changed = config.replace(settings={"augmentation.magnitude": 9, "augmentation.erasing": 0.25})
    assert changed.resolve().augmentation == found.replace(magnitude=9, erasing=0.25)


# By hand, from Table 2 of Wightman et al. 2021.
STRIKES_BACK = {
    "epochs": (600, 300, 100),
    "batch_size": (2048, 2048, 2048),
    "optimizer": ("lamb", "lamb", "lamb"),
    "learning_rate": (5e-3, 5e-3, 8e-3),
    "schedule": ("cosine", "cosine", "cosine"),
    "weight_decay": (0.01, 0.02, 0.02),
    "label_smoothing": (0.1, 0, 0),
    "repeats": (3, 3, 1),
    "clip_norm": (None, None, None),
    "mixup": (0.2, 0.1, 0.1),
    "cutmix": (1, 1, 1),
    "ema": (0, 0, 0),
    "loss": ("binary_crossentropy",) * 3,
}


@pytest.mark.parametrize("column", range(3))
def test_procedures_of_resnet_strikes_back(column):
    parts = TrainConfig("resnet50", recipe=f"imagenet_a{column + 1}").resolve()
    expected = {name: values[column] for name, values in STRIKES_BACK.items()}
    assert {name: getattr(parts.recipe, name) for name in STRIKES_BACK} == expected
    augmentation = parts.augmentation
    assert (augmentation.policy, augmentation.operations) == ("rand_augment", 2)
    assert (augmentation.magnitude, augmentation.erasing) == ((7, 7, 6)[column], 0)
    assert augmentation.aspect and not (augmentation.jitter or augmentation.colour)
    steps = 1_281_167 // 2048
    assert round(parts.recipe.epochs * steps, -3) == (375_000, 188_000, 62_000)[column]
    warmup = parts.recipe.warmup_steps or parts.recipe.epochs * steps / 20
    assert warmup == 5 * steps
    assert parts.network.stochastic_depth == (0.05, 0.05, 0)[column]
    assert parts.network.stochastic_depth_rule == "linear"
    assert parts.recipe.needs_validation == []


def test_what_a_recipe_says_of_the_network_comes_before_what_is_set():
    config = TrainConfig("resnet50", recipe="imagenet_a1", settings={"network.stride_on": "3x3"})
    plain = TrainConfig("resnet50").resolve().network
    wanted = {"stochastic_depth": 0.05, "stochastic_depth_by": "image"}
    assert config.resolve().network == plain.replace(**wanted, stride_on="3x3")
    without = config.replace(settings={"network.stochastic_depth": 0.0}).resolve().network
    assert without == plain.replace(stochastic_depth_by="image")
    tagged = TrainConfig("resnet50", recipe="imagenet_a1", init="imagenet").resolve().network
    assert tagged.stochastic_depth == 0.05


def test_a_run_cites_what_its_recipe_uses():
    texts = {name: citations(TrainConfig("resnet50", recipe=name).resolve()) for name in RECIPES}
    for name, key in (("imagenet_a1", "hoffer2020augment"), ("imagenet_a2", "huang2016deep")):
        assert f"{{{key}," in texts[name] and f"{{{key}," not in texts["imagenet_a3"]


def test_the_scale_of_a_recipe_goes_with_the_image():
    config = TrainConfig("resnet18v2", recipe="rectifier_imagenet")
    assert config.resolve().augmentation.scale == (256, 512)
    half = config.replace(image_size=112)
    assert half.resolve().augmentation.scale == (128, 256)


def test_what_decides_the_outcome_is_told_from_what_does_not():
    config = TrainConfig(devices="gpu:0", out="a", save_every=7)
    assert config.training() == TrainConfig().training()
    assert TrainConfig(seed=1).training() != TrainConfig().training()


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json(name):
    assert Recipe.from_json(RECIPES[name].to_json()) == RECIPES[name]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_card(name, capsys):
    card = recipe_card(name)
    assert all((card.what, card.source, card.cost, card.measured))
    assert main(["recipes", name]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith(f"{name}: {card.what}") and " ".join(card.source.split()) in shown
    changed = {k: v for k, v in RECIPES[name].to_dict().items() if v != Recipe().to_dict()[k]}
    assert all(f"{field}={value}" in shown for field, value in changed.items())
    assert TrainConfig("resnet18v2", recipe=name).resolve().recipe == RECIPES[name]


def test_recipes_are_listed(capsys):
    guide = (pathlib.Path(__file__).parents[2] / "docs" / "guides" / "recipes.md").read_text()
    assert all(f"| `{name}` |" in guide for name in RECIPES)
    assert main(["recipes", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == [*RECIPES]
    assert [Recipe.from_dict(row["fields"]) for row in rows] == [*RECIPES.values()]
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name} " in listed for name in RECIPES)
    assert main(["recipes", "fine_tnue"]) == 2
    assert "Did you mean 'fine_tune'" in capsys.readouterr().err
