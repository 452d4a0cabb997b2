"""`load_trained`: a trained network, from a run folder or a `.keras` file."""

import dataclasses
import json
import pathlib
from typing import Any

from keras_preact.checked import require
from keras_preact.errors import ConfigError, DataError, reason
from keras_preact.run import RunFolder, names_file


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        model: A `keras.Model` from raw images, values 0 to 255, `(batch, h, w, c)`, to
            probabilities `(batch, classes)`.
        class_names: Names of the classes in the order of the model's outputs.
        path: The run folder or file it comes from.
        run: The `RunFolder`; `None` for a file.
        dtype: What the model computes in, and why: a `keras_preact.precision.Choice`; `None` where
            it is as the file has it.
    """

    model: Any
    class_names: tuple[str, ...]
    path: pathlib.Path
    run: RunFolder | None = None
    dtype: Any = None

    @property
    def name(self) -> str:
        """What pictures and tables call it."""
        return self.path.name if self.run else self.path.stem

    @property
    def image_shape(self) -> tuple[int | None, int | None, int]:
        """`(height, width, channels)` of its images; `None` where any size goes."""
        return tuple(self.model.input_shape[1:])

    def load_data(self, name_or_path=None, on_progress=None, **options):
        """Images for it, in the size and the channels that it takes.

        Args:
            name_or_path: As in `load_data`; the run's own images if not given.
            on_progress: As in `load_data`.
            **options: Fields of `DataOptions` to change.

        Returns:
            An `ImageData`.

        Raises:
            ConfigError: When there is neither a run nor a name.
            DataError: For images that are missing or damaged, or of other classes.
        """
        from keras_preact.data import DataOptions, load_data

        seed = 0
        own = {}
        if self.run:
            own, seed = self.run.read_json("resolved.json")["data"], self.run.config["seed"]
        if name_or_path is None:
            known = "a data set, such as digits or folder:PATH"
            require(self.run is not None, "data", None, f"{known}, for a file without its run")
            name_or_path = self.run.config["data"]
        elif self.run and name_or_path != self.run.config["data"]:  # held-out parts are the run's
            own = {**own, "holdout": None, "folds": None, "fold": 0, "split_seed": None}
        height, width, channels = self.image_shape
        if height is not None and height == width:
            own = {**own, "image_size": height}
        fields = {**own, "channels": channels, **options}
        data = load_data(
            name_or_path, options=DataOptions(**fields), seed=seed, on_progress=on_progress
        )
        self._refuse_other_classes(data)
        return data

    def _refuse_other_classes(self, data):
        mine, theirs = self.class_names, tuple(data.class_names)
        numbers = tuple(map(str, range(len(mine))))  # which stand where there are no names
        if len(mine) != len(theirs):
            received = f"{len(theirs)} classes"
        elif numbers in (mine, theirs) or mine == theirs:
            return
        else:
            k = next(k for k in range(len(mine)) if mine[k] != theirs[k])
            received = f"{theirs[k]!r} as class {k}, which is {mine[k]!r} in the network"
        raise DataError(
            f"Images of the network's {len(mine)} classes, in their order, are expected: "
            f"{', '.join(mine[:5])}, ... Received: {received}. The network's are those in "
            f"{names_file(self.path if self.run is None else self.path / 'model.keras').name}."
        )


def load_trained(path, dtype=None) -> Trained:
    """A trained network, ready to classify raw images.

    Args:
        path: Folder of a finished run, or a `.keras` file of a model from images to a vector of
            scores; names of classes are read from `NAME.classes.json` or else `classes.json` beside
            it, a list of texts.
        dtype: Dtype policy to compute in, as in `keras_preact.rewrite.with_policy`; `"auto"`: what
            it was trained in, or float32 where this machine has no units for that; `None`: as the
            file has it, which is float32 in what training leaves.

    Returns:
        A `Trained`.

    Raises:
        ConfigError: For a run that is not finished, a file that is damaged or not safe to open,
            and models of another kind.

    Example:
        >>> import tempfile
        >>> from keras_preact import create_model
        >>> from keras_preact.trained import load_trained
        >>> path = tempfile.mkdtemp() + "/mine.keras"
        >>> create_model("resnet8v2", input_shape=(8, 8, 1), classes=3).save(path)
        >>> load_trained(path).class_names
        ('0', '1', '2')
    """
    path = pathlib.Path(path)
    run = RunFolder(path) if path.is_dir() else None
    file = path / "model.keras" if run else path
    if run:
        require(
            file.is_file(),
            "path",
            str(path),
            "the folder of a finished run, with a model.keras in it",
            "Let the run finish first: the same command goes on with it.",
        )
    model = open_keras_file(file)
    _check(model, file)
    choice = None
    if dtype is not None:
        from keras_preact.precision import choose_dtype, serving_dtype
        from keras_preact.rewrite import policy_of, with_policy

        trained_in = run.read_json("env.json")["decided"]["dtype"] if run else policy_of(model)
        choice = serving_dtype(trained_in) if dtype == "auto" else choose_dtype(dtype)
        if choice.policy != policy_of(model):
            model = with_policy(model, choice.policy)
    classes = model.output_shape[-1]
    return Trained(model, _class_names(names_file(file), classes), path, run, choice)


def open_keras_file(path):
    """The model in a `.keras` file, after a look whether it is safe to open.

    Args:
        path: The file.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ConfigError: For a file that is missing, damaged, not safe to open, or of another kind.
    """
    from keras_preact.weights import refuse_unsafe

    path = pathlib.Path(path)
    expected = "a run folder or a .keras file"
    fix = "Other formats may hold code that runs when they are opened." if path.is_file() else ""
    require(path.suffix == ".keras" and path.is_file(), "path", str(path), expected, fix)
    refuse_unsafe(path)
    import keras

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a damaged config makes Keras raise
        raise ConfigError(
            f"Expected a model that Keras can open. Received: {str(path)!r}: {reason(error, 300)}"
        ) from None


def _check(model, file):
    inputs, outputs = ([*(getattr(model, name, None) or ())] for name in ("inputs", "outputs"))
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (inputs, outputs)]
    images = [len(shape) for shape in shapes[0]] == [4] and shapes[0][0][3]
    # Of one class every image would be right.
    scores = [len(shape) for shape in shapes[1]] == [2] and (shapes[1][0][1] or 0) >= 2
    if not images or not scores:
        raise ConfigError(
            "A model from images (batch, height, width, channels) to scores (batch, classes), of a "
            "known number of classes, at least two, is expected. "
            f"Received: {str(file)!r}, from {shapes[0]} to {shapes[1]}."
        )


def _class_names(file, classes):
    if not file.is_file():
        return tuple(map(str, range(classes)))
    try:
        names = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is damaged: {error}.") from None
    if not isinstance(names, list) or len(names) != classes:
        raise ConfigError(
            f"{file} must be a list of as many names as the model has outputs, {classes}. "
            f"Received: {names!r:.200}"
        )
    return tuple(map(str, names))
