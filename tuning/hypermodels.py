"""KerasTuner `HyperModel`s of this package's networks, also for your own tuner."""

from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner

from keras_preact.applications import create_model
from keras_preact.checked import require
from keras_preact.training import freeze, start_from
from keras_preact.training.optimizer import optimizer
from keras_preact.tuning.budget import within_budget
from keras_preact.tuning.config import TuneConfig


class TrainingHyperModel(keras_tuner.HyperModel):
    """A search space of `TrainConfig`s; `build` returns the compiled network of one.

    Args:
        space: Dimensions, as `TuneConfig.space`.
        training: Fields of `TrainConfig` shared by all. Those that do not affect a compiled
            network, such as `data`, are ignored.
        budget, budget_amount: As in `TuneConfig`; not `seconds`.
        input_shape: Of an image, `(height, width, channels)`.
        classes: Number of classes.
        search: The named search whose space and network to start from.

    Example:
        >>> import keras_tuner
        >>> from keras_preact.tuning import TrainingHyperModel
        >>> space = {"network.activation": ["relu", "prelu"], "units_per_stage": [1, 2]}
        >>> model = TrainingHyperModel(space, {"model": "resnet8v2"})
        >>> tuner = keras_tuner.RandomSearch(
        ...     model, objective="val_accuracy", max_trials=3, directory="runs"
        ... )  # doctest: +SKIP
        >>> tuner.search(x, y, validation_split=0.1, epochs=5)  # doctest: +SKIP
    """

    def __init__(
        self,
        space: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
        *,
        budget: str | None = None,
        budget_amount: float | None = None,
        input_shape: Sequence[int] = (32, 32, 3),
        classes: int = 10,
        search: str = "fields",
    ) -> None:
        super().__init__(name=search)
        expected = "multiply_adds, parameters or None"
        require(budget != "seconds", "budget", budget, expected)
        self.config = TuneConfig(
            search,
            training=training or {},
            space=space or {},
            oracle="random",
            budget=budget,
            budget_amount=budget_amount,
        )
        self.input_shape, self.classes = input_shape, classes

    def train_config(self, hp: Any) -> Any:
        """The training with the values of a `keras_tuner.HyperParameters`.

        Returns:
            A `TrainConfig`.

        Raises:
            ConfigError: For values that do not go together.
        """
        values = {d.name: d.declare(hp) for d in self.config.dimensions()}
        return within_budget(self.config, self.config.training_config(values))

    def build(self, hp: Any) -> Any:
        """The network for these values, compiled with its recipe's optimiser at a constant rate.

        With dtype `auto`, Keras's global dtype policy is used.

        Returns:
            A `keras.Model` from `(batch, *input_shape)` to `(batch, classes)`.
        """
        training = self.train_config(hp)
        parts = training.resolve()
        model = create_model(
            training.model,
            input_shape=self.input_shape,
            classes=self.classes,
            dtype=None if training.dtype == "auto" else training.dtype,
            packaging=training.packaging,
            recompute=training.recompute,
            **parts.network.to_dict(),
        )
        if training.init:
            start_from(model, training.init)
        if training.freeze_to:
            freeze(model, training.freeze_to)
        recipe = parts.recipe
        loss = keras.losses.SparseCategoricalCrossentropy()
        model.compile(optimizer(recipe.replace(ema=0.0)), loss, metrics=["accuracy"])
        return model

    def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Trains the network, with the values' epochs and batch size unless the tuner sets them.

        Returns:
            Keras's `History`.
        """
        recipe = self.train_config(hp).resolve().recipe
        named = {*self.config.training, *self.config.training.get("settings", {}), *hp.values}
        for name in ("epochs", "batch_size"):
            if named & {name, f"recipe.{name}"}:
                kwargs.setdefault(name, getattr(recipe, name))
        return model.fit(*args, **kwargs)


class GatingBias(TrainingHyperModel):
    """Initial bias of the gates (2016, section 3.1: from 0 to -10 in steps of 1).

    Args:
        biases: Values to try.
        shortcut: `"exclusive_gating"` or `"shortcut_only_gating"`.
        depth: Layers, or a list of them to search.
        learning_rate: The rate, or a list of them to search; the recipe's if not given.
        **kwargs: Arguments of `TrainingHyperModel`.

    Example:
        >>> import keras_tuner
        >>> from keras_preact.tuning import GatingBias
        >>> model = GatingBias(biases=[0.0, -6.0], depth=8).build(keras_tuner.HyperParameters())
        >>> float(model.get_layer("stage2_unit1_gate").bias[0])
        0.0
    """

    def __init__(
        self,
        biases: Sequence[float] = tuple(float(-k) for k in range(11)),
        shortcut: str = "exclusive_gating",
        depth: int | Sequence[int] = 110,
        learning_rate: Any = None,
        **kwargs: Any,
    ) -> None:
        space = {"network.gate_bias": [*biases], "network.shortcut": [shortcut]}
        space["depth"] = _several(depth)
        if learning_rate is not None:
            space["recipe.learning_rate"] = _several(learning_rate)
        super().__init__(**_with(kwargs, space), search="gating-bias")


class Depth(TrainingHyperModel):
    """Units, width and placement, at equal cost if a budget is given.

    Args:
        units_per_stage: Residual units of each stage to try.
        placements: Placements to try (2016, Figure 4).
        family: Named network to begin with, or a list of them to search.
        width: Factor of the filters, or a list of them; left out where a budget decides it.
        **kwargs: Arguments of `TrainingHyperModel`, such as `budget="multiply_adds"`.

    Example:
        >>> import keras_tuner
        >>> from keras_preact.tuning import Depth
        >>> depth = Depth(units_per_stage=[9], budget="parameters")
        >>> depth.train_config(keras_tuner.HyperParameters()).resolve().network.filters
        (9, 18, 36)
    """

    def __init__(
        self,
        units_per_stage: Sequence[int] = (1, 3, 5, 9, 18),
        placements: Sequence[str] = ("original", "full_preactivation"),
        family: str | Sequence[str] = "resnet20v2",
        width: float | Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        space = {"units_per_stage": [*units_per_stage], "network.placement": [*placements]}
        space["model"] = _several(family)
        if width is not None:
            space["width"] = _several(width)
        super().__init__(**_with(kwargs, space), search="depth")


class ResidualVariant(TrainingHyperModel):
    """Shortcut, placement, activation, initialiser, stochastic depth, branch scale, normalisation.

    Args:
        **kwargs: Arguments of `TrainingHyperModel`; `space` narrows what is tried.

    Example:
        >>> import keras_tuner
        >>> from keras_preact.tuning import ResidualVariant
        >>> variant = ResidualVariant(training={"model": "resnet8v2"})
        >>> variant.build(keras_tuner.HyperParameters()).output_shape
        (None, 10)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, search="variant")


def _several(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _with(kwargs, space):
    return {**kwargs, "space": {**space, **(kwargs.get("space") or {})}}
