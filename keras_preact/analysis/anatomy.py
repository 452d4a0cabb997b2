"""`dissect`: a network as the parts of the papers' formulas.

x_{l+1} = f(h(x_l) + F(x_l)) (Identity Mappings, equations 1 and 2): the input x, the shortcut h,
the branch F and the function f after the addition of each residual unit are found in the graph by
layer name, and can be computed and differentiated separately.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_preact.analysis.linearize import linearize
from keras_preact.checked import require
from keras_preact.errors import ConfigError
from keras_preact.layers import Repeat, StochasticDepth
from keras_preact.rewrite import unrolled
from keras_preact.rewrite.fold import NORMS
from keras_preact.rewrite.graph import as_graph, is_graph

_UNIT = re.compile(r"(stage(\d+)_unit(\d+))(?:_|$)")
_ACT = re.compile(r"(?:^|_)act(?:\d+|_out)?$")
#: Layers that are the identity at inference, unless they scale.
_IDENTITIES = (keras.layers.Dropout, keras.layers.Identity, keras.layers.Rescaling)
_WEIGHTED = re.compile(r"(?<!shortcut)_conv\d*$|^fc\d+$")


class Piece:
    """A part of a network from one tensor to the next, as a function without side effects.

    Batch normalisation uses the statistics of the batch, as in training, without updating its
    moving statistics; dropout drops the same values at every call.

    Attributes:
        name: `"stem"`, a unit's name, or `"head"`.
        activations: Names of its activations.
        weighted: Names of its convolutions (except those of shortcuts) and hidden dense layers.
    """

    def __init__(self, name: str, graph: Any, source: Any, target: Any, names: Sequence[str]):
        self.name, self.graph, self.source, self.target = name, graph, source, target
        self.activations = [name for name in names if _ACT.search(name)]
        self.weighted = [name for name in names if _WEIGHTED.search(name)]
        self._functions = {}

    def look(self, x: Any) -> dict[str, Any]:
        """Its intermediate tensors for an input, by name.

        `"output"`; for each activation `"{name}:in"` and `"{name}:out"`; for each layer of
        `weighted` its response, `"{name}:response"`: the output of the norm that directly follows,
        or else its own output (2015 paper, Figure 7).
        """
        seen = {"output": self.target, **self._seen()}
        for name in self.activations:
            seen |= {f"{name}:in": self.graph.input(name), f"{name}:out": self.graph.output(name)}
        for name in self.weighted:
            seen[f"{name}:response"] = self.graph.response(name)
        values = self.function([self.source], [*seen.values()])(x)
        return dict(zip(seen, values, strict=True))

    def _seen(self):
        return {}

    def layer(self, name: str) -> Any:
        """One of its layers, by name."""
        return self.graph.operation(name)

    def split(
        self, x: Any, seen: dict[str, Any]
    ) -> tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[[Any], Any]]:
        """Splits the backward pass through the piece into its shortcut and its weights.

        Args:
            x: The piece's input.
            seen: The result of `look` for this input.

        Returns:
            Three functions from a gradient at the output to one at the input: through the whole
            piece; through its shortcut alone, with the values of a gate held constant; and through
            its weights, those of the branch and of the gate. A plain unit is all weights; a pooling
            between units is part of the shortcuts.
        """
        _, whole = self.linearize([self.source], [self.target], x)
        return _first_of(whole), _first_of(whole), lambda _: keras.ops.zeros_like(x)

    def linearize(
        self, sources: list[Any], targets: list[Any], *values: Any, training: bool = True
    ) -> tuple[Any, Any]:
        """As `linearize`, for the function from some tensors of the graph to others."""
        return linearize(self.function(sources, targets, training), *values)

    @functools.cached_property
    def at_inference(self) -> Callable[[Any], Any]:
        """Its function at inference, compiled, from arrays to arrays."""
        return keras.Model(self.source, self.target).predict_on_batch

    def function(
        self, sources: list[Any], targets: list[Any], training: bool = True
    ) -> Callable[..., list[Any]]:
        """The function from some tensors of the graph to others, both lists."""
        key = (*map(id, sources), training, *map(id, targets))
        if key not in self._functions:
            self._functions[key] = _pure(sources, targets, training)
        return self._functions[key]


class UnitPiece(Piece):
    """One residual unit, or one unit of a plain net.

    Attributes:
        stage, number: Its stage and its number in the stage, both from 1.
        is_residual: Whether it has a shortcut.
        is_gated: Whether a gate multiplies its shortcut.
        scale: The factor of its shortcut: 1 for the identity, `None` for a gate, NaN for a
            convolution.
        branch: For a residual unit, the tensor that its branch gives.
    """

    scale: float | None

    def __init__(self, name: str, graph: Any, source: Any, target: Any, names: Sequence[str]):
        super().__init__(name, graph, source, target, names)
        self.stage, self.number = (int(n) for n in _UNIT.findall(name)[0][1:])
        self.is_residual = f"{name}_add" in names
        self.is_gated = f"{name}_gate_carry" in names
        self.scale, self._held = None, []
        if not self.is_residual:
            return
        self._shortcut, self.branch = graph.inputs(f"{name}_add")
        self._sum = graph.output(f"{name}_add")
        if self.is_gated:
            self._held = [graph.output(f"{name}_gate_carry")]
        elif f"{name}_shortcut_conv" in names:
            self.scale = math.nan
        else:
            scaled = graph.operation(f"{name}_shortcut_scale")
            self.scale = float(scaled.scale) if scaled else 1.0

    def _seen(self):
        if not self.is_residual:
            return {}
        seen = {"shortcut": self._shortcut, "branch": self.branch, "sum": self._sum}
        if self.is_gated:
            gate = self.graph.output(f"{self.name}_gate")
            seen |= {"gate": gate, "carry": self._held[0]}
        return seen

    @property
    def hands_on(self) -> bool:
        """Whether its shortcut is the identity at inference."""
        if not self.is_residual or self.scale != 1:
            return False
        between = self.graph.between(self.source, self._shortcut)
        return all(isinstance(self.layer(name), _IDENTITIES) for name in between)

    @functools.cached_property
    def of_branch(self) -> Callable[[Any, Any], Any]:
        """Its function at inference from its input and a given output of its branch."""
        graph = keras.Model([self.source, self.branch], self.target)
        return lambda x, branch: graph.predict_on_batch([x, branch])

    def split(
        self, x: Any, seen: dict[str, Any]
    ) -> tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[[Any], Any]]:
        _, whole = self.linearize([self.source], [self.target], x)
        if not self.is_residual:
            return _first_of(whole), lambda _: keras.ops.zeros_like(x), _first_of(whole)
        _, after = self.linearize([self._sum], [self.target], seen["sum"])
        held = [seen["carry"]] if self.is_gated else []
        _, along = self.linearize([self.source, *self._held], [self._shortcut], x, *held)
        _, through = self.linearize([self.source], [self.branch, *self._held], x)

        def shortcut(gradient):
            return along(*after(gradient))[0]

        def weights(gradient):
            (at_sum,) = after(gradient)
            return through(at_sum, *along(at_sum)[1:])[0]

        return _first_of(whole), shortcut, weights


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """A network in pieces.

    Attributes:
        name: The network's name.
        pieces: Stem, units and head, in order; the output of each is the input of the next.
        gives_logits: Whether its scores are logits (`True`) or a softmax (`False`); `None` if
            neither.
        channel_axis: Axis of the channels, 1 or -1.

    Example:
        >>> from keras_preact.analysis import dissect
        >>> from keras_preact.applications import ResNet8V2
        >>> [unit.name for unit in dissect(ResNet8V2()).units]
        ['stage1_unit1', 'stage2_unit1', 'stage3_unit1']
    """

    name: str
    pieces: tuple[Piece, ...]
    gives_logits: bool | None
    channel_axis: int

    @property
    def units(self) -> tuple[UnitPiece, ...]:
        """The units among the pieces."""
        return tuple(piece for piece in self.pieces if isinstance(piece, UnitPiece))


def dissect(model: keras.Model) -> Anatomy:
    """Splits a network of this package, in any packaging, into stem, units and head.

    Args:
        model: A functional `keras.Model` whose units are named as by `build_network`,
            `stage1_unit1_...`; it may have other layers before and after them.

    Returns:
        An `Anatomy` that computes with the model's weights; those of networks with repeated units
        or stochastic depth are copied. No branch is left out.

    Raises:
        ConfigError: If the model has no such units, or more than one input or output.

    Example:
        >>> from keras_preact.analysis import dissect
        >>> from keras_preact.applications import ResNet8V2
        >>> [piece.name for piece in dissect(ResNet8V2()).pieces]
        ['stem', 'stage1_unit1', 'stage2_unit1', 'stage3_unit1', 'head']
    """
    own = any(isinstance(layer, (Repeat, StochasticDepth)) for layer in model._flatten_layers())
    graph = _Graph(as_graph(unrolled(model, all_branches=True) if own else model))
    ends = [len(graph.model.inputs), len(graph.model.outputs)]
    require(ends == [1, 1], "model", model.name, "a network with one input and one output")
    found = {}
    for name in graph.names:
        if match := _UNIT.match(name):
            found.setdefault(match.group(1), []).append(name)
    if not found:
        raise ConfigError(
            "`model` must be a network of this package, with units called stage1_unit1 and so on. "
            f"Received: {model.name!r}, with the layers {', '.join(graph.names[:4])}, ..."
        )
    pieces, (at,) = [], graph.model.inputs
    for name, names in found.items():
        source, target = graph.ends(names)
        between = graph.between(at, source)
        if not pieces or any(
            type(graph.operation(n)) is not keras.layers.Identity for n in between
        ):
            pieces.append(Piece(f"to_{name}" if pieces else "stem", graph, at, source, between))
        unit = graph.operation(name)
        if is_graph(unit):  # nested: a graph of its own
            own = _Graph(unit)
            pieces.append(UnitPiece(name, own, *unit.inputs, *unit.outputs, own.names))
        else:
            pieces.append(UnitPiece(name, graph, source, target, names))
        at = target
    (end,) = graph.model.outputs
    pieces.append(Piece("head", graph, at, end, graph.between(at, end)))
    last = getattr(graph.operation(graph.names[-1]), "activation", None)
    known = {keras.activations.linear: True, keras.activations.softmax: False}
    return Anatomy(model.name, tuple(pieces), known.get(last), graph.channel_axis)


class _Graph:
    """The layers of one functional model by name, with the tensors between them."""

    def __init__(self, model):
        self.model = model
        nodes = [node for depth in model._nodes_by_depth.values() for node in depth]
        self._nodes = {node.operation.name: node for node in nodes if not node.is_input}
        self.names = [op.name for op in model.operations if op.name in self._nodes]

    def operation(self, name):
        return self._nodes[name].operation if name in self._nodes else None

    @property
    def channel_axis(self):
        conv = next(op for op in self.model.operations if hasattr(op, "data_format"))
        return 1 if conv.data_format == "channels_first" else -1

    def inputs(self, name):
        return self._nodes[name].input_tensors

    def input(self, name):
        return self.inputs(name)[0]

    def output(self, name):
        return self._nodes[name].outputs[0]

    def ends(self, names):
        """The input tensor of a group of layers from outside, and its output tensor."""
        inside = {id(self.output(name)) for name in names}
        (source,) = {
            id(t): t for n in names for t in self.inputs(n) if id(t) not in inside
        }.values()
        taken = {id(t) for name in self.names if name not in names for t in self.inputs(name)}
        taken |= {id(t) for t in self.model.outputs}
        (target,) = (self.output(name) for name in names if id(self.output(name)) in taken)
        return source, target

    def between(self, source, target):
        """Names of the layers between two tensors, in order."""
        makers = {id(self.output(name)): name for name in self.names}
        found, tensors = set(), [target]
        while tensors:
            tensor = tensors.pop()
            name = makers.get(id(tensor))
            if tensor is not source and name is not None and name not in found:
                found.add(name)
                tensors += self.inputs(name)
        return [name for name in self.names if name in found]

    def response(self, name):
        """The response of a layer: the output of the norm that alone follows it, or its own."""
        output = self.output(name)
        followers = [n for n in self.names if any(t is output for t in self.inputs(n))]
        norms = (*NORMS, keras.layers.GroupNormalization)
        alone = len(followers) == 1 and isinstance(self.operation(followers[0]), norms)
        return self.output(followers[0]) if alone else output


def _first_of(pull):
    return lambda gradient: pull(gradient)[0]


def _pure(sources, targets, training):
    """The function between tensors of a graph with fixed weights; takes and returns lists."""
    places = {id(tensor): k for k, tensor in enumerate(sources)}
    wanted = list({id(t): t for t in targets if id(t) not in places}.values())
    at = {id(tensor): k for k, tensor in enumerate(wanted)}
    model = keras.Model(sources, wanted) if wanted else None

    def function(*inputs):
        values: Any = []
        if model:
            answer: Any = model.stateless_call(
                model.trainable_variables,
                model.non_trainable_variables,
                list(inputs),
                training=training,
            )
            values = keras.tree.flatten(answer[0])
        return [inputs[places[id(t)]] if id(t) in places else values[at[id(t)]] for t in targets]

    return function
