"""Iterative inference: cosines against plain differentiation, probes against scikit-learn."""

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from keras_preact.analysis import branch_cosines, dissect, in_words, probes
from keras_preact.analysis.linearize import linearize
from keras_preact.errors import ConfigError


def by_hand(model, unit, images, labels):
    """Each image's cosine of F(x) and -dE/dx, by differentiating all behind the unit's input."""
    add = model.get_layer(f"{unit}_add")
    x, branch = add.input
    seen = keras.Model(model.input, [x, branch])
    values, _ = seen.stateless_call(
        seen.trainable_variables, seen.non_trainable_variables, images, training=False
    )
    rest = keras.Model(x, model.output)

    def loss(x):
        scores, _ = rest.stateless_call(
            rest.trainable_variables, rest.non_trainable_variables, x, training=False
        )
        return [keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, scores, True))]

    _, pull = linearize(loss, values[0])
    (gradient,) = pull(keras.ops.ones(()))
    step, gradient = (
        keras.ops.convert_to_numpy(v).reshape(len(labels), -1) for v in (values[1], gradient)
    )
    norms = np.linalg.norm(step, axis=1) * np.linalg.norm(gradient, axis=1)
    return -(step * gradient).sum(axis=1) / norms


@pytest.mark.parametrize("placement", ["full_preactivation", "original"])
@pytest.mark.sample(2)
def test_cosines_are_those_of_plain_differentiation(placement, network, batches):
    model = network(placement=placement)
    rows = branch_cosines(dissect(model), batches).set_index("unit")
    assert rows["cosine"].notna().tolist() == [True, False, True]  # one changes the shape
    for unit in ("stage1_unit1", "stage2_unit2"):
        cosines = np.concatenate([by_hand(model, unit, *batch) for batch in batches])
        row, reach = rows.loc[unit], 1.96 * cosines.std(ddof=1) / np.sqrt(len(cosines))
        assert row["images"] == len(cosines) == 12
        expected = cosines.mean() + np.array([0, -reach, reach])
        found = row[["cosine", "cosine_low", "cosine_high"]].astype(float)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_branch_that_adds_nothing_has_no_direction(network, batches):
    model = network(units=(1,), filters=(4,), normalization="none")
    conv = model.get_layer("stage1_unit1_conv2")
    conv.kernel.assign(np.zeros(conv.kernel.shape))  # adds nothing
    rows = branch_cosines(dissect(model), batches)
    assert rows["cosine"].isna().all() and (rows["images"] == 0).all()


def test_plain_nets_have_no_branches(network, batches):
    rows = branch_cosines(dissect(network(shortcut="none")), batches)
    assert len(rows) == 0 and "cosine_low" in rows


def test_probes_are_logistic_regressions_of_the_channels_means(network, batches):
    model = network()
    rows = probes(dissect(model), batches, batches[:1]).set_index("unit")
    assert [*rows.index] == ["stage1_unit1", "stage2_unit1", "stage2_unit2", "head"]
    assert rows["features"].tolist() == [4, 8, 8, 3]
    (images, labels), (held_out, expected) = (
        [np.concatenate(parts) for parts in zip(*some, strict=True)]
        for some in (batches, batches[:1])
    )
    sums = keras.Model(model.input, model.get_layer("stage2_unit1_add").output)
    means = [sums.predict_on_batch(x).mean(axis=(1, 2)) for x in (images, held_out)]
    means = [(x - means[0].mean(axis=0)) / means[0].std(axis=0) for x in means]
    learned = LogisticRegression(max_iter=1000).fit(means[0], labels)
    row = rows.loc["stage2_unit1"]
    assert row["error"] == pytest.approx(np.mean(learned.predict(means[1]) != expected))
    assert row["training_error"] == pytest.approx(np.mean(learned.predict(means[0]) != labels))
    own = model.predict_on_batch(held_out).argmax(axis=1) != expected
    assert rows.loc["head", "error"] == pytest.approx(own.mean())
    assert (rows["error_low"] <= rows["error"]).all() and (
        rows["error"] <= rows["error_high"]
    ).all()


def test_probes_need_classes(network, batches):
    one = [(images, np.zeros(6, int)) for images, _ in batches]
    with pytest.raises(ConfigError, match="at least two classes"):
        probes(dissect(network()), one, one)
    with pytest.raises(ConfigError, match="labels"):
        probes(dissect(network()), batches, [(batches[0][0], np.full(6, 3))])


@pytest.mark.parametrize(
    ("cosine", "low", "high", "says"),
    [
        (0.3, 0.2, 0.4, "as in the paper"),
        (-0.3, -0.4, -0.2, "other than in the paper"),
        (0.1, -0.1, 0.3, "undecided"),
    ],
)
def test_words_agree_only_where_the_interval_does(cosine, low, high, says, network, batches):
    rows = branch_cosines(dissect(network()), batches)
    rows = rows.assign(cosine=cosine, cosine_low=low, cosine_high=high)
    table = rows.assign(network="net", state="trained")
    (sentence,) = in_words({"cosines": table})["Iterative inference"]
    assert sentence.startswith(f"net, trained: {says}")
