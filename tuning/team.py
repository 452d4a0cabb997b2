"""The processes of a search on one machine: started, replaced when they die, and stopped."""

import errno
import os
import socket
import tempfile
import time
from typing import Any

from keras_preact.errors import ConfigError, DeviceError, reason
from keras_preact.training.processes import ENDS, gpus, share, start, stop
from keras_preact.tuning.state import TRIALS, mend, read_outcome

#: KerasTuner's environment variables: which process this is, and where the chief listens.
ROLE, ADDRESS, PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"

#: Seconds that the chief before may take to leave its port.
_LEAVES = 10.0

#: Bytes that the path of a socket may have on every system, without its own folder and name.
_LONGEST = 75

#: Processes that end this often without a trial ending in between end the search.
_TRIES = 5


class Team:
    """One process that decides and trains; a chief and its workers; or, where the workers are
    started elsewhere, a chief.

    Args:
        config: The search.
        folder: Its `RunFolder`.
    """

    def __init__(self, config: Any, folder: str | os.PathLike[str]) -> None:
        self._logs = folder.path / TRIALS
        self._logs.mkdir(exist_ok=True)
        self._folder = str(folder.path)
        self._deaths, self._ended = 0, 0
        self._workers_elsewhere = ROLE in os.environ
        self._place = None
        self._environments = {"both": {}}
        if self._workers_elsewhere:
            self._environments = {"chief": {}}
        elif config.workers > 1:
            if 0 < (found := len(gpus())) < config.workers:
                raise ConfigError(
                    f"`workers` must be at most the number of GPUs, {found}. "
                    f"Received: workers={config.workers}."
                )
            # gRPC's `unix:path`: a socket in a folder of this user's alone, and no port, which
            # everyone on this machine could reach.
            short = None if len(tempfile.gettempdir()) <= _LONGEST else "/tmp"
            self._place = tempfile.TemporaryDirectory(prefix="keras-preact-", dir=short)
            address = {ADDRESS: "unix", PORT: f"{self._place.name}/chief"}
            self._environments = {"chief": {**address, ROLE: "chief"}}
            for k in range(config.workers):
                own = {**address, ROLE: f"worker{k}", **share(k, config.workers)}
                self._environments[f"worker{k}"] = own
        self._running = {name: self._start(name) for name in self._environments}

    def is_done(self) -> bool:
        """Whether the search has ended; restarts processes that have died.

        Raises:
            DataError: When images are missing or damaged.
            SaveError: When nothing can be written.
            DeviceError: When processes keep dying.
        """
        ends = {name: process.poll() for name, process in self._running.items()}
        trainers = [name for name in ends if name != "chief"]
        # The chief ends well only when there is nothing left to ask it.
        if ends.get("chief") == 0 or (trainers and all(ends[name] == 0 for name in trainers)):
            return True
        dead = [name for name, end in ends.items() if end not in (None, 0)]
        for name in dead:
            if ends[name] in ENDS:
                said = f"{self._last_line(name)} Once that is fixed, the same command resumes."
                raise ENDS[ends[name]](said)
        if trainers and "chief" in dead:  # those who ask it would wait for an hour
            stop(self._running.values())
            dead = list(self._running)
        if dead:
            self._count_death(dead[0])
            if len(dead) == len(self._running):
                mend(self._logs, keep_ongoing=self._workers_elsewhere)
        for name in dead:
            self._running[name].stdin.close()
            self._running[name] = self._start(name)
        return False

    def stop(self) -> None:
        """Ends all; trainings save first."""
        stop([process for process in self._running.values() if process.poll() is None])
        for process in self._running.values():
            process.stdin.close()
        if self._place:
            self._place.cleanup()

    def _start(self, name):
        with open(self._logs / f"{name}.log", "ab") as log:
            return start(
                "keras_preact.tuning.worker",
                self._folder,
                output=log,
                environment=self._environments[name],
            )

    def _count_death(self, name):
        ended = sum("ended" in read_outcome(trial) for trial in self._logs.glob("trial_*"))
        self._deaths = self._deaths + 1 if ended == self._ended else 1
        self._ended = ended
        if self._deaths >= _TRIES:
            raise DeviceError(
                f"The process {name} of the search died {_TRIES} times in a row; "
                f"{self._logs / name}.log ends with: {self._last_line(name)}"
            )

    def _last_line(self, name):
        text = (self._logs / f"{name}.log").read_text(errors="replace")
        return (text.strip().splitlines() or ["nothing"])[-1]


def require_address() -> None:
    """Refuses an address or port of the environment at which no chief can listen on this machine.

    KerasTuner's chief listens at that address alone. Of two chiefs that share a port, which the
    system allows, workers would ask now one and now the other.

    Raises:
        ConfigError: When the address is none of this machine, or the port has another process.
    """
    address, port = os.environ[ADDRESS], os.environ[PORT]
    end = time.monotonic() + _LEAVES
    while error := _fault_of(address, port):
        if getattr(error, "errno", None) != errno.EADDRINUSE or time.monotonic() > end:
            raise ConfigError(
                f"{ADDRESS} and {PORT} of the chief must be an address of this machine (IPv6 in "
                "brackets) and a free port, from 1 to 65535. "
                f"Received: {address!r} and {port!r}: {reason(error)}."
            )
        time.sleep(0.5)


def _fault_of(address, port):
    """What the system has against each address of that name, the last of them; or `None`."""
    error = ValueError("no address")
    if address and (":" not in address or address.startswith("[")):
        try:
            if not 0 < int(port) < 2**16:
                raise ValueError("no port")
            for family, *_, place in socket.getaddrinfo(address.strip("[]"), int(port)):
                try:
                    socket.create_server(place[:2], family=family).close()
                    return None
                except OSError as fault:
                    error = fault
        except (OSError, ValueError) as fault:
            error = fault
    return error
