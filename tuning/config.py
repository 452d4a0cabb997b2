"""`TuneConfig`: the config of `tune` and `keras-preact tune`."""

import dataclasses
import math
from typing import Any, Literal

from keras_preact.checked import Checked, require
from keras_preact.errors import ConfigError
from keras_preact.training import TrainConfig
from keras_preact.tuning.space import SEARCHES, Dimension, settings_for

#: Fields of `TrainConfig` that a search sets itself.
OF_THE_SEARCH = (
    "workers", "index", "seed", "out", "resume", "save_every", "on_save_error",
)  # fmt: skip

#: Settings that say which images validate, which the search sets from its own fields.
OF_THE_SPLIT = ("data.holdout", "data.folds", "data.fold", "data.split_seed")

#: What a budget decides.
_OF_THE_BUDGET = {
    "seconds": ("epochs", "recipe.epochs"),
    "multiply_adds": ("width",),
    "parameters": ("width",),
}

#: Fields that say where a search runs, and not what it finds.
_AROUND = ("out", "workers")


@dataclasses.dataclass(frozen=True)
class TuneConfig(Checked):
    """One search; every field is also an option of `keras-preact tune`.

    Args:
        search: `gating-bias` (2016, Table 1: initial bias of the gates), `depth` (units, width and
            placement at equal cost), `variant` (shortcut, placement, activation, initialiser,
            stochastic depth, factor of the branch, normalisation), or `fields` (only the
            dimensions in `space`).
        training: Fields of `TrainConfig` shared by all runs of the search.
        space: Dimensions by name, which replace or extend the search's own: fields of
            `TrainConfig`, others by dotted name (`network.gate_bias`, `recipe.learning_rate`), and
            `depth`, `units_per_stage` or `width`. A dimension is a list of values, or `{"low": ..,
            "high": .., "step": .., "log": ..}` where `step` and `log` are optional.
        oracle: How values are proposed: `grid`, `random`, `bayesian` or `hyperband`.
        trials: Maximum number of trials; if not given, `grid` tries all values, `random` and
            `bayesian` 20. `hyperband` plans its own number.
        holdout: Training images held out for validation: their number or, below 1, their fraction.
        folds: Number of folds for cross-validation, instead of `holdout`.
        seeds: Runs of each trial and fold, with different seeds.
        final_seeds: Runs of the best values on all training images, each tested once.
        budget: Cost that is kept equal: `multiply_adds` or `parameters` adapt the width of each
            network, `seconds` the number of epochs.
        budget_amount: Amount of the budget; the cost of the search's own network if not given.
        workers: Processes that run trials in parallel; GPUs are divided among them.
        quick: Use a small network and few epochs, so that the search ends in minutes.
        seed: Random seed of the oracle and the validation split and, with the number of a run, of
            the runs.
        out: Folder of the search; a new one under `runs/` if not given.

    Raises:
        ConfigError: For a value that is not allowed.

    Example:
        >>> from keras_preact.tuning import TuneConfig
        >>> config = TuneConfig("gating-bias", space={"network.gate_bias": [0, -3, -6]})
        >>> [dimension.name for dimension in config.dimensions()]
        ['network.gate_bias']
    """

    search: Literal["gating-bias", "depth", "variant", "fields"] = "gating-bias"
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    space: dict[str, Any] = dataclasses.field(default_factory=dict)
    oracle: Literal["grid", "random", "bayesian", "hyperband"] = "grid"
    trials: int | None = None
    holdout: float = 0.1
    folds: int | None = None
    seeds: int = 1
    final_seeds: int = 3
    budget: Literal["multiply_adds", "parameters", "seconds"] | None = None
    budget_amount: float | None = None
    workers: int = 1
    quick: bool = False
    seed: int = 0
    out: str | None = None

    def check(self) -> None:
        for name in ("seeds", "workers"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.final_seeds >= 0, "final_seeds", self.final_seeds, "at least 0")
        held = 0 < self.holdout < 1 or (self.holdout >= 1 and self.holdout == int(self.holdout))
        require(held, "holdout", self.holdout, "a number of images, or a fraction between 0 and 1")
        require(self.folds is None or self.folds >= 2, "folds", self.folds, "at least 2, or None")
        require(0 <= self.seed < 2**31, "seed", self.seed, "from 0 to 2^31 - 1")
        trials = self.trials
        require(trials is None or trials >= 1, "trials", trials, "at least 1, or None")
        own = self.oracle != "hyperband" or trials is None
        require(own, "trials", trials, "None for Hyperband, which plans its own number")
        self._refuse_what_the_search_sets()
        dimensions = self.dimensions()
        if not dimensions:
            raise ConfigError("The search 'fields' needs `space`. Received: space={}.")
        self._check_budget(dimensions)
        if self.oracle == "grid":
            for dimension in dimensions:
                dimension.grid()
        for dimension in dimensions:  # a name or a value that is wrong is said now
            for value in dimension.ends():
                self._try(dimension.name, value)
        if self.oracle == "hyperband":
            self._check_that_there_is_enough(dimensions)

    def first(self) -> dict[str, Any]:
        """The first value of each dimension."""
        return {dimension.name: dimension.ends()[0] for dimension in self.dimensions()}

    def epochs(self) -> int:
        """Epochs of a training, at most."""
        fields, settings = self._shared()
        fields, settings = settings_for(self.first(), fields, settings)
        return TrainConfig(**fields, settings=settings).resolve().recipe.epochs

    def values_of(self, codes: dict[str, Any]) -> dict[str, Any]:
        """A value for each dimension, from those that KerasTuner keeps."""
        return {d.name: d.decode(codes[d.name]) for d in self.dimensions()}

    def dimensions(self) -> list[Dimension]:
        """The dimensions of the search, in order."""
        search = SEARCHES[self.search]
        own = search.quick_space if self.quick else search.space
        own = {name: spec for name, spec in own.items() if not self._fixes(name)}
        return [Dimension.of(name, spec) for name, spec in {**own, **self.space}.items()]

    def fields(self) -> dict[str, Any]:
        """The fields of `TrainConfig` shared by all runs: the search's own and `training`."""
        search = SEARCHES[self.search]
        fields = {**search.training, **(search.quick_training if self.quick else {})}
        settings = {**fields.pop("settings", {}), **self.training.get("settings", {})}
        return {**fields, **self.training, "settings": settings}

    def planned(self) -> int | None:
        """The number of trials, if it is known in advance."""
        if self.oracle == "hyperband":
            return None
        if self.oracle == "grid":
            size = 1
            for dimension in self.dimensions():
                size *= len(dimension.grid())
            return min(size, self.trials or size)
        return self.trials or 20

    def searching(self) -> dict[str, Any]:
        """The fields that decide the result; a search can only resume with the same ones."""
        return {name: value for name, value in self.to_dict().items() if name not in _AROUND}

    def training_config(
        self,
        values: dict[str, Any],
        *,
        number: int = 0,
        fold: int | None = None,
        out: str | None = None,
        epochs: int | None = None,
    ) -> TrainConfig:
        """The training for some values of the dimensions.

        Args:
            values: A value for each dimension.
            number: Number of the run among those that differ by seed.
            fold: Validation fold, 0 for `holdout`; `None`: no validation, for the final test.
            out: The run's folder.
            epochs: Passes over the training images, in place of those of the search.

        Returns:
            A `TrainConfig`.

        Raises:
            ConfigError: For values that cannot be combined.
        """
        fields = self.fields()
        settings = {**fields.pop("settings"), "data.split_seed": self.seed}
        if fold is not None and self.folds:
            settings |= {"data.folds": self.folds, "data.fold": fold}
        elif fold is not None:
            settings["data.holdout"] = self.holdout
        fields, settings = settings_for(values, fields, settings)
        fields |= {"seed": self.seed + number, "out": out}
        fields.setdefault("saved_model", fold is None)  # trials are many and short
        return TrainConfig(**fields | ({"epochs": epochs} if epochs else {}), settings=settings)

    def _fixes(self, name):
        """Whether the user has settled what the search would vary."""
        return name in self.training or name in self.training.get("settings", {})

    def _shared(self):
        fields = self.fields()
        return fields, fields.pop("settings")

    def _refuse_what_the_search_sets(self):
        settings = self.training.get("settings", {})
        require(isinstance(settings, dict), "training['settings']", settings, "a mapping")
        own = (*OF_THE_SEARCH, *OF_THE_SPLIT)
        own += _OF_THE_BUDGET.get(self.budget, ())
        for given in (self.training, settings, self.space):
            for name in own:
                fix = "`holdout`, `folds` and `seed` of the search choose the validation images."
                fix = fix if name in OF_THE_SPLIT else ""
                require(name not in given, name, given.get(name), "left to the search", fix)

    def _check_budget(self, dimensions):
        amount = self.budget_amount
        require(amount is None or amount > 0, "budget_amount", amount, "above 0, or None")
        needs = self.budget or "None without a `budget`"
        require(amount is None or self.budget, "budget_amount", amount, needs)
        if self.budget == "seconds":
            require(amount is not None, "budget_amount", amount, "given for the budget 'seconds'")
            expected = "another than 'hyperband' with the budget 'seconds'"
            require(self.oracle != "hyperband", "oracle", self.oracle, expected)
            tried = [value for d in dimensions if d.name == "batch_size" for value in d.ends()]
            automatic = "auto" in [self.training.get("batch_size"), *tried]
            expected = "a number with the budget 'seconds'"
            require(not automatic, "batch_size", "auto", expected)

    def _try(self, name, value):
        """A value by itself, or else with the others' first ones, makes a training."""
        try:
            settings_for({name: value}, *self._shared())
        except ConfigError as alone:
            try:
                settings_for({**self.first(), name: value}, *self._shared())
            except ConfigError:
                raise alone from None

    def _check_that_there_is_enough(self, dimensions):
        """Hyperband needs different values for all trials that it begins with."""
        size = 1
        for dimension in dimensions:
            size *= dimension.size()
        needed = hyperband_begins(self.epochs())
        if size < needed:
            raise ConfigError(
                f"Hyperband with {self.epochs()} epochs needs {needed} different trials, and the "
                f"space has {size:.0f}: use oracle='grid', which tries them all. "
                "Received: oracle='hyperband'."
            )


def hyperband_begins(epochs: int, factor: int = 3) -> int:
    """How many trials Hyperband begins, in all its brackets (Li et al. 2018, as in KerasTuner)."""
    brackets = 0
    while epochs >= factor**brackets:
        brackets += 1
    last = math.ceil(1 + math.log(epochs, factor))
    return sum(math.ceil(last / (k + 1) * factor**k) for k in range(brackets))
