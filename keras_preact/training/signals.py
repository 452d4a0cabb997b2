"""SIGTERM and SIGINT as a wish that the training asks about between its steps."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

#: Seconds that a training has to end by itself. Schedulers often leave a process ten.
GRACE = 5.0


class Signals:
    """While it is entered, the first SIGTERM or SIGINT is kept in `number`; a second one ends the
    process at once, as it would have without this.

    A deep network is compiled for longer than schedulers wait, and until then Python hears nothing.
    So a thread listens to SIGTERM as well: where nothing would be lost, it ends the process after
    `GRACE` seconds. Outside the main thread, where Python hears no signals, all this does nothing.
    `Signals.current` is the one that is entered.

    Args:
        nothing_lost: Returns, whenever it is asked, what is to be said if the process may end as
            it is, and otherwise `None`.

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

    def __init__(self, nothing_lost: Callable[[], str | None] = lambda: None) -> None:
        self._nothing_lost, self._over = nothing_lost, threading.Event()

    def __enter__(self) -> "Signals":
        self._before, self._outer = {}, Signals.current
        Signals.current = self
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._hear)
            heard, self._told = socket.socketpair()
            self._told.setblocking(False)  # as Python demands
            self._told_before = signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
            threading.Thread(target=self._listen, args=(heard,), daemon=True).start()
        return self

    def __exit__(self, *error: Any) -> None:
        Signals.current = self._outer
        self._over.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._told_before)
            self._told.close()  # which ends the thread

    def _listen(self, heard):
        with heard:
            while number := heard.recv(1):
                if number[0] != signal.SIGTERM or self._over.wait(GRACE):
                    continue
                if words := self._nothing_lost():
                    print(f"keras-preact: {words}", file=sys.stderr, flush=True)
                    os._exit(128 + signal.SIGTERM)

    def _hear(self, number, frame):
        if self.number is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.number = number
