"""`Recipe`: how a network is trained; the named ones are in `cards.py`."""

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from keras_preact.checked import Checked, require
from keras_preact.training.algorithms import OPTIMIZERS, Algorithm

if TYPE_CHECKING:  # which knows no literals that are computed
    Optimizer = str
else:
    Optimizer = Literal[*OPTIMIZERS]


@dataclasses.dataclass(frozen=True)
class Recipe(Checked):
    """How a network is trained, apart from the data: optimiser, schedule, decay, preprocessing.

    Args:
        epochs: Passes over the training images.
        batch_size: Images per step over all devices.
        optimizer: `"sgd"` (the papers), or another of `OPTIMIZERS`: `"rmsprop"`, `"adam"`,
            `"adamw"`, `"nadam"`, `"lamb"` (Keras's applies decay outside the trust ratio),
            `"lion"`.
        optimizer_arguments: Arguments of the Keras optimiser, such as `{"beta_2": 0.95}`.
        learning_rate: Peak learning rate. The recipes' are for SGD; other optimisers need about
            0.001.
        momentum: Momentum of SGD, in the papers' (Caffe's) form v = m v + lr g.
        nesterov: Whether SGD uses Nesterov momentum.
        layer_decay: Layer-wise learning rate decay for fine-tuning (Howard and Ruder 2018): factor
            of the rate from the head to the last stage, from there to the stage before, and so on
            to the stem.
        scalar_rate: Factor of the rate of a network's learned scales and offsets, the layers
            `ScalarAffine` (Fixup's code: 0.1).
        clip_norm: Global gradient norm to clip to, before decay (Pascanu et al. 2013); the norm
            before clipping is logged. `None`: no clipping.
        schedule: `"step"`: the rate is multiplied by `decay_factor` at each milestone, and in the
            warm-up it is a tenth; `"cosine"`: it rises linearly in the warm-up, then falls along a
            half cosine to 0; `"one_cycle"`: it rises and falls linearly.
        milestones: Fractions of all steps, ascending, for `"step"`.
        decay_factor: Factor at a milestone, for `"step"`.
        warmup_steps: Steps of warm-up. `None`, or if training is too short for them: a twentieth of
            all steps.
        weight_decay: Factor of the weights in the update.
        decay: `"coupled"`: the decay is the gradient of an L2 penalty, and so goes through the
            momentum (the papers); `"decoupled"`: weights shrink by rate times decay in each step
            (Loshchilov and Hutter 2019). `None`: decoupled for adamw, lamb and lion.
        decayed: Weights that decay: `"all"` (the authors' code) or `"kernels"`. Slopes of PReLU
            never do (rectifier paper, section 2.1).
        loss: `"categorical_crossentropy"` of a softmax over the classes, or
            `"binary_crossentropy"` of a sigmoid for each class, the mean over the classes, whose
            gradient is smaller (Wightman et al. 2021). Blended images have soft targets. Scores and
            test loss use a softmax in either case: applied to sigmoids, it gives the probability of
            each class, given that exactly one is true.
        label_smoothing: Label smoothing, in [0, 1) (Szegedy et al. 2016).
        balance: Treatment of imbalanced classes. `"weights"`: each image counts n / (classes *
            images of its class); `"sampling"`: each epoch draws the same number of images of each
            class, n in total, so that images of small classes recur, augmented differently each
            time; `"logit_adjustment"`: the logarithm of each class's frequency is added to the
            logits in the loss (Menon et al. 2021); or `"none"`. Sample weights
            (`data.weight_column`) apply in addition.
        repeats: Repeated augmentation: how many times an epoch draws each of its images, in one
            batch and changed differently each time. An epoch has as many steps as without, and
            1 / `repeats` of the images, others each time (Hoffer et al. 2020; Wightman et al. 2021:
            3).
        mixup: Parameter of mixup's Beta distribution, from which each step draws the blend of
            images in the batch; 0 for none (Zhang et al. 2018).
        cutmix: The same for CutMix, which pastes a box of another image (Yun et al. 2019: 1); 0 for
            none. If both are given, each is applied to half of the pairs.
        blend_until: Fraction of the epochs after which images are no longer blended, in (0, 1].
        ema: Decay of the exponential moving average of the weights, in [0, 1). The average is
            evaluated and saved. 0 for none.
        bn_batch: Images over which batch normalisation takes its statistics, and which are in
            memory at once; must divide the images per device. `None`: all images of a device. The
            authors' 128 images on two GPUs correspond to 64.
        monitor: Validation metric that decides which epoch is best: `"error"` or `"loss"`.
        keep: Epoch whose weights are saved, evaluated and exported: the `"last"` (the papers), or
            the `"best"` on the validation images.
        patience: Early stopping: epochs without improvement after which training ends. `None`: no
            early stopping.
        precise_bn: After training, recompute batch normalisation statistics over this many training
            images, as the authors did for the networks they released; 0: use the moving averages.
            Images are drawn as in an epoch, so balanced with `balance="sampling"`.
        preprocessing: `"pixel_mean"` subtracts the training images' mean at each pixel (the
            papers), `"standardize"` subtracts each channel's mean and divides by its standard
            deviation (fb.resnet.torch), `"none"` does neither. It is part of the trained model.
        augmentation: `"crop"` (pad, crop, flip: CIFAR), `"imagenet"` (scale, crop, flip, colour)
            or `"none"`.
        augmentation_arguments: Other fields of `Augmentation`, such as `{"cutout": 16}`.
        network_arguments: Fields of `ResNetConfig` that belong to the recipe, such as
            `{"stochastic_depth": 0.05}`; those that are set as `network.*` come after them.
        scale: Smallest and largest shorter side for `"imagenet"` at 224 pixels, in proportion for
            other sizes; `None` for (256, 480).

    Example:
        >>> from keras_preact.training import RECIPES
        >>> RECIPES["he2016_cifar"].replace(epochs=20).learning_rate
        0.1
    """

    epochs: int = 30
    batch_size: int = 128
    optimizer: Optimizer = "sgd"
    optimizer_arguments: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    layer_decay: float = 1.0
    scalar_rate: float = 1.0
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
    repeats: int = 1
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
    augmentation_arguments: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    network_arguments: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    scale: tuple[int, ...] | None = None

    def check(self) -> None:
        for name in ("epochs", "batch_size", "repeats"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("learning_rate", "decay_factor"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        patience = self.patience
        require(patience is None or patience >= 1, "patience", patience, "at least 1, or None")
        for name in ("layer_decay", "scalar_rate", "blend_until"):
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
        require(inside, "milestones", marks, "ascending fractions of the training, between 0 and 1")
        fix = "Adam with coupled decay is the optimizer 'adam'."
        coupled_adamw = self.optimizer == "adamw" and not self.decoupled
        require(not coupled_adamw, "decay", self.decay, "'decoupled' or None for adamw", fix)
        fix = "Logit adjustment needs a softmax; 'weights' and 'sampling' also work with sigmoids."
        softmax = self.balance != "logit_adjustment" or self.loss == "categorical_crossentropy"
        expected = "'categorical_crossentropy' with balance='logit_adjustment'"
        require(softmax, "loss", self.loss, expected, fix)
        repeats, half = self.repeats, self.batch_size // 2
        expected = f"1, or at most {half}, half of the batch, so that neighbours are other images"
        require(repeats == 1 or repeats <= half, "repeats", repeats, expected)
        fix = "Balanced sampling draws images repeatedly by itself; balance='weights' does not."
        unbalanced = repeats == 1 or self.balance != "sampling"
        require(unbalanced, "repeats", repeats, "1 with balance='sampling'", fix)
        self.algorithm.check(self.optimizer_arguments)

    @property
    def needs_validation(self) -> list[str]:
        """The fields in use that need validation images."""
        return [name for name in ("keep", "patience") if getattr(self, name) not in ("last", None)]

    @property
    def algorithm(self) -> Algorithm:
        """The entry of `optimizer` in `OPTIMIZERS`."""
        return OPTIMIZERS[self.optimizer]

    @property
    def decoupled(self) -> bool:
        """Whether the decay is decoupled: `decay`, or what the optimiser's authors do."""
        return (self.decay or self.algorithm.decay) == "decoupled"
