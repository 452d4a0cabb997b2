"""One process of a search: `python -m keras_preact.tuning.worker FOLDER`.

Which part it has, it reads from KerasTuner's environment variables: the chief, which decides, a
worker, which trains, or, without them, both.
"""

import contextlib
import os
import sys

from keras_preact.run import RunFolder
from keras_preact.training import processes
from keras_preact.training.signals import Signals
from keras_preact.tuning.config import TuneConfig
from keras_preact.tuning.tuner import TrainingTuner


def work(folder: str | os.PathLike[str]) -> None:
    """Does this process's part of the search in a folder until the search has ended.

    Args:
        folder: Folder of the search, which has its config.

    Raises:
        DataError, SaveError: When trainings meet what other trials would meet as well.
        StoppedError: After SIGTERM or SIGINT; the training has saved.
    """
    config = TuneConfig.from_dict(RunFolder(folder).read_json("search.json"))
    is_chief = "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")
    # KerasTuner's chief asks nobody whether to stop, and has nothing to save.
    with contextlib.nullcontext() if is_chief else Signals() as signals:
        TrainingTuner(config, folder, lambda: signals.number if signals else None).search()


if __name__ == "__main__":
    processes.work(work, sys.argv[1])
