"""Several machines under JAX: they meet once, and leave without waiting for one another.

What a machine that is gone or hangs is found by is in `peers.py`, what they compute together in
`engine_jax.py`.
"""

import atexit
import functools
import inspect
import os
import sys
from typing import Any

import jax

from keras_preact.errors import ConfigError, DeviceError, reason
from keras_preact.training.peers import Peers

#: Seconds until JAX itself would miss a machine, and end this process: never (see `peers.py`).
NEVER = 1_000_000


@functools.cache
def joined(workers: tuple[str, ...], index: int) -> Peers:
    """Joins this process with those of other machines, once for all its trainings."""
    if "heartbeat_timeout_seconds" not in inspect.signature(jax.distributed.initialize).parameters:
        raise ConfigError(f"Several machines need JAX 0.7 or later. Received: {jax.__version__}.")
    peers = Peers([*workers], index)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if hasattr(jax.config, "jax_enable_preemption_service"):
        jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM for itself
    try:
        jax.distributed.initialize(
            peers.coordinator,
            len(workers),
            index,
            cluster_detection_method="deactivate",  # Slurm's would leave one GPU to each process
            coordinator_bind_address=peers.coordinator,
            heartbeat_timeout_seconds=NEVER,
        )
    except RuntimeError as error:
        raise DeviceError(
            "Several machines must be joined before JAX computes anything in this process, and "
            f"once only. Received: workers={','.join(workers)!r} ({reason(error)})."
        ) from None
    atexit.register(_leave, peers)
    return peers


def _leave(peers):
    """Ends without waiting for all, as JAX would: the first machine may be writing for long."""
    from jax._src import distributed  # there is no other way

    state = distributed.global_state
    peers.kept = state.client, state.service  # for threads that never end, so none takes them down
    state.client = state.service = None


def end_at_once() -> None:
    """Ends although a thread of JAX's waits for a machine that is lost."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(DeviceError.exit_code)


def devices_of_all(machines: int) -> list[Any]:
    """The devices of all machines, in the machines' order, as many of each."""
    each = [[d for d in jax.devices() if d.process_index == k] for k in range(machines)]
    if is_cpu(each[0][0]):
        each = [own[:1] for own in each]
    counts = [len(own) for own in each]
    if len({*counts}) > 1:
        raise ConfigError(f"All machines must have as many devices. Received: {counts}.")
    return [device for own in each for device in own]


def is_cpu(device: Any) -> bool:
    """Whether a device is a CPU, of which JAX may count several in one."""
    return device.platform == "cpu"
