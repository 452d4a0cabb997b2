"""The chief of a search: where it listens, and to whom."""

import os
import socket
import stat
import types

import psutil
import pytest

from keras_preact.errors import ConfigError
from keras_preact.tuning import TuneConfig, team, tune
from keras_preact.tuning.tuner import TrainingTuner


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def as_chief(monkeypatch):
    def set_address(address, port):
        values = {team.ROLE: "chief", team.ADDRESS: address, team.PORT: str(port)}
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_address


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_it_listens_at_the_address_that_was_asked_for(
    address, port, as_chief, monkeypatch, tmp_path
):
    from keras_tuner.src.distribute import oracle_chief

    if address == "[::1]" and team.socket.has_ipv6 and not _has_loopback_6():
        pytest.skip("no IPv6 on this machine")
    found = []

    def look(seconds):  # KerasTuner's loop sleeps while its server answers
        found.extend(psutil.Process().net_connections("tcp"))
        raise StopIteration

    monkeypatch.setattr(oracle_chief, "time", types.SimpleNamespace(sleep=look))
    as_chief(address, port)
    team.require_address()
    with pytest.raises(StopIteration):
        TrainingTuner(TuneConfig(quick=True), tmp_path).search()
    places = {each.laddr.ip for each in found if each.laddr.port == port}
    assert {place.removeprefix("::ffff:") for place in places} == {address.strip("[]")}


def _has_loopback_6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("address", "port", "said"),
    [
        ("", "8000", "no address"),
        ("192.0.2.1", "8000", "Cannot assign requested address"),
        ("no.such.host.invalid", "8000", ""),
        ("::1", "8000", "no address"),
        ("127.0.0.1", "0", "no port"),
        ("127.0.0.1", "70000", "no port"),
        ("127.0.0.1", "http", "invalid literal"),
        ("127.0.0.1", None, "in use"),
    ],
)
def test_an_address_at_which_it_cannot_listen(address, port, said, as_chief, monkeypatch, tmp_path):
    """In a line, before any process starts; two chiefs at one port would share the questions."""
    monkeypatch.setattr(team, "_LEAVES", 0)
    monkeypatch.setattr(team, "start", None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        as_chief(address, other.getsockname()[1] if port is None else port)
        with pytest.raises(ConfigError, match=f"Received: {address!r} and .*: .*{said}"):
            tune(TuneConfig(quick=True, out=str(tmp_path / "search")))


@pytest.mark.parametrize("temporary", [None, "/tmp/" + "x" * 100])
def test_on_one_machine_it_has_no_port(temporary, monkeypatch, tmp_path):
    monkeypatch.setattr(team.tempfile, "tempdir", temporary)
    processes = []

    def start(module, folder, *, output, environment):
        processes.append(environment)
        return types.SimpleNamespace(poll=lambda: 0, stdin=types.SimpleNamespace(close=lambda: 0))

    monkeypatch.setattr(team, "start", start)
    begun = team.Team(TuneConfig(quick=True, workers=2), types.SimpleNamespace(path=tmp_path))
    assert [each[team.ROLE] for each in processes] == ["chief", "worker0", "worker1"]
    assert {each[team.ADDRESS] for each in processes} == {"unix"}
    (place,) = {each[team.PORT] for each in processes}
    folder = os.path.dirname(place)
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700 and len(place) < 104
    begun.stop()
    assert not os.path.exists(folder)
