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


#: Images a second in training on 2 cores of an AMD EPYC (Zen 4) in float32: ResNet-20 V2 1,200.
_CIFAR_COST = "64,000 steps of 128, 8.2 million images: ResNet-20 in 2 hours of 2 cores"
_CIFAR_SHORT = "the first 2 to 10 epochs alone, in which the papers' tables keep their order"
_NO_IMAGENET = "nothing: there was no ImageNet where this was written"

CARDS = {
    "quick": RecipeCard(
        what="SGD with Nesterov's momentum and a cosine: for a first look at any images",
        source="common practice; kernels alone decay, as in He T. et al. 2019",
        cost="30 epochs; ResNet-20 V2 on 1,437 digits in 45 s of 2 cores",
        measured="98.9 % of the test part of digits with ResNet-20 V2 (README); after 10 epochs of "
        "10,000 images of CIFAR-10 68 %, and less with nearly all that was added (results/)",
    ),
    "fast_cifar": RecipeCard(
        what="small batches and a rate that falls linearly to 0, for 10 to 30 epochs",
        source="Li, Yumer and Ramanan 2020, Budgeted Training",
        cost="20 epochs, a million images of CIFAR: ResNet-20 V2 in 15 minutes of 2 cores",
        measured="85.75 % with ResNet-20 V2 on copies of CIFAR-10 in JPEG files (README)",
    ),
    "cifar_300": RecipeCard(
        what="a long training with mixup, for the best that a network of CIFAR gives",
        source="the defaults of osmr/imgclsmob's script, whose zoo has PreResNet-20 at 6.51 % and "
        "ResNet-20 at 5.97 %; with what command these two were trained is not published, and how "
        "many of 300 epochs and images of a batch are theirs not either",
        cost="300 epochs, 15 million images: ResNet-20 in 3.5 hours of 2 cores",
        measured="nothing of that length",
        untried="the zoo's errors; it blends a batch with its reverse, here neighbours are blended",
    ),
    "fine_tune": RecipeCard(
        what="from trained weights, for tens of images a class",
        source="common practice: a tenth of the rate, small batches, a cosine",
        cost="10 epochs",
        measured="nothing yet; its rows in results/recipes are begun",
    ),
    "he2015_cifar": RecipeCard(
        what="the first paper's training on CIFAR",
        source="He et al. 2015, section 4.2; 110 layers there begin at 0.01 as in he2016_cifar",
        cost=_CIFAR_COST,
        measured=_CIFAR_SHORT,
        untried="Table 6: ResNet-20 8.75 %, ResNet-110 6.43 %",
    ),
    "he2016_cifar": RecipeCard(
        what="the second paper's training on CIFAR",
        source="He et al. 2016, appendix",
        cost=_CIFAR_COST,
        measured=_CIFAR_SHORT,
        untried="Table 3: ResNet-110 V2 6.37 %, ResNet-164 V2 5.46 %, ResNet-1001 V2 4.92 %",
    ),
    "he2016_cifar_torch": RecipeCard(
        what="the authors' code for ResNet-1001 V2: smaller batches, each channel standardised",
        source="KaimingHe/resnet-1k-layers on fb.resnet.torch, with 2 GPUs",
        cost="200 epochs, 10 million images: 10.2 million parameters want a GPU",
        measured="nothing",
        untried="4.62 % with ResNet-1001 V2, the median of five runs",
    ),
    "he2015_imagenet": RecipeCard(
        what="the first paper's training on ImageNet",
        source="He et al. 2015, section 3.4; the rate is divided at each quarter, where the paper "
        "waits for the error to plateau",
        cost="600,000 steps of 256 images",
        measured=_NO_IMAGENET,
        untried="Table 3, ten crops: ResNet-50 22.85 %, ResNet-152 21.43 %",
    ),
    "he2016_imagenet": RecipeCard(
        what="the second paper's training on ImageNet",
        source="He et al. 2016, appendix; augmentation.aspect=true is in the last row of Table 5",
        cost="90 epochs",
        measured=_NO_IMAGENET,
        untried="Table 5: ResNet-200 V2 20.7 %, with aspect 20.1 %",
    ),
    "rectifier_imagenet": RecipeCard(
        what="the rectifier paper's training on ImageNet",
        source="He et al. 2015 (Delving Deep into Rectifiers), section 3",
        cost="80 epochs",
        measured=_NO_IMAGENET,
        untried="Table 2, 14 layers, ten crops: 33.82 % with ReLU, 32.64 % with PReLU",
    ),
    "imagenet_a3": RecipeCard(
        what="a training of today on ImageNet, short and at 160 pixels (--image-size 160)",
        source="Wightman et al. 2021, Table 2, procedure A3. Their RandAugment draws its strength "
        "around 6, here it is 6; their optimiser is timm's LAMB, here Keras's; they count an image "
        "of a blend as fully there, here with its share",
        cost="100 epochs at half the pixels of 224",
        measured=_NO_IMAGENET,
        untried="78.1 % of ImageNet with ResNet-50, tested at 224 with 95 % of the shorter side",
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
        >>> recipe_card("he2016_cifar").source
        'He et al. 2016, appendix'
    """
    require(name in RECIPES, "recipe", name, f"one of {quoted(RECIPES)}", near(name, RECIPES))
    return CARDS[name]


def fields_of(name: str) -> dict:
    """The fields of a recipe that differ from the defaults of `Recipe`."""
    usual = Recipe().to_dict()
    return {key: value for key, value in RECIPES[name].to_dict().items() if value != usual[key]}
