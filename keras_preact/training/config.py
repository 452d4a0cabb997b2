"""`TrainConfig`: what `train` and `keras-preact train` are told."""

import dataclasses
from typing import Any, Literal

from keras_preact.applications.registry import model_info
from keras_preact.checked import Checked, require
from keras_preact.config import ResNetConfig
from keras_preact.errors import ConfigError, near, quoted
from keras_preact.training.recipes import RECIPES, Recipe


@dataclasses.dataclass(frozen=True)
class TrainConfig(Checked):
    """One training run; every field is also an option of `keras-preact train`.

    Args:
        model: Named network; `keras-preact models` lists them.
        data: `digits`, a set of tensorflow-datasets such as `cifar10`, `folder:PATH` or `npz:PATH`.
        recipe: One of `quick`, `he2015-cifar`, `he2016-cifar`, `he2016-imagenet`.
        epochs: Passes over the training images; the recipe's if not given.
        batch_size: Images in a step; the recipe's if not given.
        learning_rate: Highest learning rate; the recipe's if not given.
        image_size: Side in pixels that images are scaled and cropped to; their own if not given.
        on_bad_image: What to do about damaged files: `error` names them and stops, `skip` leaves
            them out.
        dtype: `float32`, `mixed_bfloat16`, `mixed_float16`, or `auto`: bfloat16 where the processor
            or the GPU computes in it.
        packaging: How the units stand in the graph: `flat`, `nested`, `repeated` or, by depth,
            `auto`.
        recompute: Compute activations again in the backward pass instead of keeping them: less
            memory, more time.
        seed: Decides weights, order and augmentation.
        out: Folder of the run; a new one under `runs/` if not given.
        settings: Further fields by dotted name: `network.*` (ResNetConfig), `recipe.*` (Recipe),
            `data.*` (DataOptions), `augmentation.*` (Augmentation).

    Raises:
        ConfigError: For a value that is not allowed.

    Example:
        >>> from keras_preact import TrainConfig
        >>> config = TrainConfig(epochs=2, settings={"network.shortcut": "dropout"})
        >>> config.resolve().network.shortcut
        'dropout'
    """

    model: str = "resnet20v2"
    data: str = "digits"
    recipe: str = "quick"
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    image_size: int | None = None
    on_bad_image: Literal["error", "skip"] = "error"
    dtype: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    packaging: Literal["auto", "flat", "nested", "repeated"] = "auto"
    recompute: bool = False
    seed: int = 0
    out: str | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def check(self) -> None:
        require(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 2^32 - 1")
        require(self.out != "", "out", self.out, "the path of a folder, or None")
        for name, value in self._given().items():
            twice = self.settings.get(name)
            if twice is not None and twice != value:
                raise ConfigError(
                    f"Expected one value for {name}. Received: {value!r}, and {twice!r} in the "
                    "settings."
                )
        self.resolve()

    def resolve(self) -> "Resolved":
        """The configs of all parts, with this run's settings in them."""
        from keras_preact.data import Augmentation, DataOptions

        fix = near(self.recipe, RECIPES).strip()
        require(self.recipe in RECIPES, "recipe", self.recipe, f"one of {quoted(RECIPES)}", fix)
        changes = _by_part({**self.settings, **self._given()}, Resolved.__annotations__)
        recipe = RECIPES[self.recipe].replace(**changes["recipe"])
        augmentation = Augmentation(kind=recipe.augmentation)
        return Resolved(
            network=model_info(self.model).config.replace(**changes["network"]),
            recipe=recipe,
            data=DataOptions().replace(**changes["data"]),
            augmentation=augmentation.replace(**changes["augmentation"]),
        )

    def _given(self) -> dict[str, Any]:
        """The fields that are short for a setting, under that setting's name."""
        short = {
            "recipe.epochs": self.epochs,
            "recipe.batch_size": self.batch_size,
            "recipe.learning_rate": self.learning_rate,
            "data.image_size": self.image_size,
            "data.on_bad_image": None if self.on_bad_image == "error" else self.on_bad_image,
        }
        return {name: value for name, value in short.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Resolved:
    """The configs of a run's parts: network, recipe, data options, augmentation."""

    network: ResNetConfig
    recipe: Recipe
    data: Any
    augmentation: Any

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain values that JSON can hold."""
        return {part.name: getattr(self, part.name).to_dict() for part in dataclasses.fields(self)}


def _by_part(settings, parts):
    """`{"network": {"shortcut": ...}, ...}` from dotted names."""
    changes = {part: {} for part in parts}
    for name, value in settings.items():
        part, _, field = name.partition(".")
        if part not in parts or not field:
            raise ConfigError(
                f"A setting is named PART.FIELD, its part one of {quoted(parts)}. "
                f"Received: {name}={value!r}.{near(part, parts)}"
            )
        changes[part][field] = value
    return changes
