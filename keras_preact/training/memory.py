"""The largest batch that fits in memory, found by trying."""

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_preact.console import end_quickly, say
from keras_preact.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

#: Of the memory that is there: the rest is for evaluation, export and the neighbours.
SHARE = 0.7
_LARGEST, _LEAST = 4096, 16


class Trial(NamedTuple):
    """What a step took in a process of its own.

    Attributes:
        size: Images in the batch.
        used: Most bytes of memory.
        there: Bytes that there are, or `None` where that is not known.
        unit: Images that a batch must be a multiple of, for all devices and parts to be equal.
        images: Training images.
    """

    size: int
    used: int
    there: int | None
    unit: int
    images: int


def largest_batch(config: Any, console: "Console | None" = None) -> int:
    """The largest batch at which a training step fits in memory: a power of two for each device.

    Two small batches are tried in separate processes, before this one takes the devices. Peak
    memory grows in proportion to the batch, which gives the need of larger ones; the chosen size is
    tried too.

    Args:
        config: The `TrainConfig`.
        console: To say what was found, or `None`.

    Returns:
        Images per batch over all devices, at most the number of training images.

    Raises:
        ConfigError: When not even the smallest fits, or a trial fails for another reason.
    """
    low = _trial(config, _LEAST)
    if low is None:
        raise ConfigError(
            f"`batch_size` 'auto' found no batch that fits: {_LEAST} images are too many. Use a "
            "smaller image_size, or recompute=True."
        )
    high = _trial(config, 2 * low.size)
    if high is None:
        say(console, f"batch_size {low.size}: twice as many images do not fit")
        return low.size
    if low.there is None:
        raise ConfigError(
            "`batch_size` 'auto' needs nvidia-smi to find the GPU's memory. Received: none."
        )
    each = max(1.0, (high.used - low.used) / max(1, high.size - low.size))
    fits = low.size + (SHARE * low.there - low.used) / each
    units = max(1, int(min(fits, low.images, _LARGEST) // low.unit))
    size = low.unit * (1 << (units.bit_length() - 1))
    while size > high.size and _trial(config, size) is None:
        size //= 2
    say(
        console,
        f"batch_size {size}: the largest that fits, at about {each / 2**20:.1f} MB per image and "
        f"{low.there / 2**30:.1f} GB of memory",
    )
    return size


def _trial(config, size):
    """A step with about `size` images, or `None` where it does not fit."""
    fields = {**config.to_dict(), "batch_size": None, "out": None, "resume": "never"}
    command = [sys.executable, "-m", __name__, str(size), json.dumps(fields)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        killed = done.returncode < 0 or "RESOURCE_EXHAUSTED" in done.stderr or "OOM" in done.stderr
        if not killed:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ConfigError(f"A trial step with {size} images failed: {last}")
        return None
    return Trial(*json.loads(done.stdout.splitlines()[-1]))


def _try(size, fields):
    """Two steps, then what was used at most and what there is."""
    from keras_preact.training.config import TrainConfig
    from keras_preact.training.engines import make_engine
    from keras_preact.training.job import prepare

    config = TrainConfig.from_dict(fields)
    engine = make_engine(config)
    _, there = engine.memory()
    unit = engine.replicas * (config.resolve().recipe.bn_batch or 1)
    size = unit * max(1, round(size / unit))
    job = prepare(config, engine, batch_size=size)
    for _ in engine.train(job.batches, 0, min(2, len(job.batches))):
        pass
    used, _ = engine.memory()
    print(json.dumps([size, used, there, unit, len(job.data.train)]))


if __name__ == "__main__":
    end_quickly()
    _try(int(sys.argv[1]), json.loads(sys.argv[2]))
