"""`load_trained`: a trained network, from a run folder, a file, or the Hugging Face Hub."""

import dataclasses
import json
import os
import pathlib
from typing import Any

from keras_preact.checked import require
from keras_preact.data.classes import distinct
from keras_preact.data.geometry import AS_THEY_ARE, Geometry
from keras_preact.data.load import facts_of, place_of, source
from keras_preact.data.options import DataOptions
from keras_preact.data.splits import ALL, WHOLE_PART
from keras_preact.errors import ConfigError, DataError, damaged
from keras_preact.run import CLASSES, RunFolder, beside
from keras_preact.weights.about import geometry_of
from keras_preact.weights.hub import address_of, on_hub


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
        notes: What a user is to know of how it was opened, a line each.
        geometry: How image files become what it takes: as in its training, or as it is remembered
            beside the file.
    """

    model: Any
    class_names: tuple[str, ...]
    path: pathlib.Path
    run: RunFolder | None = None
    dtype: Any = None
    notes: tuple[str, ...] = ()
    geometry: Geometry = AS_THEY_ARE

    @property
    def name(self) -> str:
        """What pictures and tables call it."""
        return self.path.name if self.run else self.path.stem

    @property
    def image_shape(self) -> tuple[int | None, int | None, int]:
        """`(height, width, channels)` of its images; `None` where any size goes."""
        return tuple(self.model.input_shape[1:])

    def fitted(self, size=None, shorter=None, interpolation=None) -> "Trained":
        """The same network for image files that are fitted otherwise, as `Geometry.changed` says.

        Another size than that it was made for makes it one for any size, as
        `keras_preact.rewrite.any_size` does.
        """
        from keras_preact.rewrite import any_size

        geometry = self.geometry.changed(size, shorter, interpolation)
        here = self.image_shape[:2] in ((None, None), geometry.size)
        model = self.model if here else any_size(self.model)
        return dataclasses.replace(self, model=model, geometry=geometry)

    def load_data(self, name_or_path=None, on_progress=None, **options):
        """Images for it, fitted to it, in the channels that it takes, with its classes' numbers.

        Args:
            name_or_path: As in `load_data`; the run's own images if not given. Of others that have
                no test part all are tested.
            on_progress: As in `load_data`.
            **options: Fields of `DataOptions` to change.

        Returns:
            An `ImageData`, its classes those of the network, matched by name.

        Raises:
            ConfigError: When there is neither a run nor a name.
            DataError: For images that are missing or damaged, or of classes that the network does
                not have.
        """
        from keras_preact.data import load_data

        fields, seed = {}, None
        if self.run:
            fields = self.run.read_json("resolved.json")["data"]
        own = self.is_own(name_or_path)
        if own:
            known = "a data set, such as digits or folder:PATH"
            require(self.run is not None, "data", None, f"{known}, for a file without its run")
            name_or_path, seed = self._own_data(), self.run.config["seed"]
        else:  # held-out parts are the run's
            fields = {**fields, "holdout": None, "folds": None, "fold": 0, "split_seed": None}
        known = DataOptions(**fields).fitted_to(self.geometry)
        wanted = known.replace(**{"channels": self.image_shape[2], **options})
        if wanted.holdout or wanted.folds:
            seed = seed or 0
        data = load_data(name_or_path, options=wanted, seed=seed, on_progress=on_progress)
        if self.run and self.run.is_finished:
            with damaged(self.path / "data.json"):
                data = self._compared(data, own)
        return data.for_classes(self.class_names, self._where_names_are())

    def is_own(self, name_or_path) -> bool:
        """Whether these are the run's own images: none others named, or those, however written."""
        if name_or_path is None or self.run is None:
            return name_or_path is None
        own, place = self._own_place(), place_of(name_or_path)
        if own is None or not os.path.exists(place):
            return name_or_path == self.run.config["data"]
        return place == place_of(own)

    def _own_data(self):
        """The run's images where they are now, wherever this process was started."""
        found = self._own_place()
        if found is None:
            known = self.run.read_json("env.json").get("data_path") or self.run.config["data"]
            kind, _ = source(self.run.config["data"])
            raise DataError(
                f"The images of this run are no longer where they were. Received: {known!r}. "
                f"Name others, or where these are now: --data {kind}:PATH."
            )
        return found

    def _own_place(self):
        """As `load_data` takes it; `None` where they have gone.

        The run's folder and they may have moved together.
        """
        name = self.run.config["data"]
        kind, path = source(name)
        if kind == "name":
            return name
        env = self.run.read_json("env.json")
        moved = env.get("data_from_run") and os.path.normpath(self.path / env["data_from_run"])
        places = filter(None, (env.get("data_path"), moved, path))
        return next((f"{kind}:{place}" for place in places if os.path.exists(place)), None)

    def _compared(self, data, own):
        """The data, and what is to be said where test images may be images that it learned from."""
        before, now = self.run.read_json("data.json"), facts_of(data)
        keys = ["training_images", "test_images", "labels_sha256"]
        if before["image_shape"] == now["image_shape"] and "test_sha256" in before:
            keys.append("test_sha256")
        total = before["training_images"] + before["test_images"]
        was_split = self.run.result.get("tested", WHOLE_PART) != WHOLE_PART
        if own and data.tested != WHOLE_PART and any(before[key] != now[key] for key in keys):
            words = "which are not split as in the training"
            count = len(data.train) + len(data.test)
            note = f"there are {count:,} images where {total:,} were, or they are split otherwise: "
            note += "some of those tested may have been trained on"
        elif not own and was_split and data.tested == ALL and len(data.test) == total:
            words = "perhaps those that it was trained on"
            note = f"these are as many images as the run had, {total:,}: if they are the same, "
            note += "most of them were trained on"
        else:
            return data
        tested = f"{data.tested.partition(',')[0]}, {words}"
        return dataclasses.replace(data, tested=tested, notes=(*data.notes, note))

    def _where_names_are(self):
        file = beside(self.path if self.run is None else self.path / "model.keras", CLASSES)
        if file.is_file():
            return f"The network's names are those in {file.name}."
        return (
            f"The network has no names, so they are numbers; {file.parent / self.path.stem}."
            f"{CLASSES}, a list in the order of its scores, gives them."
        )


def load_trained(path, dtype=None) -> Trained:
    """A trained network, ready to classify raw images.

    Args:
        path: Folder of a finished run; a `.safetensors` file that `keras_preact.convert` reads, or
            `"hf://user/name"`, a repository of the Hugging Face Hub with one; or a `.keras` file of
            a model from images to a vector of scores. Names of classes are read from
            `NAME.classes.json` or else `classes.json` beside it, a list of texts, and how image
            files are fitted to it from a safetensors file's header, or from `NAME.geometry.json` or
            `geometry.json`.
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
    source = _source(path)
    path = pathlib.Path(address_of(path).name.replace("/", "--") if on_hub(path) else path)
    run = RunFolder(path) if path.is_dir() and source is None else None
    file = path / "model.keras" if run else path
    if run:
        require(
            file.is_file(),
            "path",
            str(path),
            "the folder of a finished run, with a model.keras in it",
            "Let the run finish first: the same command goes on with it.",
        )
    model = open_keras_file(file) if source is None else _model_of(source, path)
    _check(model, file)
    model, notes = _giving_probabilities(model, file)
    choice = None
    if dtype is not None:
        from keras_preact.precision import choose_dtype, serving_dtype
        from keras_preact.rewrite import policy_of, with_policy

        trained_in = run.read_json("env.json")["decided"]["dtype"] if run else policy_of(model)
        choice = serving_dtype(trained_in) if dtype == "auto" else choose_dtype(dtype)
        if choice.policy != policy_of(model):
            model = with_policy(model, choice.policy)
    if source is not None:
        names = source.class_names or map(str, range(source.classes))
        known = source.geometry or AS_THEY_ARE
        return Trained(model, distinct(names), path, None, choice, notes, known)
    names = class_names_of(file, model.output_shape[-1])
    geometry = geometry_of(file, model.input_shape[1:3])
    return Trained(model, names, path, run, choice, notes, geometry)


def _source(path):
    """The weights in a safetensors file or a repository of the Hub; `None` for all else."""
    if not (on_hub(path) or str(path).endswith(".safetensors")):
        return None
    from keras_preact.weights import read_source

    return read_source(path)


def _model_of(source, path):
    """The network of weights that others have made, or `convert` has written: of raw images."""
    from keras_preact.applications import convert

    fix = f"keras-preact convert {path} --preprocessing NAME --out NAME.keras says it."
    expected = "weights that say how images are prepared for them"
    require(source.preprocessing is not None, "path", str(path), expected, fix)
    size = (source.geometry or AS_THEY_ARE).size or (None, None)
    return convert(source, input_shape=(*size, source.channels), include_preprocessing=True)


def open_keras_file(path):
    """The model in a `.keras` file, after a look whether it is safe to open.

    Args:
        path: The file.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ConfigError: For a file that is missing, damaged, not safe to open, or of another kind.
    """
    path = pathlib.Path(path)
    expected = "a run folder, a .keras or .safetensors file, or hf://user/name"
    fix = "Other formats may hold code that runs when they are opened." if path.is_file() else ""
    require(path.suffix == ".keras" and path.is_file(), "path", str(path), expected, fix)
    from keras_preact.weights.opening import open_model

    return open_model(path)


def _check(model, file):
    inputs, outputs = ([*(getattr(model, name, None) or ())] for name in ("inputs", "outputs"))
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (inputs, outputs)]
    images = [len(shape) for shape in shapes[0]] == [4] and shapes[0][0][3] in (1, 3)
    images = images and (shapes[0][0][1] is None) is (shapes[0][0][2] is None)
    # Of one class every image would be right.
    scores = [len(shape) for shape in shapes[1]] == [2] and (shapes[1][0][1] or 0) >= 2
    if not images or not scores:
        raise ConfigError(
            "A model from images (batch, height, width, 1 or 3 channels), of one size or of any, "
            "to scores (batch, classes), of a known number of classes, at least two, is expected. "
            f"Received: {str(file)!r}, from {shapes[0]} to {shapes[1]}."
        )


def _giving_probabilities(model, file):
    """The model, with a softmax where its scores have none yet, and what there is to say of it."""
    import numpy as np

    from keras_preact.rewrite import outputs_of, with_softmax

    kind = outputs_of(model)
    if kind == "logits":
        return with_softmax(model), ("Its scores are logits: the softmax was added.",)
    received = "sigmoids, of classes that do not exclude each other"
    if kind is None:  # then its scores show it
        shape = (3, *(size or 64 for size in model.input_shape[1:]))
        noise = np.random.default_rng(0).integers(0, 256, shape).astype("float32")
        scores = np.asarray(model.predict_on_batch(noise), "float32")
        if scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-2):
            return model, ()
        received = f"scores from {scores.min():.3g} to {scores.max():.3g} that do not add up to 1"
    if kind != "probabilities":
        raise ConfigError(
            "A model whose scores are probabilities of classes that exclude each other, or their "
            f"logits, is expected. Received: {str(file)!r}, which gives {received}."
        )
    return model, ()


def class_names_of(model, classes: int) -> tuple[str, ...]:
    """Names of a network's classes, as they stand beside its file; numbers where there are none.

    Args:
        model: The file.
        classes: How many it has.

    Raises:
        ConfigError: For names that are not as many, or no list.
    """
    file = beside(model, CLASSES)
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
    return distinct(names)
