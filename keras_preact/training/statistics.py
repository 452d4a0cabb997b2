"""Batch normalisation statistics averaged over many images after training."""

from typing import Any

import keras
import numpy as np

from keras_preact.data import Batches, prefetched


def average_statistics(engine: Any, split: Any, momentum: float) -> None:
    """Replaces the moving statistics by averages over training images as they are.

    The images are drawn as in an epoch, so balanced with `balance="sampling"`: the statistics match
    what the network was trained on.

    The authors of the 2015 paper did so for the networks they released: mean and variance "of a
    sufficiently large training batch" instead of moving averages. Weights stay as they are, and
    each layer's statistics are those of a network whose layers below use the batch's own.

    Args:
        engine: A prepared `Engine`, of whose recipe `precise_bn` says how many images to use (an
            epoch's if it has fewer), `batch_size` how many in a step, and `balance` which.
        split: The training images.
        momentum: That of the network's batch normalisation (`ResNetConfig.norm_momentum`).

    Example:
        >>> from keras_preact import TrainConfig
        >>> from keras_preact.training.engines import make_engine
        >>> from keras_preact.training.statistics import average_statistics
        >>> from keras_preact.training.job import prepare
        >>> config = TrainConfig("resnet8v2", settings={"recipe.precise_bn": 256})
        >>> job = prepare(config, make_engine(config))
        >>> average_statistics(job.engine, job.data.train, momentum=0.9)
    """
    model, recipe = engine.model, engine.recipe
    engine.sync()
    means = [variable for variable in engine.moving if variable.path.endswith("moving_mean")]
    by_path = {variable.path: variable for variable in engine.moving}
    variances = [by_path[v.path.removesuffix("mean") + "variance"] for v in means]
    chosen = {id(variable) for variable in [*means, *variances]}

    def of_batch(x):
        others = model.non_trainable_variables
        # From 0 a step leaves (1 - momentum) of the batch's statistics.
        values = [v.value * 0 if id(v) in chosen else v.value for v in others]
        trained = [variable.value for variable in model.trainable_variables]
        x = keras.ops.cast(x, "float32")
        _, values = model.stateless_call(trained, values, x, training=True)
        new = {id(v): value for v, value in zip(others, values, strict=True)}
        return [[new[id(v)] / (1 - momentum) for v in part] for part in (means, variances)]

    step = engine.compiled(of_batch)
    size, balanced = min(recipe.batch_size, len(split)), recipe.balance == "sampling"
    batches = Batches(split, size, shuffle=True, balanced=balanced, drop_remainder=True)
    count = max(1, min(len(batches), recipe.precise_bn // size))
    sums = [[0.0] * len(means) for _ in range(3)]
    for x, _ in prefetched(batches, 0, count):
        for k, (mean, variance) in enumerate(zip(*step(x), strict=True)):
            mean, variance = (np.asarray(keras.ops.convert_to_numpy(v)) for v in (mean, variance))
            for total, value in zip(
                sums, (mean, mean.astype("float64") ** 2, variance), strict=True
            ):
                total[k] = total[k] + value.astype("float64") / count
    for k, (mean, variance) in enumerate(zip(means, variances, strict=True)):
        mean.assign(sums[0][k])
        variance.assign(sums[2][k] + np.maximum(sums[1][k] - sums[0][k] ** 2, 0))
