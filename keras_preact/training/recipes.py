"""Training recipes as a table: the papers' and a quick one."""

import dataclasses
from typing import Literal

from keras_preact.checked import Checked, require


@dataclasses.dataclass(frozen=True)
class Recipe(Checked):
    """How a network is trained, but for its data: optimiser, schedule, decay, preprocessing.

    Args:
        epochs: Passes over the training images.
        batch_size: Images in a step.
        learning_rate: Its highest value.
        momentum: Momentum of SGD, in the papers' (Caffe's) form v = m v + lr g.
        nesterov: Nesterov's momentum.
        schedule: `"step"`: the rate is multiplied by `decay_factor` at each milestone, and in the
            warm-up it is a tenth; `"cosine"`: it rises linearly in the warm-up, then falls along a
            half cosine to 0.
        milestones: Shares of all steps, ascending, for `"step"`.
        decay_factor: Factor at a milestone, for `"step"`.
        warmup_steps: Steps of warm-up; `None`, and in a training too short for them: a twentieth
            of all steps.
        weight_decay: Factor of the L2 penalty's gradient, added to the loss's (coupled, as in the
            papers).
        decayed: Weights that decay: `"all"` (the authors' code) or `"kernels"`. Slopes of PReLU
            never do (rectifier paper, section 2.1).
        preprocessing: `"pixel_mean"` subtracts the training images' mean at each pixel (the
            papers), `"standardize"` subtracts each channel's mean and divides by its standard
            deviation (fb.resnet.torch), `"none"` does neither. It is part of the trained model.
        augmentation: `"crop"` (pad, crop, flip: CIFAR), `"imagenet"` (scale, crop, flip, colour)
            or `"none"`.

    Example:
        >>> from keras_preact.training import RECIPES
        >>> RECIPES["he2016-cifar"].replace(epochs=20).learning_rate
        0.1
    """

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    schedule: Literal["step", "cosine"] = "cosine"
    milestones: tuple[float, ...] = ()
    decay_factor: float = 0.1
    warmup_steps: int | None = None
    weight_decay: float = 5e-4
    decayed: Literal["all", "kernels"] = "kernels"
    preprocessing: Literal["pixel_mean", "standardize", "none"] = "standardize"
    augmentation: Literal["crop", "imagenet", "none"] = "crop"

    def check(self) -> None:
        for name in ("epochs", "batch_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("learning_rate", "decay_factor"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "in [0, 1)")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        warmup = self.warmup_steps
        require(warmup is None or warmup >= 0, "warmup_steps", warmup, "at least 0 or None")
        marks = self.milestones
        inside = all(0 < mark < 1 for mark in marks) and list(marks) == sorted(set(marks))
        require(inside, "milestones", marks, "ascending shares of the training between 0 and 1")


#: Recipes by name. Sources: the 2015 paper's section 4.2, the 2016 paper's appendix, and
#: fb.resnet.torch for the 90 epochs of ImageNet.
RECIPES = {
    "quick": Recipe(),
    "he2015-cifar": Recipe(  # for 110 and more layers the paper warms up, as he2016-cifar does
        epochs=164,  # 64,000 iterations of 128 images
        nesterov=False,
        schedule="step",
        milestones=(0.5, 0.75),  # 32,000 and 48,000 iterations
        warmup_steps=0,
        weight_decay=1e-4,
        decayed="all",
        preprocessing="pixel_mean",
    ),
    "he2016-cifar": Recipe(
        epochs=164,
        nesterov=False,
        schedule="step",
        milestones=(0.5, 0.75),
        warmup_steps=400,  # at a tenth of the rate
        weight_decay=1e-4,
        decayed="all",
        preprocessing="pixel_mean",
    ),
    "he2016-imagenet": Recipe(  # the mean of each channel, so that the test may use other sizes
        epochs=90,
        batch_size=256,
        nesterov=False,
        schedule="step",
        milestones=(1 / 3, 2 / 3),  # epochs 30 and 60
        warmup_steps=0,
        weight_decay=1e-4,
        decayed="all",
        augmentation="imagenet",
    ),
}
