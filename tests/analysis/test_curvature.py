"""The loss's Hessian: products, eigenvalues, trace and density against dense ones."""

import keras
import numpy as np
import pandas as pd
import pytest

from keras_preact.analysis import in_words, loss_curvature, plot_curvature
from keras_preact.analysis.curvature import density, lanczos, ritz
from keras_preact.analysis.hessian import Hessian
from keras_preact.errors import ConfigError
from keras_preact.rewrite import portable

numpy = keras.ops.convert_to_numpy

#: About a hundred weights, so that the dense one is made at once.
TINY = {"units": (4,), "filters": (1,), "stem_filters": 2, "block": "single", "projection": "B"}


def dense(model, batches, training=True):
    """The whole Hessian, by the backend's own means."""
    backend = keras.backend.backend()
    copy = portable(model, "float64" if backend == "tensorflow" else "float32")
    shapes = [tuple(v.shape) for v in copy.trainable_variables]
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])
    ops = keras.ops

    def loss(flat):
        parts = [
            ops.reshape(flat[end - int(np.prod(shape)) : end], shape)
            for shape, end in zip(shapes, cuts, strict=True)
        ]
        total = 0.0
        for images, labels in batches:
            held = [ops.convert_to_tensor(v) for v in copy.non_trainable_variables]
            images = ops.cast(images, copy.compute_dtype)
            scores, _ = copy.stateless_call(parts, held, images, training=training)
            total += ops.mean(
                keras.losses.sparse_categorical_crossentropy(labels, scores, from_logits=True)
            )
        return total / len(batches)

    at = np.concatenate([numpy(v).ravel() for v in copy.trainable_variables])
    if backend == "jax":
        import jax

        return np.asarray(jax.jit(jax.hessian(loss))(at), np.float64)
    import tensorflow as tf

    @tf.function(autograph=False)
    def hessian(point):
        with tf.GradientTape() as outer:
            outer.watch(point)
            with tf.GradientTape() as inner:
                inner.watch(point)
                value = loss(point)
            gradient = inner.gradient(value, point)
        return outer.jacobian(gradient, point, experimental_use_pfor=False)

    return hessian(tf.constant(at)).numpy()


#: JAX makes the dense one at once, TensorFlow in ten seconds.
SLOW = pytest.mark.slow if keras.backend.backend() == "tensorflow" else lambda test: test


@SLOW
def test_equals_the_dense_one(network, batches):
    keras.config.set_dtype_policy("mixed_bfloat16")  # of loops, which have no second derivatives
    model = network(**TINY, placement="original", packaging="repeated", activation="prelu")
    before = [numpy(variable) for variable in model.variables]
    matrix = dense(model, batches)
    hessian = Hessian(model, batches)
    assert matrix.shape == (hessian.size, hessian.size)
    random = np.random.default_rng(0)
    vectors = random.normal(size=(3, hessian.size))
    for vector in vectors:
        expected = matrix @ vector
        difference = np.linalg.norm(hessian.times(vector) - expected)
        assert difference < 1e-4 * np.linalg.norm(expected)
    values = np.linalg.eigvalsh(matrix)
    found = loss_curvature(model, batches, top=4, steps=12, draws=1, seed=1)
    eigenvalues = found.eigenvalues.set_index("rank")["eigenvalue"]
    assert [*eigenvalues.index] == [1, 2, 3, 4, -1]
    np.testing.assert_allclose(eigenvalues[[1, 2, 3, 4]], values[[-1, -2, -3, -4]], rtol=1e-4)
    assert eigenvalues[-1] == pytest.approx(values[0], rel=1e-4, abs=1e-4 * values[-1])
    assert (found.eigenvalues["error"] <= 1e-4 * values[-1]).all()
    random = np.random.default_rng(1)
    random.normal(size=hessian.size)  # what the eigenvalues start from
    drawn = [random.choice([-1.0, 1.0], hessian.size) for _ in found.traces["estimate"]]
    estimates = [vector @ matrix @ vector for vector in drawn]  # whose expectation is the trace
    np.testing.assert_allclose(found.traces["estimate"], estimates, atol=1e-4 * values[-1])
    # The quadrature has the moments of its vector, of which the first is an estimate of the trace.
    nodes, estimate = found.spectrum, found.traces["estimate"][0] / hessian.size
    moments = [np.sum(nodes["weight"] * nodes["eigenvalue"] ** k) for k in range(2)]
    np.testing.assert_allclose(moments, [1, estimate], rtol=1e-4, atol=1e-6)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_lanczos_finds_what_is_there():
    random = np.random.default_rng(0)
    basis, _ = np.linalg.qr(random.normal(size=(60, 60)))
    values = np.sort(random.normal(size=60) ** 3)
    matrix = basis * values @ basis.T
    start = random.normal(size=60)
    found, errors, weights = ritz(*lanczos(lambda v: matrix @ v, start, 60))
    np.testing.assert_allclose(found, values, atol=1e-8)
    shares = (basis.T @ start) ** 2 / (start @ start)
    np.testing.assert_allclose(weights, shares, atol=1e-8)
    few, errors, _ = ritz(*lanczos(lambda v: matrix @ v, start, 25))
    nearest = np.abs(few[:, None] - values).min(axis=1)
    assert (nearest <= errors + 1e-12).all() and errors[-1] < 1e-6
    for end in (-1, 0):
        assert few[end] == pytest.approx(values[end], abs=1e-6)


def test_lanczos_stops_where_the_start_reaches_no_further():
    diagonal, _ = lanczos(lambda v: np.array([3.0, 3.0, 1.0, 1.0]) * v, np.ones(4), 4)
    assert len(diagonal) == 2


def test_density_has_the_weight_of_its_nodes():
    nodes = {"draw": [0, 0, 1], "eigenvalue": [0.0, 10.0, 0.0], "weight": [0.75, 0.25, 1.0]}
    found = density(pd.DataFrame(nodes), points=2000)
    area = np.trapezoid(found["density"], found["eigenvalue"])
    assert area == pytest.approx(1, rel=1e-3)
    right = found[found["eigenvalue"] > 5]
    assert np.trapezoid(right["density"], right["eigenvalue"]) == pytest.approx(0.125, rel=1e-3)


def test_other_networks_and_labels_are_refused(network, batches):
    with pytest.raises(ConfigError, match="ends with logits or a softmax"):
        loss_curvature(network(include_top=False), batches)
    images, labels = batches[0]
    model = network()
    with pytest.raises(ConfigError, match="from 0 to 2"):
        loss_curvature(model, [(images, labels + 1)])
    with pytest.raises(ConfigError, match="`top` must be"):
        loss_curvature(model, batches, top=0)


def test_words_and_picture():
    of = {"network": "net", "state": "trained"}
    tables = {
        "eigenvalues": pd.DataFrame(
            {**of, "rank": [1, 2, -1], "eigenvalue": [8.0, 4.0, -2.0], "error": [0.0, 0.1, 0.0]}
        ),
        "traces": pd.DataFrame({**of, "estimate": [9.0, 11.0], "weights": 1000}),
        "spectrum": pd.DataFrame(
            {**of, "draw": 0, "eigenvalue": [-2.0, 0.01, 8.0], "weight": [0.25, 0.5, 0.25]}
        ),
    }
    tables["curvature_steps"] = pd.DataFrame(
        {**of, "name": ["step 5", "end"], "largest": [2.0, 8.0], "smallest": [-1.0, -2.0],
         "trace": [5.0, 10.0]}
    )  # fmt: skip
    words = in_words(tables)
    assert words["Curvature along the training"] == [
        "net, trained: from step 5 to the end of the training, over 2 states, the largest "
        "eigenvalue goes from 2 to 8 and the trace goes from 5 to 10; the smallest eigenvalue is "
        "-2 to -1."
    ]
    tables["eigenvalues"].loc[2, "eigenvalue"] = -9.0
    assert (
        "a negative curvature larger in size than the largest" in in_words(tables)["Curvature"][0]
    )
    tables["eigenvalues"].loc[2, "eigenvalue"] = -2.0
    assert "8, 4, the smallest is -2, a negative curvature of 25.0%" in words["Curvature"][0]
    assert "not converged: 1 of them (error up to 0.1)" in words["Curvature"][0]
    assert "the trace is 10 ± 2 (two standard errors" in words["Trace of the Hessian"][0]
    assert "50.0% of the eigenvalues" in words["Spectral density"][0]
    left, right, along = plot_curvature(tables).axes
    assert len(left.lines) == 1 and len(right.collections) == 1
    assert along.lines[0].get_ydata().tolist() == [2, 8]
