"""One file in a process: opened by its runtime, then measured for each line on standard input.

It runs as a script. It uses `runtimes_tf.py`, which imports nothing of this package, and the
modules that open `.keras` files.
"""

import importlib
import importlib.metadata
import json
import os
import runpy
import sys
import time


def main(runtimes: str, path: str, format: str, threads: int | None, size: int) -> None:
    """Answers on standard output, one object per line; output of libraries is discarded."""
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)

    def answer(**values):
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    if threads and hasattr(os, "sched_setaffinity"):  # limits libraries that take no number, too
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    try:
        measure = _Measure(runtimes, path, format, threads, size)
        answer(**measure.opened)
        for line in sys.stdin:
            wish = json.loads(line)
            answer(**getattr(measure, wish.pop("do"))(**wish))
    except ImportError as error:
        answer(failure=f"{error.name or error} is not installed", missing=True)
    except Exception as error:  # whatever a runtime raises is reported as its failure
        answer(failure=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


class _Measure:
    """An open network, and the requests that it answers."""

    def __init__(self, runtimes, path, format, threads, size):
        import numpy as np

        open_file, package = runpy.run_path(runtimes)["RUNTIMES"][format]
        importlib.import_module(package)  # not part of the time that opening a file takes
        version = importlib.metadata.version(package)
        self.np, self.random, self.known = np, np.random.default_rng(0), set()
        start = time.perf_counter()
        shape, self.predict = open_file(path, threads or None)
        height, width, channels = shape[1:]
        self.shape = (height or size, width or size, channels)
        scores = self.predict(self._images(1))
        self.opened = {
            "load_seconds": time.perf_counter() - start,
            "image_shape": [height, width, channels],
            "classes": scores.shape[1],
            "runtime": f"{package} {version}",
        }

    def _images(self, batch):
        return self.random.integers(0, 256, (batch, *self.shape), self.np.uint8)

    def turn(self, batch, seconds):
        """Seconds of each step within about `seconds`; the first step of a new shape is extra."""
        images = self._images(batch)
        if batch not in self.known:
            self.predict(images)
            self.known.add(batch)
        found, start = [], time.perf_counter()
        end = start + seconds
        while not found or start < end:
            self.predict(images)
            now = time.perf_counter()
            found.append(now - start)
            start = now
        return {"seconds": found}

    def count(self, images, labels, batch):
        """Counts the images whose most likely class is their label."""
        images, labels = (self.np.load(path, mmap_mode="r") for path in (images, labels))
        correct = 0
        for first in range(0, len(labels), batch):
            scores = self.predict(self.np.array(images[first : first + batch]))
            right = scores.argmax(1) == labels[first : first + batch]
            correct += int((right & self.np.isfinite(scores).all(1)).sum())
        return {"correct": correct}

    def memory(self):
        """Peak resident memory of the process in MB, including its runtime."""
        import resource

        return {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
