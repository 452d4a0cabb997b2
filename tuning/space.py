"""Search spaces: dimensions, the named searches as a table, and values as settings."""

import dataclasses
import json
import math
import typing
from typing import Any, NamedTuple

from keras_preact.checked import require
from keras_preact.config import KERNELS, Placement, Shortcut
from keras_preact.errors import ConfigError, near, quoted
from keras_preact.training import TrainConfig


class Search(NamedTuple):
    """A named search.

    Attributes:
        training: Fields of `TrainConfig`.
        space: Dimensions.
        quick_training, quick_space: The same for a search that ends in minutes.
    """

    training: dict[str, Any]
    space: dict[str, Any]
    quick_training: dict[str, Any]
    quick_space: dict[str, Any]


_BIAS, _PLACEMENTS = "network.gate_bias", ("original", "full_preactivation")
_QUICK = {"epochs": 5}

#: The searches by name. The gate bias as in section 3.1 of the 2016 paper: ResNet-110 with
#: exclusive gating, from 0 to -10 in steps of 1.
SEARCHES = {
    "gating-bias": Search(
        {"model": "resnet110", "settings": {"network.shortcut": "exclusive_gating"}},
        {_BIAS: [float(-k) for k in range(11)]},
        {**_QUICK, "model": "resnet8"},
        {_BIAS: [float(-k) for k in range(0, 11, 2)]},
    ),
    "depth": Search(
        {"model": "resnet20v2"},
        {"units_per_stage": [1, 3, 5, 9, 18], "network.placement": [*_PLACEMENTS]},
        {**_QUICK, "model": "resnet8v2"},
        {"units_per_stage": [1, 2, 3], "network.placement": [*_PLACEMENTS]},
    ),
    "variant": Search(
        {"model": "resnet20v2"},
        {
            "network.shortcut": [name for name in typing.get_args(Shortcut) if name != "none"],
            "network.placement": [*typing.get_args(Placement)],
            "network.activation": ["relu", "prelu"],
            "network.initializer": ["he_normal", "xavier_normal"],
            "network.stochastic_depth": {"low": 0.0, "high": 0.5, "step": 0.25},
            "network.residual_scale": [1.0, "inverse_sqrt_units", "learned"],
            "network.normalization": ["batch", "group"],
        },
        {**_QUICK, "model": "resnet8v2"},
        {
            "network.shortcut": ["identity", "shortcut_only_gating"],
            "network.placement": [*_PLACEMENTS],
            "network.activation": ["relu", "prelu"],
        },
    ),
    "fields": Search({}, {}, _QUICK, {}),
}


def _units(per_stage, network):
    require(per_stage >= 1, "units_per_stage", per_stage, "at least 1")
    return {"network.units": [per_stage] * len(network.units)}


def _depth(depth, network):
    each = len(KERNELS[network.block]) * len(network.units)
    others = 2 + len(network.dense)
    units = (depth - others) // each
    fits = f"{others} + {each} n: {', '.join(str(others + n * each) for n in (1, 2, 3))}, ..."
    require(units >= 1 and depth == others + each * units, "depth", depth, fits)
    return _units(units, network)


def widened(factor: float, network: Any) -> dict[str, Any]:
    """The settings of a network whose filters are `factor` times as many."""
    require(factor > 0, "width", factor, "above 0")
    filters = [max(1, round(factor * filters)) for filters in network.filters]
    return {
        "network.filters": filters,
        "network.stem_filters": round(factor * network.stem_filters),
    }


#: Dimensions that stand for several settings: from a value and the network as it is without it.
DERIVED = {"depth": _depth, "units_per_stage": _units, "width": widened}


def settings_for(
    values: dict[str, Any], fields: dict[str, Any], settings: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields and settings of `TrainConfig` with values of dimensions applied.

    Args:
        values: Values by the dimensions' names.
        fields: Fields of a `TrainConfig` but for `settings`.
        settings: Its settings.

    Returns:
        The fields and the settings.

    Raises:
        ConfigError: For an unknown name, or values that cannot be combined.
    """
    plain = {name: value for name, value in values.items() if name not in DERIVED}
    fields = {**fields, **{name: value for name, value in plain.items() if "." not in name}}
    settings = {**settings, **{name: value for name, value in plain.items() if "." in name}}
    known = (*TrainConfig.field_names(), *DERIVED)
    for name in fields:
        if name not in known:
            raise ConfigError(
                f"A dimension must be a field of TrainConfig ({quoted(known)}) or PART.FIELD. "
                f"Received: {name!r}.{near(name, known)}"
            )
    for name in DERIVED:
        if name in values:
            network = TrainConfig(**fields, settings=settings).resolve().network
            settings = {**settings, **DERIVED[name](values[name], network)}
    TrainConfig(**fields, settings=settings)
    return fields, settings


@dataclasses.dataclass(frozen=True)
class Dimension:
    """A dimension of a search.

    Attributes:
        name: Its name.
        values: Its values; `None` for a range.
        low, high, step, log: The range.
    """

    name: str
    values: tuple | None = None
    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False

    @classmethod
    def of(cls, name: str, spec: Any) -> "Dimension":
        """A dimension from its description in JSON or YAML.

        Raises:
            ConfigError: For an invalid description.
        """
        shown = f"space[{name!r}]"
        require(name != "settings", "space", name, "names of fields, such as network.gate_bias")
        if isinstance(spec, (list, tuple)):
            texts = [json.dumps(value) for value in spec]
            fine = len(spec) > 0 and len(set(texts)) == len(texts)
            require(fine, shown, spec, "a list of different values")
            return cls(name, tuple(spec))
        expected = "a list of values, or a mapping with low, high and optionally step or log"
        fine = isinstance(spec, dict) and {"low", "high"} <= {*spec} <= {
            "low",
            "high",
            "step",
            "log",
        }
        require(fine, shown, spec, expected)
        low, high, step = spec["low"], spec["high"], spec.get("step")
        numbers = [x for x in (low, high, step) if x is not None]
        fine = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in numbers)
        fine = fine and all(math.isfinite(x) for x in numbers) and low < high
        require(fine, shown, spec, "a mapping with numbers low < high")
        require(step is None or step > 0, shown, spec, "a mapping with a step above 0")
        log = bool(spec.get("log", False))
        require(not log or low > 0, shown, spec, "a mapping with low above 0, since log is true")
        require(not (log and step), shown, spec, "a mapping with step or log, not both")
        return cls(name, None, low, high, step, log)

    def grid(self) -> list:
        """All values, for a grid.

        Raises:
            ConfigError: For a range without steps.
        """
        if self.values is not None:
            return list(self.values)
        step = self.step or (1 if self._whole() and not self.log else None)
        spec = {"low": self.low, "high": self.high}
        expected = "a list of values, or a mapping with a step, for a grid"
        require(step is not None, f"space[{self.name!r}]", spec, expected)
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        return [self.low + k * step for k in range(count)]

    def size(self) -> float:
        """How many values it has; infinite for a range without steps."""
        if self.values is None and not self.step and not self._whole():
            return math.inf
        if self.values is None and self.log:
            return self.high - self.low + 1
        return len(self.grid())

    def ends(self) -> list:
        """Values that show whether the dimension is right."""
        return list(self.values) if self.values is not None else [self.low, self.high]

    def declare(self, hp: Any) -> Any:
        """Its value in KerasTuner's `HyperParameters`, to which it is added if it is new."""
        if self.values is not None:
            return self.decode(hp.Choice(self.name, self.codes(), default=self.codes()[0]))
        make = hp.Int if self._whole() else hp.Float
        sampling = "log" if self.log else "linear"
        return make(self.name, self.low, self.high, step=self.step, sampling=sampling)

    def decode(self, code: Any) -> Any:
        """The value that KerasTuner knows as `code`."""
        if self.values is None:  # KerasTuner's whole numbers with a logarithm can be one too high
            return min(max(code, self.low), self.high)
        return self.values[self.codes().index(code)]

    def codes(self) -> list:
        """The values of its grid as KerasTuner takes them: all of one type, and no lists."""
        if self.values is None:
            return self.grid()
        for types in ((int, float), (str,)):
            if all(isinstance(v, types) and not isinstance(v, bool) for v in self.values):
                floats = any(isinstance(value, float) for value in self.values)
                return [float(value) if floats else value for value in self.values]
        return [json.dumps(value) for value in self.values]

    def _whole(self):
        return all(isinstance(x, int) for x in (self.low, self.high, self.step or 1))
