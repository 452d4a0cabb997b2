"""Machines that tell each other that they are there: threads of one process, and its sockets."""

import contextlib
import json
import socket
import threading
import time

import pytest

from keras_preact.errors import DeviceError
from keras_preact.training import peers
from keras_preact.training.peers import Peers, free_port


def meet(count):
    """As many machines, once all have met."""
    addresses = [f"127.0.0.1:{free_port()}", *(f"host{k}:2222" for k in range(1, count))]
    met = {}

    def join(index):
        met[index] = Peers(addresses, index)

    threads = [threading.Thread(target=join, args=(k,)) for k in reversed(range(count))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return [met[k] for k in range(count)]


def reach(address):
    """A connection to a machine that is about to listen."""
    host, _, port = address.rpartition(":")
    for _ in range(1000):
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection((host, int(port)), timeout=10)
        time.sleep(0.01)
    raise AssertionError(f"nobody listens at {address}")


def leave(machine):
    """What the system does with the connections of a process that has ended, and tells no more."""
    connections = machine._others
    fall_silent(machine)
    for connection in connections.values():
        connection.shutdown(socket.SHUT_RDWR)


def fall_silent(machine):
    machine._others = {}  # to whom it tells


def test_all_are_told_at_once_which_machine_is_gone():
    first, second, third = meet(3)
    leave(second)
    assert [machine.wait(10) for machine in (first, third)] == [1, 1]


def test_each_notices_that_the_first_one_is_gone():
    first, *others = meet(3)
    leave(first)
    assert [machine.wait(10) for machine in others] == [0, 0]


def test_one_that_falls_silent_is_lost_and_no_other(monkeypatch):
    """The signs of life of all keep them there beyond the time that a silence may last."""
    monkeypatch.setattr(peers, "LOST", 1.0)
    first, second, third = meet(3)
    assert third.wait(1.2) is None
    fall_silent(third)
    start = time.monotonic()
    assert [machine.wait(10) for machine in (first, second)] == [2, 2]
    assert time.monotonic() - start > 0.8


def test_the_line_to_the_coordinator_stays_open_when_that_is_gone():
    """Bytes go both ways; the end of one side is not told to JAX, which would end its process."""
    first, second = meet(2)
    host, _, port = first.coordinator.rpartition(":")
    with socket.create_server((host, int(port))) as coordinator:
        host, _, port = second.coordinator.rpartition(":")
        near = socket.create_connection((host, int(port)), timeout=10)
        far, _ = coordinator.accept()
        near.sendall(b"question")
        assert far.recv(8) == b"question"
        far.sendall(b"x" * 500_000)
        far.close()
        with near.makefile("rb") as answer:
            assert answer.read(500_000) == b"x" * 500_000
    near.settimeout(0.2)
    with pytest.raises(TimeoutError):
        near.recv(1)
    leave(first)
    with pytest.raises(TimeoutError):
        near.recv(1)


@pytest.mark.parametrize(
    "greeting", [b"GET / HTTP/1.0\n", b"[]\n", b'{"index": 1, "workers": ["a:1", "b:1"]}\n', b""]
)
def test_strangers_are_sent_away(greeting):
    address = f"127.0.0.1:{free_port()}"
    first = threading.Thread(target=Peers, args=([address, "host1:2222"], 0))
    first.start()
    second = threading.Thread(target=Peers, args=([address, "host1:2222"], 1))
    stranger = reach(address)
    stranger.sendall(greeting)
    stranger.shutdown(socket.SHUT_WR)
    assert not stranger.recv(1)
    second.start()
    for thread in (first, second):
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_one_that_is_started_again_before_all_are_there_takes_its_place(order):
    """Also where the other one comes first, and those that have come were all there are."""
    workers = [f"127.0.0.1:{free_port()}", "host1:2222", "host2:2222"]
    threads = [threading.Thread(target=Peers, args=(workers, k), daemon=True) for k in (0, *order)]
    threads[0].start()
    early = reach(workers[0])
    early.sendall(f"{json.dumps({'index': 1, 'workers': workers})}\n".encode())
    time.sleep(0.1)
    early.close()
    for thread in threads[1:]:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_machines_that_do_not_come_are_named(monkeypatch):
    monkeypatch.setattr(peers, "START", 0.3)
    addresses = [f"127.0.0.1:{free_port()}", "host1:2222", "host2:2222"]
    with pytest.raises(DeviceError, match=r"Missing after 0 s: 1 \(host1:2222\), 2 \(host2:2222\)"):
        Peers(addresses, 0)
    with pytest.raises(DeviceError, match=r"Received: 127.0.0.1:\d+ \(.*refused\)"):
        Peers([f"127.0.0.1:{free_port()}", "host1:2222"], 1)


def test_an_address_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DeviceError, match=f"listen at its own address. Received: {address}"):
            Peers([address, "host1:2222"], 0)
