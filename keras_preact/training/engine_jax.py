"""JAX's engine: steps as pure functions, on one device or on several that share a batch.

The several may be on several machines, joined by `jax.distributed`: steps see one array of all
devices, while the variables of model and optimiser are this machine's own, the same on each.

On a GPU or TPU images that fit in its memory are held and augmented there, whatever their size;
many steps then run as one compiled loop, with the host out of the way: it draws what becomes of the
images of the next ones. What each image becomes is what the host would make of it. Images that are
decoded from their files in each epoch, do not fit, come in batches of different sizes, or have more
done to them than the device knows (policies, jitter, erasing) are augmented on the host, and so are
all on several machines. On several devices batch normalisation takes its statistics over the whole
batch.
"""

import atexit
import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from keras_preact.checked import require
from keras_preact.console import silent_stderr
from keras_preact.data import prefetched
from keras_preact.errors import DeviceError, quoted
from keras_preact.training.augment_jax import augmented, draws
from keras_preact.training.engine import Engine, logged, process_memory
from keras_preact.training.machines_jax import devices_of_all, end_at_once, is_cpu, joined

#: Steps of one compiled loop, at most; and about how long it should run, in seconds, so that
#: progress is seen and signals are heard.
CHUNK, SECONDS = 64, 1.0

#: Seconds by which an error, or a result, may be away from the word that a machine is gone.
LOOK = 3.0

#: What XLA is told where only deterministic kernels may be used. It then times none to choose by
#: either. Told with each compilation, it needs no environment and is read after JAX has begun too.
DETERMINISTIC = {"xla_gpu_deterministic_ops": True}


class JaxEngine(Engine):
    """Steps compiled by `jax.jit`.

    Args:
        devices: `"auto"` (all GPUs or TPUs, else the CPU) or names separated by commas, such as
            `"gpu:0,gpu:1"`.
        workers: `host:port` of each machine, or `None` for this machine alone; at the first one's
            all machines meet.
        index: Which of them this process is.
        deterministic: Whether XLA may only use deterministic kernels.
    """

    def __init__(
        self,
        devices: str = "auto",
        workers: list[str] | None = None,
        index: int | None = None,
        deterministic: bool = False,
    ) -> None:
        self._distribution = self._mesh = self._peers = None
        if workers:
            require(devices == "auto", "devices", devices, "'auto' with several machines")
            self.addresses, self.machines, self.machine = workers, len(workers), index
            self._peers = joined(tuple(workers), index)
            found = devices_of_all(self.machines)
            self._mesh = jax.sharding.Mesh(np.array(found), ("batch",))
            self.devices, on_cpu = f"{len(found)} on {len(workers)} machines", is_cpu(found[0])
        else:
            found = _device_names(devices)
            self.devices, on_cpu = ", ".join(found).upper(), found[0].startswith("cpu")
            if len(found) > 1 or devices != "auto":
                self._distribution = keras.distribution.DataParallel(
                    devices=found, auto_shard_dataset=False
                )
                self._mesh = self._distribution.device_mesh.backend_mesh
        self.replicas = len(found)
        self.holds_images = not (on_cpu or workers)
        self.device_kind = "" if on_cpu else jax.local_devices()[0].device_kind
        self._resident = self._state = None
        self._jit = functools.partial(
            jax.jit, compiler_options=DETERMINISTIC if deterministic else None
        )
        # What steps return is whole on each machine, which could not read the others' shares.
        self._whole = {"out_shardings": self._sharding(everywhere=True)} if workers else {}
        self._add = jax.jit(lambda values: values.sum(0), **self._whole)
        if workers:
            with silent_stderr(1):  # where the collectives say that they are connected
                self._sum(np.zeros(1, np.int32))

    @contextlib.contextmanager
    def scope(self) -> Any:
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(self._distribution)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)

    def prepare(self, *arguments: Any) -> None:
        with self.scope():
            super().prepare(*arguments)
        model, recipe = self.model, self.recipe
        rule = "None: under JAX, several devices take the statistics over the whole batch"
        require(self.replicas == 1 or not recipe.bn_batch, "bn_batch", recipe.bn_batch, rule)
        moving = {id(variable) for variable in self.moving}
        self._moves = [id(variable) in moving for variable in model.non_trainable_variables]
        self._step = self._jit(self._train_step, static_argnames="parts", **self._whole)
        self._steps = self._jit(self._train_steps, static_argnames="parts")
        self._scores = self._jit(self._predict_step, **self._whole)
        self._chunk, self._timed = 1, False  # one step, until it is known how long it takes
        self._state = None  # of the steps, while it is ahead of the variables
        if self.machines > 1:  # other processors may have drawn other last bits
            self.restore(self.broadcast(self.state()))

    def train(
        self, batches: Any, first: int, last: int, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[list[dict[str, Any]]]:
        parts = self.cuts(batches.size(first)) if first < last else 1
        resident = self._hold(batches)
        self._state = tuple(self._values(group) for group in self._groups())
        try:
            if resident is None:
                yield from self._train_streamed(batches, first, last, stop, parts)
            else:
                yield from self._train_resident(resident, batches, first, last, stop, parts)
        finally:
            self.sync()
            self._state = None

    def _train_streamed(self, batches, first, last, stop, parts):
        feed = prefetched(batches, first, last, self._share)
        for index in range(first, last):
            start = time.perf_counter()
            images, labels = next(feed)
            waited = time.perf_counter() - start
            total = len(images) * self.machines
            share = self._share(total)
            extras = (None if v is None else v[share] for v in self.extras(batches, index))
            inputs = [self._placed(values) for values in (images, labels, *extras)]
            with self._others_may_end():
                self._state, logs = self._step(self._state, *inputs, parts=parts)
                logs = self._fetched(logs)
            asked = stop()
            if self.machines > 1:
                asked = bool(self._sum(np.array([asked], np.int32))[0])
            yield [{**logged(logs, total, waited), "stop": asked}]

    def _train_resident(self, resident, batches, first, last, stop, parts):
        with ThreadPoolExecutor(1) as worker:  # draws while the device computes

            def drawn():
                return worker.submit(self._draws, batches, first, min(first + self._chunk, last))

            ahead = drawn()
            while first < last:
                start = time.perf_counter()
                count, steps = ahead.result()
                waited = time.perf_counter() - start
                self._state, logs = self._steps(self._state, resident, steps, count, parts=parts)
                size, first = batches.size(first), first + count
                ahead = drawn()
                logs = np.asarray(logs)[:count]
                taken = time.perf_counter() - start
                if self._timed:  # the first time is spent on compiling
                    self._chunk = int(np.clip(SECONDS * count / taken, 1, CHUNK))
                self._timed = True
                found = [logged(values, size, waited / count) for values in logs]
                yield [{**row, "stop": stop()} for row in found]

    def step_on(self, images: Any, labels: Any) -> Callable[[], Any]:
        inputs = self._placed(images), self._placed(labels), None, None
        state = tuple(self._values(group) for group in self._groups())
        parts = self.cuts(len(images))
        return lambda: np.asarray(self._step(state, *inputs, parts=parts)[1])

    def predict(self, images: np.ndarray) -> np.ndarray:
        self.sync()
        weights = [self._values(group) for group in self._groups()[:2]]
        padded = self.padded(images)
        with self._others_may_end():
            scores = self._scores(*weights, self._placed(padded[self._share(len(padded))]))
            return self._fetched(scores)[: len(images)]

    def sync(self) -> None:
        """Tells the variables of model and optimiser what the steps have made of them."""
        for group, values in zip(self._groups(), self._state or ((),) * 3, strict=True):
            for variable, value in zip(group, values, strict=False):
                variable.assign(value if self.machines == 1 else value.addressable_data(0))

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self._jit(function)

    def memory(self) -> tuple[int, int | None]:
        found = jax.local_devices()[0].memory_stats()
        if not found:  # a CPU
            return process_memory()
        return found["peak_bytes_in_use"], found["bytes_limit"]

    def _train_step(self, state, *inputs, parts):
        trainable, others, optimizer = state
        images = len(inputs[0])
        cut = images // parts
        gradients, logs, moved = None, jnp.zeros(2), None
        differentiate = jax.value_and_grad(self._objective, has_aux=True)
        now = others
        for k in range(parts):
            share = slice(k * cut, (k + 1) * cut)
            part = [values if values is None else values[share] for values in inputs]
            (_, (loss, correct, new)), found = differentiate(
                trainable, now, optimizer, part, images, parts
            )
            gradients = _added(gradients, found)
            logs += jnp.stack([loss, correct / images])
            # Moving statistics move by the mean over the parts; seeds go from part to part.
            moved = _added(moved, [v - old for v, old in zip(new, others, strict=True)])
            now = [o if m else v for m, v, o in zip(self._moves, new, others, strict=True)]
        others = [
            old + change / parts if moves else value
            for moves, change, value, old in zip(self._moves, moved, now, others, strict=True)
        ]
        scale, rate = self._in_optimizer(optimizer)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(g.astype(jnp.float32))) for g in gradients)) / scale
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        return (trainable, others, optimizer), jnp.concatenate([logs, jnp.stack([norm, rate])])

    def _objective(self, trainable, others, optimizer, part, all_images, parts):
        mapping = [
            *zip(self.model.trainable_variables, trainable, strict=True),
            *zip(self.model.non_trainable_variables, others, strict=True),
            *zip(self.optimizer.variables, optimizer, strict=True),
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            objective, loss, correct = self.objective(*part, all_images, parts)
            objective = self.optimizer.scale_loss(objective)
        new = [scope.get_current_value(v) for v in self.model.non_trainable_variables]
        return objective, (loss, correct, new)

    def _in_optimizer(self, values):
        """Loss scale and learning rate that belong to some values of its variables."""
        mapping = [*zip(self.optimizer.variables, values, strict=True)]
        with keras.StatelessScope(state_mapping=mapping):
            rate = jnp.asarray(self.optimizer.learning_rate, jnp.float32)
            return self.optimizer.scale_loss(1.0), rate

    def _train_steps(self, state, resident, steps, count, *, parts):
        """`count` steps over images that are on the device."""
        images, labels, fill = resident

        def step(number, carried):
            state, logs = carried
            drawn = jax.tree.map(lambda values: self._sharded(values[number]), steps)
            places = drawn["places"]
            batch = augmented(images[places], drawn, fill, self._pad)
            extras = drawn.get("blend"), drawn.get("weights")
            inputs = self._sharded(batch), self._sharded(labels[places]), *extras
            state, values = self._train_step(state, *inputs, parts=parts)
            return state, logs.at[number].set(values)

        logs = jnp.zeros((CHUNK, 4))
        return jax.lax.fori_loop(0, count, step, (state, logs))

    def _draws(self, batches, first, last):
        """The number of steps, and what the host decides about each: order, windows, mixing."""
        steps = []
        for index in range(first, last):
            drawn = draws(batches, batches.draws(index))
            drawn["places"] = batches.places(index).astype(np.int32)
            drawn["blend"], drawn["weights"] = self.extras(batches, index)
            steps.append({name: values for name, values in drawn.items() if values is not None})
        # Always as many, so that there is one loop to compile; those behind are not run.
        steps += steps[-1:] * (CHUNK - len(steps))
        stacked = jax.tree.map(lambda *values: np.stack(values), *steps) if steps else None
        return last - first, stacked

    def _hold(self, batches):
        """Images, labels and the value of the padding, on the devices; `None` if they stream."""
        split = batches.split
        alike = batches.drop_remainder or len(split) % batches.batch_size == 0
        if not self.holds_images or split.streams or not alike or batches.augmentation.follows:
            return None
        _, limit = self.memory()
        if limit and len(split) * math.prod(split.image_shape) > 0.4 * limit:
            return None
        if self._resident is None or self._resident[0] is not split:
            self._pad = batches.augmentation.padding(split.image_shape)
            fill = np.broadcast_to(batches.fill, split.image_shape[2:])
            held = split.images(slice(None)), split.labels, fill
            self._resident = split, [self._placed(values, everywhere=True) for values in held]
        return self._resident[1]

    def _placed(self, values, everywhere=False):
        """On the device; on several each has its share, or everything.

        What is shared is, on several machines, this one's share of it.
        """
        if values is None or self.replicas == 1:
            return values if values is None else jnp.asarray(values)
        sharding = self._sharding(everywhere)
        if self.machines == 1:
            return jax.device_put(values, sharding)
        return jax.make_array_from_process_local_data(sharding, np.asarray(values))

    def _sharded(self, values):
        if self.replicas == 1:
            return values
        return jax.lax.with_sharding_constraint(values, self._sharding())

    def _sharding(self, everywhere=False):
        spec = () if everywhere else self._mesh.axis_names
        return jax.sharding.NamedSharding(self._mesh, jax.sharding.PartitionSpec(*spec))

    def _predict_step(self, trainable, others, images):
        images = images.astype(jnp.float32)
        scores = self.model.stateless_call(trainable, others, images, training=False)[0]
        return jax.nn.softmax(scores.astype(jnp.float32))

    def _groups(self):
        model = self.model
        return model.trainable_variables, model.non_trainable_variables, self.optimizer.variables

    def _values(self, variables):
        values = [variable.value for variable in variables]
        if self.machines == 1:
            return values
        sharding, own = self._sharding(everywhere=True), self._mesh.local_devices
        return [
            jax.make_array_from_single_device_arrays(
                value.shape, sharding, [jax.device_put(value, device) for device in own]
            )
            for value in values
        ]

    def _sum(self, value):
        mine = np.zeros((self.replicas // self.machines, *value.shape), value.dtype)
        mine[0] = value
        with self._others_may_end():
            return self._fetched(self._add(self._placed(mine)))

    def _fetched(self, values):
        """On the host, once they are there, for which other machines may be waited for."""
        pause, end = 1e-4, None
        while self.machines > 1 and not values.is_ready():
            if (lost := self._peers.wait(pause)) is not None:
                end = end or time.monotonic() + LOOK  # it may have had all it needed, and left
                if time.monotonic() > end:
                    raise self._gone(lost)
                time.sleep(pause)
            pause = min(2 * pause, 0.01)
        return np.asarray(values)

    @contextlib.contextmanager
    def _others_may_end(self):
        """Says in one line what JAX says of a connection, whatever it raises."""
        try:
            yield
        except Exception as error:
            lost = self._peers and self._peers.wait(LOOK)
            if lost is None:
                raise
            self._state = None  # which may never come
            atexit.register(end_at_once)
            if isinstance(error, DeviceError):
                raise
            raise self._gone(lost) from error


def _added(sums, values):
    return values if sums is None else jax.tree.map(jnp.add, sums, values)


def _device_names(devices):
    default = keras.distribution.list_devices()
    found = [*dict.fromkeys([*default, *keras.distribution.list_devices("cpu")])]
    if devices == "auto":
        return default[:1] if default[0].startswith("cpu") else default
    names = [name.strip().lower() for name in devices.split(",")]
    known = all(name in found for name in names) and len(set(names)) == len(names)
    require(known, "devices", devices, f"'auto' or some of {quoted(found)}, separated by commas")
    return names
