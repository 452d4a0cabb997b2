"""Iterative inference: whether units refine what the units before them have found.

Jastrzebski, Arpit, Ballas, Verma, Che and Bengio 2018, "Residual Connections Encourage Iterative
Inference" (arXiv 1710.04773), section 4.
"""

import keras
import numpy as np
import pandas as pd

from keras_preact.analysis.anatomy import Anatomy
from keras_preact.analysis.gradients import gradient_of_loss, refuse_other_scores
from keras_preact.checked import require

#: Of a normal distribution, how many deviations hold 95 % on both sides.
_Z = 1.96


def branch_cosines(anatomy: Anatomy, batches) -> pd.DataFrame:
    """How far each unit's branch moves the signal down the gradient of the loss.

    The cosine between F(x_l) and -dE/dx_l, E an image's loss: 1 for a step of gradient descent, 0
    for a step that has nothing to do with it. Only a unit whose branch has the shape of its input
    takes such a step. The network computes as at inference, so that an image's loss is its own;
    with the statistics of the batch it would hang on the other images, too.

    Args:
        anatomy: A network in pieces, of `dissect`; what it gives are logits or a softmax.
        batches: Mini-batches, pairs (images, labels), labels whole numbers.

    Returns:
        A row a residual unit: `cosine`, the mean over the images, no number where the shapes
        differ; `cosine_low` and `cosine_high`, the 95 % interval of that mean; `images`, of how
        many it is.

    Raises:
        ConfigError: For networks that end with anything else, and labels that they do not have.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis import branch_cosines, dissect
        >>> from keras_preact.applications import ResNet14V2
        >>> images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
        >>> found = branch_cosines(dissect(ResNet14V2()), [(images, np.arange(4))])
        >>> int(found["cosine"].isna().sum())  # of two units that change the shape
        2
    """
    cosines = {unit.name: [] for unit in anatomy.units if unit.is_residual}
    for images, labels in batches:
        for name, branch, gradient in _steps(anatomy, images, labels):
            cosines[name].append(_cosines(branch, gradient))
    rows = []
    for unit in anatomy.units:
        if unit.is_residual:
            found = np.concatenate(cosines[unit.name] or [[]])
            place = {"unit": unit.name, "stage": unit.stage, "number": unit.number}
            rows.append({**place, **_interval(found)})
    columns = ["unit", "stage", "number", *_interval(np.zeros(0))]
    return pd.DataFrame(rows, columns=columns)


def _steps(anatomy, images, labels):
    """(unit, what its branch adds, gradient at its input) where both are of one shape."""
    x, branches, pulls = keras.ops.convert_to_tensor(images), {}, []
    for piece in anatomy.pieces:
        if getattr(piece, "is_residual", False):
            (branch,) = piece.function([piece.source], [piece.branch], training=False)(x)
            if branch.shape == x.shape:
                branches[piece.name] = branch
        (x,), pull = piece.linearize([piece.source], [piece.target], x, training=False)
        pulls.append(pull)
    refuse_other_scores(anatomy, x, labels)
    gradient = gradient_of_loss(anatomy, x, labels)
    for piece, pull in zip(reversed(anatomy.pieces), reversed(pulls), strict=True):
        (gradient,) = pull(gradient)
        if piece.name in branches:
            yield piece.name, branches[piece.name], gradient


def _cosines(branch, gradient):
    """Of each image; none where one of both is zero."""
    a, b = (
        keras.ops.convert_to_numpy(x).astype(np.float64).reshape(len(x), -1)
        for x in (branch, -gradient)
    )
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.sum(a * b, axis=1)[norms > 0] / norms[norms > 0]


def _interval(values):
    count = len(values)
    mean = values.mean() if count else np.nan
    reach = _Z * values.std(ddof=1) / np.sqrt(count) if count > 1 else np.nan
    ends = {"cosine_low": mean - reach, "cosine_high": mean + reach}
    return {"cosine": mean, **ends, "images": count}


def probes(anatomy: Anatomy, batches, held_out) -> pd.DataFrame:
    """How well the classes can be read off each unit's output by a linear classifier.

    Linear probes (Alain and Bengio 2016, arXiv 1610.01644): a logistic regression of the means of
    the output's channels over the image, which are brought to mean 0 and deviation 1. The network
    computes as at inference and does not change.

    Args:
        anatomy: A network in pieces, of `dissect`.
        batches: Mini-batches that the probes learn from, pairs (images, labels).
        held_out: Mini-batches that they are tested on.

    Returns:
        A row a unit: `features`, its channels; `error`, the share of the images of `held_out` that
        its probe classifies wrongly; `error_low` and `error_high`, the 95 % interval of that share
        (Wilson 1927); `training_error`; and a last row, `head`: the network's own errors.

    Raises:
        ConfigError: For networks without scores of classes, labels that they do not have, and
            images of a single class.

    Example:
        >>> import numpy as np
        >>> from keras_preact.analysis import dissect, probes
        >>> from keras_preact.applications import ResNet8V2
        >>> images = np.random.default_rng(0).normal(size=(6, 32, 32, 3)).astype("float32")
        >>> batches = [(images, np.arange(6) % 3)]
        >>> probes(dissect(ResNet8V2()), batches, batches)["unit"].tolist()
        ['stage1_unit1', 'stage2_unit1', 'stage3_unit1', 'head']
    """
    (features, labels), (others, expected) = (
        _features(anatomy, part) for part in (batches, held_out)
    )
    classes = len(np.unique(labels))
    require(classes > 1, "batches", f"labels of {classes} class", "labels of at least two classes")
    rows = []
    for unit in anatomy.units:
        learned = _probe().fit(features[unit.name], labels)
        wrong, right = learned.predict(others[unit.name]) != expected, {}
        right["training_error"] = float(np.mean(learned.predict(features[unit.name]) != labels))
        place = {"unit": unit.name, "stage": unit.stage, "number": unit.number}
        rows.append({**place, "features": features[unit.name].shape[1], **_share(wrong), **right})
    wrong = others["head"].argmax(axis=1) != expected
    own = float(np.mean(features["head"].argmax(axis=1) != labels))
    last = {"unit": "head", "stage": 0, "number": 0, "features": features["head"].shape[1]}
    return pd.DataFrame([*rows, {**last, **_share(wrong), "training_error": own}])


def _features(anatomy, batches):
    """By unit, the channels' means over the image; of the head, the scores; and the labels."""
    found = {}
    for images, labels in batches:
        x = images
        for piece in anatomy.pieces:
            x = np.asarray(piece.at_inference(x), np.float32)
            if piece in anatomy.units:
                places = tuple(k for k in (1, 2, 3) if k != anatomy.channel_axis % 4)
                found.setdefault(piece.name, []).append(x.mean(axis=places))
        refuse_other_scores(anatomy, x, labels)
        found.setdefault("head", []).append(x)
    labels = np.concatenate([labels for _, labels in batches])
    return {name: np.concatenate(parts) for name, parts in found.items()}, labels


def _probe():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _share(wrong):
    from scipy.stats import binomtest

    found = binomtest(int(wrong.sum()), len(wrong))
    low, high = found.proportion_ci(method="wilson")
    return {"error": found.statistic, "error_low": low, "error_high": high}
