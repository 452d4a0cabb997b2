"""`pull`: weights from the Hugging Face Hub, in a folder that is complete or absent.

Only files with numbers and text are downloaded, never a pickle, and they are checked like every
file of unknown origin.
"""

import contextlib
import os
import pathlib
import re
import shutil
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple, TypeGuard

from keras_preact.errors import ConfigError, reason
from keras_preact.files import replacing
from keras_preact.weights.fetch import LARGEST, cache_folder, locked

#: Prefix of the address of a repository of the Hub.
HUB = "hf://"

#: The files that are downloaded if a repository has them.
WANTED = (
    "config.json", "preprocessor_config.json", "image_converter.json", "classes.json",
    "geometry.json", "model.safetensors", "model.weights.h5", "task.weights.h5",
)  # fmt: skip

#: File beside them with the commit that they belong to.
COMMIT = "commit.txt"

#: The files of which a repository must have one.
_WEIGHTS = ("model.safetensors", "model.weights.h5")


class Address(NamedTuple):
    """A repository of the Hub: `name` is `"user/name"`, `revision` a branch, tag or commit."""

    name: str
    revision: str | None = None


def on_hub(path: Any) -> TypeGuard[str]:
    """Whether an object is the address of a repository of the Hub.

    Example:
        >>> from keras_preact.weights.hub import on_hub
        >>> on_hub("hf://timm/resnet50.a1_in1k"), on_hub("resnet50.safetensors")
        (True, False)
    """
    return isinstance(path, str) and path.startswith(HUB)


def address_of(text: str) -> Address:
    """Parses `hf://user/name` or `hf://user/name@revision`.

    Raises:
        ConfigError: If the text is neither of these.

    Example:
        >>> from keras_preact.weights.hub import address_of
        >>> address_of("hf://timm/resnet50.a1_in1k@main")
        Address(name='timm/resnet50.a1_in1k', revision='main')
    """
    part = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
    found = re.fullmatch(rf"{HUB}({part}/{part})(?:@([A-Za-z0-9][\w./-]*))?", text, re.ASCII)
    if not found or ".." in text:
        raise ConfigError(
            f"A repository of the Hub must be given as {HUB}user/name or "
            f"{HUB}user/name@revision. Received: {text!r}."
        )
    return Address(*found.groups())


def pull(text: str) -> pathlib.Path:
    """Downloads a repository of the Hub into Keras's cache, unless it is there already.

    It is downloaded again if the repository has a new commit; until that is complete, the folder
    stays as it was. If the Hub cannot be reached, the folder in the cache is used, with a warning.

    Args:
        text: `"hf://user/name"` or `"hf://user/name@revision"`.

    Returns:
        The folder, with those of `WANTED` that the repository has.

    Raises:
        ConfigError: If the address is not valid, the repository does not exist or is not
            accessible, has no weights that are safe to read or files that are too large, or if
            there is no network and nothing in the cache.
        SaveError: If the cache cannot be written.

    Example:
        >>> from keras_preact.weights.hub import pull
        >>> folder = pull("hf://timm/resnet50.a1_in1k")  # doctest: +SKIP
    """
    address, hub = address_of(text), hub_library()
    name = "--".join([*address.name.split("/"), *(address.revision or "main").split("/")])
    folder = cache_folder() / f"hub-{name}"
    try:
        with hub_errors(text):
            api = hub.HfApi(endpoint=endpoint())
            about = api.model_info(address.name, revision=address.revision, files_metadata=True)
    except _Unreachable as error:
        if not folder.is_dir():
            raise
        warnings.warn(f"{error} The copy in the cache is used: {folder}.", stacklevel=2)
        return folder
    siblings, commit = about.siblings or (), str(about.sha)
    files = {one.rfilename: one.size or 0 for one in siblings if one.rfilename in WANTED}
    _refuse(text, files, siblings)
    with locked(folder, "The download"):
        if _commit_of(folder) == commit:
            return folder
        with replacing(folder, "The download") as partial, hub_errors(text):
            partial.mkdir()
            for file in files:
                hub.hf_hub_download(
                    address.name, file, revision=commit, local_dir=partial, endpoint=endpoint()
                )
            shutil.rmtree(partial / ".cache", ignore_errors=True)  # metadata of the library
            (partial / COMMIT).write_text(commit)
    return folder


def _commit_of(folder):
    """The commit that a folder was downloaded from; `None` if there is none."""
    file = folder / COMMIT
    return file.read_text() if file.is_file() else None


def _refuse(text, files, siblings):
    """Refuses repositories without weights that are safe to read, and files that are too large."""
    if not any(name in files for name in _WEIGHTS):
        others = [one.rfilename for one in siblings][:5]
        raise ConfigError(
            f"A repository must have a {' or a '.join(_WEIGHTS)}: other weights files may contain "
            f"code that runs when they are opened. Received: {text!r}, with {others}."
        )
    for name, size in files.items():
        if size > LARGEST:
            raise ConfigError(
                f"Files must have at most {LARGEST / 2**20:,.0f} MB. Received: {text!r}, whose "
                f"{name} has {size / 2**20:,.0f} MB."
            )


class _Unreachable(ConfigError):
    """The Hub cannot be reached."""


def endpoint() -> str | None:
    """URL of the Hub from `HF_ENDPOINT`, read at each call; `None` for the Hub itself."""
    return os.environ.get("HF_ENDPOINT") or None


def hub_library() -> ModuleType:
    """Imports `huggingface_hub`.

    Raises:
        ConfigError: If it is not installed.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    try:
        import huggingface_hub
    except ImportError as error:
        raise ConfigError(
            f"{HUB} needs huggingface_hub: pip install 'keras-preact[hub]'. Received: "
            f"{error.name} is not installed."
        ) from None
    return huggingface_hub


@contextlib.contextmanager
def hub_errors(text: str) -> Iterator[None]:
    """Reports errors of the Hub and of the connection in one line.

    Raises:
        ConfigError: In place of the errors that the library raises.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        words = {
            401: "it does not exist or is private: log in with `hf auth login`, or set HF_TOKEN",
            403: "you have no access, or your token has no write permission",
            404: "there is no such repository or revision",
        }
        words = words.get(status or 0, f"the Hub answered {status}: {reason(error)}")
        kind = _Unreachable if status in (None, 429, 500, 502, 503, 504) else ConfigError
        raise kind(f"{text!r} is not available: {words}.") from None
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise _Unreachable(f"The Hub cannot be reached for {text!r}: {reason(error)}.") from None
    except OSError:
        raise
    except Exception as error:
        if "http" not in type(error).__module__:
            raise
        raise _Unreachable(
            f"The Hub cannot be reached for {text!r}: {type(error).__name__}, {reason(error)}."
        ) from None
