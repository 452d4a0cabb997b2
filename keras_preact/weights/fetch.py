"""Published files: downloaded once through Keras's cache, and checked before they are used."""

import contextlib
import errno
import hashlib
import io
import os
import pathlib
import socket
import threading
import zipfile
import zlib

import keras

from keras_preact.errors import ConfigError
from keras_preact.files import save_error

#: Environment variable with the base URL of another server, which has the files at the same paths.
MIRROR = "KERAS_PREACT_WEIGHTS_URL"

#: Seconds without an answer, or without a further byte, after which a download has failed.
PATIENCE = 60
_ONE_AT_A_TIME = threading.Lock()

#: How many times its size an archive may hold; weights hardly become smaller.
_MOST = 20


def cache_folder() -> pathlib.Path:
    """Where Keras keeps the weights it downloads: `~/.keras/models`, or that of `KERAS_HOME`.

    Raises:
        SaveError: Where it cannot be made.

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
    """What a published file holds, from Keras's cache or from where it is published.

    The file may be put into the cache by hand, as it is or as the URL gives it. What was
    downloaded stands in the cache only once it is whole and right.

    Args:
        base: Base URL of where it is published; the environment variable KERAS_PREACT_WEIGHTS_URL
            names another, such as `"file:///shared/weights"`.
        place: The rest of its URL; with the suffix `.zip` that of an archive that holds it.
        file: Its name.
        digest: What its bytes must have, such as `"sha1:451230e9..."`; in an archive those of the
            file inside.

    Returns:
        The bytes of the file.

    Raises:
        ConfigError: Without a network, when a server falls silent, or when the digest is another;
            the message says which file belongs where.
        SaveError: When the cache cannot be written.

    Example:
        >>> from keras_preact.weights.fetch import fetch
        >>> data = fetch("https://example.org", "v1/a.h5", "a.h5", "md5:0c...")  # doctest: +SKIP
    """
    url = f"{(os.environ.get(MIRROR) or base).rstrip('/')}/{place}"
    folder, published = cache_folder(), place.rpartition("/")[2]
    for path in (folder / file, folder / published):
        if path.is_file():
            data, fault = _content(path, file, digest)
            if fault:
                raise ConfigError(
                    f"{path} must be the file that {url} gives. Received: one that {fault}. "
                    "Delete it, and it is downloaded."
                )
            return data
    # Keras writes a download in place, so a name that nobody reads until it is whole. It verifies
    # SHA-256 and MD5 itself, but neither SHA-1 nor what is in an archive, so that is done here.
    partial = folder / f".{published}.partial"
    if not os.access(folder, os.W_OK):  # Keras would take a folder that all can write
        raise save_error(PermissionError(errno.EACCES, "Permission denied"), published, folder)
    try:
        with _limited_patience():
            keras.utils.get_file(
                partial.name, url, cache_dir=str(folder), cache_subdir="", force_download=True
            )
    except Exception as error:  # Keras raises a bare Exception where a URL cannot be had
        raise _unavailable(url, folder / published, str(error)) from None
    data, fault = _content(partial, file, digest)
    if fault:
        partial.unlink()
        raise _unavailable(url, folder / published, f"it gives a file that {fault}")
    os.replace(partial, folder / published)
    return data


@contextlib.contextmanager
def _limited_patience():
    """Sockets that are opened meanwhile time out, unless the program has a limit of its own."""
    with _ONE_AT_A_TIME:  # or a second thread would take the first one's limit for the program's
        limit = socket.getdefaulttimeout()
        socket.setdefaulttimeout(PATIENCE if limit is None else limit)
        try:
            yield
        finally:
            socket.setdefaulttimeout(limit)


def _content(path, file, digest):
    """(bytes of the file, what is wrong with them or None); archives are opened."""
    data = path.read_bytes()
    if path.name.removesuffix(".partial").endswith(".zip"):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if archive.getinfo(file).file_size > _MOST * len(data):
                    return None, f"claims to hold more than {_MOST} times its size"
                data = archive.read(file)
        except (zipfile.BadZipFile, zlib.error, KeyError, RuntimeError, EOFError, OSError):
            return None, f"is no whole archive with {file!r} in it"
    found = digest_of(data, digest)
    if found != digest:
        algorithm, _, value = found.partition(":")
        return None, f"has the {algorithm.upper()} {value}, not {digest.partition(':')[2]}"
    return data, None


def digest_of(data: bytes, like: str) -> str:
    """The digest of bytes, such as `"sha1:451230e9..."`, by the algorithm of another.

    Example:
        >>> from keras_preact.weights.fetch import digest_of
        >>> digest_of(b"", like="md5:451230e9")
        'md5:d41d8cd98f00b204e9800998ecf8427e'
    """
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()}"


def _unavailable(url, path, reason):
    return ConfigError(
        f"Weights by a tag are downloaded once, and this time that failed: {reason}. Without a "
        f"network put {url} at {path} (or set {MIRROR} to the base URL of a mirror, such as "
        "file:///shared/weights) and try again."
    )
