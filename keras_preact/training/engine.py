"""Engines: steps of training and prediction on the devices of a run.

An engine is the only part of a training that knows the backend. `engine_tf.py` is TensorFlow on one
device, on several (MirroredStrategy) and on several machines (MultiWorkerMirroredStrategy);
`engine_jax.py` is JAX on one device, on several, and on several machines (`jax.distributed`);
`engines.py` chooses between them.

A step is the same on all: gradients are the mean over the images of the global batch; where batch
normalisation takes its statistics over parts of it (devices, or `Recipe.bn_batch`), the moving
statistics move by the mean of what each part would have moved them.
"""

import abc
import contextlib
import functools
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import safetensors.numpy

from keras_preact.checked import require
from keras_preact.data.blend import blended, unblended
from keras_preact.errors import ConfigError, DeviceError
from keras_preact.files import to_json
from keras_preact.training.recipes import Recipe
from keras_preact.weights import layers_with_weights

#: The numbers that a step gives, in the order in which the compiled steps return them.
LOGS = ("loss", "accuracy", "gradient_norm", "learning_rate")


class Engine(abc.ABC):
    """Devices and the compiled steps on them.

    Attributes:
        replicas: Devices that share a batch, over all machines.
        machines: Processes that train together, one a machine.
        machine: Which of them this process is, from 0.
        addresses: `host:port` of each of them; empty for a single machine.
        is_chief: Whether this process writes the results; always true on a single machine.
        devices: Description of the devices.
        device_kind: The vendor's name of the first one; "" for a CPU.
        model, optimizer: Given by `prepare`.
    """

    replicas = machines = 1
    machine = 0
    addresses: Sequence[str] = ()
    devices = device_kind = ""

    @property
    def is_chief(self) -> bool:
        return self.machine == 0

    @abc.abstractmethod
    def scope(self) -> Any:
        """A context in which model and optimiser must be created."""

    def prepare(
        self,
        model: keras.Model,
        optimizer: Any,
        recipe: Recipe,
        adjustment: np.ndarray | None = None,
    ) -> None:
        """Takes a model that returns logits, and its optimiser.

        Args:
            model: The `keras.Model`.
            optimizer: A Keras optimiser, or one of this package.
            recipe: The `Recipe`.
            adjustment: float32 `[classes]`, added to the logits in the training loss only
                (`keras_preact.data.balance.log_shares`), or `None`.
        """
        self.model, self.optimizer, self.recipe = model, optimizer, recipe
        self.adjustment = adjustment
        self.loss = functools.partial(getattr(keras.losses, recipe.loss), from_logits=True)
        self.moving = [
            variable
            for layer in layers_with_weights(model)
            if layer.trainable
            for variable in layer.non_trainable_weights
        ]
        optimizer.build(model.trainable_variables)
        _inner(optimizer).sums_gradients = False

    @abc.abstractmethod
    def train(
        self, batches: Any, first: int, last: int, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[list[dict[str, Any]]]:
        """Runs the steps `first` to `last` - 1 of an epoch.

        Args:
            batches: `keras_preact.data.Batches`.
            first, last: Numbers of batches.
            stop: Called before each step; once it returns `True` on any machine, all are told.

        Yields:
            Lists of dictionaries, one a step, with `LOGS`, `images`, `waited` (seconds for input)
            and `stop`. Between two lists the state is exactly that after the last step in them.
        """

    @abc.abstractmethod
    def step_on(self, images: np.ndarray, labels: np.ndarray) -> Callable[[], Any]:
        """A function that runs the compiled step on one batch again and again: for benchmarks."""

    @abc.abstractmethod
    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities, float32 `[n, classes]`, for images `[n, h, w, c]`, 0 to 255."""

    @abc.abstractmethod
    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of tensors, compiled."""

    @abc.abstractmethod
    def memory(self) -> tuple[int, int | None]:
        """Most bytes used of a device's memory (of this process's, on a CPU), and those there are
        to be used; `None` where that is not known."""

    def broadcast(self, state: dict[str, np.ndarray] | None) -> dict[str, np.ndarray] | None:
        """The chief's state, on every machine: all add up what the others send as zeros."""
        if self.machines == 1:
            return state
        mine = np.frombuffer(
            safetensors.numpy.save(state) if state and self.is_chief else b"", np.uint8
        )
        size = int(self._sum(np.array([len(mine)], np.int32))[0])
        if not size:  # and TensorFlow cannot add up nothing
            return None
        data = np.resize(mine, size) if len(mine) else np.zeros(size, np.uint8)
        data = self._sum(data.astype(np.int32)).astype(np.uint8)
        return safetensors.numpy.load(data.tobytes())

    def _sum(self, value: np.ndarray) -> np.ndarray:
        """An int32 array, added up over the machines."""
        return value

    def _share(self, images: int) -> slice:
        """Which of the images of a batch this machine works on."""
        size = images // self.machines
        return slice(self.machine * size, (self.machine + 1) * size)

    def _gone(self, machine: int | None) -> DeviceError:
        """What to raise once another machine, if it is known which, takes part no more."""
        if machine == self.machine:  # it hung, and came back
            what = "This machine was silent for so long that the others have ended."
        else:
            known = machine is not None
            who = f"Worker {machine} ({self.addresses[machine]})" if known else "Another machine"
            what = f"{who} of this run has stopped or cannot be reached; its output says why."
        return DeviceError(
            f"{what} The same command on all machines resumes from the last checkpoint."
        )

    @abc.abstractmethod
    def sync(self) -> None:
        """Brings the model's variables up to date, where steps keep their state elsewhere."""

    def broadcast_json(self, values: Any) -> Any:
        """The chief's plain values, on every machine; `None` for what is empty."""
        packed = {"json": np.frombuffer(to_json(values), np.uint8)} if values else None
        found = self.broadcast(packed)
        return json.loads(found["json"].tobytes()) if found else None

    def state(self) -> dict[str, np.ndarray]:
        """Everything that the next step depends on: weights, statistics, seeds, optimiser.

        The arrays are copies: a thread may write them while later steps change the variables.
        """
        self.sync()
        return {  # pyright: ignore[reportReturnType]
            name: keras.ops.convert_to_numpy(variable)
            for name, variable in self._variables().items()
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Sets a state returned by `state`.

        Raises:
            ConfigError: When it belongs to another network or optimiser.
        """
        variables = self._variables()
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        received = {name: value.shape for name, value in state.items()}
        different = [
            name for name in {**shapes, **received} if shapes.get(name) != received.get(name)
        ]
        if different:
            name = different[0]
            raise ConfigError(
                f"The checkpoint must be of the same network and optimiser: {name} has the shape "
                f"{shapes.get(name)}. Received: {received.get(name)}."
            )
        for name, variable in variables.items():
            variable.assign(state[name])

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Temporarily replaces the weights by their moving average (`Recipe.ema`)."""
        if not self.recipe.ema:
            yield
            return
        self.sync()
        variables = self.model.trainable_variables
        kept = [keras.ops.convert_to_numpy(variable) for variable in variables]
        _inner(self.optimizer).finalize_variable_values(variables)
        try:
            yield
        finally:
            for variable, value in zip(variables, kept, strict=True):
                variable.assign(value)

    def padded(self, images: np.ndarray) -> np.ndarray:
        """Images and as many copies of them as make a multiple of the devices."""
        return np.resize(
            images, (-(-len(images) // self.replicas) * self.replicas, *images.shape[1:])
        )

    def cuts(self, images: int) -> int:
        """Into how many parts a replica cuts its share of a batch; checks that all are equal."""
        require(
            images % self.replicas == 0,
            "batch_size",
            images,
            f"a multiple of {self.replicas}, the number of devices, which share it equally",
        )
        share = images // self.replicas
        part = self.recipe.bn_batch or share
        require(
            share % part == 0, "bn_batch", part, f"a divisor of {share}, the images of a device"
        )
        even = part % 2 == 0 or not (self.recipe.mixup or self.recipe.cutmix)
        pairs = f"even on each device ({part} images) for mixup and cutmix"
        require(even, "batch_size", images, pairs)
        return share // part

    def extras(self, batches: Any, index: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """What `objective` takes of a batch beside images and labels: `blend` and `weights`."""
        recipe = self.recipe
        blend = batches.blend(index, recipe.mixup, recipe.cutmix)
        if blend is not None and batches.epoch >= recipe.blend_until * recipe.epochs:
            blend = unblended(blend)
        return blend, batches.weights(index)

    def objective(
        self, images: Any, labels: Any, blend: Any, weights: Any, all_images: int, parts: int
    ) -> tuple[Any, Any, Any]:
        """Loss of some images as a share of the batch's, and how many are classified correctly.

        Weights multiply the losses of images. Of two that are blended each has the share of its
        loss with its weight: the same as one loss, of targets in which their weights count too.

        Returns:
            The number to differentiate, the loss, and the number of correct images.
        """
        ops = keras.ops
        images = ops.cast(images, "float32")
        classes = self.model.output.shape[-1]
        targets = ops.one_hot(labels, classes)
        if blend is not None:
            if weights is not None:  # blended as targets are, beside them
                weighted = [targets * weights[:, None], weights[:, None]]
                targets = ops.concatenate(weighted, axis=1)
            images, targets = blended(images, targets, blend)
            if weights is not None:  # of two images that count for nothing there are no targets
                targets, weights = targets[:, :-1], targets[:, -1]
                targets = targets / ops.maximum(weights, 1e-12)[:, None]
        if smoothing := self.recipe.label_smoothing:  # Keras's binary loss would smooth to a half
            targets = targets * (1.0 - smoothing) + smoothing / classes
        scores = ops.cast(self.model(images, training=True), "float32")
        adjusted = scores if self.adjustment is None else scores + self.adjustment
        losses = self.loss(targets, adjusted)
        loss = ops.sum(losses if weights is None else losses * weights) / all_images
        others = sum(self.model.losses, ops.zeros(())) / parts
        correct = ops.sum(ops.cast(ops.equal(ops.argmax(scores, -1), labels), "float32"))
        return loss + others, loss, correct

    def _variables(self):
        named = {}
        owners = {"model": self.model, "optimizer": self.optimizer}
        for owner, holder in owners.items():
            for number, variable in enumerate(holder.variables):
                named[f"{owner}.{number:05d}.{variable.name}"] = variable
        return named


def scaled_optimizer(optimizer: Any, policy: str) -> Any:
    """The optimiser for a dtype policy, with loss scaling under float16.

    Args:
        optimizer: A Keras optimiser.
        policy: Name of a dtype policy.

    Returns:
        The optimiser, or a `keras.optimizers.LossScaleOptimizer` around it.
    """
    if policy != "mixed_float16":
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)


def process_memory() -> tuple[int, int]:
    """The peak memory of this process, and the free memory, in bytes."""
    import psutil  # tensorflow-datasets depends on it

    free = psutil.virtual_memory().available
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset, free
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, free


def logged(logs: np.ndarray, images: int, waited: float) -> dict[str, float]:
    """One step's numbers as the loop wants them; `None` for a norm that overflowed in float16."""
    values = dict(zip(LOGS, map(float, logs), strict=True))
    norm = values["gradient_norm"]
    values["gradient_norm"] = norm if math.isfinite(norm) else None
    return {**values, "images": images, "waited": waited}


def _inner(optimizer):
    return getattr(optimizer, "inner_optimizer", optimizer)
