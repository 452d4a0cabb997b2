"""A card of each recipe: what it is for, whose it is, what it costs, and what is known of it."""

from typing import NamedTuple

from keras_preact.checked import require
from keras_preact.errors import near, quoted
from keras_preact.training.recipes import RECIPES, Recipe


class RecipeCard(NamedTuple):
    """What there is to say of a recipe beside its fields.

    Attributes:
        what: What it is and what it is for.
        source: Whose it is, and where what is done here differs.
        cost: How long it takes.
        measured: What came of it here, and where that stands; "nothing" if it was not tried.
        untried: What it is said to reach elsewhere, or what nobody here has looked at.
    """

    what: str
    source: str
    cost: str
    measured: str
    untried: str = ""


_CIFAR_COST = "64,000 steps of 128 images: 12 hours of 2 cores for ResNet-20, a day for ResNet-56"
_SHORT = "their first epochs alone: the order of the papers' tables after 2 to 10 (results/)"
_IMAGENET = "nothing: there was no ImageNet where this was written"

CARDS = {
    "quick": RecipeCard(
        what="SGD with Nesterov's momentum and a cosine, 30 epochs: for a first look at any images",
        source="common practice; decay of kernels alone as in Goyal et al. 2017 and He et al. 2019",
        cost="30 epochs",
        measured="98 % of the test part of digits",
    ),
    "fast_cifar": RecipeCard(
        what="small batches and a rate that falls linearly to 0, for 10 to 30 epochs",
        source="Li, Yumer, Ramanan: Budgeted Training, 2020",
        cost="20 epochs: 52 minutes of 2 cores for ResNet-20 V2 on 50,000 images of CIFAR-10",
        measured="85.75 % with ResNet-20 V2 on copies of CIFAR-10 in JPEG files (README)",
    ),
}


def recipe_card(name: str) -> RecipeCard:
    """The card of a recipe.

    Args:
        name: One of `RECIPES`.

    Raises:
        ConfigError: For another name.

    Example:
        >>> from keras_preact.training import recipe_card
        >>> recipe_card("imagenet_a3").source.split(":")[0]
        'Wightman et al. 2021, Table 2'
    """
    require(name in RECIPES, "recipe", name, f"one of {quoted(RECIPES)}", near(name, RECIPES))
    return CARDS[name]


def fields_of(name: str) -> dict:
    """The fields of a recipe that differ from the defaults of `Recipe`."""
    usual = Recipe().to_dict()
    return {key: value for key, value in RECIPES[name].to_dict().items() if value != usual[key]}
