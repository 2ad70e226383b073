"""Binarizers: worked values, ties, counts, floors, strictness, straight-through gradients."""

import fractions
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bpjax.pruning.masks import n_m, sigmoid_threshold, threshold, top_k

SCORES = jnp.array([[0.3, -1.0, 2.0], [0.1, -3.0, 0.2]])


@pytest.mark.parametrize(
    ("binarizer", "setting", "expected"),
    [
        (top_k, 0.5, [[1, 0, 1], [0, 0, 1]]),
        (sigmoid_threshold, 0.1, [[1, 1, 1], [1, 0, 1]]),
        (sigmoid_threshold, 0.5, [[1, 0, 1], [1, 0, 1]]),
        (threshold, 0.15, [[1, 0, 1], [0, 0, 1]]),
        (threshold, 0, [[1, 0, 1], [1, 0, 1]]),
    ],
)
def test_worked_values(binarizer, setting, expected):
    mask = binarizer(SCORES, setting)
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == SCORES.dtype


@pytest.mark.parametrize("density", [0, 0.25, 0.5, 0.99, 1])
def test_ties_go_to_the_lower_index(density):
    kept = np.asarray(top_k(jnp.zeros((3, 4)), density)).ravel()
    np.testing.assert_array_equal(kept, np.arange(12) < int(density * 12))


def test_ties_below_a_winner():
    np.testing.assert_array_equal(top_k(jnp.array([1.0, 2.0, 1.0, 1.0]), 0.5), [1, 1, 0, 0])


@pytest.mark.parametrize("n", [1, 2, 7, 10, 24, 100, 576, 3072])
def test_keeps_exactly_the_fraction(n):
    keep = jax.jit(top_k)
    scores = jax.random.normal(jax.random.key(0), (n,))
    for percent in range(0, 101, 3 if n > 100 else 1):
        exact = math.floor(fractions.Fraction(percent, 100) * n)
        assert int(keep(scores, percent / 100).sum()) == exact, percent


def test_top_k_keeps_the_highest():
    scores = jax.random.normal(jax.random.key(0), (20, 30))
    kept = np.asarray(top_k(scores, 0.3)) > 0
    assert np.asarray(scores)[kept].min() > np.asarray(scores)[~kept].max()


@pytest.mark.parametrize("binarizer", [threshold, sigmoid_threshold])
def test_thresholds_are_strict(binarizer):
    at = jax.nn.sigmoid(jnp.zeros(())) if binarizer is sigmoid_threshold else jnp.zeros(())
    np.testing.assert_array_equal(binarizer(jnp.array([-1e-3, 0.0, 1e-3]), at), [0, 0, 1])


@pytest.mark.parametrize("binarizer", [threshold, sigmoid_threshold])
@pytest.mark.parametrize(
    ("floor", "kept"), [(0, 0), (0.0, 0), (1e-6, 1), (0.2, 1), (0.5, 3), (0.99, 5), (1, 6)]
)
def test_the_floor_holds_even_when_all_scores_are_equal(binarizer, floor, kept):
    mask = binarizer(jnp.full((2, 3), -9.0), 0.9, floor)
    np.testing.assert_array_equal(np.asarray(mask).ravel(), np.arange(6) < kept)


@pytest.mark.parametrize("binarizer", [threshold, sigmoid_threshold])
def test_the_floor_saves_the_best_and_removes_none(binarizer):
    np.testing.assert_array_equal(binarizer(SCORES, 0.99, 0.34), [[1, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(binarizer(SCORES, 0.0, 0.34), binarizer(SCORES, 0.0))


@pytest.mark.parametrize("binarizer", [top_k, threshold, sigmoid_threshold])
def test_the_gradient_is_the_identity(binarizer):
    cotangent = jax.random.normal(jax.random.key(0), SCORES.shape)
    gradient = jax.grad(lambda s: jnp.sum(binarizer(s, 0.4) * cotangent))(SCORES)
    np.testing.assert_array_equal(gradient, cotangent)


@pytest.mark.parametrize("binarizer", [top_k, threshold, sigmoid_threshold])
def test_settings_are_traced(binarizer):
    compiled = jax.jit(lambda scores, setting: binarizer(scores, setting))
    counts = [float(compiled(SCORES, setting).sum()) for setting in (0.0, 0.3, 0.7, 0.9)]
    assert compiled._cache_size() == 1
    assert len(set(counts)) > 1


def test_two_of_four_along_the_inputs():
    scores = jnp.array(
        [[1.0, 4, 0], [2, 3, 0], [3, 2, 0], [4, 1, 0], [9, -1, 0], [8, -2, 0], [7, 5, 0]]
    )
    expected = [[0, 1, 1], [0, 1, 1], [1, 0, 0], [1, 0, 0], [1, 1, 1], [1, 0, 1], [0, 1, 0]]
    np.testing.assert_array_equal(n_m(scores, 2, 4), expected)
    np.testing.assert_array_equal(n_m(scores, 4, 4), np.ones((7, 3)))
    gradient = jax.grad(lambda s: jnp.sum(n_m(s, 2, 4) * scores))(scores)
    np.testing.assert_array_equal(gradient, scores)
