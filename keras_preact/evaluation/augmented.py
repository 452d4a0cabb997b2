"""A sheet of images that shows an augmentation."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_preact.data import Augmentation
from keras_preact.data.augment import augment
from keras_preact.data.blend import blend_draws, blended
from keras_preact.evaluation.plots import INK, new_figure, plain_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plain_text
def plot_augmentation(
    split: Any,
    augmentation: Augmentation,
    title: str,
    *,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    flip: bool = True,
    fill: int | Sequence[int] = 0,
    images: int = 6,
    draws: int = 8,
    seed: int = 0,
) -> "Figure":
    """Plots images, one per row, with their augmented versions in several training epochs.

    The augmented images are those of a training with this seed, except for mixup and CutMix, which
    here blend an image with the one above or below it.

    Args:
        split: A split of a data set (`ImageData.train`).
        augmentation: An `Augmentation`.
        title: Title of the figure.
        mixup, cutmix: Parameters of the Beta distribution, as in a `Recipe`; 0 for none.
        flip: Whether mirroring keeps the labels.
        fill: Value of the padding, from 0 to 255: one number, or one per channel.
        images: Largest number of images; they are evenly spaced over the split.
        draws: Number of epochs.
        seed: Seed of the training.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:
        >>> from keras_preact.data import Augmentation, load_data
        >>> from keras_preact.evaluation import plot_augmentation
        >>> policy = Augmentation("crop", policy="trivial_augment")
        >>> figure = plot_augmentation(load_data("digits").train, policy, "digits", images=2)
        >>> [text.get_text() for text in figure.axes[0].texts][:2]
        ['original', 'epoch 1']
    """
    count = min(images, len(split))
    count -= count % 2 if mixup or cutmix else 0  # whole pairs
    places = np.linspace(0, len(split) - 1, count).round().astype(int)
    columns = [split.images(places)]
    for epoch in range(draws):
        keys: dict[str, Any] = {"seed": seed, "epoch": epoch, "fill": fill}
        found, _ = augment(split, places, augmentation, flip=flip, **keys)
        blend = blend_draws(seed, epoch, places[::2], mixup, cutmix, split.image_shape)
        if blend is not None:
            found, _ = blended(found.astype("float32"), np.zeros((count, 1), "float32"), blend)
            found = np.rint(np.asarray(found)).astype(np.uint8)
        columns.append(found)
    return _sheet(columns, f"{title}\n{_in_words(augmentation, mixup, cutmix)}")


def _sheet(columns, headline):
    """Columns of images with white between them, and the name of each column above it."""
    high, wide, channels = columns[0].shape[1:]
    gap = -(-max(high, wide) // 12)
    margins = ((0, 0), (0, gap), (0, gap), (0, 0))
    padded = [np.pad(column, margins, constant_values=255) for column in columns]
    rows = np.concatenate(padded, axis=2).reshape(-1, len(columns) * (wide + gap), channels)
    width, height = 1.2 * len(columns), 1.2 * len(rows) / (wide + gap)
    figure, axes = new_figure(width, height + 0.9, layout=None)
    figure.subplots_adjust(0.01, 0.01, 0.99, height / (height + 0.9))
    pixels = rows[:, :, 0] if channels == 1 else rows
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.axis("off")
    for k in range(len(columns)):
        text = f"epoch {k}" if k else "original"
        middle = k * (wide + gap) + wide / 2
        axes.text(middle, -gap, text, fontsize=9, color=INK, ha="center", va="bottom")
    figure.suptitle(headline, color=INK, fontsize=10, y=1 - 0.1 / (height + 0.9), va="top")
    return figure


def _in_words(augmentation, mixup, cutmix):
    """The fields that differ from those of `"none"`."""
    plain, found = Augmentation("none"), [augmentation.kind]
    for field in dataclasses.fields(augmentation)[1:]:
        value = getattr(augmentation, field.name)
        if value != getattr(plain, field.name):
            found.append(f"{field.name} {value}")
    found += [f"{name} {value}" for name, value in (("mixup", mixup), ("cutmix", cutmix)) if value]
    return ", ".join(found)
