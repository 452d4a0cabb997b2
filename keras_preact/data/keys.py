"""Which arrays of a file belong to which part, by name."""

from keras_preact.data.options import DataOptions
from keras_preact.data.parts import PARTS, part_of
from keras_preact.errors import DataError, near, quoted, some

#: What arrays are of: images and their labels; and what is known of those to train on, with the
#: option that calls it otherwise.
_USES = ("x", "y")
_COLUMNS = {"weight": "weight_column", "group": "group"}


def keys_of(names: list[str], options: DataOptions, path: str) -> dict[str, dict[str, str]]:
    """What the arrays of each part are called, by what they are of.

    Args:
        names: All that the file holds.
        options: `weight_column` and `group` count.
        path: The file, for messages.

    Returns:
        The names of `"x"`, `"y"` and perhaps `"weight"` and `"group"` of `"train"`, and of `"x"`
        and `"y"` of other parts that there are. Without a part for testing one for validation is
        that.

    Raises:
        DataError: For arrays that are missing, and several for one thing.

    Example:
        >>> from keras_preact.data import DataOptions
        >>> from keras_preact.data.keys import keys_of
        >>> keys_of(["x", "y", "weight", "x_val", "y_val"], DataOptions(), "images.npz")["test"]
        {'x': 'x_val', 'y': 'y_val'}
    """
    found = {part: {use: [] for use in (*_USES, *_COLUMNS)} for part in (*PARTS, "alone")}
    for key in names:
        use, _, part = key.lower().partition("_")
        part = part_of(part) if part else "alone"
        if part and use in found[part]:
            found[part][use].append(key)
    alone, train = found.pop("alone"), found["train"]
    train |= {use: train[use] or alone[use] for use in train}
    train |= _given(names, options, path)
    keys = {}
    for part, uses in found.items():
        for several in uses.values():
            if len(several) > 1:
                raise DataError(
                    f"Expected one array of each kind per part in {path!r}. "
                    f"Received: {some(several)}, all for the part {part!r}."
                )
        known = uses if part == "train" else _USES
        keys[part] = {use: uses[use][0] for use in known if uses[use]}
    keys = {part: of for part, of in keys.items() if of or part == "train"}
    if missing := [key for part, of in keys.items() for key in _missing(part, of)]:
        raise DataError(
            "The file must hold 'x_train' and 'y_train' (or 'x' and 'y'), and both of each other "
            f"part, such as 'x_test' and 'y_test'. Received: {path!r} with "
            f"{quoted(names) or 'nothing'}; missing {quoted(missing)}."
        )
    if "test" not in keys and "validation" in keys:
        keys["test"] = keys.pop("validation")
    return keys


def _given(names, options, path):
    """The arrays that options name, or leave out, by what they are of."""
    given = {use: getattr(options, field) for use, field in _COLUMNS.items()}
    for use, name in given.items():
        if name and name not in names:
            raise DataError(
                f"Expected an array {name!r} (data.{_COLUMNS[use]}) in {path!r}. "
                f"Received: {some(names, 20)}.{near(name, names)} "
                f"--set data.{_COLUMNS[use]}=null looks for '{use}_train'."
            )
    return {use: [name] if name else [] for use, name in given.items() if name is not None}


def _missing(part, of):
    """Names of images or labels that are not there, called as the others of the part are."""
    known = next((key.partition("_")[2] for key in of.values()), "")
    return [f"{use}_{known or part}" for use in _USES if use not in of]
