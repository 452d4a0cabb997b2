"""`Recipe`: how a network is trained; `cards.py` has those with a name."""

import dataclasses
from typing import Any, Literal

from keras_preact.checked import Checked, require
from keras_preact.training.algorithms import OPTIMIZERS, Algorithm


@dataclasses.dataclass(frozen=True)
class Recipe(Checked):
    """How a network is trained, but for its data: optimiser, schedule, decay, preprocessing.

    Args:
        epochs: Passes over the training images.
        batch_size: Images in a step, over all devices.
        optimizer: `"sgd"` (the papers), or another of `OPTIMIZERS`: `"rmsprop"`, `"adam"`,
            `"adamw"`, `"nadam"`, `"lamb"` (Keras's decays outside of its trust ratio), `"lion"`.
        optimizer_arguments: Keras's arguments of that optimiser, such as `{"beta_2": 0.95}`.
        learning_rate: Its highest value. The recipes' are for SGD; others learn at about 0.001.
        momentum: Momentum of SGD, in the papers' (Caffe's) form v = m v + lr g.
        nesterov: Nesterov's momentum, for SGD.
        layer_decay: Factor of the rate from the head to the last stage, from there to the stage
            before it, and so on to the stem, for fine-tuning (Howard and Ruder 2018).
        clip_norm: Largest norm of the gradient of all weights, before decay; a longer one is
            scaled to it (Pascanu et al. 2013). What is logged is the norm before. `None` for any.
        schedule: `"step"`: the rate is multiplied by `decay_factor` at each milestone, and in the
            warm-up it is a tenth; `"cosine"`: it rises linearly in the warm-up, then falls along a
            half cosine to 0; `"one_cycle"`: it rises and falls linearly.
        milestones: Shares of all steps, ascending, for `"step"`.
        decay_factor: Factor at a milestone, for `"step"`.
        warmup_steps: Steps of warm-up; `None`, and in a training too short for them: a twentieth
            of all steps.
        weight_decay: Factor of the weights in the update.
        decay: `"coupled"`: the decay is the gradient of an L2 penalty, and so goes through the
            momentum (the papers); `"decoupled"`: weights shrink by rate times decay in each step
            (Loshchilov and Hutter 2019). `None`: decoupled for adamw, lamb and lion.
        decayed: Weights that decay: `"all"` (the authors' code) or `"kernels"`. Slopes of PReLU
            never do (rectifier paper, section 2.1).
        loss: `"categorical_crossentropy"` of a softmax over the classes, or
            `"binary_crossentropy"` of a sigmoid for each class, the mean over the classes, whose
            gradient is smaller (Wightman et al. 2021). Images that are blended have their shares as
            targets. Scores and test loss are a softmax's in either case: of sigmoids it gives the
            probability of each class, given that an image is of exactly one.
        label_smoothing: Share of the target that is spread evenly over the classes, in [0, 1)
            (Szegedy et al. 2016).
        balance: What is done about classes of unequal size. `"weights"`: each image counts n /
            (classes * images of its class); `"sampling"`: each epoch draws as many images of each
            class, n in all, those of small classes several times and changed in another way each
            time; `"logit_adjustment"`: the logarithm of each class's share of the images is added
            to the logits in the loss (Menon et al. 2021); or `"none"`. The images' own weights
            (`data.weight_column`) count beside any of them.
        mixup: Parameter of the Beta distribution from which each step draws how it blends its
            images with others of the batch; 0 for none (Zhang et al. 2018).
        cutmix: The same for the share of an image that a box of another leaves of it (Yun et al.
            2019: 1); 0 for none. Where both are given, each has half of the pairs of images.
        blend_until: Share of the epochs after which images are no longer blended, in (0, 1].
        ema: Share of the old value that the moving average of the weights keeps in a step, in
            [0, 1). The average is what is evaluated and saved. 0 for none.
        bn_batch: Images over which batch normalisation takes its statistics in a step, and which
            are in memory at once; `None`: those of a device. It divides them. The authors' 128
            images on two GPUs are 64.
        monitor: What of the validation part tells which epoch is best, `"error"` or `"loss"`; the
            least is.
        keep: Whose epoch's weights are kept, evaluated and exported: the `"last"` one's (the
            papers), or the `"best"` one's, by the validation part.
        patience: Epochs without a new best after which the training ends early; `None`: it does
            not.
        precise_bn: After training, statistics for the test are averaged over this many training
            images, as the authors did for the networks they released; 0: the moving averages. They
            are drawn as an epoch draws them, by `balance="sampling"` as many of each class.
        preprocessing: `"pixel_mean"` subtracts the training images' mean at each pixel (the
            papers), `"standardize"` subtracts each channel's mean and divides by its standard
            deviation (fb.resnet.torch), `"none"` does neither. It is part of the trained model.
        augmentation: `"crop"` (pad, crop, flip: CIFAR), `"imagenet"` (scale, crop, flip, colour)
            or `"none"`.
        augmentation_arguments: Other fields of `Augmentation`, such as `{"cutout": 16}`.
        scale: Least and greatest length of the shorter side for `"imagenet"` at 224 pixels, and in
            proportion for other sizes; `None` for (256, 480).

    Example:
        >>> from keras_preact.training import RECIPES
        >>> RECIPES["he2016_cifar"].replace(epochs=20).learning_rate
        0.1
    """

    epochs: int = 30
    batch_size: int = 128
    optimizer: Literal[*OPTIMIZERS] = "sgd"
    optimizer_arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    layer_decay: float = 1.0
    clip_norm: float | None = None
    schedule: Literal["step", "cosine", "one_cycle"] = "cosine"
    milestones: tuple[float, ...] = ()
    decay_factor: float = 0.1
    warmup_steps: int | None = None
    weight_decay: float = 5e-4
    decay: Literal["coupled", "decoupled"] | None = None
    decayed: Literal["all", "kernels"] = "kernels"
    loss: Literal["categorical_crossentropy", "binary_crossentropy"] = "categorical_crossentropy"
    label_smoothing: float = 0.0
    balance: Literal["none", "weights", "sampling", "logit_adjustment"] = "none"
    mixup: float = 0.0
    cutmix: float = 0.0
    blend_until: float = 1.0
    ema: float = 0.0
    bn_batch: int | None = None
    monitor: Literal["error", "loss"] = "error"
    keep: Literal["last", "best"] = "last"
    patience: int | None = None
    precise_bn: int = 0
    preprocessing: Literal["pixel_mean", "standardize", "none"] = "standardize"
    augmentation: Literal["crop", "imagenet", "none"] = "crop"
    augmentation_arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    scale: tuple[int, ...] | None = None

    def check(self) -> None:
        for name in ("epochs", "batch_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("learning_rate", "decay_factor"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        patience = self.patience
        require(patience is None or patience >= 1, "patience", patience, "at least 1, or None")
        for name in ("layer_decay", "blend_until"):
            value = getattr(self, name)
            require(0 < value <= 1, name, value, "above 0 and at most 1")
        norm = self.clip_norm
        require(norm is None or norm > 0, "clip_norm", norm, "above 0, or None")
        for name in ("momentum", "label_smoothing", "ema"):
            value = getattr(self, name)
            require(0 <= value < 1, name, value, "in [0, 1)")
        for name in ("weight_decay", "mixup", "cutmix", "precise_bn"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        warmup, part = self.warmup_steps, self.bn_batch
        require(warmup is None or warmup >= 0, "warmup_steps", warmup, "at least 0 or None")
        require(part is None or part >= 1, "bn_batch", part, "at least 1 or None")
        marks = self.milestones
        inside = all(0 < mark < 1 for mark in marks) and list(marks) == sorted(set(marks))
        require(inside, "milestones", marks, "ascending shares of the training between 0 and 1")
        fix = "Adam with coupled decay is the optimizer 'adam'."
        coupled_adamw = self.optimizer == "adamw" and not self.decoupled
        require(not coupled_adamw, "decay", self.decay, "'decoupled' or None for adamw", fix)
        fix = "Of sigmoids each class has its own share: 'weights' and 'sampling' go with them."
        softmax = self.balance != "logit_adjustment" or self.loss == "categorical_crossentropy"
        expected = "'categorical_crossentropy' with balance='logit_adjustment'"
        require(softmax, "loss", self.loss, expected, fix)
        self.algorithm.check(self.optimizer_arguments)

    @property
    def needs_validation(self) -> list[str]:
        """The fields that only a validation part gives a meaning."""
        return [name for name in ("keep", "patience") if getattr(self, name) not in ("last", None)]

    @property
    def algorithm(self) -> Algorithm:
        """The row of `optimizer`."""
        return OPTIMIZERS[self.optimizer]

    @property
    def decoupled(self) -> bool:
        """Whether the decay is decoupled: `decay`, or what the optimiser's authors do."""
        return (self.decay or self.algorithm.decay) == "decoupled"
