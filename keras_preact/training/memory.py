"""The largest batch that fits in memory, found by trying."""

import json
import subprocess
import sys

from keras_preact.checked import require
from keras_preact.errors import ConfigError

#: Of the memory that is free now: the rest is for evaluation, export and the neighbours.
SHARE = 0.7
_LARGEST, _TRIES = 4096, (16, 32)


def largest_batch(config, images: int, console=None) -> int:
    """The largest power of two at which a training step fits in the memory that is free.

    Two small batches are tried in processes of their own; what they need at most grows in
    proportion to the images, so it is known what others need. The one that is chosen is tried too.

    Args:
        config: The `TrainConfig`.
        images: Training images; no batch is larger.
        console: To say what was found, or `None`.

    Returns:
        Images in a batch, over all devices.

    Raises:
        ConfigError: When not even the smallest fits.
    """
    used = {size: _peak(config, size) for size in _TRIES}
    if None in used.values():
        raise ConfigError(
            f"`batch_size` 'auto' found no batch that fits: {_TRIES[0]} images are too many. A "
            "smaller image_size, or recompute=True with packaging='repeated', needs less."
        )
    (small, (low, free)), (large, (high, _)) = used.items()
    each = max(1.0, (high - low) / (large - small))
    fits = small + (SHARE * free - low) / each
    size = 1 << (max(1, int(min(fits, images, _LARGEST))).bit_length() - 1)
    while size > large and _peak(config, size) is None:
        size //= 2
    require(size >= 1, "batch_size", "auto", "a number: none fits")
    if console:
        console.print(
            f"batch_size {size}: the largest power of two that fits, at about "
            f"{each / 2**20:.1f} MB an image and {free / 2**30:.1f} GB free",
            soft_wrap=True,
        )
    return size


def _peak(config, size):
    """Most bytes that a step takes and those that are there, or `None` where it does not fit."""
    fields = {**config.to_dict(), "batch_size": size, "out": None, "resume": "never"}
    command = [sys.executable, "-m", __name__, json.dumps(fields)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        killed = done.returncode < 0 or "RESOURCE_EXHAUSTED" in done.stderr or "OOM" in done.stderr
        if not killed:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ConfigError(f"A trial step with {size} images failed: {last}")
        return None
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def _try(fields):
    """Two steps, then what was used at most and what there is."""
    from keras_preact.training.config import TrainConfig
    from keras_preact.training.engine import make_engine
    from keras_preact.training.trainer import prepare

    config = TrainConfig.from_dict(fields)
    engine = make_engine(config)
    before, free = engine.memory()
    job = prepare(config, engine)
    for _ in engine.train(job.batches, 0, min(2, len(job.batches))):
        pass
    peak, _ = engine.memory()
    print(json.dumps([max(peak, before), free]))


if __name__ == "__main__":
    _try(json.loads(sys.argv[1]))
