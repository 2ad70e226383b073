"""Fill: zeros become small noise, all else stays."""

import jax
import numpy as np
from tiny import TINY, make_params

from bpjax.models import bert
from bpjax.pruning.fill import fill
from bpjax.pruning.structure import at, put

CONFIG = TINY.replace(hidden_size=64, intermediate=(96, 0), heads=(0, 2))
PATH = ("layer_0", "ffn", "in", "kernel")
RNG = jax.random.key(0, impl="rbg")  # compiles in no time


def with_zeros():
    params = make_params(CONFIG)
    for path in (PATH, ("layer_1", "attention", "query", "kernel"), ("head", "kernel")):
        params = put(params, path, at(params, path).at[::2].set(0))
    bias = ("layer_0", "ffn", "in", "bias")
    return put(params, bias, at(params, bias) * 0)


fill_quickly = jax.jit(lambda params, rng: fill(params, bert.describe(CONFIG), rng))


def filled(params, rng=RNG):
    return fill_quickly(params, rng)


def test_zeros_become_noise_of_a_hundredth_of_the_matrix():
    params = with_zeros()
    before, after = (np.asarray(at(tree, PATH)) for tree in (params, filled(params)))
    noise = after[::2]
    assert np.count_nonzero(noise) == noise.size
    np.testing.assert_allclose(noise.std(), 0.01 * before.std(), rtol=0.1)
    assert abs(noise.mean()) < 4 * noise.std() / np.sqrt(noise.size)
    np.testing.assert_array_equal(after[1::2], before[1::2])
    assert np.all(at(filled(params), ("layer_1", "attention", "query", "kernel")) != 0)


def test_a_matrix_of_zeros_starts_too():
    params = put(make_params(CONFIG), PATH, np.zeros((64, 96), np.float32))
    noise = np.asarray(at(filled(params), PATH))
    np.testing.assert_allclose(noise.std(), 0.01 * 0.02, rtol=0.1)


def test_nothing_else_changes():
    params = with_zeros()
    copy = jax.tree.map(np.array, params)
    after = filled(params)
    jax.tree.map(np.testing.assert_array_equal, copy, params)
    filled_paths = set()
    for (path, old), new in zip(
        jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(after), strict=True
    ):
        if not np.array_equal(old, new):
            filled_paths.add(tuple(key.key for key in path))
    assert filled_paths == {PATH, ("layer_1", "attention", "query", "kernel")}


def test_the_key_decides_and_matrices_differ():
    params = with_zeros()
    first, again, other = (filled(params, jax.random.key(seed, impl="rbg")) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(at(first, PATH), at(other, PATH))


def test_a_dense_model_stays():
    params = make_params(CONFIG)
    jax.tree.map(np.testing.assert_array_equal, filled(params), params)
