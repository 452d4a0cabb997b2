"""`load_trained`: a trained network, from a run folder, a file, or the Hugging Face Hub."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Sequence
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

#: Options of a run that are about its own images: their parts, their groups, and their cache.
_OF_A_RUN = {
    **dict.fromkeys(("holdout", "folds", "split_seed", "validation", "group", "cache")),
    "fold": 0,
    "cache_shorter": None,
}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        model: A `keras.Model` from raw images, values 0 to 255, `(batch, h, w, c)`, to
            probabilities `(batch, classes)`.
        class_names: Class names in the order of the model's outputs.
        path: The run folder or file it comes from.
        run: The `RunFolder`; `None` for a file.
        dtype: What the model computes in, and why: a `keras_preact.precision.Choice`; `None`: as in
            the file.
        notes: What a user should know about how it was opened, one line each.
        geometry: How image files are resized for it: as in its training, or as stored beside the
            file.
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
        """Its name in plots and tables."""
        return self.path.name if self.run else self.path.stem

    @property
    def image_shape(self) -> tuple[int | None, int | None, int]:
        """`(height, width, channels)` of its images; `None` for any size."""
        return tuple(self.model.input_shape[1:])

    def fitted(
        self,
        size: int | Sequence[int] | None = None,
        shorter: int | None = None,
        interpolation: str | None = None,
    ) -> "Trained":
        """The same network with image files resized differently, as by `Geometry.changed`.

        A size other than its own turns it into a network for any size, as
        `keras_preact.rewrite.any_size` does.
        """
        from keras_preact.rewrite import any_size

        geometry = self.geometry.changed(size, shorter, interpolation)
        here = self.image_shape[:2] in ((None, None), geometry.size)
        model = self.model if here else any_size(self.model)
        return dataclasses.replace(self, model=model, geometry=geometry)

    def load_data(
        self,
        name_or_path: str | None = None,
        on_progress: "Callable[[int, int], None] | None" = None,
        **options: Any,
    ) -> Any:
        """Loads images for the network: resized for it, with its channels and its class indices.

        Args:
            name_or_path: As in `load_data`; the run's own images if not given. If others have no
                test part, all of them are tested.
            on_progress: As in `load_data`.
            **options: Fields of `DataOptions` to change.

        Returns:
            An `ImageData` with the classes of the network, matched by name.

        Raises:
            ConfigError: When there is neither a run nor a name.
            DataError: For images that are missing or damaged, or whose classes the network does not
                have.
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
        else:
            fields = {**fields, **_OF_A_RUN}
        known = DataOptions(**fields).fitted_to(self.geometry)
        wanted = known.replace(**{"channels": self.image_shape[2], **options})
        if wanted.holdout or wanted.folds:
            seed = seed or 0
        data = load_data(name_or_path, options=wanted, seed=seed, on_progress=on_progress)
        if self.run and self.run.is_finished:
            with damaged(self.path / "data.json"):
                data = self._compared(data, own)
        return data.for_classes(self.class_names, self._where_names_are())

    def is_own(self, name_or_path: str | None) -> bool:
        """Whether these are the run's own images, however their path is written."""
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
                f"Give others, or their new location: --data {kind}:PATH."
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
            words = "split differently from the training"
            count = len(data.train) + len(data.test)
            note = f"there are {count:,} images where there were {total:,}, or the split differs: "
            note += "some test images may have been used in training"
        elif not own and was_split and data.tested == ALL and len(data.test) == total:
            words = "perhaps used in its training"
            note = f"these are as many images as the run had, {total:,}: if they are the same, "
            note += "most of them were used in training"
        else:
            return data
        tested = f"{data.tested.partition(',')[0]}, {words}"
        return dataclasses.replace(data, tested=tested, notes=(*data.notes, note))

    def _where_names_are(self):
        file = beside(self.path if self.run is None else self.path / "model.keras", CLASSES)
        if file.is_file():
            return f"The network's class names are in {file.name}."
        return (
            "The network has no class names, only numbers. List them in the order of its scores in "
            f"{file.parent / self.path.stem}.{CLASSES}."
        )


def load_trained(path: str | os.PathLike[str], dtype: str | None = None) -> Trained:
    """A trained network, ready to classify raw images.

    Args:
        path: Folder of a finished run; a `.safetensors` file that `keras_preact.convert` reads, or
            `"hf://user/name"`, a repository of the Hugging Face Hub with one; or a `.keras` file of
            a model from images to a vector of scores. Class names are read from `NAME.classes.json`
            or else `classes.json` beside it, a list of strings; how image files are resized, from
            the header of a safetensors file, or from `NAME.geometry.json` or `geometry.json`.
        dtype: Dtype policy to compute in, as in `keras_preact.rewrite.with_policy`; `"auto"`: as in
            training, or float32 where this machine does not compute in that natively; `None`: as in
            the file, which is float32 for files that training wrote.

    Returns:
        A `Trained`.

    Raises:
        ConfigError: For a run that is not finished, a file that is damaged or not safe to open, or
            a model of another kind.

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

    fix = f"Set it: keras-preact convert {path} --preprocessing NAME --out NAME.keras"
    expected = "weights that say how images are preprocessed for them"
    require(source.preprocessing is not None, "path", str(path), expected, fix)
    size = (source.geometry or AS_THEY_ARE).size or (None, None)
    return convert(source, input_shape=(*size, source.channels), include_preprocessing=True)


def open_keras_file(path: str | os.PathLike[str]) -> Any:
    """Opens a `.keras` file after checking that it is safe.

    Args:
        path: The file.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ConfigError: For a file that is missing, damaged, not safe to open, or of another kind.
    """
    path = pathlib.Path(path)
    expected = "a run folder, a .keras or .safetensors file, or hf://user/name"
    fix = "Other formats may run code when they are opened." if path.is_file() else ""
    fix = fix if path.exists() else "It does not exist."
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
            "Expected a model from images (batch, height, width, 1 or 3), of a fixed or any size, "
            "to scores (batch, classes) for two or more classes. "
            f"Received: {str(file)!r}, from {shapes[0]} to {shapes[1]}."
        )


def _giving_probabilities(model, file):
    """The model, with a softmax where its scores have none yet, and what there is to say of it."""
    import numpy as np

    from keras_preact.rewrite import outputs_of, with_softmax

    kind = outputs_of(model)
    if kind == "logits":
        return with_softmax(model), ("Its scores are logits; a softmax was added.",)
    received = "sigmoids of classes that are not mutually exclusive"
    if kind is None:  # then its scores show it
        shape = (3, *(size or 64 for size in model.input_shape[1:]))
        noise = np.random.default_rng(0).integers(0, 256, shape).astype("float32")
        scores = np.asarray(model.predict_on_batch(noise), "float32")
        if scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-2):
            return model, ()
        received = f"scores from {scores.min():.3g} to {scores.max():.3g} that do not sum to 1"
    if kind != "probabilities":
        raise ConfigError(
            "Expected a model whose scores are probabilities of mutually exclusive classes, or "
            f"their logits. Received: {str(file)!r}, which gives {received}."
        )
    return model, ()


def class_names_of(model: pathlib.Path, classes: int) -> tuple[str, ...]:
    """A network's class names, from the file beside it; numbers where there is none.

    Args:
        model: The model file.
        classes: Its number of classes.

    Raises:
        ConfigError: If they are not a list of as many names.
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
            f"{file} must be a list of {classes} names, one per model output. "
            f"Received: {names!r:.200}"
        )
    return distinct(names)
