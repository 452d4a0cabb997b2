"""The papers' optimiser: SGD with momentum, weight decay by rule, and the schedules of the rate."""

import re

import keras

from keras_preact.training.recipes import Recipe


@keras.saving.register_keras_serializable("keras_preact")
class SGD(keras.optimizers.SGD):
    """Keras's SGD with the papers' weight decay: `l2 * weight` is added to the gradient.

    Keras's own `weight_decay` is decoupled only: it shrinks a weight by the learning rate times the
    decay, outside the momentum.

    Args:
        learning_rate: Number or schedule.
        l2: Factor of the weights in the update.
        decay: `"coupled"`: in the gradient, and so through the momentum (the papers);
            `"decoupled"`: the weight shrinks by `learning_rate * l2` of itself.
        decayed: `"all"` weights or the `"kernels"` of convolutions and dense layers; slopes of
            PReLU never decay (rectifier paper, section 2.1).
        **kwargs: Arguments of `keras.optimizers.SGD`.

    Example:
        >>> from keras_preact.training.optimizer import SGD
        >>> SGD(0.1, momentum=0.9, l2=1e-4).l2
        0.0001
    """

    def __init__(self, learning_rate=0.01, l2=0.0, decay="coupled", decayed="all", **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.l2, self.decay, self.decayed = l2, decay, decayed

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

    def build(self, variables):
        super().build(variables)
        self._decays = [self.decays(variable.path) for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        # By number, since TensorFlow's own variables, which come here, have no path.
        if self.l2 and self._decays[self._get_variable_index(variable)]:
            if self.decay == "coupled":
                gradient = gradient + keras.ops.cast(self.l2 * variable, gradient.dtype)
            else:
                rate = keras.ops.cast(learning_rate, variable.dtype)
                self.assign_sub(variable, rate * self.l2 * variable)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        own = {"l2": self.l2, "decay": self.decay, "decayed": self.decayed}
        return {**super().get_config(), **own}


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

    def __init__(self, learning_rate, steps, rising_steps):
        self.learning_rate, self.steps, self.rising_steps = learning_rate, steps, rising_steps

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        up = step / max(1, self.rising_steps)
        down = (self.steps - step) / max(1, self.steps - self.rising_steps)
        return self.learning_rate * keras.ops.clip(keras.ops.minimum(up, down), 0.0, 1.0)

    def get_config(self):
        names = ("learning_rate", "steps", "rising_steps")
        return {name: getattr(self, name) for name in names}


def learning_rate_schedule(recipe: Recipe, steps_per_epoch: int):
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


def optimizer(recipe: Recipe, steps_per_epoch: int) -> SGD:
    """The recipe's optimiser.

    Args:
        recipe: The recipe.
        steps_per_epoch: Batches in an epoch.

    Returns:
        An `SGD`.

    Example:
        >>> from keras_preact.training import RECIPES
        >>> from keras_preact.training.optimizer import optimizer
        >>> optimizer(RECIPES["he2016_cifar"], steps_per_epoch=390).l2
        0.0001
    """
    return SGD(
        learning_rate_schedule(recipe, steps_per_epoch),
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        l2=recipe.weight_decay,
        decay=recipe.decay,
        decayed=recipe.decayed,
        use_ema=recipe.ema > 0,
        ema_momentum=recipe.ema or 0.99,  # Keras wants a number in either case
    )
