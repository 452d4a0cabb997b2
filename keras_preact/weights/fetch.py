"""Published files: downloaded once, resumed if interrupted, and checked before they are used."""

import contextlib
import hashlib
import http.client
import io
import os
import pathlib
import stat
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from typing import Any

from keras_preact.console import make_console, reading_bar
from keras_preact.errors import ConfigError, reason
from keras_preact.files import save_error

#: Environment variable with the base URL of another server, which has the files at the same paths.
MIRROR = "KERAS_PREACT_WEIGHTS_URL"

#: Seconds without an answer, or without a further byte, after which an attempt has failed.
PATIENCE = 30

#: Seconds between the attempts; each resumes where the one before it stopped.
PAUSES = (1, 2, 4)

#: Largest file accepted, in bytes, also in an archive; those of the catalogue have at most 410 MB.
LARGEST = 2**30

#: Largest ratio of unpacked to packed size of an archive; weights hardly compress.
_MOST = 20

#: Bytes per second: an attempt that is slower than this has failed.
_SLOWEST = 1000

#: HTTP status codes after which another attempt may succeed.
_LATER = (408, 425, 429, 500, 502, 503, 504)


class _Fault(Exception):
    """An error of a server or of the connection; `code` is the HTTP status, if there was one."""

    def __init__(self, text, again=False, code=None):
        super().__init__(text)
        self.again, self.code = again, code


def cache_folder() -> pathlib.Path:
    """The folder of Keras's downloaded weights: `~/.keras/models`, or `models` in `KERAS_HOME`.

    Returns:
        The folder, which exists.

    Raises:
        SaveError: If it cannot be created.

    Example:
        >>> from keras_preact.weights.fetch import cache_folder
        >>> cache_folder().name
        'models'
    """
    folder = pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise save_error(error, "Downloaded weights", folder) from None
    return folder


def fetch(base: str, place: str, file: str, digest: str) -> bytes:
    """Returns the content of a published file, from Keras's cache or downloaded.

    The file may be put into the cache by hand, as it is or as it is published. A download is added
    to the cache only after it is complete and has the right digest.

    Args:
        base: Base URL; the environment variable KERAS_PREACT_WEIGHTS_URL replaces it, for example
            by `"file:///shared/weights"`.
        place: The rest of the URL; with the suffix `.zip`, that of an archive that contains the
            file.
        file: Name of the file.
        digest: Algorithm and digest of its content, such as `"sha1:451230e9..."`; for an archive,
            those of the file inside.

    Returns:
        The bytes of the file.

    Raises:
        ConfigError: If there is no network, the server stops answering, or the digest is wrong;
            the message says which file belongs where.
        SaveError: If the cache cannot be written.

    Example:
        >>> from keras_preact.weights.fetch import fetch
        >>> data = fetch("https://example.org", "v1/a.h5", "a.h5", "md5:0c...")  # doctest: +SKIP
    """
    url = f"{(os.environ.get(MIRROR) or base).rstrip('/')}/{place}"
    path = cache_folder() / place.rpartition("/")[2]
    data = _cached(path, file, digest, url)
    if data is None:
        with locked(path, "Downloaded weights"):
            data = _cached(path, file, digest, url)  # another process has it meanwhile
            if data is None:
                data = _downloaded(path, file, digest, url)
    return data


@contextlib.contextmanager
def locked(path: pathlib.Path, what: str) -> Iterator[None]:
    """Locks a file of the cache; other processes and threads wait.

    Args:
        path: The file; the lock is beside it.
        what: What the file is, for the error message.

    Raises:
        SaveError: If the lock cannot be acquired.
    """
    import filelock

    try:
        held = filelock.FileLock(path.with_name(f".{path.name}.lock")).acquire()
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise save_error(OSError(*error.args), what, path.parent) from None
    with held:
        yield


def _cached(path, file, digest, url):
    """The bytes of a file in the cache, as it is or as it is published; `None` if missing."""
    for found in (path.with_name(file), path):
        if found.is_file():
            data, fault = _content(found, file, digest)
            if fault:
                raise ConfigError(
                    f"{found} must be the file published at {url}. Received: a file that {fault}. "
                    "Delete it, and it will be downloaded again."
                )
            return data
    return None


def _downloaded(path, file, digest, url) -> Any:
    """The bytes of a file that is downloaded, and put into the cache once it is right.

    A resumed download may mix two files: the server may have another one by now, or an earlier
    version of this package may have left a part. It is then downloaded from the start.
    """
    partial = path.with_name(f".{path.name}.partial")  # never read as a cached file
    for is_last in (False, True):
        try:
            is_whole = _download(url, partial)
            data, fault = _content(partial, file, digest)
            if fault:
                partial.unlink()
                if is_whole or is_last:
                    raise _Fault(f"the file {fault}")
                continue
            os.replace(partial, path)
            return data
        except _Fault as error:
            raise ConfigError(
                f"The download of trained weights failed: {error}. "
                f"Without a network, put {url} at {path} (or set {MIRROR} to the base URL of a "
                "mirror, such as file:///shared/weights) and try again."
            ) from None
        except OSError as error:
            raise save_error(error, path.name, path.parent) from None


def _download(url, partial) -> bool | None:
    """Downloads a URL in several attempts; returns whether one answer gave the whole file."""
    is_whole = not _size(partial)
    for pause in (*PAUSES, None):
        try:
            _receive(url, partial)
            return is_whole
        except _Fault as fault:
            if fault.code == 416 and not is_whole:  # there is no more: the digest decides
                return False
            if pause is None or not fault.again:
                raise
        is_whole = False
        time.sleep(pause)


def _receive(url, partial):
    """Resumes the download of a file, or starts again if the server cannot resume.

    Raises:
        _Fault: If the answer is incomplete; the part that was received is kept.
        OSError: If the file cannot be written.
    """
    begin = _size(partial)
    ranged = {"Range": f"bytes={begin}-"} if begin else {}
    with _faults():
        request = urllib.request.Request(url, headers=ranged)
        answer = urllib.request.urlopen(request, timeout=PATIENCE)
    goes_on = f"{answer.headers['Content-Range']}".startswith(f"bytes {begin}-")
    done = begin if begin and goes_on and answer.status == 206 else 0
    rest = getattr(answer, "length", None)  # unknown for local files and for some servers
    total = None if rest is None else done + rest
    name = partial.name.strip(".").removesuffix(".partial")
    bar: Any = reading_bar(make_console(sys.stderr), name)
    with answer, open(partial, "ab" if done else "wb") as output, bar as on_progress:
        started, before = time.monotonic(), done
        while total is None or done < total:
            if max(done, total or 0) > LARGEST:
                output.truncate(0)
                raise _Fault(f"the file has more than {LARGEST / 2**20:,.0f} MB")
            with _faults():
                piece = answer.read1(2**16)
                if not piece and total is not None:
                    raise ConnectionError(f"the answer ended after {done:,} of {total:,} bytes")
            if not piece:
                break
            output.write(piece)
            done += len(piece)
            on_progress(done, total)
            if done - before < _SLOWEST * (time.monotonic() - started - PATIENCE):
                text = f"the server sends less than {_SLOWEST:,} bytes per second"
                raise _Fault(text, again=True)
        output.flush()
        os.fsync(output.fileno())


def _size(path):
    return path.stat().st_size if path.is_file() else 0


@contextlib.contextmanager
def _faults():
    """Raises `_Fault` for errors of a server or of the connection."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        text = f"the server answered {error.code}"
        raise _Fault(text, error.code in _LATER, error.code) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        inner = error.reason if isinstance(error, urllib.error.URLError) else error
        is_wrong = isinstance(inner, (str, ValueError, http.client.InvalidURL))
        again = not (is_wrong or getattr(inner, "filename", None))  # a name: of a local file
        text = "".join(c if c.isprintable() else "?" for c in reason(inner))
        raise _Fault(text or type(inner).__name__, again) from None


def _content(path, file, digest):
    """(bytes of the file, their fault or None); archives are opened."""
    if path.stat().st_size > LARGEST:
        return None, f"has more than {LARGEST / 2**20:,.0f} MB"
    data = path.read_bytes()
    if path.name.removesuffix(".partial").endswith(".zip"):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if any(stat.S_ISLNK(entry.external_attr >> 16) for entry in archive.infolist()):
                    return None, "contains links"
                if archive.getinfo(file).file_size > min(_MOST * len(data), LARGEST):
                    return (
                        None,
                        f"claims to unpack to more than {_MOST} times its size, or too much",
                    )
                data = archive.read(file)
        except Exception:  # a damaged archive can raise a dozen of them
            return None, f"is not a complete archive with {file!r} in it"
    found = digest_of(data, digest)
    if found != digest:
        algorithm, _, value = found.partition(":")
        return None, f"has the {algorithm.upper()} {value}, not {digest.partition(':')[2]}"
    return data, None


def digest_of(data: bytes, like: str) -> str:
    """The digest of bytes, such as `"sha1:451230e9..."`, by the algorithm of another digest.

    Args:
        data: The bytes.
        like: A digest, whose algorithm is used.

    Example:
        >>> from keras_preact.weights.fetch import digest_of
        >>> digest_of(b"", like="md5:451230e9")
        'md5:d41d8cd98f00b204e9800998ecf8427e'
    """
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()}"
