"""One contender in a process: builds it, then measures a turn for each line on standard input."""

import contextlib
import importlib
import json
import os
import resource
import sys
import time

from benchmarks.group import Spec


def main():
    # What libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values):
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        spec = Spec(**json.loads(sys.argv[1]))
        from benchmarks.contenders import library

        contenders = importlib.import_module(f"benchmarks.{spec.module}").CONTENDERS
        importlib.import_module(library(spec.contender))  # no part of building a network
        clock = time.perf_counter if spec.clock == "perf_counter" else _processor_time
        start = clock()
        step = contenders[spec.contender](spec)
        built = clock()
        step()
        first = clock()
        step()  # some kernels choose their form in the second step
        answer(build=built - start, first=first - built)
        for line in sys.stdin:
            if line.startswith("run"):
                answer(**_turn(step, float(line.split()[1]), getattr(time, spec.clock)))
            else:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
                answer(peak_gb=peak, device_gb=_device_gb())
    except Exception as error:  # whatever a peer raises is its result
        answer(failure=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _processor_time():
    """Seconds of the processor, with those of compilers that were called and have ended."""
    return sum(os.times()[:4])


def _turn(step, seconds, clock):
    """Mean seconds of a step over a turn; or what the last one says in a dictionary."""
    steps, start = 0, clock()
    while steps == 0 or clock() - start < seconds:
        found = step()
        steps += 1
    return found if isinstance(found, dict) else {"seconds": (clock() - start) / steps}


def _device_gb():
    """Peak memory on the accelerator of whichever library is in use."""
    with contextlib.suppress(Exception):
        if "tensorflow" in sys.modules:
            import tensorflow as tf

            return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**30
        if "torch" in sys.modules:
            import torch

            if torch.cuda.is_available():
                return torch.cuda.max_memory_allocated() / 2**30
        if "jax" in sys.modules:
            import jax

            return jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 2**30
    return None


if __name__ == "__main__":
    main()
