"""`OPTIMIZERS`: the available optimisers as a table; `optimizer.py` makes them."""

import math
import numbers
from typing import Any, NamedTuple

from keras_preact.checked import require
from keras_preact.errors import near, quoted

#: Arguments of Keras's optimisers that are fields of a recipe.
_FIELDS = {
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "momentum": "momentum",
    "nesterov": "nesterov",
    "global_clipnorm": "clip_norm",
    "use_ema": "ema",
    "ema_momentum": "ema",
}


class Algorithm(NamedTuple):
    """An optimiser that a recipe can name.

    Attributes:
        keras: Its class in `keras.optimizers` and, with the rules of a recipe, in
            `keras_preact.training.optimizer`.
        decay: The default of `Recipe.decay`: what the optimiser's authors do.
        arguments: The allowed `Recipe.optimizer_arguments`, with Keras's defaults.
        work: Key of its citation in `keras_preact.citations`.
    """

    keras: str
    decay: str
    arguments: dict[str, float | bool]
    work: str | None = None

    def check(self, arguments: dict[str, Any]) -> None:
        """Checks the names and values of optimiser arguments.

        Raises:
            ConfigError: For an unknown name or an invalid value.
        """
        names = f"some of {quoted(self.arguments)}" if self.arguments else "empty"
        expected = f"{names}, the arguments of keras.optimizers.{self.keras}"
        for name, value in arguments.items():
            field = _FIELDS.get(name)
            fix = f"Set recipe.{field}." if field else near(name, self.arguments)
            require(name in self.arguments, "optimizer_arguments", arguments, expected, fix)
            default, of_it = self.arguments[name], f"optimizer_arguments.{name}"
            number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if isinstance(default, bool):
                require(isinstance(value, bool), of_it, value, "True or False")
            elif name == "epsilon":
                require(number and 0 < value < math.inf, of_it, value, "a number above 0")
            else:
                inside = number and (0 < value < 1 or value == default)
                require(inside, of_it, value, "a number between 0 and 1")


_ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}

#: Optimisers by Keras's names; AdamW is Adam with decoupled decay. Left out are Muon, which trains
#: with AdamW what is no matrix, and so every convolution; ScheduleFreeAdamW, which does not give
#: the averaged weights that are to be evaluated; Adafactor, which saves no memory in Keras, and
#: makes a kernel NaN once one of its input and one of its output channels have no gradient; Ftrl,
#: which is for linear models; Adadelta, Adagrad and Adamax, which Adam and its heirs have
#: left behind.
OPTIMIZERS = {
    "sgd": Algorithm("SGD", "coupled", {}),
    "rmsprop": Algorithm(
        "RMSprop", "coupled", {"rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False}
    ),
    "adam": Algorithm("Adam", "coupled", {**_ADAM, "amsgrad": False}, "kingma2015adam"),
    "adamw": Algorithm("Adam", "decoupled", {**_ADAM, "amsgrad": False}, "kingma2015adam"),
    "nadam": Algorithm("Nadam", "coupled", _ADAM, "dozat2016nadam"),
    "lamb": Algorithm("Lamb", "decoupled", _ADAM, "you2020lamb"),
    "lion": Algorithm("Lion", "decoupled", {"beta_1": 0.9, "beta_2": 0.99}, "chen2023lion"),
}
