"""Keras's optimisers with the weight decay of recipes and layer-wise rates; schedules."""

import re
from collections.abc import Sequence
from typing import Any

import keras

from keras_preact.training.recipes import Recipe


class Rules:
    """Mixin with the rules of a recipe: its weight decay, and a learning rate for each stage.

    Keras's own `weight_decay` is always decoupled: it shrinks a weight by learning rate times
    decay, independently of momentum and moments.

    Args:
        learning_rate: Number or schedule; Keras's default if not given.
        l2: Weight decay factor.
        decay: `"coupled"`: `l2 * weight` is added to the gradient, and so goes through the momentum
            (the papers); `"decoupled"`: the weight shrinks by `learning_rate * l2` of itself.
        decayed: `"all"` weights or the `"kernels"` of convolutions and dense layers; slopes of
            PReLU never decay (rectifier paper, section 2.1).
        layer_decay: Factor of the rate from each stage of one of this package's networks to the one
            before it: the head has the whole rate, the last stage this share of it, and so on.
        scalar_rate: Factor of the rate of learned scales and offsets, the layers `ScalarAffine`.
        **kwargs: Arguments of Keras's optimiser.
    """

    def __init__(
        self,
        learning_rate: Any = None,
        l2: float = 0.0,
        decay: str = "coupled",
        decayed: str = "all",
        layer_decay: float = 1.0,
        scalar_rate: float = 1.0,
        **kwargs: Any,
    ) -> None:
        rate = {} if learning_rate is None else {"learning_rate": learning_rate}
        super().__init__(**rate, **kwargs)
        self.l2, self.decay, self.decayed = l2, decay, decayed
        self.layer_decay, self.scalar_rate = layer_decay, scalar_rate

    def decays(self, path: str) -> bool:
        """Whether the variable with this path decays."""
        kind = re.split("[/_]", path)[-1]  # ".../conv1/kernel", or "..._units/conv1_kernel"
        return kind == "kernel" if self.decayed == "kernels" else kind != "alpha"

    #: Whether the gradients of several devices are added up when they are applied. A loop of one's
    #: own that has done so already, to see their norm, says `False`.
    sums_gradients = True

    def _all_reduce_sum_gradients(self, grads_and_vars):  # of Keras under tf.distribute
        pairs = list(grads_and_vars)
        return super()._all_reduce_sum_gradients(pairs) if self.sums_gradients else pairs

    def build(self, variables: Any) -> None:
        super().build(variables)
        paths = [variable.path for variable in variables]
        self._decays = [self.decays(path) for path in paths]
        shares = [self.layer_decay**steps for steps in steps_from_head(paths)]
        scalar = [re.search("(?:_offset|learned_scale)[/_]", path) for path in paths]
        self._shares = [
            share * self.scalar_rate if is_scalar else share
            for share, is_scalar in zip(shares, scalar, strict=True)
        ]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        # By number, since TensorFlow's own variables, which come here, have no path.
        number = self._get_variable_index(variable)
        if self._shares[number] != 1:
            learning_rate = learning_rate * self._shares[number]
        if self.l2 and self._decays[number]:
            if self.decay == "coupled":
                gradient = gradient + keras.ops.cast(self.l2 * variable, gradient.dtype)
            else:
                rate = keras.ops.cast(learning_rate, variable.dtype)
                self.assign_sub(variable, rate * self.l2 * variable)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        names = ("l2", "decay", "decayed", "layer_decay", "scalar_rate")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def steps_from_head(paths: Sequence[str]) -> list[int]:
    """How many stages lie between the head of a network and each of its variables.

    Args:
        paths: Paths of the variables, in any packaging.

    Returns:
        0 for the head's, 1 for those of the last stage, and so on to the stem's.

    Example:
        >>> from keras_preact.training.optimizer import steps_from_head
        >>> steps_from_head(["stem_conv/kernel", "stage1_unit1_conv1/kernel", "head_norm/gamma"])
        [2, 1, 0]
    """
    names = [re.search(r"(?:^|/)(?:stem|stage(\d+))", path) for path in paths]
    stages = [int(name[1] or 0) if name else None for name in names]
    last = max((stage for stage in stages if stage is not None), default=0)
    return [0 if stage is None else last + 1 - stage for stage in stages]


@keras.saving.register_keras_serializable("keras_preact")
class SGD(Rules, keras.optimizers.SGD):
    """Keras's SGD with the papers' weight decay; arguments as `Rules` has them.

    Example:
        >>> from keras_preact.training.optimizer import SGD
        >>> SGD(0.1, momentum=0.9, l2=1e-4).l2
        0.0001
    """


@keras.saving.register_keras_serializable("keras_preact")
class RMSprop(Rules, keras.optimizers.RMSprop):
    """Keras's RMSprop with the rules of a recipe."""


@keras.saving.register_keras_serializable("keras_preact")
class Adam(Rules, keras.optimizers.Adam):
    """Keras's Adam with the rules of a recipe; with decoupled decay it is AdamW."""


@keras.saving.register_keras_serializable("keras_preact")
class Nadam(Rules, keras.optimizers.Nadam):
    """Keras's Nadam with the rules of a recipe, and all of its state among its variables."""

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        # Keras's has no name, so that another process calls it otherwise, and under float16 it is
        # not among the variables: not saved, and never changed under JAX.
        self._untrack_variable(self._u_product)
        self._u_product = self.add_variable((), "ones", self._u_product.dtype, name="u_product")


@keras.saving.register_keras_serializable("keras_preact")
class Lamb(Rules, keras.optimizers.Lamb):
    """Keras's LAMB with the rules of a recipe; decoupled decay is outside of its trust ratio."""


@keras.saving.register_keras_serializable("keras_preact")
class Lion(Rules, keras.optimizers.Lion):
    """Keras's Lion with the rules of a recipe."""


#: By Keras's names, as `Algorithm.keras` has them.
CLASSES = {cls.__name__: cls for cls in (SGD, RMSprop, Adam, Nadam, Lamb, Lion)}


@keras.saving.register_keras_serializable("keras_preact")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly, then falls linearly to 0 (Smith 2018).

    Args:
        learning_rate: Its highest value.
        steps: Steps in all.
        rising_steps: Steps until it is reached.

    Example:
        >>> from keras_preact.training.optimizer import OneCycle
        >>> [round(float(OneCycle(1.0, 10, 2)(step)), 3) for step in (0, 1, 2, 6, 10)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(self, learning_rate: Any, steps: int, rising_steps: int) -> None:
        self.learning_rate, self.steps, self.rising_steps = learning_rate, steps, rising_steps

    def __call__(self, step: Any) -> Any:
        step = keras.ops.cast(step, "float32")
        up = step / max(1, self.rising_steps)
        down = (self.steps - step) / max(1, self.steps - self.rising_steps)
        return self.learning_rate * keras.ops.clip(keras.ops.minimum(up, down), 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        names = ("learning_rate", "steps", "rising_steps")
        return {name: getattr(self, name) for name in names}


def learning_rate_schedule(recipe: Recipe, steps_per_epoch: int) -> Any:
    """The recipe's learning rate as a function of the step.

    Args:
        recipe: The recipe.
        steps_per_epoch: Batches in an epoch.

    Returns:
        A schedule of `keras.optimizers.schedules`, or a number where the rate is constant.

    Example:
        >>> from keras_preact.training import RECIPES
        >>> from keras_preact.training.optimizer import learning_rate_schedule
        >>> schedule = learning_rate_schedule(RECIPES["he2016_cifar"], steps_per_epoch=390)
        >>> [round(float(schedule(step)), 3) for step in (0, 400, 32_000)]
        [0.01, 0.1, 0.01]
    """
    steps = recipe.epochs * steps_per_epoch
    rate, schedules = recipe.learning_rate, keras.optimizers.schedules
    warmup = recipe.warmup_steps
    if warmup is None or warmup >= steps * min(recipe.milestones, default=1):
        warmup = steps // 20
    if recipe.schedule == "one_cycle":
        return OneCycle(rate, steps, warmup)
    if recipe.schedule == "cosine":
        if not warmup:
            return schedules.CosineDecay(rate, steps)
        return schedules.CosineDecay(
            0.0, max(1, steps - warmup), warmup_target=rate, warmup_steps=warmup
        )
    marks = [round(share * steps) for share in recipe.milestones]
    rates = [rate * recipe.decay_factor**k for k in range(len(marks) + 1)]
    if warmup:
        marks, rates = [warmup, *marks], [rate / 10, *rates]
    return schedules.PiecewiseConstantDecay([mark - 1 for mark in marks], rates) if marks else rate


def optimizer(recipe: Recipe, steps_per_epoch: int | None = None) -> Any:
    """The recipe's optimiser.

    Args:
        recipe: The recipe.
        steps_per_epoch: Batches in an epoch; `None` for a constant rate.

    Returns:
        One of `CLASSES`.

    Example:
        >>> from keras_preact.training import RECIPES
        >>> from keras_preact.training.optimizer import optimizer
        >>> optimizer(RECIPES["he2016_cifar"], steps_per_epoch=390).l2
        0.0001
    """
    scheduled = steps_per_epoch is not None
    of_sgd = {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
    return CLASSES[recipe.algorithm.keras](
        learning_rate_schedule(recipe, steps_per_epoch) if scheduled else recipe.learning_rate,
        l2=recipe.weight_decay,
        decay="decoupled" if recipe.decoupled else "coupled",
        decayed=recipe.decayed,
        layer_decay=recipe.layer_decay,
        scalar_rate=recipe.scalar_rate,
        global_clipnorm=recipe.clip_norm,
        use_ema=recipe.ema > 0,
        ema_momentum=recipe.ema or 0.99,  # Keras wants a number in either case
        **(of_sgd if recipe.optimizer == "sgd" else recipe.optimizer_arguments),
    )
