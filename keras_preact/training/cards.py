"""The recipes as a table, those of the papers and modern ones, with purpose, source and results."""

from typing import Any, NamedTuple

from keras_preact.checked import require
from keras_preact.errors import near, quoted
from keras_preact.training.recipes import Recipe


class RecipeCard(NamedTuple):
    """A recipe, and what to know about it besides its fields.

    Attributes:
        recipe: Its fields.
        what: What it is, and what it is for.
        source: Where it comes from, and how this implementation differs.
        cost: How long it takes.
        measured: Results obtained here, and where they are documented; "nothing" if it was not
            tried.
        untried: Results reported elsewhere that were not reproduced here.
    """

    recipe: Recipe
    what: str
    source: str
    cost: str
    measured: str
    untried: str = ""


#: Images a second in training on 2 cores of an AMD EPYC (Zen 4) in float32: ResNet-20 V2 1,200.
_CIFAR_COST = "64,000 steps of 128, 8.2 million images: ResNet-20 in 2 hours of 2 cores"
_CIFAR_SHORT = "the first 2 to 10 epochs alone, in which the papers' tables keep their order"
_NO_IMAGENET = "nothing: ImageNet was not available to the author"

_CAFFE: dict[str, Any] = {
    "nesterov": False,
    "schedule": "step",
    "weight_decay": 1e-4,
    "decayed": "all",
}
_CIFAR = Recipe(
    epochs=164,  # 64,000 iterations of 128 images
    milestones=(0.5, 0.75),  # 32,000 and 48,000 iterations
    preprocessing="pixel_mean",
    **_CAFFE,
)
_IMAGENET = Recipe(
    epochs=90,
    batch_size=256,
    milestones=(1 / 3, 2 / 3),
    warmup_steps=0,
    augmentation="imagenet",
    **_CAFFE,
)


def _like_timms(magnitude: int) -> dict[str, Any]:
    """The augmentation of Wightman et al. 2021, with the strength of RandAugment."""
    policy = {"policy": "rand_augment", "magnitude": magnitude}
    return {"aspect": True, "colour": 0.0, **policy}


_STRIKES_BACK = Recipe(  # Wightman et al. 2021, Table 2: what its procedures have in common
    batch_size=2048,
    optimizer="lamb",
    learning_rate=0.005,
    weight_decay=0.02,
    loss="binary_crossentropy",
    mixup=0.1,
    cutmix=1.0,
    augmentation="imagenet",
    augmentation_arguments=_like_timms(7),
)
_NOT_THE_SHORTEST: dict[str, Any] = {
    "warmup_steps": 5 * 625,  # 5 epochs of ImageNet
    "repeats": 3,
    "network_arguments": {"stochastic_depth": 0.05, "stochastic_depth_by": "image"},
}
_UNLIKE_TIMM = (
    "Their RandAugment draws its strength around the magnitude that it has here; their optimiser "
    "is timm's LAMB, here Keras's; they count an image of a blend as fully there, here with its "
    "share"
)
_DEPTH_UNLIKE_TIMM = (
    "Their rates of stochastic depth begin at 0 in the first unit, here at its share"
)

#: Sources: the 2015 paper's sections 3.4 and 4.2, the 2016 paper's appendix, the rectifier paper's
#: section 3, and fb.resnet.torch. Where a paper divides the rate "when the error plateaus", the
#: shares are ours: a schedule that looks at no test image and repeats exactly.
CARDS = {
    "quick": RecipeCard(
        recipe=Recipe(batch_size=64),  # by the tables of results/: as soon done as 128, and better
        what="SGD with Nesterov momentum and a cosine schedule: for a first look at any images",
        source="common practice; kernels alone decay, as in He T. et al. 2019",
        cost="30 epochs; ResNet-20 V2 on 1,437 digits in 16 s of 2 cores",
        measured="98.9 % of the test part of digits with ResNet-20 V2 (README); after 10 epochs of "
        "10,000 images of CIFAR-10 69 %, and less with nearly all that was added (results/)",
    ),
    "fast_cifar": RecipeCard(
        recipe=Recipe(epochs=20, batch_size=64, schedule="one_cycle", warmup_steps=1500),
        what="small batches and a learning rate that falls linearly to 0, for 10 to 30 epochs",
        source="Li, Yumer and Ramanan 2020, Budgeted Training",
        cost="20 epochs, a million images of CIFAR: ResNet-20 V2 in 15 minutes of 2 cores",
        measured="85.75 % with ResNet-20 V2 on copies of CIFAR-10 in JPEG files (README), and "
        "94.33 % of Fashion-MNIST after 30 epochs (results/)",
    ),
    "cifar_300": RecipeCard(
        recipe=Recipe(
            epochs=300,
            warmup_steps=0,
            weight_decay=1e-4,
            decayed="all",
            mixup=1.0,
            blend_until=280 / 300,
        ),
        what="a long schedule with mixup, for the best accuracy on CIFAR",
        source="the defaults of osmr/imgclsmob's script, whose zoo has PreResNet-20 at 6.51 % and "
        "ResNet-20 at 5.97 %; the command that trained these two is not published, nor whether "
        "they used 300 epochs and this batch size",
        cost="300 epochs, 15 million images: ResNet-20 in 3.5 hours of 2 cores",
        measured="nothing of this length",
        untried="the zoo's errors; it blends a batch with its reverse, here neighbours are blended",
    ),
    "fine_tune": RecipeCard(
        recipe=Recipe(epochs=30, batch_size=32, learning_rate=0.02, weight_decay=1e-4),
        what="fine-tuning from trained weights, for tens of images per class",
        source="common practice, with the rate and length that the table of photographs suggests",
        cost="30 epochs; ResNet-20 V2 on 400 images of 64 pixels in 75 s of 2 cores",
        measured="45.7 % of 20 classes of Tiny-ImageNet, 20 photographs of each, from weights of "
        "CIFAR-10, where training from nothing gives 29 %; at 0.01 42.9 %, at 0.05 48.1 %, at 0.1 "
        "48.7 % (results/)",
        untried="large networks with weights of ImageNet, often fine-tuned at 0.01 or less",
    ),
    "fine_tune_large": RecipeCard(
        recipe=Recipe(epochs=10, batch_size=32, learning_rate=0.05, weight_decay=1e-4),
        what="fine-tuning from trained weights, for hundreds of images per class",
        source="as fine_tune",
        cost="10 epochs; ResNet-20 V2 on 4,000 images of 64 pixels in 4 minutes of 2 cores",
        measured="70.1 % of 20 classes of Tiny-ImageNet, 200 photographs of each, from weights of "
        "CIFAR-10, where training from nothing gives 49.5 % in as long; at 0.01 64.7 % (results/)",
        untried="as fine_tune",
    ),
    "he2015_cifar": RecipeCard(
        recipe=_CIFAR.replace(warmup_steps=0),
        what="the first paper's training on CIFAR",
        source="He et al. 2015, section 4.2; 110 layers there begin at 0.01 as in he2016_cifar",
        cost=_CIFAR_COST,
        measured=_CIFAR_SHORT,
        untried="Table 6: ResNet-20 8.75 %, ResNet-110 6.43 %",
    ),
    "he2016_cifar": RecipeCard(
        recipe=_CIFAR.replace(warmup_steps=400),  # at a tenth of the rate
        what="the second paper's training on CIFAR",
        source="He et al. 2016, appendix",
        cost=_CIFAR_COST,
        measured=_CIFAR_SHORT,
        untried="Table 3: ResNet-110 V2 6.37 %, ResNet-164 V2 5.46 %, ResNet-1001 V2 4.92 %",
    ),
    "he2016_cifar_torch": RecipeCard(
        recipe=_CIFAR.replace(
            epochs=200,
            batch_size=64,
            nesterov=True,
            milestones=(80 / 200, 121 / 200),
            warmup_steps=0,
            preprocessing="standardize",
        ),
        what="the authors' code for ResNet-1001 V2: smaller batches, each channel standardised",
        source="KaimingHe/resnet-1k-layers on fb.resnet.torch, with 2 GPUs",
        cost="200 epochs, 10 million images: 10.2 million parameters need a GPU",
        measured="nothing",
        untried="4.62 % with ResNet-1001 V2, the median of five runs",
    ),
    "he2015_imagenet": RecipeCard(
        recipe=_IMAGENET.replace(  # 600,000 iterations of 256 images
            epochs=120, milestones=(0.25, 0.5, 0.75), preprocessing="pixel_mean"
        ),
        what="the first paper's training on ImageNet",
        source="He et al. 2015, section 3.4; the rate is divided at each quarter, where the paper "
        "waits for the error to plateau",
        cost="600,000 steps of 256 images",
        measured=_NO_IMAGENET,
        untried="Table 3, ten crops: ResNet-50 22.85 %, ResNet-152 21.43 %",
    ),
    "he2016_imagenet": RecipeCard(
        recipe=_IMAGENET,  # the mean of each channel, so that the test may use other sizes
        what="the second paper's training on ImageNet",
        source="He et al. 2016, appendix; augmentation.aspect=true is in the last row of Table 5",
        cost="90 epochs",
        measured=_NO_IMAGENET,
        untried="Table 5: ResNet-200 V2 20.7 %, with aspect 20.1 %",
    ),
    "rectifier_imagenet": RecipeCard(
        recipe=_IMAGENET.replace(
            epochs=80,
            batch_size=128,
            learning_rate=0.01,
            weight_decay=5e-4,
            scale=(256, 512),
            preprocessing="pixel_mean",
        ),
        what="the rectifier paper's training on ImageNet",
        source="He et al. 2015 (Delving Deep into Rectifiers), section 3",
        cost="80 epochs",
        measured=_NO_IMAGENET,
        untried="Table 2, 14 layers, ten crops: 33.82 % with ReLU, 32.64 % with PReLU",
    ),
    "imagenet_a1": RecipeCard(
        recipe=_STRIKES_BACK.replace(
            epochs=600,
            weight_decay=0.01,
            label_smoothing=0.1,
            mixup=0.2,
            **_NOT_THE_SHORTEST,
        ),
        what="the longest of three modern recipes for ImageNet at 224 pixels",
        source=f"Wightman et al. 2021, Table 2, procedure A1. {_UNLIKE_TIMM}. {_DEPTH_UNLIKE_TIMM}",
        cost="600 epochs",
        measured=_NO_IMAGENET,
        untried="80.4 % of ImageNet with ResNet-50, tested with 95 % of the shorter side",
    ),
    "imagenet_a2": RecipeCard(
        recipe=_STRIKES_BACK.replace(epochs=300, **_NOT_THE_SHORTEST),
        what="the middle one of three modern recipes for ImageNet at 224 pixels",
        source=f"Wightman et al. 2021, Table 2, procedure A2. {_UNLIKE_TIMM}. {_DEPTH_UNLIKE_TIMM}",
        cost="300 epochs",
        measured=_NO_IMAGENET,
        untried="79.8 % of ImageNet with ResNet-50, tested with 95 % of the shorter side",
    ),
    "imagenet_a3": RecipeCard(
        recipe=_STRIKES_BACK.replace(  # of its 100 epochs 5 are warm-up, a twentieth
            epochs=100, learning_rate=0.008, augmentation_arguments=_like_timms(6)
        ),
        what="the shortest of three modern recipes, for ImageNet at 160 pixels (--image-size 160)",
        source=f"Wightman et al. 2021, Table 2, procedure A3. {_UNLIKE_TIMM}",
        cost="100 epochs at half the pixels of 224",
        measured=_NO_IMAGENET,
        untried="78.1 % of ImageNet with ResNet-50, tested at 224 with 95 % of the shorter side",
    ),
}

#: By name, their fields alone.
RECIPES = {name: card.recipe for name, card in CARDS.items()}


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


def fields_of(name: str) -> dict[str, Any]:
    """The fields of a recipe that differ from the defaults of `Recipe`."""
    usual = Recipe().to_dict()
    return {key: value for key, value in RECIPES[name].to_dict().items() if value != usual[key]}


def words_of(card: RecipeCard) -> dict[str, str]:
    """What a card says beside the fields."""
    return {name: text for name, text in card._asdict().items() if name != "recipe"}
