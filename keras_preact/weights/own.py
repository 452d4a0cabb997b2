"""Networks of this package as a source: their config, read from the layers of their graph."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_preact.checked import is_whole, require
from keras_preact.errors import quoted
from keras_preact.placements import PLACEMENTS, PlacementSteps
from keras_preact.shortcuts import SHORTCUTS
from keras_preact.weights.preprocessing import Preprocessing

_NORMS = {"BatchNormalization": "batch", "GroupNormalization": "group"}
_CONVOLUTIONS = ("Conv2D", "StandardizedConv2D")
#: Layers of learned numbers, by the ends of their names: a branch's factor, or Fixup's offsets.
_LEARNED = re.compile(r"_(learned_scale)$|_offset$")


class Layer(NamedTuple):
    """A layer of a graph.

    Attributes:
        kind: Name of its class.
        config: Its config.
        inputs: The names of the layers before it.
    """

    kind: str
    config: dict[str, Any]
    inputs: list[str]


def layers_of(model: dict[str, Any]) -> dict[str, Layer]:
    """The layers of a model by name, including those of nested models and of each repeated unit.

    Args:
        model: The model as Keras writes it to JSON.

    Example:
        >>> import json
        >>> from keras_preact import create_model
        >>> from keras_preact.weights.own import layers_of
        >>> layers = layers_of(json.loads(create_model("resnet8v2").to_json()))
        >>> layers["stem_conv"].kind, layers["stem_conv"].inputs
        ('Conv2D', ['images'])
    """
    found: dict[str, Layer] = {}
    for layer in model["config"].get("layers", ()):
        kind, config = layer["class_name"], layer["config"]
        if "layers" in config:
            found |= layers_of(layer)
        elif kind == "Repeat":
            prefix = config["template"]["config"]["name"]
            inner, rates = layers_of(config["template"]), config.get("rates") or ()
            for k, unit in enumerate(config["names"]):
                named = {name: unit + name.removeprefix(prefix) for name in inner}
                for name, (kind, own, inputs) in inner.items():
                    own = {**own, "rate": rates[k]} if kind == "StochasticDepth" and rates else own
                    found[named[name]] = Layer(kind, own, [named[taken] for taken in inputs])
        else:
            found[config["name"]] = Layer(kind, config, _taken(layer.get("inbound_nodes", ())))
    return found


def learned_constants(model: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """The numbers that a network has learned and `portable` has made constants, by layer.

    Args:
        model: The model as Keras writes it to JSON.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, layer in layers_of(model).items():
        match = _LEARNED.search(name) if layer.kind == "Rescaling" else None
        if match:
            number = layer.config["scale" if match[1] else "offset"]
            found[name] = {"0": np.asarray(number, np.float32)}
    return found


def _taken(value) -> list[str]:
    """The names of the layers in the arguments of a call, however they are nested."""
    if isinstance(value, dict):
        if "keras_history" in value:
            return [value["keras_history"][0]]
        value = [*value.values()]
    return [name for item in value for name in _taken(item)] if isinstance(value, list) else []


def size_in(model: dict[str, Any] | None) -> tuple[int, int] | None:
    """Height and width of a model's images; `None` if unknown, or if it takes any size."""
    if model is None:
        return None
    try:
        first = model["config"]["layers"][0]["config"]
        _, height, width, channels = first.get("batch_shape") or first["batch_input_shape"]
    except (AttributeError, LookupError, TypeError, ValueError):  # a graph of another kind
        return None
    known = channels in (1, 3) and is_whole(height) and is_whole(width)
    return (height, width) if known else None


def preprocessing_of(
    layers: dict[str, Layer], weights: dict[str, dict[str, np.ndarray]]
) -> Preprocessing | None:
    """The preprocessing by the `Normalization` layer of a graph; `None` without one.

    Args:
        layers: As `layers_of` returns them.
        weights: Weights by layer; those of an adapted `Normalization` are removed.
    """
    for name, layer in layers.items():
        if layer.kind == "Normalization":
            given = [layer.config[key] for key in ("mean", "variance")]
            adapted = weights.pop(name, {})
            mean, variance = (
                np.asarray(adapted[str(k)] if value is None else value, np.float64)
                for k, value in enumerate(given)
            )
            shape = mean.shape[-3:] if mean.size > mean.shape[-1] else ()
            deviation = np.sqrt(np.broadcast_to(variance, mean.shape))
            values = (tuple(one.ravel().tolist()) for one in (mean, deviation))
            return Preprocessing(*values, shape=shape)
    return None


def fields_of(layers: dict[str, Layer], units: list[int]) -> dict[str, Any]:
    """Fields of `ResNetConfig` that follow from a graph and not from its arrays.

    Args:
        layers: As `layers_of` returns them.
        units: Units of each stage.
    """
    names = [f"stage{s}_unit{u}" for s, n in enumerate(units, 1) for u in range(1, n + 1)]
    graph = _Graph(layers, names)
    fields = {**graph.norms(), **graph.activation(), **graph.stem(), **graph.strides(units)}
    steps = graph.steps()
    fields |= {**graph.placement(steps), **graph.head(), **graph.branch_dropout()}
    fields |= {**graph.residual_scale(), **graph.stochastic_depth()}
    return fields | graph.shortcuts(steps.before, fields["normalization"])


def _without(layers, names):
    """The layers without some that have one input, which their takers take instead."""
    source = {name: layers[name].inputs[0] for name in names}
    return {
        name: layer._replace(inputs=[source.get(taken, taken) for taken in layer.inputs])
        for name, layer in layers.items()
        if name not in source
    }


def _name_of(rows, found, what) -> str:
    """The first row of a table that is as found; a graph of another version may have none."""
    names = [name for name, row in rows.items() if row == found]
    require(len(names) > 0, what, found, f"one of {quoted(rows)}")
    return names[0]


class _Graph:
    """A network's layers and the names of its units, with what can be read from them."""

    def __init__(self, layers: Mapping[str, Layer], units: list[str]):
        self.offsets = [name for name in layers if name.endswith("_offset")]
        self.layers, self.units = _without(layers, self.offsets), units

    def ending(self, end: str) -> list[Layer]:
        """Layers whose names have this ending."""
        return [layer for name, layer in self.layers.items() if name.endswith(end)]

    def steps(self):
        """The steps of a unit: of the last one, since the stem may have those of the first."""
        unit = self.units[-1]
        convs = sorted(conv for conv in self.layers if re.match(rf"{unit}_conv\d$", conv))
        last, end = self.following(convs[-1], rf"{unit}_(norm|act)\d")
        end = f"{unit}_add" if f"{unit}_add" in self.layers else end
        before, *between = (self.leading_to(conv, unit) for conv in convs)
        if len(self.units) == 1 and not before:
            names = ("stem", "head") if "stem_act" in self.layers else ("stem", "stem")
            before = tuple(
                kind
                for kind in ("norm", "act")
                if all(f"{name}_{kind}" in self.layers for name in names)
            )
            before = before if self.ending("head_act") else ()
        return PlacementSteps(
            before, last, self.following(end, rf"{unit}_(norm|act)_out")[0], tuple(between)
        )

    def placement(self, steps):
        """The row of the table with the steps of a unit, or else their order."""
        has = ("norm", "act") if self.norm() else ("act",)
        inner = PlacementSteps(between=(("norm", "act"),) * len(steps.between)).only(has)
        rows = {name: row.only(has) for name, row in PLACEMENTS.items()}
        as_usual = dataclasses.replace(steps, between=None)
        if steps.between == inner.between and (as_usual in rows.values() or not self.adds()):
            return {"placement": _name_of(rows, as_usual, "placement")}
        order = list(steps.before)
        for group in (*steps.between, steps.last):
            order += ["conv", *group]
        return {"order": [*order, "add", *steps.after]}

    def adds(self):
        """Whether units have an addition, which those of plain nets have not."""
        return bool(self.ending("_add"))

    def leading_to(self, conv, unit):
        """The kinds of the steps between a convolution of a unit and what is before them."""
        kinds, source = [], self.taken(conv)
        while match := re.fullmatch(rf"{unit}_(norm|act)\d+", source):
            kinds.insert(0, match[1])
            source = self.layers[source].inputs[0]
        return tuple(kinds)

    def taken(self, conv):
        """The layer that a convolution takes, before dropout, padding and picking of pixels."""
        ends = ("_pick", "_pad", "")
        first = next(layer for end in ends if (layer := self.layers.get(f"{conv}{end}")))
        dropout = self.layers.get(first.inputs[0])
        between = dropout is not None and first.inputs[0].endswith("_branch_dropout")
        return dropout.inputs[0] if between else first.inputs[0]

    def following(self, name, pattern):
        """The kinds of the steps behind a layer that are called so, and the last of them."""
        kinds = []
        while len(kinds) < 2 and (found := self.follower(name, pattern)):
            name = found[0]
            kinds.append(found[1])
        return tuple(kinds), name

    def follower(self, name, pattern):
        """The match of a layer that takes another and is called so, if there is one."""
        takers = (taker for taker, layer in self.layers.items() if name in layer.inputs)
        return next(filter(None, (re.fullmatch(pattern, taker) for taker in takers)), None)

    def norm(self):
        """The first of its norms, if it has any."""
        return next((layer for layer in self.layers.values() if layer.kind in _NORMS), None)

    def norms(self):
        of_shortcuts = tuple(f"_{end}" for row in SHORTCUTS.values() for end in row.layers)
        biased = {
            layer.config["use_bias"]
            for name, layer in self.layers.items()
            if layer.kind in _CONVOLUTIONS and not name.endswith(of_shortcuts)
        }
        bias = "without_norm" if len(biased) == 2 else "always" if True in biased else "never"
        norm = self.norm()
        kind = _NORMS[norm.kind] if norm else "fixup" if self.offsets else "none"
        keys = [key for key in ("momentum", "epsilon", "groups") if norm and key in norm.config]
        standardized = self.layers["stem_conv"].kind == "StandardizedConv2D"
        return {
            "conv_bias": bias,
            "normalization": kind,
            "weight_standardization": standardized,
            **{f"norm_{key}": norm.config[key] for key in keys},
        }

    def activation(self):
        act = next(
            layer for name, layer in self.layers.items() if re.search(r"_act(\d+|_out)?$", name)
        )
        if act.kind == "PReLU":
            kind = "prelu_shared" if len(act.config["shared_axes"] or ()) == 3 else "prelu"
            return {"activation": kind}
        if act.kind == "LeakyReLU":
            return {"activation": "leaky_relu", "negative_slope": act.config["negative_slope"]}
        return {"activation": act.config["activation"]}

    def stem(self):
        padded = self.layers["stem_conv"].config["padding"] == "same"
        padded = padded or "stem_conv_pad" in self.layers
        found: dict[str, Any] = {"stem_stride": self.stride("stem_conv"), "stem_padded": padded}
        if pool := self.layers.get("stem_pool"):
            size = pool.config["pool_size"][0]
            zeros = "stem_pool_pad" in self.layers or not padded or size % 2 == 0 or size == 1
            found |= {"stem_pool": True, "stem_pool_size": size}
            found |= {"stem_pool_stride": pool.config["strides"][0]}
            found |= {"stem_pool_padding": "zeros" if zeros else "excluded"}
        return found

    def stride(self, conv):
        """The stride of a convolution, or of the layer that picks its pixels before it."""
        pick = self.layers.get(f"{conv}_pick", self.layers.get(conv))
        return pick.config["strides"][0] if pick else 1

    def strides(self, units):
        if "stage2_pool" in self.layers:
            return {"downsample_by": "max_pool"}
        strided = [unit for unit in self.units if any(self.branch_strides(unit))]
        if not strided:
            return {}
        first = strided[0].endswith("_unit1") and strided[0] != "stage1_unit1"
        three = self.stride(f"{strided[0]}_conv2") > 1
        at = "first_unit" if first else "last_unit"
        return {"downsample_at": at, "stride_on": "3x3" if three else "1x1"}

    def branch_strides(self, unit):
        return [self.stride(f"{unit}_conv{k}") > 1 for k in (1, 2, 3)]

    def shortcuts(self, before, normalization):
        if not self.adds():
            return {"shortcut": "none", **self.entry(before)}
        projecting = [unit for unit in self.units if f"{unit}_shortcut_conv" in self.layers]
        every = len(projecting) == len(self.units)
        option = "C" if every else "B" if projecting else "A"
        found: dict[str, Any] = {"projection": option, **self.kind()}
        if projecting and self.ending("_shortcut_pool"):
            found["subsample_shortcut"] = "max_pool"
        if self.ending("_shortcut_avg_pool"):
            found["projection_stride"] = "avg_pool"
        if projecting and normalization in _NORMS.values():
            found["projection_norm"] = bool(self.ending("_shortcut_norm"))
        found |= self.entry(before)
        shared = found.get("first_unit_entry") in ("stem", "unit")
        for unit in self.units[shared:]:
            changes = unit in projecting or f"{unit}_shortcut_pad" in self.layers
            if changes and before:
                inside = self.shares_activation(unit)
                return {**found, "projection_input": "preactivated" if inside else "raw"}
        return found

    def kind(self):
        """The shortcut type, with its parameters."""
        ends = {end for row in SHORTCUTS.values() for end in row.layers if self.ending(f"_{end}")}
        rows = {name: {*row.layers} for name, row in SHORTCUTS.items()}
        name = _name_of(rows, ends, "shortcut")
        found = {"shortcut": name}
        for end, fields in SHORTCUTS[name].layers.items():
            layer = self.ending(f"_{end}")[0]
            found |= {field: layer.config[key] for field, key in fields.items()}
        return found

    def entry(self, before):
        """The place of the steps between the stem and the first unit."""
        if not before:
            return {}
        unit = self.units[0]
        in_unit = bool(self.leading_to(f"{unit}_conv1", unit))
        if f"stem_{before[-1]}" in self.layers:
            return {"first_unit_entry": "both" if in_unit else "stem"}
        return {"first_unit_entry": "unit" if self.shares_activation(unit) else "branch"}

    def shares_activation(self, unit):
        """Whether a shortcut starts after the activation of its unit."""
        source = self.layers[f"{unit}_add"].inputs[0]
        for _ in self.layers:  # no longer, whatever a file says
            if source.startswith(f"{unit}_shortcut"):
                source = self.layers[source].inputs[-1]  # of a gate and a shortcut the latter
        return source.startswith((f"{unit}_act", f"{unit}_norm"))

    def residual_scale(self):
        if self.ending("_learned_scale"):
            return {} if self.offsets else {"residual_scale": "learned"}
        scales = [layer.config["scale"] for layer in self.ending("_residual_scale")]
        return {"residual_scale": scales[0]} if scales else {}

    def stochastic_depth(self):
        names = [f"{unit}_depth" for unit in self.units]
        layers = [self.layers[name] for name in names if name in self.layers]
        if not layers:
            return {}
        configs = [layer.config for layer in layers]
        # Of mini-batches `portable` has only the factors of inference. Where there are none, as in
        # what is divided in training, the network by image is the same function.
        whole = "scale" in configs[0] or configs[0].get("scale_at_inference", False)
        rates = [c["rate"] if "rate" in c else round(1 - c["scale"], 12) for c in configs]
        return {
            "stochastic_depth": rates[-1],
            "stochastic_depth_rule": "uniform" if len({*rates}) == 1 < len(rates) else "linear",
            "stochastic_depth_by": "batch" if whole else "image",
        }

    def branch_dropout(self):
        layers = self.ending("_branch_dropout")
        return {"branch_dropout": layers[0].config["rate"]} if layers else {}

    def head(self):
        found: dict[str, Any] = {}
        if bins := [
            int(match[1])
            for name in self.layers
            if (match := re.fullmatch(r"pyramid_bins(\d+)", name))
        ]:
            found["pyramid"] = bins
        if pyramid := self.layers.get("pyramid"):
            found["pyramid"] = pyramid.config["bins"]
        hidden = [layer for name, layer in self.layers.items() if re.fullmatch(r"fc\d+", name)]
        return {**found, "dense": [layer.config["units"] for layer in hidden]}
