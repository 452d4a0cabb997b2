"""`Epoch`: what is added up over the steps of one epoch."""

import time
from typing import Any

from keras_preact.training.engine import LOGS


class Epoch:
    """Sums over the steps of one epoch; a checkpoint holds them, so that none is lost.

    Args:
        number: Of the epoch, from 1.
        images, waited, seconds, sums, counts, last: Of `so_far`, where it goes on from there.

    Example:
        >>> from keras_preact.training.epoch import Epoch
        >>> epoch, line = Epoch(1), {"accuracy": 0.5, "gradient_norm": 1.0, "learning_rate": 0.1}
        >>> for loss in (1.0, 2.0):
        ...     epoch.add({"loss": loss, **line}, images=128, waited=0.0)
        >>> epoch.mean("loss"), epoch.images
        (1.5, 256)
    """

    def __init__(
        self,
        number: int,
        images: int = 0,
        waited: float = 0.0,
        seconds: float = 0.0,
        sums: dict[str, float] | None = None,
        counts: dict[str, int] | None = None,
        last: dict[str, Any] | None = None,
    ) -> None:
        self.number, self.images, self.waited = number, images, waited
        self.last = last  # step's line of the log
        self._sums = sums or dict.fromkeys(LOGS, 0.0)
        self._counts = counts or dict.fromkeys(LOGS, 0)
        self._seconds, self._start = seconds, None

    def so_far(self) -> dict[str, Any]:
        """What makes another that goes on from here."""
        return {
            "number": self.number,
            "images": self.images,
            "waited": self.waited,
            "seconds": self.seconds,
            "sums": dict(self._sums),  # as they are, while a thread writes them
            "counts": dict(self._counts),
            "last": self.last,
        }

    def begin(self) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()

    def end(self) -> None:
        """Stops it."""
        self._seconds, self._start = self.seconds, None

    @property
    def seconds(self) -> float:
        """Seconds of its steps so far."""
        return self._seconds + (time.perf_counter() - self._start if self._start else 0.0)

    @property
    def speed(self) -> float:
        """Images a second."""
        return self.images / max(self.seconds, 1e-9)

    def add(self, line: dict[str, Any], images: int, waited: float) -> None:
        """A step: its line of the log, its images, and the seconds it waited for them."""
        self.last = line
        self.images += images
        self.waited += waited
        for name in LOGS:
            if line[name] is not None:
                self._sums[name] += line[name]
                self._counts[name] += 1

    def mean(self, name: str) -> float | None:
        """The mean of one of `LOGS` over the steps that have it; `None` without any."""
        return self._sums[name] / self._counts[name] if self._counts[name] else None
