"""Hyperparameters of trials for TensorBoard's HParams page."""

import os
import time
from typing import Any


def write_values(folder: str | os.PathLike[str], values: dict[str, Any], error: float) -> None:
    """Writes the hyperparameters and the error of a run beside its curves.

    Args:
        folder: The training's TensorBoard folder; `tensorboard --logdir` takes one above it.
        values: Values of the dimensions.
        error: Validation error.

    Example:
        >>> import os, tempfile
        >>> from keras_preact.tuning.board import write_values
        >>> folder = tempfile.mkdtemp()
        >>> write_values(folder, {"network.gate_bias": -6.0}, 0.07)
        >>> len(os.listdir(folder))
        1
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    simple = {
        name: value if isinstance(value, (bool, int, float, str)) else str(value)
        for name, value in values.items()
    }
    writer = EventFileWriter(str(folder))
    error_value = Summary.Value(tag="validation_error", simple_value=error)
    for summary in (hparams_pb(simple, trial_id=str(folder)), Summary(value=[error_value])):
        writer.add_event(Event(wall_time=time.time(), summary=summary))
    writer.close()
