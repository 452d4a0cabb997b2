"""A sheet of what an augmentation does to images."""

import dataclasses

import numpy as np

from keras_preact.data import Augmentation
from keras_preact.data.augment import augment
from keras_preact.data.blend import blend_draws, blended
from keras_preact.evaluation.plots import INK, new_figure, plain_text


@plain_text
def plot_augmentation(
    split,
    augmentation,
    title,
    *,
    mixup=0.0,
    cutmix=0.0,
    flip=True,
    fill=0,
    images=6,
    draws=8,
    seed=0,
):
    """Images as they are, a row each, and beside each what training epochs make of it.

    They are what a training with that seed sees, but for mixup and CutMix, which here blend an
    image with the one above or below it.

    Args:
        split: Where the images are.
        augmentation: An `Augmentation`.
        title: Headline of the figure.
        mixup, cutmix: Those of a `Recipe`.
        flip: Whether mirroring keeps the labels.
        fill: The value of the padding, one or one a channel.
        images: How many, at most; they lie evenly over the split.
        draws: How many epochs.
        seed: That of the training.

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
        keys = {"seed": seed, "epoch": epoch}
        found, _ = augment(split, places, augmentation, flip=flip, fill=fill, **keys)
        blend = blend_draws(seed, epoch, places[::2], mixup, cutmix, split.image_shape)
        if blend is not None:
            found, _ = blended(found.astype("float32"), np.zeros((count, 1), "float32"), blend)
            found = np.rint(np.asarray(found)).astype(np.uint8)
        columns.append(found)
    return _sheet(columns, f"{title}\n{_in_words(augmentation, mixup, cutmix)}")


def _sheet(columns, headline):
    """Columns of images with white between them, and what they are above them."""
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
    """The fields that are not those of `"none"`."""
    plain, found = Augmentation("none"), [augmentation.kind]
    for field in dataclasses.fields(augmentation)[1:]:
        value = getattr(augmentation, field.name)
        if value != getattr(plain, field.name):
            found.append(f"{field.name} {value}")
    found += [f"{name} {value}" for name, value in (("mixup", mixup), ("cutmix", cutmix)) if value]
    return ", ".join(found)
