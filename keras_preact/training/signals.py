"""SIGTERM and SIGINT as a wish that the training asks about between its steps."""

import os
import signal
import threading
from typing import Any


class Signals:
    """While it is entered, the first SIGTERM or SIGINT is kept in `number`; a second one ends the
    process at once, as it would have without this.

    Outside the main thread, where Python hears no signals, it does nothing. `Signals.current` is
    the one that is entered.

    Example:
        >>> import os, signal
        >>> from keras_preact.training.signals import Signals
        >>> with Signals() as signals:
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     signals.number == signal.SIGTERM
        True
    """

    number: int | None = None
    current: "Signals | None" = None

    def __enter__(self) -> "Signals":
        self._before, self._outer = {}, Signals.current
        Signals.current = self
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *error: Any) -> None:
        Signals.current = self._outer
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number, frame):
        if self.number is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.number = number
