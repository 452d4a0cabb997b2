"""A process that opens damaged files, one after the other, and says what came of each.

A line of JSON on standard input is a file: `kind`, `path`, `original`, the path of what it was
before, and so on for the next. The answer is a line with `outcome`: "refused" in one line, "equal"
or "other" to what the original says, or "traceback", and `memory`, the most it has ever taken. The
first line says that it is ready.
"""

import contextlib
import functools
import gc
import json
import os
import pathlib
import sys
import traceback
from unittest import mock

import numpy as np

from keras_preact import load_data, load_trained
from keras_preact.data.images import decode
from keras_preact.errors import OWN
from keras_preact.evaluation import runs_frame
from keras_preact.run import RunFolder
from keras_preact.trained import open_keras_file
from keras_preact.training.checkpoint import Checkpoints
from keras_preact.weights import read_source, read_weights


def weights(path):
    return read_weights(path)


def source(path):
    found = read_source(path)
    return found.weights, found.config.to_dict(), str(found.preprocessing)


def network(path):
    opened = load_trained(path)
    return opened.model.get_weights(), opened.model.to_json(), opened.class_names


def arrays(path):
    data = load_data(f"npz:{path}")
    parts = {
        part: (split.images(range(len(split))), split.labels, split.columns)
        for part, split in data.parts().items()
    }
    return parts, data.class_names


def image(path):
    return decode(pathlib.Path(path).read_bytes())


network_once = functools.cache(open_keras_file)


def run(path):
    folder = RunFolder(path)
    frame = runs_frame(folder.path.parent).drop(columns="run").to_json()
    with mock.patch("keras_preact.trained.open_keras_file", network_once):  # it is not mutated
        opened = load_trained(path)
    labels = opened.load_data().test.labels
    return folder.log, folder.steps, frame, opened.class_names, labels, folder.result


def checkpoint(path):
    return Checkpoints(path).latest()[0].state


def search(path):
    from keras_preact.tuning import trials_frame

    return trials_frame(path).drop(columns="folder").to_json()


def state(path):
    from keras_preact.tuning.state import mend

    return mend(path)


KINDS = {
    function.__name__: function
    for function in (weights, source, network, arrays, image, run, checkpoint, search, state)
}


@functools.lru_cache(1)
def expected(kind, path):
    return KINDS[kind](path)


def same(one, other):
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        equal = np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f")
        return equal and np.asarray(one).dtype == np.asarray(other).dtype
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def outcome(kind, path, original):
    try:
        found = KINDS[kind](path)
    except OWN as error:
        said = str(error)
        return ("refused" if "\n" not in said else "traceback"), said
    except BaseException:
        return "traceback", traceback.format_exc()
    return ("equal" if same(found, expected(kind, original)) else "other"), ""


def most_memory():
    """Bytes; what `resource` says would be that of the process which began this one too."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    gc.freeze()  # what was imported stays
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        file = json.loads(line)
        with contextlib.redirect_stdout(sys.stderr):
            found, said = outcome(file["kind"], file["path"], file["original"])
        answer = {"outcome": found, "said": said, "memory": most_memory()}
        print(json.dumps(answer), file=answers)
        answers.flush()


if __name__ == "__main__":
    main()
