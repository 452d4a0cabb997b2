"""`Peers`: whether the other machines of a training are still there, for runtimes that do not tell.

TensorFlow's runtime tells: an operation raises within ten seconds of a peer's last sign of life,
and the error names it. JAX's ends the process instead, from a thread of C++, with pages of text:
at once when the first machine is gone, else after a hundred seconds; a function of Python cannot be
put in the place of that, as its argument cannot be converted (std::bad_cast). So the machines tell
each other here, over a connection from each to the first, which tells all of one that is lost.

What JAX says to its coordinator, in the process of the first machine, goes through here too, over
the same address. A connection of JAX's stays open when what is behind it is gone; as JAX's own
heartbeats are set to days, its runtime does not see that there is something to end the process for.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable

from keras_preact.errors import DeviceError

#: Seconds without a sign of life until a machine is lost, of which there are a few in that time;
#: less than a minute, and more than Python's lock is held by a library that compiles.
LOST = 45.0

#: Seconds to wait for all machines at the beginning: as long as JAX does.
START = 300.0

_LOCAL = ("127.0.0.1", 0)
_RELAY = {"for": "coordinator"}


class Peers:
    """The machines of a training, which tell each other that they are there.

    Returns once all have come. What it does then, it does in threads that end with the process.

    Args:
        addresses: `host:port` of each machine; the first one listens at its own.
        index: Which of them this process is.

    Attributes:
        lost: The index of the first one that was found to be gone or to hang, or `None`.
        coordinator: `host:port` of JAX's coordinator for this process. On the first machine it is
            where the coordinator has to listen.

    Raises:
        DeviceError: When machines do not come, or the first one cannot listen.

    Example:
        >>> import threading
        >>> from keras_preact.training.peers import Peers, free_port
        >>> addresses = [f"127.0.0.1:{free_port()}", "127.0.0.1:1"]
        >>> threading.Thread(target=Peers, args=(addresses, 1), daemon=True).start()
        >>> Peers(addresses, 0).lost is None
        True
    """

    def __init__(self, addresses: list[str], index: int) -> None:
        self.addresses, self.index, self.lost = addresses, index, None
        self._others: dict[int, socket.socket] = {}
        self._complete = False
        self._held: list[socket.socket] = []  # those of JAX, open as long as this process
        self._changed = threading.Condition()
        host, _, port = addresses[0].rpartition(":")
        self._first = host.strip("[]"), int(port)
        if index == 0:
            self.coordinator = f"127.0.0.1:{free_port()}"
            _in_thread(self._accept, self._listen(), self._meet)
            self._wait_for_all()
        else:
            own = socket.create_server(_LOCAL)
            self.coordinator = f"127.0.0.1:{own.getsockname()[1]}"
            self._meet_the_first()
            _in_thread(self._accept, own, self._relay_to_first)
        for which, connection in self._others.items():
            _in_thread(self._listen_to, which, connection)
        _in_thread(self._tell)

    def wait(self, seconds: float) -> int | None:
        """`lost`, as soon as one is, or after some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.lost is not None, seconds)
        return self.lost

    def _listen(self):
        host, port = self._first
        local = host in ("localhost", "::1") or host.startswith("127.")
        try:
            if local or not socket.has_dualstack_ipv6():
                family = socket.AF_INET6 if host == "::1" else socket.AF_INET
                return socket.create_server((host if local else "", port), family=family)
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            raise DeviceError(
                f"The first worker must be able to listen at its own address. Received: "
                f"{self.addresses[0]} ({error.strerror})."
            ) from None

    def _wait_for_all(self):
        others = {*range(1, len(self.addresses))}

        def are_here():  # one that has ended again will come again
            self._others = {k: c for k, c in self._others.items() if not _has_ended(c)}
            return {*self._others} == others

        with self._changed:
            self._complete = self._changed.wait_for(are_here, START)
            if self._complete:
                for connection in self._others.values():
                    with contextlib.suppress(OSError):  # who listens to it finds out
                        connection.sendall(b"\n")
                return
            missing = [f"{k} ({self.addresses[k]})" for k in sorted(others - {*self._others})]
        raise DeviceError(
            f"All workers must be started with the same `workers`. Missing after {START:.0f} s: "
            f"{', '.join(missing)}."
        )

    def _meet_the_first(self):
        """Connects to the first machine as soon as that listens, and waits for the others."""
        end, reason = time.monotonic() + START, None
        while time.monotonic() < end:
            try:
                connection = self._connect(self._greeting(self.index))
                if connection.recv(1):
                    self._others[0] = connection
                    return
                reason = "it was started with other `workers`, or has ended"
            except OSError as error:
                reason = error.strerror or str(error)
            time.sleep(0.2)
        raise DeviceError(
            f"The first worker must be running and reachable. Received: {self.addresses[0]} "
            f"({reason})."
        )

    def _greeting(self, index):
        return {"index": index, "workers": self.addresses}

    def _connect(self, greeting):
        connection = socket.create_connection(self._first, timeout=START)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(f"{json.dumps(greeting)}\n".encode())
        return connection

    def _accept(self, server, then):
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _in_thread(then, connection)

    def _meet(self, connection):
        """On the first machine: who has come, a peer or JAX's line to its coordinator."""
        connection.settimeout(START)
        try:
            greeting = json.loads(_line(connection))
        except (OSError, ValueError):  # a stranger
            connection.close()
            return
        if greeting == _RELAY:
            host, _, port = self.coordinator.rpartition(":")
            self._relay(connection, lambda: socket.create_connection((host, int(port))))
        elif greeting in [self._greeting(k) for k in range(1, len(self.addresses))]:
            with self._changed:
                # A second one of this index is the first one's successor, whichever is heard first.
                if not self._complete and not _has_ended(connection):
                    self._others[greeting["index"]] = connection
                self._changed.notify_all()
        else:
            connection.close()

    def _relay_to_first(self, connection):
        self._relay(connection, lambda: self._connect(_RELAY))

    def _relay(self, near: socket.socket, connect: Callable[[], socket.socket]):
        """Passes on what comes, both ways; where one side has ended the other is not told."""
        self._held.append(near)
        near.settimeout(None)
        with contextlib.suppress(OSError):
            far = connect()
            far.settimeout(None)
            self._held.append(far)
            _in_thread(_pass_on, far, near)
            _pass_on(near, far)

    def _listen_to(self, which, connection):
        """Until a peer has been silent for too long, is gone, or tells of another that is lost."""
        connection.settimeout(LOST)
        with contextlib.suppress(OSError, ValueError):
            while line := _line(connection):
                if told := line.strip():
                    which = int(told)
                    break
        with self._changed:
            self.lost = which if self.lost is None else self.lost
            self._changed.notify_all()

    def _tell(self):
        """Signs of life: empty lines; and once one is lost, its index."""
        lost = None
        while lost is None:
            lost = self.wait(LOST / 8)
            line = b"\n" if lost is None else f"{lost}\n".encode()
            for connection in self._others.values():
                with contextlib.suppress(OSError):
                    connection.sendall(line)


def free_port() -> int:
    """A port of this machine's own address, 127.0.0.1, at which nobody listens.

    Example:
        >>> from keras_preact.training.peers import free_port
        >>> 0 < free_port() < 65536
        True
    """
    with socket.create_server(_LOCAL) as server:
        return server.getsockname()[1]


def _in_thread(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()


def _has_ended(connection):
    """Whether the other side has closed a connection on which it has nothing to say yet."""
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(START)


def _line(connection):
    """What comes up to the end of a line, a byte at a time: nothing that follows is taken."""
    line = b""
    while not line.endswith(b"\n") and (byte := connection.recv(1)) and len(line) < 2**16:
        line += byte
    return line if line.endswith(b"\n") else b""


def _pass_on(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(2**16):
            target.sendall(data)
