"""The papers' optimiser: SGD with momentum, coupled weight decay, and a schedule of steps."""

import re

import keras

from keras_preact.training.recipes import Recipe


@keras.saving.register_keras_serializable("keras_preact")
class SGD(keras.optimizers.SGD):
    """Keras's SGD with the papers' weight decay: `l2 * weight` is added to the gradient.

    Keras's own `weight_decay` is decoupled: it shrinks a weight by the learning rate times the
    decay, outside the momentum.

    Args:
        learning_rate: Number or schedule.
        l2: Factor of the weights in the gradient.
        decayed: `"all"` weights or the `"kernels"` of convolutions and dense layers; slopes of
            PReLU never decay (rectifier paper, section 2.1).
        **kwargs: Arguments of `keras.optimizers.SGD`.

    Example:
        >>> from keras_preact.training.optimizer import SGD
        >>> SGD(0.1, momentum=0.9, l2=1e-4).l2
        0.0001
    """

    def __init__(self, learning_rate=0.01, l2=0.0, decayed="all", **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.l2, self.decayed = l2, decayed

    def decays(self, path: str) -> bool:
        """Whether the variable with this path decays."""
        kind = re.split("[/_]", path)[-1]  # ".../conv1/kernel", or "..._units/conv1_kernel"
        return kind == "kernel" if self.decayed == "kernels" else kind != "alpha"

    def build(self, variables):
        super().build(variables)
        self._decays = [self.decays(variable.path) for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        # By number, since TensorFlow's own variables, which come here, have no path.
        if self.l2 and self._decays[self._get_variable_index(variable)]:
            gradient = gradient + keras.ops.cast(self.l2 * variable, gradient.dtype)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "l2": self.l2, "decayed": self.decayed}


def learning_rate_schedule(recipe: Recipe, steps_per_epoch: int):
    """The recipe's learning rate as a function of the step.

    Args:
        recipe: The recipe.
        steps_per_epoch: Batches in an epoch.

    Returns:
        A schedule of `keras.optimizers.schedules`, or a number where the rate is constant.
    """
    steps = recipe.epochs * steps_per_epoch
    rate, schedules = recipe.learning_rate, keras.optimizers.schedules
    warmup = recipe.warmup_steps
    if warmup is None or warmup >= steps * min(recipe.milestones, default=1):
        warmup = steps // 20
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
    """
    return SGD(
        learning_rate_schedule(recipe, steps_per_epoch),
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        l2=recipe.weight_decay,
        decayed=recipe.decayed,
    )
