"""`Repeat`: identical units, one after the other, as a loop over stacked weights."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import keras
import numpy as np

from keras_preact.layers.stochastic_depth import (
    StochasticDepth,
    branch_factors,
    kept_probabilities,
)


@keras.saving.register_keras_serializable("keras_preact")
class Repeat(keras.layers.Layer):
    """A chain of identical units, as one loop over stacked weights.

    A stage of a residual network is the same unit many times in a row, each time with its own
    weights. `Repeat` stacks each weight of the unit over the repetitions along a new first axis,
    and runs the unit in a loop: `while_loop` on TensorFlow, `scan` on JAX, a Python loop elsewhere.
    Building, tracing and compiling then cost the same at 10 and at 1000 layers.

    Args:
        template: The unit: a functional `keras.Model` whose output has the dtype of its input and,
            unless there is only one repetition, its shape. It serves as a pattern; the weights in
            use are those of this layer.
        names: Names of the repetitions, one each. The names of the unit's layers begin with the
            name of the template; saved weights have the repetition's name in its place.
        recompute: Whether the backward pass computes a unit's activations again instead of storing
            them: memory for one unit at a time, for about a third more time.
        rates: For a unit with a `StochasticDepth`: the rate of each repetition. A branch that is
            left out for a whole mini-batch is not computed. `None`: that of the template.
        **kwargs: Arguments of `keras.layers.Layer`.

    Returns:
        When called on a tensor of the template's input shape, a tensor of its output shape.

    Raises:
        ValueError: If `names` is empty or has duplicates, or if the template changes the shape of
            its input.

    Example:
        >>> import keras
        >>> from keras_preact.layers import Repeat
        >>> inputs = keras.Input((8, 8, 4))
        >>> conv = keras.layers.Conv2D(4, 3, padding="same", name="unit_conv")(inputs)
        >>> outputs = keras.layers.Add(name="unit_add")([inputs, conv])
        >>> unit = keras.Model(inputs, outputs, name="unit")
        >>> layer = Repeat(unit, names=["unit1", "unit2", "unit3"])
        >>> layer(inputs).shape
        (None, 8, 8, 4)
        >>> [tuple(weight.shape) for weight in layer.weights]
        [(3, 3, 3, 4, 4), (3, 4)]
    """

    def __init__(
        self,
        template: keras.Model,
        names: Iterable[str],
        recompute: bool = False,
        rates: Sequence[float] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        names = list(names)
        if not names or len(set(names)) < len(names):
            raise ValueError(
                "`names` must name at least one repetition, each differently. "
                f"Received: names={names}."
            )
        if len(names) > 1 and template.input_shape != template.output_shape:
            raise ValueError(
                "`template` must keep the shape of its input, so that it can be repeated. "
                f"Received: a model from {template.input_shape} to {template.output_shape}."
            )
        depth = _depth(template)
        if depth is not None and rates is None:
            rates = [depth.rate] * len(names)
        if rates is not None and (depth is None or len(rates) != len(names)):
            raise ValueError(
                "`rates` must have one rate per repetition, of a template with a StochasticDepth. "
                f"Received: rates={rates} for {len(names)} repetitions."
            )
        self.names, self.recompute, self.rates = names, recompute, rates and list(rates)
        # In a function: as an attribute it would be tracked and saved in addition to the stacks.
        rest, twins = (None, {}) if depth is None else _without_branch(template)
        self._template, self._rest, self._twins = lambda: template, lambda: rest, lambda: twins
        # One generator per random layer; each repetition draws from a stream of its own.
        self._generators = [
            keras.random.SeedGenerator(int(keras.ops.convert_to_numpy(state)[0]))
            for state in _seed_states(template)
        ]
        # Setting `trainable` reaches every layer inside, and these must stay frozen.
        frozen = [layer for layer in template.layers if not layer.trainable]
        self._frozen = lambda: frozen
        self._stacks = []

    def template(self) -> keras.Model:
        """The unit that is repeated; a method, since saving looks into properties as well."""
        return self._template()

    def build(self, input_shape: Any) -> None:
        for layer, weight in _owned_weights(self.template()):
            self._stacks.append(
                self.add_weight(
                    name=f"{self._without_prefix(layer)}_{weight.name}",
                    shape=(len(self.names), *weight.shape),
                    dtype=weight.dtype,
                    initializer=_stacked_initializer(layer, weight),
                    constraint=_stacked_constraint(weight.constraint),
                    trainable=weight.trainable,
                    autocast=False,
                )
            )

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.template().compute_output_shape(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        template, ops = self.template(), keras.ops
        if template.trainable != self.trainable:
            frozen = {layer.name for layer in self._frozen()}
            for model in filter(None, (template, self._rest())):
                model.trainable = self.trainable  # its layers decide what frozen means
                for layer in model.layers:
                    if layer.name in frozen:
                        layer.trainable = False
        weights = [weight for _, weight in _owned_weights(template)]
        learns = training and self.trainable
        moving = [
            (weight, stack)
            for weight, stack in zip(weights, self._stacks, strict=True)
            if learns and not stack.trainable
        ]
        variables = [*weights, *_seed_states(template)]
        twins = self._twins()

        def key(variable):  # of the template, also where it is that of the copy
            return twins.get(id(variable), id(variable))

        stacks = [ops.convert_to_tensor(stack) for stack in self._stacks]
        stacks += [self._streams(k, training) for k in range(len(self._generators))]
        found_losses = []

        def run(model, inputs, values):
            value = dict(zip(map(key, variables), values, strict=True))
            answer: Any = model.stateless_call(
                [value[key(variable)] for variable in model.trainable_variables],
                [value[key(variable)] for variable in model.non_trainable_variables],
                inputs,
                training=training,
                return_losses=True,
            )
            y, states, losses = answer
            found_losses.extend(losses)
            loss = sum((ops.cast(loss, "float32") for loss in losses), ops.zeros(()))
            value |= dict(zip(map(key, model.non_trainable_variables), states, strict=True))
            # No gradient flows through moving statistics; stopped, since the loop returns them.
            return y, [loss, *(ops.stop_gradient(value[key(weight)]) for weight, _ in moving)]

        def unit(x, *values):
            return run(template, x, values)

        if self.rates and (training or _depth(template).scale_at_inference):
            unit = self._with_depth(run, training)
            stacks.append(self._factors(inputs, training))
        if self.recompute and training:
            unit = keras.remat(unit)
        extra = [ops.zeros(()), *(weight for weight, _ in moving)]
        outputs, (losses, *states) = _scan(unit, inputs, stacks, extra, len(self.names))
        for (_, stack), new in zip(moving, states, strict=True):
            stack.assign(new)
        if found_losses:
            self.add_loss(ops.sum(losses))
        return outputs

    def stacks(self) -> dict[tuple[str, int], Any]:
        """The stacked weights: `{(name of the template's layer, index of its weight): stack}`."""
        stacks, index = {}, {}
        for (layer, _), stack in zip(_owned_weights(self.template()), self._stacks, strict=True):
            index[layer.name] = index.get(layer.name, -1) + 1
            stacks[layer.name, index[layer.name]] = stack
        return stacks

    def layer_name(self, repetition: int, layer: str) -> str:
        """Name of a template's layer in one repetition, as it would be in a flat graph."""
        return f"{self.names[repetition]}{layer.removeprefix(self.template().name)}"

    def save_own_variables(self, store: Any) -> None:
        """Saves the weights of each repetition under its own names, so that they fit any graph."""
        for (layer, index), stack in self.stacks().items():
            for k, values in enumerate(keras.ops.convert_to_numpy(stack)):
                store[f"{self.layer_name(k, layer)}.{index}"] = values

    def load_own_variables(self, store: Any) -> None:
        """Loads what `save_own_variables` saved."""
        for (layer, index), stack in self.stacks().items():
            keys = [f"{self.layer_name(k, layer)}.{index}" for k in range(len(self.names))]
            missing = [key for key in keys if key not in store]
            if missing:
                raise ValueError(
                    f"Layer {self.name!r} found no weights for {missing[:3]}: load weights that "
                    "were saved from a network of the same architecture."
                )
            stack.assign(np.stack([store[key] for key in keys]))

    def with_template(
        self, template: keras.Model, dtype: str | keras.DTypePolicy | None = None
    ) -> Self:
        """A new `Repeat` of another unit, otherwise equal; `dtype`, if given, is its policy."""
        return type(self)(
            template,
            self.names,
            self.recompute,
            self.rates,
            name=self.name,
            dtype=dtype or self.dtype_policy,
            trainable=self.trainable,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "template": keras.saving.serialize_keras_object(self.template()),
            "names": self.names,
            "recompute": self.recompute,
            **({"rates": self.rates} if self.rates else {}),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        template = keras.saving.deserialize_keras_object(config["template"])
        return cls(**{**config, "template": template})

    def _without_prefix(self, layer):
        return layer.name.removeprefix(self.template().name).lstrip("_")

    def _factors(self, inputs, training):
        """What the branch of each repetition is multiplied by: in this step, or at inference."""
        template = self.template()
        depth: Any = _depth(template)
        kept = kept_probabilities(self.rates)
        if not training:
            return kept
        states = [*map(id, _seed_states(template))]
        generator = self._generators[states.index(id(depth.seed_generator.state))]
        images = 1 if depth.by_batch else keras.ops.shape(inputs)[0]
        factors = branch_factors(self.rates, images, generator)
        return factors if depth.scale_at_inference else factors / kept

    def _with_depth(self, run, training):
        """The unit with a further value, its factor; if that is drawn as 0, no branch is run."""
        template, rest, ops = self.template(), self._rest(), keras.ops
        depth: Any = _depth(template)

        def unit(x, *values):
            *values, factor = values

            def without():
                sizes = rest.inputs[1].shape[1:]
                sizes = ops.shape(x)[1:3] + sizes[2:] if None in sizes else sizes
                zeros = ops.zeros((ops.shape(x)[0], *sizes), depth.compute_dtype)
                return run(rest, [x, zeros], values)

            with depth.given(factor):
                if rest is None or not depth.by_batch or not training:
                    return run(template, x, values)
                kept = ops.reshape(factor, ()) > 0
                return ops.cond(kept, lambda: run(template, x, values), without)

        return unit

    def _streams(self, index, training):
        """Seed states of the template's `index`-th random layer, one per repetition."""
        ops, count = keras.ops, len(self.names)
        generator = self._generators[index]
        seed, counter = ops.unstack(generator.next() if training else generator.state.value, num=2)
        steps = ops.cast(7919 * ops.arange(count), seed.dtype)
        # A layer may draw more than once per step, each time one count further.
        counters = ops.broadcast_to(counter * ops.cast(256, counter.dtype), (count,))
        return ops.stack([seed + steps, counters], axis=1)


def _depth(template):
    """The `StochasticDepth` of a unit, if it has one."""
    return next((x for x in template.layers if isinstance(x, StochasticDepth)), None)


def _without_branch(template):
    """What remains of a unit: a model of copied layers from its input and its branch's output.

    With it the ids of its variables, and those of the template's. `None` if the sizes of maps of
    any size change in the unit, where nothing tells what a branch of zeros must look like. A graph
    that shared the template's layers would spoil its config.
    """
    taken, given = template.input.shape, _depth(template).output.shape
    if None in given[1:] and taken[1:] != given[1:]:
        return None, {}
    copy = keras.models.clone_model(template)
    pairs = zip(copy.variables, template.variables, strict=True)
    twins = {id(variable): id(own) for variable, own in pairs}
    return keras.Model([copy.input, _depth(copy).output], copy.output), twins


def _owned_weights(template):
    """Pairs (layer, weight) of a model, nested models included."""
    pairs = []
    for layer in template.layers:
        inner = _owned_weights(layer) if hasattr(layer, "layers") else None
        pairs += [(layer, weight) for weight in layer.weights] if inner is None else inner
    return pairs


def _seed_states(template):
    weights = {id(weight) for weight in template.weights}
    return [variable for variable in template.variables if id(variable) not in weights]


#: Initialisers whose values do not depend on the shape, so that a stack needs no repetitions.
_CONSTANT = (keras.initializers.Zeros, keras.initializers.Ones)


def _stacked_initializer(layer, weight):
    """Draws the values of each repetition separately, since fans are those of one repetition."""
    initializer = getattr(layer, f"{weight.name}_initializer", None)
    if isinstance(initializer, _CONSTANT):
        return initializer
    position = [id(other) for other in layer.weights].index(id(weight))

    def one():
        if isinstance(initializer, keras.initializers.Initializer):
            return initializer.clone()(weight.shape, dtype=weight.dtype)
        fresh = type(layer).from_config(layer.get_config())
        fresh.build_from_config(layer.get_build_config())
        return keras.ops.convert_to_tensor(fresh.weights[position].value)

    return lambda shape, dtype=None: keras.ops.stack([one() for _ in range(shape[0])])


def _stacked_constraint(constraint):
    """Applies the constraint of one repetition's weight to each weight of the stack."""
    if constraint is None:
        return None
    return lambda stack: keras.ops.stack([constraint(one) for one in keras.ops.unstack(stack)])


def _scan(unit, x, stacks, extra, count):
    """`unit(x, *values)` for each repetition's values: last x, and the other results stacked."""
    if count == 1:
        outputs, extra = unit(x, *(stack[0] for stack in stacks))
        return outputs, [value[None] for value in extra]
    if keras.backend.backend() == "tensorflow":
        from keras_preact.layers import kernels_tf

        return kernels_tf.scan(unit, x, stacks, extra, count)
    return keras.ops.scan(lambda carry, values: unit(carry, *values), x, stacks, count)
