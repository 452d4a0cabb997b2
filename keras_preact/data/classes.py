"""Class names: how they are told apart, and matched between a data set and a network."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from keras_preact.errors import DataError, near, shown, some


def check_names(names: Iterable[str], fix: str) -> None:
    """Checks that class names are valid UTF-8 and not blank.

    Args:
        names: Class names from a source.
        fix: The advice in the message.

    Raises:
        DataError: For an invalid name; names the first ones.
    """
    wrong = [name for name in names if shown(name) != name or not name.strip()]
    if wrong:
        raise DataError(f"Class names must be UTF-8 and not blank. Received: {some(wrong)}. {fix}")


def alike(names: Iterable[str]) -> list[str]:
    """A line where names differ in nothing but capitals, spaces or the like, else none.

    Example:
        >>> from keras_preact.data.classes import alike
        >>> alike(["cat", "dog", "Cat "])
        ["classes with nearly the same name, kept apart: 'cat', 'Cat '"]
    """
    keys = [key_of(name).casefold() for name in names]
    counts = Counter(keys)
    found = [name for name, key in zip(names, keys, strict=True) if counts[key] > 1]
    return [f"classes with nearly the same name, kept apart: {some(found)}"] if found else []


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Class names made unique: repeated ones get a number appended.

    ImageNet has two cranes, a bird and a machine.

    Example:
        >>> from keras_preact.data.classes import distinct
        >>> distinct(["crane", "dog", "crane"])
        ('crane #0', 'dog', 'crane #2')
    """
    names = [str(name) for name in names]
    while repeated := {key for key, count in Counter(map(key_of, names)).items() if count > 1}:
        names = [
            f"{name} #{k}" if key_of(name) in repeated else name for k, name in enumerate(names)
        ]
    return tuple(names)


def untested(labels: np.ndarray, names: Sequence[str]) -> list[str]:
    """A line that names the classes without test images, of which no recall is known, else none.

    Example:
        >>> import numpy as np
        >>> from keras_preact.data.classes import untested
        >>> untested(np.array([0, 0, 2]), ["cat", "dog", "owl"])
        ["no test images of 1 of 3 classes: 'dog'"]
    """
    there = {*np.unique(labels).tolist()}
    found = [name for k, name in enumerate(names) if k not in there]
    return [f"no test images of {len(found)} of {len(names)} classes: {some(found)}"] * bool(found)


def key_of(name: str) -> str:
    """What a name is compared by: composed Unicode (a Mac's names are not), numbers by value.

    Example:
        >>> from keras_preact.data.classes import key_of
        >>> key_of("007"), key_of("cafe\\u0301") == key_of("caf\\u00e9")
        ('7', True)
    """
    name = unicodedata.normalize("NFC", str(name)).strip()
    return name.lstrip("0") or "0" if name.isascii() and name.isdecimal() else name


def places(mine: Sequence[str], theirs: Sequence[str], fix: str = "") -> np.ndarray:
    """Indices of a data set's classes among a network's, matched by name.

    Args:
        mine: Names of the network's classes.
        theirs: Names of the data set's classes, which must all be among them.
        fix: The advice if they are not.

    Returns:
        Integers `[len(theirs)]`: the network's class for each of the data set's.

    Raises:
        DataError: For names that the network does not have, and for repeated names in a different
            order.

    Example:
        >>> from keras_preact.data.classes import places
        >>> places(["0", "1", "10", "2"], ["0", "1", "2"]).tolist()
        [0, 1, 3]
    """
    keys, others = [key_of(name) for name in mine], [key_of(name) for name in theirs]
    if keys == others:
        return np.arange(len(keys))
    numbers = {key: k for k, key in enumerate(keys)}
    unknown = [name for name, key in zip(theirs, others, strict=True) if key not in numbers]
    repeated = len({*others}) < len(others) or len(numbers) < len(keys)
    if unknown or repeated:
        received = f"{len(theirs)} classes, {some(theirs)}"
        if unknown:
            received = f"{some(unknown)}{near(unknown[0], mine)}"
        elif repeated:
            received += ", in another order and with repeated names"
        end = "" if received.endswith("?") else "."
        raise DataError(
            f"Classes are matched by their names; the network's {len(mine)} are {some(mine)}. "
            f"Received: {received}{end} {fix}".rstrip()
        )
    return np.array([numbers[key] for key in others])
