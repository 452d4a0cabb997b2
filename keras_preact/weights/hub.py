"""`pull`: weights from the Hugging Face Hub, in a folder that is whole or not there.

Only files that hold numbers and words are taken, never a pickle, and what is in them is looked
through as every file of unknown origin is.
"""

import contextlib
import os
import pathlib
import re
import shutil
import warnings
from typing import NamedTuple

from keras_preact.errors import ConfigError, reason
from keras_preact.files import replacing
from keras_preact.weights.fetch import LARGEST, cache_folder, locked

#: How the address of a repository of the Hub begins.
HUB = "hf://"

#: The files that are taken, where a repository has them.
WANTED = (
    "config.json", "preprocessor_config.json", "image_converter.json", "classes.json",
    "geometry.json", "model.safetensors", "model.weights.h5", "task.weights.h5",
)  # fmt: skip

#: Beside them: the commit that they are of.
COMMIT = "commit.txt"

#: Those of which one has to be there.
_WEIGHTS = ("model.safetensors", "model.weights.h5")


class Address(NamedTuple):
    """A repository of the Hub: `name` is `"user/name"`, `revision` a branch, tag or commit."""

    name: str
    revision: str | None = None


def on_hub(path) -> bool:
    """Whether something is the address of a repository of the Hub.

    Example:
        >>> from keras_preact.weights.hub import on_hub
        >>> on_hub("hf://timm/resnet50.a1_in1k"), on_hub("resnet50.safetensors")
        (True, False)
    """
    return isinstance(path, str) and path.startswith(HUB)


def address_of(text: str) -> Address:
    """The parts of `hf://user/name` or `hf://user/name@revision`.

    Raises:
        ConfigError: For another text.

    Example:
        >>> from keras_preact.weights.hub import address_of
        >>> address_of("hf://timm/resnet50.a1_in1k@main")
        Address(name='timm/resnet50.a1_in1k', revision='main')
    """
    part = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
    found = re.fullmatch(rf"{HUB}({part}/{part})(?:@([A-Za-z0-9][\w./-]*))?", text, re.ASCII)
    if not found or ".." in text:
        raise ConfigError(
            f"A repository of the Hub is named {HUB}user/name, with @revision behind it if need "
            f"be. Received: {text!r}."
        )
    return Address(*found.groups())


def pull(text: str) -> pathlib.Path:
    """The folder of a repository of the Hub on this machine, downloaded where need be.

    It is downloaded again where the repository has another commit by now. The folder in Keras's
    cache is the earlier one or all of the new one. Where the Hub cannot be reached, what was pulled
    last is taken, with a warning.

    Args:
        text: `"hf://user/name"`, or `"hf://user/name@revision"`.

    Returns:
        The folder, with those of `WANTED` that the repository has.

    Raises:
        ConfigError: For another text, a repository that is not there or is not for this user, has
            no weights that are safe to read, or files that are too large; and without a network.
        SaveError: When the cache cannot be written.

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
        warnings.warn(f"{error} What was pulled before is taken: {folder}.", stacklevel=2)
        return folder
    files = {one.rfilename: one.size or 0 for one in about.siblings if one.rfilename in WANTED}
    _refuse(text, files, about.siblings)
    with locked(folder, "What was pulled"):
        if _commit_of(folder) == about.sha:
            return folder
        with replacing(folder, "What was pulled") as partial, hub_errors(text):
            partial.mkdir()
            for file in files:
                hub.hf_hub_download(
                    address.name, file, revision=about.sha, local_dir=partial, endpoint=endpoint()
                )
            shutil.rmtree(partial / ".cache", ignore_errors=True)  # the library's notes
            (partial / COMMIT).write_text(about.sha)
    return folder


def _commit_of(folder):
    """The commit that a folder was pulled of; `None` where it was not."""
    file = folder / COMMIT
    return file.read_text() if file.is_file() else None


def _refuse(text, files, siblings):
    """Refuses repositories without weights that are safe to read, and files that are too large."""
    if not any(name in files for name in _WEIGHTS):
        others = [one.rfilename for one in siblings][:5]
        raise ConfigError(
            f"A repository with a {' or a '.join(_WEIGHTS)} is expected: other files of weights "
            f"may hold code that runs when they are opened. Received: {text!r}, with {others}."
        )
    for name, size in files.items():
        if size > LARGEST:
            raise ConfigError(
                f"Files of at most {LARGEST / 2**20:,.0f} MB are taken. Received: {text!r}, whose "
                f"{name} has {size / 2**20:,.0f} MB."
            )


class _Unreachable(ConfigError):
    """There is no way to the Hub."""


def endpoint() -> str | None:
    """Where the Hub is: that of `HF_ENDPOINT`, read anew at each call; `None`: the Hub itself."""
    return os.environ.get("HF_ENDPOINT") or None


def hub_library():
    """`huggingface_hub`.

    Raises:
        ConfigError: Where it is not installed.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    try:
        import huggingface_hub
    except ImportError as error:
        raise ConfigError(
            f"{HUB} needs huggingface_hub: pip install 'keras-preact[hub]'. Received: no "
            f"{error.name}."
        ) from None
    return huggingface_hub


@contextlib.contextmanager
def hub_errors(text: str):
    """Says in a line what goes wrong between this machine and the Hub.

    Raises:
        ConfigError: In place of what the library raises.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        words = {
            401: "it is not there, or is not for everyone: `hf auth login`, or HF_TOKEN, says who "
            "you are",
            403: "it is not for you, or your token may not write",
            404: "there is no such repository or revision",
        }.get(status, f"it answers {status}: {reason(error)}")
        kind = _Unreachable if status in (None, 429, 500, 502, 503, 504) else ConfigError
        raise kind(f"The Hub does not give {text!r}: {words}.") from None
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
