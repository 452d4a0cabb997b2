"""One process of a search: `python -m keras_preact.tuning.worker FOLDER`.

Which part it has, it reads from KerasTuner's environment variables: the chief, which decides, a
worker, which trains, or, without them, both.
"""

import sys

from keras_preact.run import RunFolder
from keras_preact.tuning.config import TuneConfig
from keras_preact.tuning.processes import end_with_starter
from keras_preact.tuning.tuner import TrainingTuner


def work(folder) -> None:
    """Does this process's part of the search in a folder until the search has ended.

    Args:
        folder: Folder of the search, which has its config.
    """
    config = TuneConfig.from_dict(RunFolder(folder).read_json("search.json"))
    TrainingTuner(config, folder).search()


if __name__ == "__main__":
    end_with_starter()
    work(sys.argv[1])
