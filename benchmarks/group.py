"""A group of processes that take turns: each contender in its own, one at work at a time.

Machines are shared and their speed drifts, so contenders are measured round by round in turn, and
what is reported is the median over rounds of the ratio within a round. A process of its own gives
each contender its own libraries, its own backend and its own peak memory.
"""

import contextlib
import dataclasses
import json
import os
import statistics
import sys

import psutil

from keras_preact.bench.process import Answering


@dataclasses.dataclass(frozen=True)
class Spec:
    """One contender: what it runs, and on what.

    Attributes:
        contender: Name in `CONTENDERS` of the module.
        model: A registered network, or one of `keras.applications`.
        dtype: `float32` or `mixed_bfloat16`.
        batch_size: Images in a step.
        image_size: Side of an image in pixels; the network's own when `None`.
        train: Whether a step is a training step; else it is a prediction.
        packaging: Of this package's networks.
        recompute: Of this package's networks.
        fields: Fields of `ResNetConfig` to change.
        label: Name in the table; the contender's when `None`.
        clock: Python's, of `time`: `process_time` counts the processor's seconds alone, so that
            work on one core is measured beside the work of others.
        module: Of `benchmarks`, whose `CONTENDERS` it is one of.
        training: Fields of `TrainConfig`, where a step is an epoch of a training.
    """

    contender: str
    model: str
    dtype: str = "float32"
    batch_size: int = 128
    image_size: int | None = None
    train: bool = True
    packaging: str = "auto"
    recompute: bool = False
    fields: dict = dataclasses.field(default_factory=dict)
    label: str | None = None
    clock: str = "perf_counter"
    module: str = "contenders"
    training: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Measurement:
    """What a contender's process reported.

    Attributes:
        spec: The contender.
        build: Seconds from the call of the builder to a network.
        first: Seconds of the first step, with tracing and compiling.
        seconds: Of one step, a value a round.
        accuracies: After each step, where steps are epochs of a training.
        peak_gb: Highest resident memory of the process, GB.
        device_gb: Highest memory in use on the accelerator, GB, where there is one that says.
        failure: Why it has no figures, if it has none.
    """

    spec: Spec
    build: float = 0.0
    first: float = 0.0
    seconds: list[float] = dataclasses.field(default_factory=list)
    accuracies: list[float] = dataclasses.field(default_factory=list)
    peak_gb: float = 0.0
    device_gb: float | None = None
    failure: str | None = None

    @property
    def step(self) -> float:
        """Median seconds of a step."""
        return statistics.median(self.seconds) if self.seconds else float("nan")

    @property
    def images_per_second(self) -> float:
        """Images a second at the median step."""
        return self.spec.batch_size / self.step

    def until(self, accuracy: float | None) -> float | None:
        """Seconds of the steps to the first that left this accuracy; `None` if none did."""
        reached = [accuracy is not None and found >= accuracy for found in self.accuracies]
        return sum(self.seconds[: reached.index(True) + 1]) if any(reached) else None

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.spec.label or self.spec.contender


#: Environment of a contender beside the common one. This package turns oneDNN on when it is
#: imported, as a user gets it; stock Keras is measured as it comes, and with oneDNN as well.
ENVIRONMENT = {
    "stock Keras": {"TF_ENABLE_ONEDNN_OPTS": None},
    "keras.applications": {"TF_ENABLE_ONEDNN_OPTS": None},
    "stock Keras, oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "1"},
    "keras.applications, oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "1"},
    "torch.compile": {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"},  # compile anew in each run
}


class _Process:
    """One contender's process, which measures when it is told to and rests in others' turns.

    Else a loader would fill its queue meanwhile: it would take time from others and gain it.
    """

    def __init__(self, spec):
        self.measurement = Measurement(spec)
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        # Contenders live side by side, so that none may take most of a GPU's memory.
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        for name, value in ENVIRONMENT.get(spec.contender, {}).items():
            environment.pop(name, None)
            environment.update({name: value} if value else {})
        text = json.dumps(dataclasses.asdict(spec))
        self.process = Answering([sys.executable, "-m", "benchmarks.worker", text], environment)

    def ask(self, line=None):
        """As `Answering.ask`, and a failure is the contender's."""
        self._all("resume")
        answer = self.process.ask(line)
        self._all("suspend")
        self.measurement.failure = self.process.failure
        return answer

    def end(self):
        """Ends it, and lets what it has started see that."""
        self._all("resume")
        self.process.end()

    def _all(self, what):
        """Has its process and those that it has started rest or go on."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.process.pid)
            for each in (process, *process.children(recursive=True)):
                getattr(each, what)()


def measure(specs, rounds=5, seconds_a_round=2.0, report=None, accuracy=None):
    """Runs contenders in turn.

    Args:
        specs: The contenders.
        rounds: Turns that each takes.
        seconds_a_round: About how long a turn is; at least one step.
        report: Function that is told what is going on.
        accuracy: With which a contender that trains has done its part.

    Returns:
        A `Measurement` each, in order.
    """
    report = report or (lambda text: None)
    processes = []
    try:
        for spec in specs:
            report(f"starting {spec.label or spec.contender}: {spec.model} {spec.dtype}")
            process = _Process(spec)
            processes.append(process)
            started = process.ask()  # one at a time, so that first steps are undisturbed as well
            if started:
                process.measurement.build = started["build"]
                process.measurement.first = started["first"]
        for number in range(1, rounds + 1):
            left = [p for p in processes if p.measurement.until(accuracy) is None]
            if not left:
                break
            report(f"round {number} of {rounds}")
            for process in left:
                answer = process.ask(f"run {seconds_a_round}")
                if answer:
                    process.measurement.seconds.append(answer["seconds"])
                    if "accuracy" in answer:
                        process.measurement.accuracies.append(answer["accuracy"])
        for process in processes:
            answer = process.ask("memory")
            if answer:
                process.measurement.peak_gb = answer["peak_gb"]
                process.measurement.device_gb = answer["device_gb"]
    finally:
        for process in processes:
            process.end()
    return [process.measurement for process in processes]


def ours_of(measurements):
    """The first measurement of this package, which the others are compared with."""
    ours = [m for m in measurements if m.spec.contender in ("keras_preact", "accelerated")]
    return (ours or measurements)[0]


def speedup(peer, ours):
    """How many times the peer's step takes of ours: the median over rounds."""
    if not peer.seconds or not ours.seconds:
        return float("nan")
    return statistics.median(a / b for a, b in zip(peer.seconds, ours.seconds, strict=True))
