"""Downloads: whole and right or not there, whatever servers, disks and processes do."""

import concurrent.futures
import hashlib
import signal
import stat
import subprocess
import sys
import time
import zipfile
from unittest import mock

import numpy as np
import pytest

from keras_preact.applications import model_info, published
from keras_preact.errors import ConfigError, SaveError
from keras_preact.weights import fetch

DATA = np.random.default_rng(0).bytes(300_000)
OTHER = DATA[::-1]
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
PLACE = "/v1/a.h5"

#: The same as `get` in a process of its own.
CHILD = (
    "import sys; from keras_preact.weights.fetch import fetch;"
    f"print(len(fetch('http://nowhere', {PLACE[1:]!r}, 'a.h5', {DIGEST!r})))"
)


def get(place=PLACE[1:], digest=DIGEST):
    return fetch.fetch("http://nowhere", place, "a.h5", digest)


@pytest.fixture
def cache(server, tmp_path):
    """The cache; the server has the file."""
    server.files[PLACE] = DATA
    folder = tmp_path / "keras/models"
    folder.mkdir(parents=True)
    return folder


def kept(cache):
    """Names in the cache that anybody reads."""
    return {path.name for path in cache.iterdir() if not path.name.startswith(".")}


CUT = {"cut": 100_000}
REST, ALL = "bytes=100000-", len(DATA)


@pytest.mark.parametrize(
    ("faults", "ranges", "sent"),
    [
        ([], [None], ALL),
        ([CUT], [None, REST], ALL),
        ([CUT, {"cut": 200_000}], [None, REST, "bytes=200000-"], ALL),
        ([CUT, {"status": 503}, CUT], [None, REST, REST, REST], ALL),
        ([CUT, {"ranged": False}], [None, REST], ALL + 100_000),
        ([CUT, {"back": 50_000}], [None, REST, None], 2 * ALL + 50_000),  # not what was asked for
        ([{"status": 503}, {"status": 429}], [None] * 3, ALL),
        ([{"status": 302, "location": PLACE}], [None] * 2, ALL),
        ([CUT, {"status": 302, "location": PLACE}], [None, REST, REST], ALL),
        ([{"length": None}], [None], ALL),
        ([{"length": "many"}], [None], ALL),
        ([{"length": None, **CUT}], [None, None], ALL + 100_000),
        ([{"data": OTHER, **CUT}], [None, REST, None], 2 * ALL),  # another file by now
        ([{"data": DATA + b"more", "length": ALL + 5}], [None, "bytes=300004-", None], 2 * ALL + 4),
    ],
)
def test_what_goes_wrong_on_the_way(faults, ranges, sent, server, cache):
    """The file comes; what came before is not sent again where the server can go on."""
    server.faults += faults
    if faults and faults[0].get("length", 0) is None and "cut" in faults[0]:
        with pytest.raises(ConfigError, match="the file has the SHA256"):
            get()  # half a file from a server that does not say how long it is
    assert get() == DATA
    end = time.monotonic() + 5  # who has read the last piece may ask before it is counted
    while server.sent < sent and time.monotonic() < end:
        time.sleep(0.01)
    assert server.ranges == ranges and server.sent == sent
    assert kept(cache) == {"a.h5"} and (cache / "a.h5").read_bytes() == DATA
    assert get() == DATA and len(server.asked) == len(ranges)
    assert not [*cache.glob("*.partial")]


@pytest.mark.parametrize(
    ("fault", "said", "asked"),
    [
        ({"status": 404}, "the server answered 404", 1),
        ({"status": 503}, "the server answered 503", 4),
        ({"data": OTHER}, f"the file has the SHA256 .*, not {DIGEST[7:]}", 1),
        ({"length": 10**10}, "the file has more than 1 MB", 1),
        ({"length": None, "endless": True}, "the file has more than 1 MB", 1),
        (
            {"length": 600_000, "pause": 0.03},
            r"server sends less than [\d,]+ bytes per second",
            4,
        ),
        ({"garbage": b"\x1b[31mSSH-2.0\r\n\r\n"}, r"failed: \?\[31mSSH-2.0", 4),
        ({"status": 302, "location": "file:///etc/passwd"}, "the server answered 302", 1),
        ({"cut": 0}, "the answer ended after 0 of 300,000 bytes", 4),
    ],
    ids=lambda value: str(value)[:30],
)
def test_servers_that_are_given_up(fault, said, asked, server, cache, monkeypatch):
    monkeypatch.setattr(fetch, "LARGEST", 2**20)
    if "pause" in fault:
        monkeypatch.setattr(fetch, "PATIENCE", 0.05)
        monkeypatch.setattr(fetch, "_SLOWEST", 10**6)
    server.faults += [fault] * asked
    with pytest.raises(ConfigError, match=said) as raised:
        get()
    assert f"put {server.url}{PLACE} at {cache / 'a.h5'} (or set {fetch.MIRROR}" in str(
        raised.value
    )
    assert "\x1b" not in str(raised.value) and "\n" not in str(raised.value)
    assert len(server.asked) == asked and server.sent < 10**7
    assert kept(cache) == set() and sum(p.stat().st_size for p in cache.iterdir()) < 2**20
    assert get() == DATA


def test_a_server_that_falls_silent(server, cache, monkeypatch):
    monkeypatch.setattr(fetch, "PATIENCE", 0.1)
    server.silent.clear()
    server.faults.append(CUT)  # it says nothing more after that, and then nothing at all
    with pytest.raises(ConfigError, match=r"weights failed: .*timed out"):
        get()
    assert server.ranges == [None, REST, REST, REST] and kept(cache) == set()
    server.silent.set()
    # Not what was sent: the answers that nobody waits for any more count as well.
    assert get() == DATA and server.ranges[4:] == [REST]


@pytest.mark.parametrize("url", ["nonsense", "gopher://nowhere", "http://[::", "http://a b", "é:"])
def test_a_mirror_that_is_none(url, server, cache, monkeypatch):
    monkeypatch.setattr(fetch.time, "sleep", mock.Mock(side_effect=AssertionError))
    monkeypatch.setenv(fetch.MIRROR, url)
    with pytest.raises(ConfigError, match=f"or set {fetch.MIRROR} to the base URL"):
        get()


def test_a_mirror_can_be_a_folder(server, cache, tmp_path, monkeypatch):
    folder = tmp_path / "a folder"
    monkeypatch.setenv(fetch.MIRROR, folder.as_uri())
    with pytest.raises(ConfigError, match=r"No such file.*put file:.*a%20folder/v1/a\.h5 at"):
        get()
    (folder / "v1/a.h5").mkdir(parents=True)
    with pytest.raises(ConfigError, match="weights failed: "):
        get()
    (folder / "v1/a.h5").rmdir()
    (folder / "v1/a.h5").write_bytes(DATA)
    (cache / ".a.h5.partial").write_bytes(DATA[:1000])
    assert get() == DATA and server.asked == [] and kept(cache) == {"a.h5"}


def test_proxies_of_the_environment(server, cache, monkeypatch):
    monkeypatch.setenv(fetch.MIRROR, "http://weights.example")
    monkeypatch.setattr("urllib.request._opener", None)  # which reads them once
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    server.files[f"http://weights.example{PLACE}"] = DATA
    assert get() == DATA


def test_archives(server, cache, tmp_path):
    """Only the file that is asked for is read of them, in memory; one with links is refused."""
    link = zipfile.ZipInfo("a.h5")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    other = zipfile.ZipInfo("other")
    other.external_attr = link.external_attr
    found = hashlib.sha256(OTHER).hexdigest()
    for said, *entries in [
        ("contains links", (link, "/etc/passwd")),
        ("contains links", ("a.h5", DATA), (other, "../../.bashrc")),
        ("is not a complete archive with 'a.h5' in it", ("b.h5", DATA)),
        ("claims to unpack to more than 20 times its size", ("a.h5", bytes(10**6))),
        (f"has the SHA256 {found}, not {DIGEST[7:]}", ("a.h5", OTHER)),
        (None, ("a.h5", DATA), ("../b.h5", b"")),
    ]:
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for entry in entries:
                archive.writestr(*entry)
        whole = server.files[f"{PLACE}.zip"] = (tmp_path / "a.zip").read_bytes()
        if said:
            with pytest.raises(ConfigError, match=f"the file {said}"):
                get(f"{PLACE[1:]}.zip")
            assert kept(cache) == set()
    method = whole.index(b"PK\1\2") + 10  # what a damaged header says of it, zipfile does not know
    encrypted = whole.index(b"PK\1\2") + 8
    for wrong in (
        whole[:-100],
        b"<html>not found</html>",
        whole[:method] + b"\x63" + whole[method + 1 :],
        whole[:encrypted] + b"\1" + whole[encrypted + 1 :],
    ):
        server.files[f"{PLACE}.zip"] = wrong
        with pytest.raises(ConfigError, match=r"is not a complete archive with 'a\.h5'"):
            get(f"{PLACE[1:]}.zip")
    server.files[f"{PLACE}.zip"] = whole
    assert get(f"{PLACE[1:]}.zip") == DATA
    assert kept(cache) == {"a.h5.zip"} and not (tmp_path / "keras/b.h5").exists()


def test_a_cache_that_is_full_or_cannot_be_written(server, cache, monkeypatch):
    (cache / ".a.h5.partial").symlink_to("/dev/full")
    with pytest.raises(SaveError, match=r"a\.h5 could not be written to .*: No space left"):
        get()
    assert kept(cache) == set() and len(server.asked) == 1
    denied = PermissionError(13, "Permission denied")
    for error in (denied, NotImplementedError("no locks here")):
        monkeypatch.setattr("filelock.FileLock.acquire", mock.Mock(side_effect=error))
        with pytest.raises(SaveError, match=f"Downloaded weights could not .*: {error.args[-1]}"):
            get()


@pytest.mark.parametrize("name", ["a.h5", "a.h5.zip"])
def test_without_a_network_a_file_put_by_hand_is_taken(name, server, cache, monkeypatch):
    server.close()
    url, place = f"{server.url}/v1/{name}", cache / name
    with pytest.raises(ConfigError, match=f"refused.*put {url} at {place} .or set {fetch.MIRROR}"):
        get(f"v1/{name}")
    place.write_bytes(DATA)
    if name.endswith(".zip"):
        with zipfile.ZipFile(place, "w") as archive:
            archive.writestr("a.h5", DATA)
    right = place.read_bytes()
    place.write_bytes(right[:-100])
    with pytest.raises(ConfigError, match=f"{place} must be the file published at {url}.*Delete"):
        get(f"v1/{name}")
    place.write_bytes(right)
    assert get(f"v1/{name}") == DATA
    monkeypatch.setattr(fetch, "LARGEST", 1000)
    with pytest.raises(ConfigError, match=f"{place} must be .* a file that has more than"):
        get(f"v1/{name}")


def start_child():
    command = [sys.executable, "-c", CHILD]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_and_threads_at_once_download_once(server, cache):
    server.silent.clear()
    children = [start_child() for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        threads = [pool.submit(get) for _ in range(3)]
        time.sleep(0.5)
        server.silent.set()
        assert [thread.result(30) for thread in threads] == [DATA] * 3
    for child in children:
        assert child.communicate(timeout=30)[0] == f"{ALL}\n", child.returncode
    assert server.asked == [PLACE] and kept(cache) == {"a.h5"}


def test_killed_in_the_middle(server, cache):
    """What came by then is kept under a name that nobody reads; the next call goes on there."""
    server.faults.append(CUT)
    server.silent.clear()
    child, partial = start_child(), cache / ".a.h5.partial"
    deadline = time.monotonic() + 30
    while not partial.is_file() or partial.stat().st_size < 90_000:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    child.kill()
    assert child.wait() == -signal.SIGKILL and kept(cache) == set()
    child.communicate()
    begin = partial.stat().st_size
    server.silent.set()
    assert get() == DATA and server.ranges == [None, f"bytes={begin}-"]
    assert kept(cache) == {"a.h5"} and not partial.exists()
    (cache / "a.h5").rename(partial)  # killed before it got its name
    assert get() == DATA and server.ranges[2:] == [f"bytes={ALL}-"] and server.sent == ALL


def test_no_file_of_the_catalogue_is_too_large():
    networks = [model_info(name) for name in published.trained_weights()]
    assert max(4 * network.parameters for network in networks) < fetch.LARGEST / 2


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    with pytest.raises(SaveError, match="Downloaded weights could not be written to"):
        get()
