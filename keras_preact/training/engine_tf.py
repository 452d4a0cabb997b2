"""TensorFlow's engine: one device, several, or several machines, through tf.distribute."""

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_preact.checked import require
from keras_preact.data import prefetched
from keras_preact.errors import quoted
from keras_preact.training.engine import Engine, logged, process_memory

#: What TensorFlow raises when another machine is gone, or does not answer for ten seconds.
_GONE = (
    tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)  # fmt: skip


class TensorFlowEngine(Engine):
    """Steps compiled by `tf.function`.

    Args:
        devices: `"auto"` (all GPUs, else the CPU) or names separated by commas, such as
            `"gpu:0,gpu:1"`.
        workers: `host:port` of each machine, or `None` for this machine alone; where the
            environment variable TF_CONFIG names machines, these.
        index: Which of them this process is.
        deterministic: Whether TensorFlow may only use deterministic kernels.
    """

    def __init__(
        self,
        devices: str = "auto",
        workers: list[str] | None = None,
        index: int | None = None,
        deterministic: bool = False,
    ) -> None:
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        cluster = os.environ.get("TF_CONFIG")
        if workers:
            task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            os.environ["TF_CONFIG"] = json.dumps(task)
        self._tasks, self.machine = _place(json.loads(os.environ.get("TF_CONFIG") or "{}"))
        self.addresses, self.machines = [*self._tasks.values()], max(len(self._tasks), 1)
        if self.machines > 1:
            require(devices == "auto", "devices", devices, "'auto' with several machines")
            self.strategy = tf.distribute.MultiWorkerMirroredStrategy()
            count = self.strategy.num_replicas_in_sync
            self.devices = f"{count} on {self.machines} machines"
        else:
            names = _device_names(devices)
            if len(names) > 1:
                self.strategy = mirrored(tuple(names))
            elif names[0] == _device_names("auto")[0]:  # where TensorFlow computes anyway
                self.strategy = tf.distribute.get_strategy()
            else:
                self.strategy = tf.distribute.OneDeviceStrategy(names[0])
            self.devices = ", ".join(names)
        self.device_kind = "" if self.devices.startswith("CPU") else _kind()
        self.replicas = self.strategy.num_replicas_in_sync
        if workers:  # for this training alone
            os.environ.pop("TF_CONFIG")
            os.environ.update({"TF_CONFIG": cluster} if cluster else {})
        self._local = self.replicas // self.machines

    def scope(self) -> Any:
        return self.strategy.scope()

    def prepare(self, *arguments: Any) -> None:
        with self.strategy.scope():
            super().prepare(*arguments)
        self._trainable = self.model.trainable_variables
        self._step = tf.function(self._train_step, autograph=False)
        self._scores = tf.function(self._predict_step, autograph=False)

    def train(
        self, batches: Any, first: int, last: int, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[list[dict[str, Any]]]:
        parts = self.cuts(batches.size(first)) if first < last else 1
        feed = prefetched(batches, first, last, self._share)
        for index in range(first, last):
            start = time.perf_counter()
            images, labels = next(feed)
            waited = time.perf_counter() - start
            total = len(images) * self.replicas // self._local
            share = self._share(total)
            extras = (None if v is None else v[share] for v in self.extras(batches, index))
            inputs = [self._distributed(values) for values in (images, labels, *extras)]
            with self._others_may_end():
                logs = self._step(*inputs, tf.constant(float(stop())), parts).numpy()
            yield [{**logged(logs[:-1], total, waited), "stop": bool(logs[-1])}]

    def step_on(self, images: Any, labels: Any) -> Callable[[], Any]:
        inputs = self._distributed(images), self._distributed(labels)
        parts = self.cuts(len(images))
        return lambda: self._step(*inputs, None, None, tf.constant(0.0), parts).numpy()

    def predict(self, images: np.ndarray) -> np.ndarray:
        padded = self.padded(images)
        share = self._share(len(padded))
        with self._others_may_end():
            return self._scores(self._distributed(padded[share])).numpy()[: len(images)]

    def sync(self) -> None:
        """Nothing to do: these steps change the variables themselves."""

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return tf.function(function, autograph=False)

    def memory(self) -> tuple[int, int | None]:
        if not self.devices.startswith("GPU"):
            return process_memory()
        peak = tf.config.experimental.get_memory_info(self.devices.split(",")[0])["peak"]
        command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
        if not shutil.which(command[0]):
            return peak, None
        total = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return peak, int(total.splitlines()[0]) * 2**20

    def _sum(self, value):
        mine = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                value if context.replica_id_in_sync_group % self._local == 0 else value * 0
            )
        )
        with self._others_may_end():
            return self._reduce(mine).numpy()

    @tf.function(autograph=False)
    def _reduce(self, value):
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)

    @contextlib.contextmanager
    def _others_may_end(self):
        """Says in one line what TensorFlow says in many when another machine is gone."""
        try:
            yield
        except _GONE as error:
            if self.machines == 1:
                raise
            raise self._gone(self._named_in(str(error))) from error

    def _named_in(self, text):
        """The machine that an error of TensorFlow's is about, if it says."""
        named = re.findall(r"/job:(\w+)(?:/replica:\d+)?/task:(\d+)", text)
        found = [[*self._tasks].index((job, int(k))) for job, k in named]
        found += [0] * ("CoordinationService/" in text)  # whose calls go to the first
        return next((machine for machine in found if machine != self.machine), None)

    def _distributed(self, values):
        """This machine's images, an equal share for each of its devices."""
        if values is None:
            return None
        if self._local == self.replicas == 1:
            return tf.convert_to_tensor(values)
        shares = np.split(values, self._local)
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.convert_to_tensor(
                shares[context.replica_id_in_sync_group % self._local]
            )
        )

    def _train_step(self, images, labels, blend, weights, stop, parts):
        with _seeds_of_replicas(self.replicas):
            arguments = (images, labels, blend, weights, stop, parts)
            logs = self.strategy.run(self._replica_step, args=arguments)
        return self.strategy.experimental_local_results(logs)[0]

    def _replica_step(self, images, labels, blend, weights, stop, parts):
        """One replica's share of a step: `LOGS` of the whole batch, and whether to stop."""
        context = tf.distribute.get_replica_context()
        all_images = tf.shape(images)[0] * self.replicas
        inputs = images, labels, blend, weights
        trainable = [variable.value for variable in self._trainable]
        before = [tf.identity(variable) for variable in self.moving]
        moved = gradients = None
        logs = tf.zeros(2)
        for part in zip(*(_cut(values, parts) for values in inputs), strict=True):
            with tf.GradientTape() as tape:
                shares = parts * self.replicas
                objective, loss, correct = self.objective(
                    *part, tf.cast(all_images, tf.float32), shares
                )
                objective = self.optimizer.scale_loss(objective)
            gradients = _added(gradients, tape.gradient(objective, trainable))
            logs += tf.stack([loss, correct])
            if parts * self.replicas > 1:
                moved = _added(moved, [v - old for v, old in zip(self.moving, before, strict=True)])
                for variable, old in zip(self.moving, before, strict=True):
                    variable.assign(old)
        logs = tf.concat([logs, [stop]], 0)
        if self.replicas > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            logs = context.all_reduce(tf.distribute.ReduceOp.SUM, logs)
        if moved:
            for variable, old, new in zip(
                self.moving, before, self._mean(moved, parts), strict=True
            ):
                variable.assign(old + new)
        norm = tf.linalg.global_norm(gradients) / self.optimizer.scale_loss(1.0)
        rate = tf.cast(self.optimizer.learning_rate, tf.float32)
        self.optimizer.apply(gradients, self._trainable)
        loss, correct, stop = tf.unstack(logs)
        return tf.stack([loss, correct / tf.cast(all_images, tf.float32), norm, rate, stop])

    def _mean(self, moved, parts):
        """The mean over the parts of all replicas; sent as one vector."""
        flat = tf.concat([tf.reshape(value, [-1]) for value in moved], 0) / parts
        if self.replicas > 1:
            context = tf.distribute.get_replica_context()
            flat = context.all_reduce(tf.distribute.ReduceOp.MEAN, flat)
        sizes = [value.shape.num_elements() for value in moved]
        values = tf.split(flat, sizes)
        return [tf.reshape(v, old.shape) for v, old in zip(values, moved, strict=True)]

    def _predict_step(self, images):
        def replica(images):
            images = tf.cast(images, tf.float32)
            scores = tf.nn.softmax(tf.cast(self.model(images, training=False), tf.float32))
            if self.replicas == 1:
                return scores
            return tf.distribute.get_replica_context().all_gather(scores, axis=0)

        scores = self.strategy.run(replica, args=(images,))
        return self.strategy.experimental_local_results(scores)[0]


def _place(config: dict) -> tuple[dict[tuple[str, int], str], int]:
    """The machines that train together, by job and task, and which this is, from TF_CONFIG."""
    cluster = config.get("cluster", {})
    jobs = [job for job in ("chief", "worker") if job in cluster]
    machines = {(job, k): address for job in jobs for k, address in enumerate(cluster[job])}
    if len(machines) < 2:
        return {}, 0
    task = config.get("task", {}).get("type"), int(config.get("task", {}).get("index", -1))
    require(task in machines, "TF_CONFIG", config, f"a cluster with a task among {[*machines]}")
    return machines, [*machines].index(task)


@functools.cache
def mirrored(names: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    """The strategy of some devices; one a process, since the collectives of two would meet."""
    return tf.distribute.MirroredStrategy(list(names))


def _device_names(devices: str) -> list[str]:
    found = [d.name.removeprefix("/device:") for d in tf.config.list_logical_devices()]
    gpus = [name for name in found if name.startswith("GPU")]
    if devices == "auto":
        return gpus or ["CPU:0"]
    names = [name.strip().upper() for name in devices.split(",")]
    known = all(name in found for name in names) and len(set(names)) == len(names)
    require(known, "devices", devices, f"'auto' or some of {quoted(found)}, separated by commas")
    return names


def _kind() -> str:
    gpus = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    return details.get("device_name", "")


@contextlib.contextmanager
def _seeds_of_replicas(replicas: int):
    """While a step is traced, random layers draw from a stream of each replica's own.

    Keras gives every replica the same seeds: without this, dropout masks would repeat.
    """
    if replicas == 1:
        yield
        return
    generator = keras.random.SeedGenerator
    draw = generator.next

    def draw_in_replica(self, ordered=True):
        seed = draw(self, ordered)
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group if context else 0, seed.dtype)
        return seed + tf.stack([replica * 1_000_003, tf.zeros_like(replica)])

    generator.next = draw_in_replica
    try:
        yield
    finally:
        generator.next = draw


def _cut(values, parts):
    """A batch in equal parts."""
    return [None] * parts if values is None else tf.split(values, parts) if parts > 1 else [values]


def _added(sums, values):
    return values if sums is None else [a + b for a, b in zip(sums, values, strict=True)]
